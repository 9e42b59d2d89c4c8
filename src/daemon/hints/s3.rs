//! S3's event messages: what SQS carries, what SNS wraps, what EventBridge makes of them, and what S3-compatible stores push.
//!
//! The key is form-url-encoded (`+` is a space) in `Records`, and plain in EventBridge's `detail`. Events of one key are ordered by their
//! sequencer; those of different keys are not. (protocol.md 5, S3 User Guide, "Event message structure")

use jiff::Timestamp;
use serde_json::Value;

use super::{Change, Hint};
use crate::storage::Key;

/// The hints of a message. `None`: it is not of S3. Events of other kinds give no hint.
pub(super) fn parse(message: &Value) -> Option<Vec<Hint>> {
    if let Some(records) = message.get("Records").and_then(Value::as_array) {
        return Some(records.iter().filter_map(record).collect());
    }
    if message.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Some(Vec::new());
    }
    let is_bridged = message.get("source").and_then(Value::as_str) == Some("aws.s3");
    is_bridged.then(|| bridged(message).into_iter().collect())
}

fn record(record: &Value) -> Option<Hint> {
    let object = record.pointer("/s3/object")?;
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Hint {
        bucket: record.pointer("/s3/bucket/name")?.as_str()?.to_owned(),
        key: decoded(object.get("key")?.as_str()?),
        change: change(record.get("eventName")?.as_str()?)?,
        at: time(record.get("eventTime")),
        sequencer: text(object, "sequencer"),
        etag: text(object, "eTag"),
    })
}

fn bridged(message: &Value) -> Option<Hint> {
    let object = message.pointer("/detail/object")?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    let change = match message.get("detail-type")?.as_str()? {
        "Object Created" | "Object Tags Added" | "Object Tags Deleted" | "Object ACL Updated" | "Object Storage Class Changed" => Change::Written,
        "Object Deleted" => Change::Removed,
        "Object Restore Completed" => Change::Restored,
        _ => return None,
    };
    Some(Hint {
        bucket: message.pointer("/detail/bucket/name")?.as_str()?.to_owned(),
        key: Key::from(text("key")?.as_str()),
        change,
        at: time(message.get("time")),
        sequencer: text("sequencer"),
        etag: text("etag"),
    })
}

/// MinIO and others put `s3:` before the name.
fn change(name: &str) -> Option<Change> {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    let (family, kind) = name.split_once(':')?;
    match (family, kind) {
        ("ObjectCreated" | "ObjectTagging" | "ObjectAcl" | "LifecycleTransition", _) => Some(Change::Written),
        ("ObjectRemoved" | "LifecycleExpiration", _) => Some(Change::Removed),
        ("ObjectRestore", "Completed") => Some(Change::Restored),
        _ => None,
    }
}

pub(super) fn time(value: Option<&Value>) -> Option<Timestamp> {
    value?.as_str()?.parse().ok()
}

/// A key that was form-url-encoded.
fn decoded(text: &str) -> Key {
    let spaced = text.replace('+', " ");
    Key::new(percent_encoding::percent_decode_str(&spaced).collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event(name: &str, key: &str) -> Value {
        json!({ "Records": [{
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "us-east-1", "eventTime": "2026-01-01T00:00:00.123Z", "eventName": name,
            "s3": { "s3SchemaVersion": "1.0", "bucket": { "name": "photos", "arn": "arn:aws:s3:::photos" },
                    "object": { "key": key, "size": 5, "eTag": "abc", "sequencer": "0055AED6DCD90281E5" } }
        }] })
    }

    #[test]
    fn keys_are_decoded_and_kinds_told_apart() {
        let hints = parse(&event("ObjectCreated:CompleteMultipartUpload", "a+b/%E4%B8%AD%2B%FF")).expect("S3's");
        assert_eq!(hints[0].key, Key::new([b"a b/".as_slice(), "中".as_bytes(), b"+\xff"].concat()));
        assert_eq!((hints[0].bucket.as_str(), hints[0].change, hints[0].etag.as_deref()), ("photos", Change::Written, Some("abc")));
        let kind = |name| parse(&event(name, "a")).expect("S3's").first().map(|hint| hint.change);
        assert_eq!(kind("s3:ObjectRemoved:Delete"), Some(Change::Removed));
        assert_eq!(kind("ObjectRemoved:DeleteMarkerCreated"), Some(Change::Removed));
        assert_eq!(kind("LifecycleExpiration:Delete"), Some(Change::Removed));
        assert_eq!(kind("ObjectRestore:Completed"), Some(Change::Restored));
        assert_eq!(kind("ObjectRestore:Post"), None);
        assert_eq!(kind("ReducedRedundancyLostObject"), None);
        assert_eq!(parse(&json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos" })), Some(Vec::new()));
        assert_eq!(parse(&json!({ "events": [] })), None);
    }

    #[test]
    fn an_event_bus_says_keys_plainly() {
        let hints = parse(&json!({
            "version": "0", "detail-type": "Object Created", "source": "aws.s3", "time": "2026-01-01T00:00:00Z",
            "detail": { "version": "0", "bucket": { "name": "photos" }, "object": { "key": "100%+a b", "size": 5, "etag": "abc", "sequencer": "00" }, "reason": "PutObject" }
        }));
        assert_eq!(hints.expect("S3's")[0].key, Key::from("100%+a b"));
    }

    proptest! {
        #[test]
        fn any_key_comes_back(key in proptest::collection::vec(any::<u8>(), 1..40)) {
            let encoded: String = percent_encoding::percent_encode(&key, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%20", "+");
            prop_assert_eq!(&parse(&event("ObjectCreated:Put", &encoded)).expect("S3's")[0].key, &Key::new(key));
        }
    }
}
