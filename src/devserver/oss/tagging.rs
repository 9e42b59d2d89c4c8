//! Tags of objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::attributes::check_tags;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::operation::Target;
use super::reply::Reply;
use super::request::Head;
use super::xml::{Element, Writer};
use super::{OssDialect, versions, write};
use crate::devserver::store::Object;

impl OssDialect {
    /// GetObjectTagging: an empty set where there are none.
    pub(super) fn object_tagging(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        let object = self.store.find(&target.bucket, &target.key, versions::named(head)?)?;
        let mut xml = Writer::new();
        xml.open("Tagging").open("TagSet");
        for (key, value) in &object.attributes.tags {
            xml.open("Tag").leaf("Key", key).leaf("Value", value).close("Tag");
        }
        xml.close("TagSet").close("Tagging");
        Reply::xml(xml).of_version(object.version_id.as_deref())
    }

    /// PutObjectTagging: replaces them all; Last-Modified stays.
    pub(super) async fn put_object_tagging(&self, target: &Target, head: &Head, body: Body) -> OssResult<Reply> {
        let root = Element::parse(&intake::document(head, body).await?, "Tagging")?;
        let set = root.child("TagSet").ok_or_else(OssError::malformed_xml)?;
        let text = |tag: &Element, name: &str| tag.child(name).map(|child| child.text.clone());
        let pairs: Option<Vec<(String, String)>> = set.children_named("Tag").map(|tag| Some((text(tag, "Key")?, text(tag, "Value")?))).collect();
        let tags = check_tags(pairs.ok_or_else(OssError::malformed_xml)?)?;
        self.retag(target, head, tags, Reply::ok())
    }

    /// DeleteObjectTagging.
    pub(super) fn delete_object_tagging(&self, target: &Target, head: &Head) -> OssResult<Reply> {
        self.retag(target, head, BTreeMap::new(), Reply::no_content())
    }

    fn retag(&self, target: &Target, head: &Head, tags: BTreeMap<String, String>, done: Reply) -> OssResult<Reply> {
        let change = |object: &Arc<Object>| Ok::<_, OssError>(write::changed(object, |attributes| attributes.tags = tags));
        let object = self.store.amend(&target.bucket, &target.key, versions::named(head)?, change)?;
        done.of_version(object.version_id.as_deref())
    }
}
