//! The least that must be granted: an IAM or RAM policy for one bucket, one prefix and one role.

use serde_json::{Value, json};

use crate::cli::exit::Failure;
use crate::cli::output::Output;
use crate::config::store::{StoreKind, partition};
use crate::storage::Key;

use super::Role;

/// A policy, and whom it is for.
pub(super) struct Policy {
    role: Role,
    /// `IAM` or `RAM`.
    system: &'static str,
    document: Value,
}

impl Policy {
    /// The policy of one end. `None` for stores that have neither IAM nor RAM.
    pub(super) fn new(role: Role, kind: &StoreKind, region: &str, bucket: &str, prefix: &Key) -> Option<Self> {
        let (system, document) = match kind {
            StoreKind::S3(_) => ("IAM", iam(role, region, bucket, prefix)),
            StoreKind::Oss(_) => ("RAM", ram(role, bucket, prefix)),
            StoreKind::File { .. } | StoreKind::ObjectStore { .. } => return None,
        };
        Some(Self { role, system, document })
    }

    pub(super) fn print(&self, output: &Output) -> Result<(), Failure> {
        let Self { role, system, document } = self;
        if output.json {
            let further: Value = self.further().map(|(flag, actions)| (flag.to_owned(), json!(actions))).collect::<serde_json::Map<_, _>>().into();
            return output.object(&json!({ "about": role.name(), "policy": system, "document": document, "further": further }));
        }
        output.line(&format!("\nLeast {system} policy for the {}:\n{document:#}", role.name()))?;
        self.further().try_for_each(|(flag, actions)| output.line(&format!("and with {flag}: {}", actions.join(", "))))
    }

    /// What some flags need beyond it, on objects or on the bucket.
    fn further(&self) -> impl Iterator<Item = (&'static str, Vec<String>)> {
        let is_iam = self.system == "IAM";
        let service = if is_iam { "s3" } else { "oss" };
        let rules: &[&str] = if is_iam { &["GetLifecycleConfiguration", "PutLifecycleConfiguration"] } else { &["GetBucketLifecycle", "PutBucketLifecycle"] };
        let versions: &[&str] = match (is_iam, self.role) {
            (true, Role::Source) => &["GetBucketVersioning", "ListBucketVersions", "GetObjectVersion", "GetObjectVersionTagging"],
            (true, Role::Destination) => &["GetBucketVersioning", "ListBucketVersions", "GetObjectVersion"],
            (false, _) => &["GetBucketVersioning", "ListObjectVersions", "GetObjectVersion"],
        };
        let mut needs: Vec<(&str, &[&str])> = match self.role {
            Role::Source => vec![("--tags", &["GetObjectTagging"][..]), ("--acl keep", &["GetObjectAcl"]), ("--thaw", &["RestoreObject"])],
            Role::Destination => vec![("--tags", &["GetObjectTagging", "PutObjectTagging"][..]), ("--acl", &["GetObjectAcl", "PutObjectAcl"])],
        };
        needs.extend([("--versions all", versions), ("tier run", rules)]);
        needs.into_iter().map(move |(flag, actions)| (flag, actions.iter().map(|action| format!("{service}:{action}")).collect()))
    }
}

/// IAM. The pattern characters of a literal prefix are escaped as IAM policy variables.
fn iam(role: Role, region: &str, bucket: &str, prefix: &Key) -> Value {
    let mut escaped = String::new();
    for c in prefix.to_string().chars() {
        match c {
            '*' | '?' | '$' => escaped.extend(["${", c.encode_utf8(&mut [0; 4]), "}"]),
            c => escaped.push(c),
        }
    }
    let arn = format!("arn:{}:s3:::{bucket}", partition(region));
    let on_objects: &[&str] = match role {
        Role::Source => &["s3:GetObject"],
        Role::Destination => &["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
    };
    let mut statements = vec![
        listing("s3:ListBucket", &arn, "s3:prefix", &escaped),
        json!({ "Effect": "Allow", "Action": on_objects, "Resource": format!("{arn}/{escaped}*") }),
    ];
    if role == Role::Destination {
        statements.push(json!({ "Effect": "Allow", "Action": "s3:ListBucketMultipartUploads", "Resource": arn }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// RAM, which has no escape for a literal `*` or `?`: such a prefix is granted a little more widely.
fn ram(role: Role, bucket: &str, prefix: &Key) -> Value {
    let prefix = prefix.to_string();
    let resource = format!("acs:oss:*:*:{bucket}");
    let on_objects: &[&str] = match role {
        Role::Source => &["oss:GetObject"],
        Role::Destination => &["oss:GetObject", "oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload", "oss:ListParts"],
    };
    let mut statements = vec![
        listing("oss:ListObjects", &resource, "oss:Prefix", &prefix),
        json!({ "Effect": "Allow", "Action": on_objects, "Resource": format!("{resource}/{prefix}*") }),
    ];
    if role == Role::Destination {
        statements.push(json!({ "Effect": "Allow", "Action": "oss:ListMultipartUploads", "Resource": resource }));
    }
    json!({ "Version": "1", "Statement": statements })
}

/// Listing is a right on the bucket, narrowed to the prefix by a condition.
fn listing(action: &str, resource: &str, variable: &str, prefix: &str) -> Value {
    let mut statement = json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    if !prefix.is_empty() {
        statement["Condition"] = json!({ "StringLike": { variable: format!("{prefix}*") } });
    }
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_and_no_more() {
        let policy = iam(Role::Source, "cn-north-1", "photos", &Key::from("2026/a*/"));
        assert_eq!(policy["Statement"][0]["Resource"], "arn:aws-cn:s3:::photos");
        assert_eq!(policy["Statement"][0]["Condition"]["StringLike"]["s3:prefix"], "2026/a${*}/*");
        assert_eq!(policy["Statement"][1], json!({ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws-cn:s3:::photos/2026/a${*}/*" }));
        assert_eq!(policy["Statement"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn what_flags_need_is_said_beside_and_not_granted() {
        let kind = StoreKind::Oss(Box::default());
        let policy = Policy::new(Role::Destination, &kind, "cn-hangzhou", "b", &Key::EMPTY).expect("a policy");
        let further: Vec<_> = policy.further().collect();
        assert_eq!(further[0], ("--tags", vec!["oss:GetObjectTagging".to_owned(), "oss:PutObjectTagging".to_owned()]));
        assert!(!policy.document.to_string().contains("Tagging"));
    }

    #[test]
    fn a_destination_writes_under_its_prefix_only() {
        let policy = ram(Role::Destination, "photos-cn", &Key::from("2026/"));
        let text = policy.to_string();
        for part in ["oss:PutObject", "oss:DeleteObject", "oss:AbortMultipartUpload", "acs:oss:*:*:photos-cn/2026/*", "\"oss:Prefix\":\"2026/*\""] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(ram(Role::Source, "b", &Key::EMPTY)["Statement"][0].get("Condition").is_none());
    }
}
