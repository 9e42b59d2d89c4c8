//! What a backend can and cannot do, as a value that the planner reads and the conformance suite is gated by.

/// The kind of service behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Anything that speaks S3.
    S3,
    /// Alibaba Cloud OSS.
    Oss,
    /// A local directory.
    Local,
    /// In memory.
    Memory,
    /// Something the object_store crate opens.
    ObjectStore,
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::S3 => "S3",
            Self::Oss => "OSS",
            Self::Local => "a local directory",
            Self::Memory => "memory",
            Self::ObjectStore => "this service",
        })
    }
}

/// Limits of multipart uploads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MultipartLimits {
    /// Smallest part but for the last, in bytes (S3 5 MiB, OSS 100 KB).
    pub part_bytes_min: u64,
    /// Largest part in bytes.
    pub part_bytes_max: u64,
    /// How many parts an upload may have.
    pub parts_max: u32,
}

/// Which names and values user metadata may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataRule {
    /// Nothing is kept but `mtime` (a local file).
    MtimeOnly,
    /// Any header token as name (S3); values beyond ASCII are encoded by the backend.
    HeaderToken,
    /// Letters, digits and hyphens only as name (OSS).
    LettersDigitsHyphen,
    /// Anything.
    Any,
}

/// The limits and abilities of one store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// What kind of service it is.
    pub service: Service,
    /// Whether listings come in ascending byte order. Where false, a listing never licenses a delete.
    pub ordered_list: bool,
    /// Largest body of a single PUT, in bytes.
    pub put_bytes_max: u64,
    /// Largest object, in bytes.
    pub object_bytes_max: u64,
    /// Multipart limits; `None` where [`Storage::multipart`](super::Storage::multipart) is `None`.
    pub multipart: Option<MultipartLimits>,
    /// Longest key, in bytes.
    pub key_bytes_max: usize,
    /// Create-only writes ([`Condition::Absent`](super::Condition::Absent)) are atomic here.
    pub put_if_absent: bool,
    /// Compare-and-swap writes ([`Condition::Matches`](super::Condition::Matches)) are atomic here.
    pub put_if_match: bool,
    /// User metadata rule.
    pub metadata: MetadataRule,
    /// Most user metadata, names and values together, in bytes.
    pub metadata_bytes_max: usize,
    /// Content-Type and its fellows are kept.
    pub content_headers: bool,
    /// A body that is not whole in memory can be sent with its checksum known only afterwards.
    /// Where false (S3: the checksum stands in a header) the engine buffers each part.
    pub streamed_bodies: bool,
    /// A write replaces an object at once or not at all, even where it breaks off midway.
    pub atomic_put: bool,
}
