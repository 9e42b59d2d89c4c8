//! What the layers have in common.
//!
//! A layer wraps a store and is one itself. It forwards every method (the traits have no default bodies, so that none can be
//! forgotten) and shows a facet exactly where the store below has it.

use std::fmt;

use super::{Archive, Details, Lifecycle, Multipart, Presign, ServerCopy, Storage, Versions};
use crate::error::{Error, Result};

/// The operations of a store, as layers count, delay and disturb them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`Storage::list`]: one page is one call.
    List,
    /// [`Storage::head`].
    Head,
    /// [`Storage::get`].
    Get,
    /// [`Storage::put`].
    Put,
    /// [`Storage::delete`]: one object is one call, although services batch them.
    Delete,
    /// [`Multipart::create`].
    CreateUpload,
    /// [`Multipart::upload_part`].
    UploadPart,
    /// [`Multipart::list_parts`].
    ListParts,
    /// [`Multipart::complete`].
    CompleteUpload,
    /// [`Multipart::abort`].
    AbortUpload,
    /// [`Multipart::list_uploads`].
    ListUploads,
    /// [`ServerCopy::copy`].
    Copy,
    /// [`Presign::presign`].
    Presign,
    /// [`Details::tags`].
    Tags,
    /// [`Details::acl`].
    Acl,
    /// [`Archive::restore`].
    Restore,
    /// [`Lifecycle::lifecycle`].
    Lifecycle,
    /// [`Lifecycle::set_lifecycle`].
    SetLifecycle,
    /// [`Versions::versioning`].
    Versioning,
    /// [`Versions::list_versions`]: one page is one call.
    ListVersions,
    /// [`ServerCopy::copy_part`].
    CopyPart,
}

impl Operation {
    /// All of them, each at the index of its discriminant.
    pub const ALL: [Self; 21] = [
        Self::List,
        Self::Head,
        Self::Get,
        Self::Put,
        Self::Delete,
        Self::CreateUpload,
        Self::UploadPart,
        Self::ListParts,
        Self::CompleteUpload,
        Self::AbortUpload,
        Self::ListUploads,
        Self::Copy,
        Self::Presign,
        Self::Tags,
        Self::Acl,
        Self::Restore,
        Self::Lifecycle,
        Self::SetLifecycle,
        Self::Versioning,
        Self::ListVersions,
        Self::CopyPart,
    ];

    /// The name in errors, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Head => "head",
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
            Self::CreateUpload => "create upload",
            Self::UploadPart => "upload part",
            Self::ListParts => "list parts",
            Self::CompleteUpload => "complete upload",
            Self::AbortUpload => "abort upload",
            Self::ListUploads => "list uploads",
            Self::Copy => "copy",
            Self::Presign => "presign",
            Self::Tags => "tags",
            Self::Acl => "acl",
            Self::Restore => "restore",
            Self::Lifecycle => "lifecycle",
            Self::SetLifecycle => "set lifecycle",
            Self::Versioning => "versioning",
            Self::ListVersions => "list versions",
            Self::CopyPart => "copy part",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The facet below, for a layer's own facet: it is handed out only where there is one below.
pub(super) fn multipart(inner: &dyn Storage) -> Result<&dyn Multipart> {
    inner.multipart().ok_or_else(|| Error::unsupported("this store has no multipart uploads").in_store(inner))
}

/// As [`multipart`].
pub(super) fn server_copy(inner: &dyn Storage) -> Result<&dyn ServerCopy> {
    inner.server_copy().ok_or_else(|| Error::unsupported("this store cannot copy by itself").in_store(inner))
}

/// As [`multipart`].
pub(super) fn presign(inner: &dyn Storage) -> Result<&dyn Presign> {
    inner.presign().ok_or_else(|| Error::unsupported("this store has no links").in_store(inner))
}

/// As [`multipart`].
pub(super) fn details(inner: &dyn Storage) -> Result<&dyn Details> {
    inner.details().ok_or_else(|| Error::unsupported("this store has no tags").in_store(inner))
}

/// As [`multipart`].
pub(super) fn archive(inner: &dyn Storage) -> Result<&dyn Archive> {
    inner.archive().ok_or_else(|| Error::unsupported("this store has no archives").in_store(inner))
}

/// As [`multipart`].
pub(super) fn lifecycle(inner: &dyn Storage) -> Result<&dyn Lifecycle> {
    inner.lifecycle().ok_or_else(|| Error::unsupported("this store has no lifecycle rules").in_store(inner))
}

/// As [`multipart`].
pub(super) fn versions(inner: &dyn Storage) -> Result<&dyn Versions> {
    inner.versions().ok_or_else(|| Error::unsupported("this store has no versions").in_store(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_stands_at_its_index() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{operation}");
        }
    }
}
