//! DeleteMultipleObjects.

use super::OssDialect;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::list::Encoding;
use super::operation::check_key;
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};

const KEYS_MAX: usize = 1000;

impl OssDialect {
    /// Deletes up to 1000 keys; a quiet request gets an empty body, a verbose one each key that is gone now.
    pub(super) async fn delete_many(&self, bucket: &str, head: &Head, body: Body) -> OssResult<Reply> {
        let encoding = Encoding::of(head)?;
        if !head.headers.contains_key("content-md5") {
            return Err(OssError::missing_argument("Missing Some Required Arguments.").detail("ArgumentName", "Content-MD5"));
        }
        let root = Element::parse(&intake::document(head, body).await?, "Delete")?;
        let keys: Option<Vec<(&str, Option<&str>)>> =
            root.children_named("Object").map(|object| Some((object.child("Key")?.text.as_str(), object.value("VersionId")))).collect();
        let keys = keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len())).ok_or_else(OssError::malformed_xml)?;
        let keys: Vec<(String, Option<&str>)> = keys.into_iter().map(|(key, id)| Ok((check_key(key.as_bytes())?, id))).collect::<OssResult<_>>()?;
        let mut done = Vec::with_capacity(keys.len());
        for (key, id) in &keys {
            let id = id.filter(|id| !id.is_empty());
            done.push((key, id, self.store.delete(bucket, key, id, |_| Ok::<_, OssError>(()))?));
        }
        if root.value("Quiet") == Some("true") {
            return Ok(Reply::ok());
        }
        let mut xml = Writer::new();
        xml.open("DeleteResult");
        encoding.declare(&mut xml);
        for (key, id, deleted) in &done {
            xml.open("Deleted").leaf("Key", encoding.name(key));
            if let Some(id) = id {
                xml.leaf("VersionId", id);
            }
            if let Some(marker) = deleted.version_id.as_deref().filter(|_| deleted.marker) {
                xml.leaf("DeleteMarker", "true").leaf("DeleteMarkerVersionId", marker);
            }
            xml.close("Deleted");
        }
        xml.close("DeleteResult");
        Ok(Reply::xml(xml))
    }
}
