//! Configurations of buckets: kept and told as they were sent. Of them only a lifecycle is acted upon ([`super::lifecycle`]).
//!
//! That is what a client of them can be tried against: a policy here forbids nothing.

use super::OssDialect;
use super::error::{OssError, OssResult};
use super::intake::{self, Body};
use super::lifecycle;
use super::reply::{Reply, ReplyBody};
use super::request::Head;
use super::xml::{Element, Writer};

/// A configuration by the name of its sub-resource.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(super) name: &'static str,
    /// The root element; `None` is a document that is not XML.
    root: Option<&'static str>,
    absent: Absent,
}

/// What the service tells of a configuration that was never made.
#[derive(Debug, PartialEq, Eq)]
enum Absent {
    /// 404 with this code.
    Error(&'static str),
    /// This document.
    Document(&'static str),
}

/// Every configuration that can be kept.
pub(super) const ALL: &[Configuration] = &[
    Configuration { name: "cors", root: Some("CORSConfiguration"), absent: Absent::Error("NoSuchCORSConfiguration") },
    Configuration { name: "encryption", root: Some("ServerSideEncryptionRule"), absent: Absent::Error("NoSuchServerSideEncryptionRule") },
    Configuration { name: "lifecycle", root: Some(lifecycle::ROOT), absent: Absent::Error("NoSuchLifecycle") },
    Configuration { name: "logging", root: Some("BucketLoggingStatus"), absent: Absent::Document("<BucketLoggingStatus/>") },
    Configuration { name: "policy", root: None, absent: Absent::Error("NoSuchBucketPolicy") },
    Configuration {
        name: "publicAccessBlock",
        root: Some("PublicAccessBlockConfiguration"),
        absent: Absent::Document("<PublicAccessBlockConfiguration><BlockPublicAccess>false</BlockPublicAccess></PublicAccessBlockConfiguration>"),
    },
    Configuration {
        name: "referer",
        root: Some("RefererConfiguration"),
        absent: Absent::Document("<RefererConfiguration><AllowEmptyReferer>true</AllowEmptyReferer><RefererList/></RefererConfiguration>"),
    },
    Configuration { name: "tagging", root: Some("Tagging"), absent: Absent::Document("<Tagging><TagSet/></Tagging>") },
    Configuration { name: "website", root: Some("WebsiteConfiguration"), absent: Absent::Error("NoSuchWebsiteConfiguration") },
];

impl Configuration {
    /// The bucket property that holds it.
    fn property(&self) -> String {
        format!("configuration-{}", self.name)
    }
}

impl OssDialect {
    /// PutBucketLifecycle and its like.
    pub(super) async fn put_configuration(&self, bucket: &str, configuration: &Configuration, head: &Head, body: Body) -> OssResult<Reply> {
        let document = intake::document(head, body).await?;
        if let Some(root) = configuration.root {
            let root = Element::parse(&document, root)?;
            if configuration.name == "lifecycle" {
                lifecycle::check(&root, head)?;
            }
        }
        let document = String::from_utf8(document).map_err(|_| OssError::malformed_xml())?;
        self.store.set_bucket_property(bucket, &configuration.property(), Some(document))?;
        Ok(Reply::ok())
    }

    /// GetBucketLifecycle and its like.
    pub(super) fn configuration(&self, bucket: &str, configuration: &Configuration) -> OssResult<Reply> {
        let document = match (self.store.bucket(bucket)?.properties.remove(&configuration.property()), &configuration.absent) {
            (Some(document), _) => document,
            (None, Absent::Document(document)) => (*document).to_owned(),
            (None, Absent::Error(code)) => {
                return Err(OssError::new(404, code, "The specified configuration does not exist.").detail("BucketName", bucket));
            }
        };
        let mut reply = Reply::xml(Writer::new());
        reply.body = ReplyBody::Whole(document.into());
        Ok(reply)
    }

    /// DeleteBucketLifecycle and its like: 204 also where there was nothing.
    pub(super) fn delete_configuration(&self, bucket: &str, configuration: &Configuration) -> OssResult<Reply> {
        self.store.set_bucket_property(bucket, &configuration.property(), None)?;
        Ok(Reply::no_content())
    }

    /// ListLiveChannel: there are none here.
    pub(super) fn list_live_channels(&self, bucket: &str, head: &Head) -> OssResult<Reply> {
        self.store.bucket(bucket)?;
        let text = |name| -> OssResult<&str> { Ok(head.query.text(name)?.unwrap_or_default()) };
        let mut xml = Writer::new();
        xml.open("ListLiveChannelResult").leaf("Prefix", text("prefix")?).leaf("Marker", text("marker")?);
        xml.leaf("MaxKeys", head.query.number("max-keys")?.unwrap_or(100).to_string()).leaf("IsTruncated", "false").close("ListLiveChannelResult");
        Ok(Reply::xml(xml))
    }
}
