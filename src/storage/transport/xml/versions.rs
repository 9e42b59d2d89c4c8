//! What the services say of versions: whether a bucket keeps them, and pages of ListObjectVersions (OSS: GetBucketVersions), which
//! have one shape on both.

use std::ops::ControlFlow;

use super::document::{is_truncated, is_url_encoded, key};
use super::{Element, broken};
use crate::error::{Error, Result};
use crate::storage::key::Key;
use crate::storage::object::{ETag, Kind};
use crate::storage::{List, Version, Versioning};

/// Reads a GetBucketVersioning answer: it has no status where versions were never kept.
pub(in crate::storage) fn versioning(body: &[u8]) -> Result<Versioning> {
    // moto calls it otherwise.
    let root = Element::parse(body, &["VersioningConfiguration", "GetBucketVersioningResponse"])?;
    match root.text("Status").map(str::trim).unwrap_or_default() {
        "" => Ok(Versioning::Off),
        "Enabled" => Ok(Versioning::Enabled),
        "Suspended" => Ok(Versioning::Suspended),
        other => Err(broken(format_args!("the versioning status '{other}' is unknown"))),
    }
}

/// Where a page of versions begins: after a key, or after one of its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::storage) struct VersionMarker {
    /// What to send as `key-marker`.
    pub(in crate::storage) key: Key,
    /// What to send as `version-id-marker`.
    pub(in crate::storage) version: Option<String>,
}

/// One page of versions.
#[derive(Debug)]
pub(in crate::storage) struct VersionsPage {
    /// Versions and delete markers, in order.
    pub(in crate::storage) versions: Vec<Version>,
    /// Where the next page begins; `None` on the last.
    pub(in crate::storage) next: Option<VersionMarker>,
}

/// Reads a page of versions. `sent` is the marker that asked for it: one that comes back would list for ever.
pub(in crate::storage) fn list_versions(body: &[u8], sent: Option<&VersionMarker>) -> Result<VersionsPage> {
    let root = Element::parse(body, &["ListVersionsResult"])?;
    let url_encoded = is_url_encoded(&root);
    let listed = root.children.iter().filter(|child| matches!(child.name.as_str(), "Version" | "DeleteMarker"));
    let mut versions = listed.map(|element| version(element, url_encoded)).collect::<Result<Vec<_>>>()?;
    if !is_in_order(&versions) || is_apart(&versions) {
        // Both clouds mix versions and markers in their order; moto, and what is built on s3s, list the ones and then the others.
        versions.sort_by(|a, b| (&a.key, b.is_latest, b.modified).cmp(&(&b.key, a.is_latest, a.modified)));
    }
    let next = match is_truncated(&root)? {
        false => None,
        true => Some(VersionMarker { key: key(root.require("NextKeyMarker")?, url_encoded)?, version: root.text("NextVersionIdMarker").map(str::to_owned) }),
    };
    if next.is_some() && next.as_ref() == sent {
        return Err(broken("it repeats its marker, so the listing would never end"));
    }
    Ok(VersionsPage { versions, next })
}

fn version(element: &Element, url_encoded: bool) -> Result<Version> {
    let key = key(element.require("Key")?, url_encoded)?;
    let is_marker = element.name == "DeleteMarker";
    Ok(Version {
        key,
        version: element.require("VersionId")?.to_owned(),
        is_latest: element.is_true("IsLatest"),
        is_marker,
        size: if is_marker { 0 } else { element.number("Size")? },
        etag: element.text("ETag").map(ETag::new).unwrap_or_default(),
        modified: element.time("LastModified"),
        storage_class: element.text("StorageClass").filter(|_| !is_marker).map(str::to_owned),
        kind: match element.text("Type") {
            Some("Symlink") => Kind::Symlink,
            Some("Appendable") => Kind::Appendable,
            _ => Kind::Object,
        },
    })
}

/// Keys ascend, and the latest is a key's first.
fn is_in_order(versions: &[Version]) -> bool {
    versions.windows(2).all(|pair| pair[0].key < pair[1].key || pair[0].key == pair[1].key && !pair[1].is_latest)
}

