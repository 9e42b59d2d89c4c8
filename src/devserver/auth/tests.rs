//! The server's side of the 37 vectors, and what it refuses.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::*;
use crate::devserver::oss::request::Query;

const VECTORS: &str = include_str!("../../../tests/data/oss_sign_vectors.json");

/// A vector as the request that the server receives.
struct Received {
    head: Head,
    accounts: Accounts,
    region: String,
    now: Timestamp,
}

impl Received {
    fn identify(&self) -> OssResult<Caller> {
        self.accounts.identify(&self.head, &self.region, self.now)
    }

    fn code(&self) -> (u16, String, &'static str) {
        let error = self.identify().expect_err("the request is refused");
        (error.status.as_u16(), error.code.into_owned(), error.ec)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.head.headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }

    fn authorization(&self) -> String {
        self.head.headers["authorization"].to_str().unwrap().to_owned()
    }
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_default()
}

fn vectors() -> Vec<Value> {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    document["vectors"].as_array().unwrap().clone()
}

/// Puts the signature of a vector where its client would: in headers, or in the query.
fn receive(vector: &Value, version: &str) -> Received {
    let mut headers = HeaderMap::new();
    for (name, value) in vector["headers"].as_object().unwrap() {
        let value = HeaderValue::from_bytes(value.as_str().unwrap().as_bytes()).unwrap();
        headers.insert(HeaderName::try_from(name.to_lowercase()).unwrap(), value);
    }
    let mut set = |name: &'static str, value: &str| drop(headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    let expect = &vector["expect"];
    let (id, token) = (text(vector, "ak"), vector["token"].as_str());
    let mut query = text(vector, "url").split_once('?').map_or("", |(_, query)| query).to_owned();
    let encode = |value: &str| percent_encoding::percent_encode(value.as_bytes(), percent_encoding::NON_ALPHANUMERIC).to_string();
    let now = match (text(vector, "auth"), version) {
        ("header", "v4") => {
            set("x-oss-date", text(vector, "x_oss_date"));
            set("x-oss-content-sha256", "UNSIGNED-PAYLOAD");
            set("authorization", expect["authorization"].as_str().or(expect["v4_authorization"].as_str()).unwrap());
            token.into_iter().for_each(|token| set("x-oss-security-token", token));
            parse_compact(text(vector, "x_oss_date")).unwrap()
        }
        ("header", _) => {
            set("date", text(vector, "date"));
            set("authorization", expect["authorization"].as_str().or(expect["v1_authorization"].as_str()).unwrap());
            token.into_iter().for_each(|token| set("x-oss-security-token", token));
            parse_date(text(vector, "date")).unwrap()
        }
        (_, "v4") => {
            // The canonical query has every parameter but the signature; a server does not mind the order.
            query = format!("{}&x-oss-signature={}", text(expect, "canonical_request").split('\n').nth(2).unwrap(), text(expect, "x_oss_signature"));
            parse_compact(text(vector, "x_oss_date")).unwrap()
        }
        _ => {
            let expires = vector["expires"].as_i64().unwrap();
            query += &format!("&OSSAccessKeyId={id}&Expires={expires}&Signature={}", text(expect, "signature_urlencoded"));
            token.into_iter().for_each(|token| query += &format!("&security-token={}", encode(token)));
            Timestamp::from_second(expires - 5).unwrap()
        }
    };
    let key = AccessKey { secret: text(vector, "sk").to_owned(), token: token.map(|value| Token { value: value.to_owned(), expires: None }) };
    Received {
        head: Head {
            method: text(vector, "method").parse().unwrap(),
            headers,
            query: Query::parse(&query),
            host: String::new(),
            endpoint: None,
            bucket: vector["bucket"].as_str().map(str::to_owned),
            key: vector["key"].as_str().map(|key| key.as_bytes().to_vec()),
            ignores_range: false,
        },
        accounts: Accounts { keys: [(id.to_owned(), key)].into(), ..Accounts::default() },
        region: vector["region"].as_str().unwrap_or("cn-hangzhou").to_owned(),
        now,
    }
}

fn named(id: &str, version: &str) -> Received {
    receive(vectors().iter().find(|vector| text(vector, "id") == id).unwrap(), version)
}

#[test]
fn every_vector_is_accepted_and_none_with_another_secret() {
    let mut checked = 0;
    for vector in vectors() {
        for version in text(&vector, "version").split('+') {
            let mut received = receive(&vector, version);
            let id = text(&vector, "id");
            assert_eq!(received.identify().unwrap_or_else(|error| panic!("{id} {version}: {error:?}")), Caller::Known, "{id} {version}");
            received.accounts.keys.values_mut().for_each(|key| key.secret.push('x'));
            assert_eq!(received.code().1, "SignatureDoesNotMatch", "{id} {version}");
            checked += 1;
        }
    }
    assert_eq!(checked, 37 + 12, "the 12 cross vectors carry both versions");
}

#[test]
fn the_string_to_sign_is_told_as_the_vectors_have_it() {
    let mut received = named("v4-header-basic", "v4");
    received.accounts.keys.values_mut().for_each(|key| key.secret.push('x'));
    let error = received.identify().unwrap_err();
    let told = error.details.iter().find(|(name, _)| *name == "StringToSign").map(|(_, text)| text.clone());
    let expected = vectors().iter().find(|vector| text(vector, "id") == "v4-header-basic").map(|vector| text(&vector["expect"], "string_to_sign").to_owned());
    assert_eq!(told, expected);
}

