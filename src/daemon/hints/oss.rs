//! OSS's event messages: what SMQ (MNS) carries, bare or wrapped, and what EventBridge pushes as CloudEvents.
//!
//! Keys are plain, and there is neither a sequencer nor a version. A rule with a wildcard fires for every part of an upload: only what
//! makes or removes an object acts. The documentation's own sample has its braces wrong, so fields are looked for where they may be.
//! (protocol.md 5, OSS Developer Guide, "Event notifications")

use serde_json::Value;

use super::s3::time;
use super::{Change, Hint};
use crate::storage::Key;

/// The hints of a message. `None`: it is not of OSS. Events of other kinds give no hint.
pub(super) fn parse(message: &Value) -> Option<Vec<Hint>> {
    if let Some(events) = message.get("events").and_then(Value::as_array) {
        return Some(events.iter().filter_map(event).collect());
    }
    let is_ours = message.get("source").and_then(Value::as_str).is_some_and(|source| source.starts_with("acs.oss"));
    if !is_ours {
        return None;
    }
    let data = message.get("data")?;
    // The type says it where the data does not: oss:ObjectCreated:PutObject.
    let named = message.get("type").and_then(Value::as_str).and_then(|name| name.strip_prefix("oss:"));
    Some(match (event(data), named) {
        (Some(hint), _) => vec![hint],
        (None, Some(name)) => of(data, name, time(message.get("time"))).into_iter().collect(),
        (None, None) => Vec::new(),
    })
}

fn event(event: &Value) -> Option<Hint> {
    of(event, event.get("eventName")?.as_str()?, time(event.get("eventTime")))
}

fn of(event: &Value, name: &str, at: Option<jiff::Timestamp>) -> Option<Hint> {
    let object = event.pointer("/oss/object").or_else(|| event.get("object"))?;
    let bucket = event.pointer("/oss/bucket/name").or_else(|| event.pointer("/bucket/name"))?;
    Some(Hint {
        bucket: bucket.as_str()?.to_owned(),
        key: Key::from(object.get("key")?.as_str()?),
        change: change(name)?,
        at,
        sequencer: None,
        etag: object.get("eTag").and_then(Value::as_str).map(str::to_owned),
    })
}

fn change(name: &str) -> Option<Change> {
    match name.split_once(':')?.1 {
        "PutObject" | "PostObject" | "CopyObject" | "AppendObject" | "CompleteMultipartUpload" | "PutSymlink" => Some(Change::Written),
        "DeleteObject" | "DeleteObjects" => Some(Change::Removed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn one(name: &str) -> Value {
        json!({
            "eventName": name, "eventSource": "acs:oss", "eventTime": "2026-01-01T00:00:00.000Z", "eventVersion": "1.0", "region": "cn-hangzhou",
            "oss": { "bucket": { "arn": "acs:oss:cn-hangzhou:123:photos-cn", "name": "photos-cn", "ownerIdentity": "123" },
                     "object": { "deltaSize": 5, "eTag": "ABC", "key": "a b/100%+中", "readFrom": 0, "size": 5 }, "ossSchemaVersion": "1.0", "ruleId": "r" },
            "responseElements": { "requestId": "5FC" }, "userIdentity": { "principalId": "1" }
        })
    }

    #[test]
    fn what_makes_or_removes_an_object_acts() {
        let kind = |name: &str| parse(&json!({ "events": [one(name)] })).expect("OSS's").first().map(|hint| hint.change);
        assert_eq!(kind("ObjectCreated:PutObject"), Some(Change::Written));
        assert_eq!(kind("ObjectRemoved:DeleteObjects"), Some(Change::Removed));
        assert_eq!(kind("ObjectCreated:UploadPart"), None);
        assert_eq!(kind("ObjectCreated:InitiateMultipartUpload"), None);
        let hint = parse(&json!({ "events": [one("ObjectCreated:AppendObject")] })).expect("OSS's").remove(0);
        assert_eq!((hint.bucket.as_str(), hint.key), ("photos-cn", Key::from("a b/100%+中")));
    }

    #[test]
    fn cloud_events_carry_one() {
        let cloud = |data: Value| json!({ "specversion": "1.0", "id": "1", "source": "acs.oss", "type": "oss:ObjectCreated:PutObject", "time": "2026-01-01T00:00:00Z", "data": data });
        assert_eq!(parse(&cloud(one("ObjectCreated:PutObject"))).expect("OSS's").len(), 1);
        let mut bare = one("x");
        bare.as_object_mut().expect("an object").remove("eventName");
        let hint = parse(&cloud(bare)).expect("OSS's").remove(0);
        assert_eq!((hint.change, hint.at.map(|at| at.to_string())), (Change::Written, Some("2026-01-01T00:00:00Z".into())));
        assert_eq!(parse(&json!({ "source": "acs.ecs", "data": {} })), None);
    }
}
