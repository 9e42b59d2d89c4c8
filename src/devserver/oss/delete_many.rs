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
        let keys: Option<Vec<&str>> = root.children_named("Object").map(|object| object.child("Key").map(|key| key.text.as_str())).collect();
        let keys = keys.filter(|keys| (1..=KEYS_MAX).contains(&keys.len())).ok_or_else(OssError::malformed_xml)?;
        let keys: Vec<String> = keys.into_iter().map(|key| check_key(key.as_bytes())).collect::<OssResult<_>>()?;
        for key in &keys {
            self.store.remove(bucket, key, |_| Ok::<_, OssError>(()))?;
        }
        if root.value("Quiet") == Some("true") {
            return Ok(Reply::ok());
        }
        let mut xml = Writer::new();
        xml.open("DeleteResult");
        encoding.declare(&mut xml);
        for key in &keys {
            xml.open("Deleted").leaf("Key", encoding.name(key)).close("Deleted");
        }
        xml.close("DeleteResult");
        Ok(Reply::xml(xml))
    }
}
