//! Tags of objects.

use super::attributes::check_tags;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::operation::Target;
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};
use super::{OssDialect, write};

impl OssDialect {
    /// GetObjectTagging: an empty set where there are none.
    pub(super) fn object_tagging(&self, target: &Target) -> OssResult<Reply> {
        let object = self.store.object(&target.bucket, &target.key)?;
        let mut xml = Writer::new();
        xml.open("Tagging").open("TagSet");
        for (key, value) in &object.attributes.tags {
            xml.open("Tag").leaf("Key", key).leaf("Value", value).close("Tag");
        }
        xml.close("TagSet").close("Tagging");
        Ok(Reply::xml(xml))
    }

    /// PutObjectTagging: replaces them all; Last-Modified stays.
    pub(super) async fn put_object_tagging(&self, target: &Target, head: &Head, body: Body) -> OssResult<Reply> {
        let root = Element::parse(&intake::document(head, body).await?, "Tagging")?;
        let set = root.child("TagSet").ok_or_else(OssError::malformed_xml)?;
        let text = |tag: &Element, name: &str| tag.child(name).map(|child| child.text.clone());
        let pairs: Option<Vec<(String, String)>> = set.children_named("Tag").map(|tag| Some((text(tag, "Key")?, text(tag, "Value")?))).collect();
        let tags = check_tags(pairs.ok_or_else(OssError::malformed_xml)?)?;
        self.store.write(&target.bucket, &target.key, |current| write::changed(current, |attributes| attributes.tags = tags))?;
        Ok(Reply::ok())
    }

    /// DeleteObjectTagging.
    pub(super) fn delete_object_tagging(&self, target: &Target) -> OssResult<Reply> {
        self.store.write(&target.bucket, &target.key, |current| write::changed(current, |attributes| attributes.tags.clear()))?;
        Ok(Reply::no_content())
    }
}