/// Versions and markers stand in two blocks, and by their times do not belong so. (Times alone decide nothing: S3 dates an object of
/// parts from when its upload was begun.)
fn is_apart(versions: &[Version]) -> bool {
    let blocks = versions.windows(2).filter(|pair| pair[0].is_marker != pair[1].is_marker).count();
    blocks == 1 && versions.windows(2).any(|pair| pair[0].key == pair[1].key && pair[0].modified < pair[1].modified)
}

/// Sees to it that a listing of versions is in order within and across pages, and keeps it between its bounds.
#[derive(Debug)]
pub(in crate::storage) struct VersionOrder {
    list: List,
    last: Option<Key>,
}

impl VersionOrder {
    pub(in crate::storage) fn new(list: &List) -> Self {
        Self { list: list.clone(), last: None }
    }

    /// What of a page lies between the bounds; `Break` where nothing can follow.
    ///
    /// Fails with [`ErrorKind::Integrity`](crate::error::ErrorKind::Integrity) on a key that is out of order or lies elsewhere, and on a
    /// latest version behind another of its key.
    pub(in crate::storage) fn check(&mut self, versions: Vec<Version>) -> Result<ControlFlow<Vec<Version>, Vec<Version>>> {
        let mut kept = Vec::with_capacity(versions.len());
        for version in versions {
            let out_of_order = |last: &Key| *last > version.key || *last == version.key && version.is_latest;
            if self.last.as_ref().is_some_and(out_of_order) {
                return Err(Error::integrity("the listing of versions is not in order").on_key(&version.key));
            }
            if !version.key.as_bytes().starts_with(self.list.prefix.as_bytes()) {
                return Err(Error::integrity("the listing of versions holds a key that lies elsewhere").on_key(&version.key));
            }
            if self.list.upto.as_ref().is_some_and(|upto| version.key > *upto) {
                return Ok(ControlFlow::Break(kept));
            }
            if self.last.as_ref() != Some(&version.key) {
                self.last = Some(version.key.clone());
            }
            if self.list.after.as_ref().is_none_or(|after| version.key > *after) {
                kept.push(version);
            }
        }
        Ok(ControlFlow::Continue(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn page(inner: &str) -> Result<VersionsPage> {
        list_versions(format!("<?xml version=\"1.0\"?><ListVersionsResult>{inner}</ListVersionsResult>").as_bytes(), None)
    }

    fn told(versions: &[Version]) -> Vec<String> {
        versions
            .iter()
            .map(|v| format!("{} {}{}{}", v.key, v.version, if v.is_marker { " marker" } else { "" }, if v.is_latest { " latest" } else { "" }))
            .collect()
    }

    fn entry(element: &str, key: &str, id: &str, latest: bool, second: u32) -> String {
        let data = if element == "Version" { "<ETag>\"e\"</ETag><Size>3</Size><StorageClass>STANDARD</StorageClass>" } else { "" };
        let modified = format!("<LastModified>2026-01-01T00:00:{second:02}.000Z</LastModified>");
        format!("<{element}><Key>{key}</Key><VersionId>{id}</VersionId><IsLatest>{latest}</IsLatest>{modified}{data}<Owner><ID>1</ID></Owner></{element}>")
    }

    #[test]
    fn both_kinds_come_in_the_order_of_the_page() {
        let inner =
            [entry("DeleteMarker", "a%2Fb+c", "3", true, 3), entry("Version", "a%2Fb+c", "2", false, 2), entry("Version", "b", "null", true, 1)].concat();
        let page = page(&format!(
            "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>b%20</NextKeyMarker><NextVersionIdMarker>n</NextVersionIdMarker>{inner}"
        ))
        .expect("a page");
        assert_eq!(told(&page.versions), ["a/b c 3 marker latest", "a/b c 2", "b null latest"]);
        assert_eq!((page.versions[1].size, page.versions[1].storage_class.as_deref()), (3, Some("STANDARD")));
        assert_eq!(page.next, Some(VersionMarker { key: "b ".into(), version: Some("n".into()) }));
    }

    #[test]
    fn markers_that_stand_behind_all_versions_are_put_in_their_place() {
        let versions = [entry("Version", "a", "3", false, 3), entry("Version", "a", "1", false, 1), entry("Version", "b", "5", true, 5)].concat();
        let markers = [entry("DeleteMarker", "a", "4", true, 4), entry("DeleteMarker", "a", "2", false, 2)].concat();
        let page = page(&format!("<IsTruncated>false</IsTruncated>{versions}{markers}")).expect("a page");
        assert_eq!(told(&page.versions), ["a 4 marker latest", "a 3", "a 2 marker", "a 1", "b 5 latest"]);
    }

    #[test]
    fn a_single_key_is_put_in_order_only_where_it_is_plain_that_it_is_not() {
        let markers = [entry("DeleteMarker", "a", "4", true, 4), entry("DeleteMarker", "a", "2", false, 2)].concat();
        let versions = [entry("Version", "a", "3", false, 3), entry("Version", "a", "1", false, 1)].concat();
        let apart = page(&format!("<IsTruncated>false</IsTruncated>{markers}{versions}")).expect("a page");
        assert_eq!(told(&apart.versions), ["a 4 marker latest", "a 3", "a 2 marker", "a 1"]);
        // An upload that was begun before the marker was made and completed after it.
        let parts = [entry("Version", "a", "3", true, 1), entry("DeleteMarker", "a", "2", false, 2), entry("Version", "a", "1", false, 0)].concat();
        let mixed = page(&format!("<IsTruncated>false</IsTruncated>{parts}")).expect("a page");
        assert_eq!(told(&mixed.versions), ["a 3 latest", "a 2 marker", "a 1"]);
    }

    #[test]
    fn what_is_no_whole_page_is_refused() {
        for bad in [
            "<IsTruncated>maybe</IsTruncated>".to_owned(),
            "<IsTruncated>true</IsTruncated>".to_owned(),
            format!("<IsTruncated>false</IsTruncated>{}", entry("Version", "a", "", true, 1)),
            format!("<IsTruncated>false</IsTruncated>{}", entry("Version", "", "1", true, 1)),
            "<IsTruncated>false</IsTruncated><Version><Key>a</Key><VersionId>1</VersionId></Version>".to_owned(),
        ] {
            assert_eq!(page(&bad).expect_err(&bad).kind(), ErrorKind::Integrity, "{bad}");
        }
        let again = VersionMarker { key: "k".into(), version: Some("v".into()) };
        let body = b"<ListVersionsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker></ListVersionsResult>";
        assert!(list_versions(body, Some(&again)).is_err(), "a repeated marker");
    }

    #[test]
    fn order_and_bounds_hold_across_pages() {
        let of = |keys: &[(&str, bool)]| -> Vec<Version> {
            let inner: String = keys.iter().map(|(key, latest)| entry("Version", key, "1", *latest, 1)).collect();
            page(&format!("<IsTruncated>false</IsTruncated>{inner}")).expect("a page").versions
        };
        let mut order = VersionOrder::new(&List { after: Some("a".into()), upto: Some("c".into()), ..List::default() });
        let ControlFlow::Continue(kept) = order.check(of(&[("a", true), ("b", true), ("b", false)])).expect("in order") else { panic!("more may follow") };
        assert_eq!(kept.len(), 2);
        assert_eq!(order.check(of(&[("b", true)])).expect_err("a second latest").kind(), ErrorKind::Integrity);
        assert!(order.check(of(&[("a", false)])).is_err(), "a key again");
        let ControlFlow::Break(kept) = order.check(of(&[("b", false), ("c", true), ("d", true)])).expect("in order") else { panic!("upto is reached") };
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn a_bucket_says_whether_it_keeps_versions() {
        let of = |status: &str| versioning(format!("<VersioningConfiguration>{status}</VersioningConfiguration>").as_bytes());
        assert_eq!(of("").expect("a document"), Versioning::Off);
        assert_eq!(of("<Status/>").expect("a document"), Versioning::Off);
        assert_eq!(of("<Status>Enabled</Status>").expect("a document"), Versioning::Enabled);
        assert_eq!(of("<Status>Suspended</Status>").expect("a document"), Versioning::Suspended);
        assert!(of("<Status>Odd</Status>").is_err());
        assert!(versioning(b"<Error/>").is_err());
    }
}