#[test]
fn fields_come_in_any_order_with_or_without_blanks() {
    let mut received = named("v4-header-additional-headers", "v4");
    let authorization = received.authorization();
    let fields: Vec<&str> = authorization["OSS4-HMAC-SHA256 ".len()..].split(',').collect();
    received.set("authorization", &format!("OSS4-HMAC-SHA256 {}, {}, {}", fields[0], fields[2], fields[1]));
    assert_eq!(received.identify().unwrap(), Caller::Known);
}

#[test]
fn additional_headers_must_name_what_is_there() {
    for (list, ec) in [("AdditionalHeaders=,", "0002-00000209"), ("AdditionalHeaders=abc;,", "0002-00000210"), ("AdditionalHeaders=absent,", "0002-00000211")] {
        let mut received = named("v4-header-basic", "v4");
        let authorization = received.authorization().replace("Signature=", &format!("{list}Signature="));
        received.set("authorization", &authorization);
        assert_eq!(received.code(), (400, "InvalidArgument".into(), ec), "{list}");
    }
}

#[test]
fn a_signature_is_good_for_a_quarter_of_an_hour_either_way() {
    for (id, version) in [("v4-header-basic", "v4"), ("v1-header-put-object", "v1")] {
        let signed_at = named(id, version).now;
        for (seconds, fresh) in [(900, true), (-900, true), (901, false), (-901, false), (3600, false)] {
            let mut received = named(id, version);
            received.now = signed_at + SignedDuration::from_secs(seconds);
            match fresh {
                true => assert_eq!(received.identify().unwrap(), Caller::Known, "{id} {seconds}"),
                false => assert_eq!(received.code(), (403, "RequestTimeTooSkewed".into(), "0002-00000504"), "{id} {seconds}"),
            }
        }
    }
}

#[test]
fn presigned_urls_expire_and_do_not_begin_early() {
    let mut v1 = named("v1-query-versionid", "v1");
    v1.now += SignedDuration::from_secs(6);
    assert_eq!(v1.code().1, "AccessDenied");
    let signed_at = named("v4-query-basic", "v4").now;
    let vector = vectors().iter().find(|vector| text(vector, "id") == "v4-query-basic").cloned().unwrap();
    let expires = named("v4-query-basic", "v4").head.query.number("x-oss-expires").unwrap().unwrap();
    for (seconds, valid) in [(-900, true), (-901, false), (i64::try_from(expires).unwrap(), true), (i64::try_from(expires).unwrap() + 1, false)] {
        let mut v4 = receive(&vector, "v4");
        v4.now = signed_at + SignedDuration::from_secs(seconds);
        assert_eq!(v4.identify().is_ok(), valid, "{seconds}: {:?}", v4.identify());
    }
}

#[test]
fn keys_and_tokens_must_be_known() {
    let mut unknown = named("v4-header-basic", "v4");
    unknown.accounts.keys.clear();
    assert_eq!(unknown.code(), (403, "InvalidAccessKeyId".into(), "0002-00000902"));

    let mut other = named("v4-header-token", "v4");
    other.accounts.keys.values_mut().for_each(|key| key.token = Some(Token { value: "another".into(), expires: None }));
    assert_eq!(other.code().1, "InvalidSecurityToken");

    let mut ended = named("v4-header-token", "v4");
    let now = ended.now;
    ended.accounts.keys.values_mut().flat_map(|key| key.token.as_mut()).for_each(|token| token.expires = Some(now));
    assert_eq!(ended.code().1, "SecurityTokenExpired");

    let mut missing = named("v4-header-basic", "v4");
    missing.accounts.keys.values_mut().for_each(|key| key.token = Some(Token { value: "token".into(), expires: None }));
    assert_eq!(missing.code().1, "InvalidAccessKeyId");
}

#[test]
fn scope_payload_and_form_are_checked() {
    let mut region = named("v4-header-basic", "v4");
    region.region = "cn-beijing".into();
    assert_eq!(region.code().1, "InvalidArgument");

    let mut payload = named("v4-header-basic", "v4");
    payload.head.headers.remove("x-oss-content-sha256");
    assert_eq!(payload.code().1, "MissingArgument");
    payload.set("x-oss-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(payload.code(), (400, "InvalidArgument".into(), "0017-00000804"));

    let mut form = named("v4-header-basic", "v4");
    form.set("authorization", "OSS4-HMAC-SHA256 Signature=18");
    assert_eq!(form.code(), (400, "InvalidArgument".into(), "0002-00000202"));
    form.set("authorization", "AWS4-HMAC-SHA256 Credential=x");
    assert_eq!(form.code().1, "InvalidArgument");

    let mut undated = named("v1-header-doc-nelson", "v1");
    undated.head.headers.remove("date");
    assert_eq!(undated.code().1, "AccessDenied");

    let mut anonymous = named("v1-header-doc-nelson", "v1");
    anonymous.head.headers.remove("authorization");
    assert_eq!(anonymous.identify().unwrap(), Caller::Anonymous);
}
