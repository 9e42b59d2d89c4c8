//! A message of any of the services that tell of changes, taken out of whatever it is wrapped in.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{Hint, oss, s3};
use crate::error::{Error, Result};

/// Wrappers within each other: base64 in a notification in an HTTP batch.
const DEPTH_MAX: usize = 4;
/// Hints of one message.
const HINTS_MAX: usize = 10_000;

/// The hints of a message: S3's or OSS's, bare, in base64, or in the wrapper of SNS or SMQ, one or a list of them.
///
/// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where it is none of these; the error quotes only its beginning.
pub fn parse(text: &[u8]) -> Result<Vec<Hint>> {
    let hints = unwrap(text, DEPTH_MAX).ok_or_else(|| {
        let beginning: String = String::from_utf8_lossy(text).chars().take(60).flat_map(char::escape_debug).collect();
        Error::invalid(format!("this is no event message of S3 or OSS: '{beginning}'"))
    })?;
    if hints.len() > HINTS_MAX {
        return Err(Error::invalid(format!("a message of {} events is larger than any that a service sends", hints.len())));
    }
    Ok(hints)
}

fn unwrap(text: &[u8], depth: usize) -> Option<Vec<Hint>> {
    let depth = depth.checked_sub(1)?;
    let text = text.trim_ascii();
    if text.starts_with(b"<") {
        return unwrap(&notification(text)?, depth);
    }
    if let Ok(value) = serde_json::from_slice::<Value>(text) {
        return of(&value, depth);
    }
    unwrap(&BASE64_STANDARD.decode(text).ok()?, depth)
}

fn of(value: &Value, depth: usize) -> Option<Vec<Hint>> {
    if let Some(list) = value.as_array() {
        return list.iter().map(|value| of(value, depth)).collect::<Option<Vec<_>>>().map(|hints| hints.concat());
    }
    if let Some(hints) = s3::parse(value).or_else(|| oss::parse(value)) {
        return Some(hints);
    }
    // SNS's and SMQ's wrapper. What asks for a confirmation is no event, and is never followed by itself.
    if value.get("Type").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("Confirmation")) {
        tracing::warn!("a topic asks to have its subscription confirmed: open its SubscribeURL yourself");
        return Some(Vec::new());
    }
    unwrap(value.get("Message")?.as_str()?.as_bytes(), depth)
}

/// The `Message` of SMQ's wrapper in XML.
fn notification(text: &[u8]) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Notification {
        #[serde(rename = "Message")]
        message: String,
    }
    let parsed: Notification = quick_xml::de::from_str(std::str::from_utf8(text).ok()?).ok()?;
    Some(parsed.message.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn oss() -> String {
        json!({ "events": [{ "eventName": "ObjectCreated:PutObject", "oss": { "bucket": { "name": "b" }, "object": { "key": "k" } } }] }).to_string()
    }

    fn s3() -> String {
        json!({ "Records": [{ "eventName": "ObjectCreated:Put", "s3": { "bucket": { "name": "b" }, "object": { "key": "k" } } }] }).to_string()
    }

    #[test]
    fn wrappers_come_off() {
        let coded = BASE64_STANDARD.encode(oss());
        for text in [
            oss(),
            s3(),
            coded.clone(),
            json!({ "TopicOwner": "1", "Message": coded, "MessageMD5": "x" }).to_string(),
            format!("<Notification xmlns=\"http://mns.aliyuncs.com/doc/v1\"><Message>{coded}</Message></Notification>"),
            json!({ "Type": "Notification", "MessageId": "1", "Message": s3() }).to_string(),
            json!([{ "source": "acs.oss", "type": "oss:ObjectCreated:PutObject", "data": { "oss": { "bucket": { "name": "b" }, "object": { "key": "k" } } } }])
                .to_string(),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}")).len(), 1, "{text}");
        }
        assert_eq!(parse(br#"{"Type":"SubscriptionConfirmation","SubscribeURL":"https://x"}"#).expect("known"), []);
    }

    #[test]
    fn nonsense_is_refused_and_quoted_shortly() {
        for text in ["", "{}", "hello", "{\"Records\":5}", "<a/>"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let deep = (0..10).fold(oss(), |text, _| json!({ "Message": text }).to_string());
        assert!(parse(deep.as_bytes()).is_err());
        let error = parse(&[b'x'; 5000]).expect_err("nonsense").to_string();
        assert!(error.len() < 200, "{error}");
    }
}
