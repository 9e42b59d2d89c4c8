//! The 37 vectors of Alibaba's own SDK suites, and of three independent signers.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use serde_json::Value;

use super::*;

const VECTORS: &str = include_str!("../../../../tests/data/oss_sign_vectors.json");

struct Case {
    id: String,
    credentials: Credentials,
    method: Method,
    bucket: Option<String>,
    key: Option<String>,
    query: Vec<(String, Option<String>)>,
    headers: HeaderMap,
    additional: Vec<String>,
    region: String,
    json: Value,
}

impl Case {
    fn new(json: &Value) -> Self {
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let url = text("url").expect("a url");
        let query = url.split_once('?').map_or("", |(_, q)| q);
        let query = query.split('&').filter(|p| !p.is_empty()).map(|p| match p.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (p.to_owned(), None),
        });
        let headers = json["headers"].as_object().expect("headers").iter();
        let headers = headers.map(|(n, v)| {
            let value = HeaderValue::from_bytes(v.as_str().expect("a value").as_bytes()).expect("a header value");
            (HeaderName::try_from(n).expect("a header name"), value)
        });
        let additional = json["additional_headers"].as_array().into_iter().flatten();
        Self {
            id: text("id").expect("an id"),
            credentials: Credentials::new(text("ak").expect("ak"), text("sk").expect("sk"), text("token")),
            method: text("method").expect("a method").parse().expect("a method"),
            bucket: text("bucket"),
            key: text("key"),
            query: query.collect(),
            headers: headers.collect(),
            additional: additional.map(|v| v.as_str().expect("a name").to_owned()).collect(),
            region: text("region").unwrap_or_default(),
            json: json.clone(),
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject { method: &self.method, bucket: self.bucket.as_deref(), key: self.key.as_deref().map(str::as_bytes), query: &self.query }
    }

    fn signer(&self, version: Signature, time: i64) -> Signer<'_> {
        let time = Timestamp::from_second(time).expect("a time");
        Signer { version, credentials: &self.credentials, region: &self.region, time }
    }

    fn expected(&self, name: &str) -> Option<&str> {
        self.json["expect"][name].as_str()
    }

    /// The time that the vector was signed at: V1 vectors give it as a date.
    fn time(&self) -> i64 {
        self.json["time"].as_i64().unwrap_or_else(|| {
            let date = self.json["date"].as_str().expect("a date");
            jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).expect("a date").as_second()
        })
    }

    fn check_header(&self, version: Signature, expected: &str) {
        let mut headers = self.headers.clone();
        let additional: Vec<&str> = self.additional.iter().map(String::as_str).collect();
        self.signer(version, self.time()).sign_headers(self.subject(), &mut headers, &additional).expect("signed");
        assert_eq!(headers["authorization"], expected, "{} {version:?}", self.id);
    }

    fn check_query(&self) {
        let additional: Vec<&str> = self.additional.iter().map(String::as_str).collect();
        let (signer, expires) = match self.json["version"].as_str() {
            Some("v4") => (self.signer(Signature::V4, self.time()), self.json["x_oss_expires"].as_u64()),
            _ => (self.signer(Signature::V1, 0), self.json["expires"].as_u64()),
        };
        let expires = Duration::from_secs(expires.expect("an expiry"));
        let signed = signer.sign_query(self.subject(), &self.headers, expires, &additional).expect("signed");
        let get = |name: &str| signed.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.as_deref());
        if let Some(expected) = self.expected("x_oss_signature") {
            assert_eq!(get("x-oss-signature"), Some(expected), "{}", self.id);
        } else {
            let expected = encode_query(self.expected("signature").expect("a signature").as_bytes());
            assert_eq!(get("Signature"), Some(expected.as_str()), "{}", self.id);
        }
        if let Some(url) = self.expected("signed_url") {
            let mut theirs: Vec<&str> = url.split_once('?').expect("a query").1.split('&').map(|p| p.trim_end_matches('=')).collect();
            let pairs = self.query.iter().chain(&signed).map(|(n, v)| match v.as_deref() {
                Some(v) if !v.is_empty() => format!("{n}={v}"),
                _ => n.clone(),
            });
            let ours: Vec<String> = pairs.collect();
            let mut ours: Vec<&str> = ours.iter().map(String::as_str).collect();
            theirs.sort_unstable();
            ours.sort_unstable();
            assert_eq!(ours, theirs, "{}", self.id);
        }
    }
}

#[test]
fn every_vector_is_met() {
    let document: Value = serde_json::from_str(VECTORS).expect("JSON");
    let vectors = document["vectors"].as_array().expect("vectors");
    let mut asserted = 0;
    for json in vectors {
        let case = Case::new(json);
        match (json["version"].as_str(), json["auth"].as_str()) {
            (Some("v4+v1"), Some("header")) => {
                case.check_header(Signature::V4, case.expected("v4_authorization").expect("v4"));
                case.check_header(Signature::V1, case.expected("v1_authorization").expect("v1"));
            }
            (Some("v4"), Some("header")) => case.check_header(Signature::V4, case.expected("authorization").expect("v4")),
            (Some("v1"), Some("header")) => case.check_header(Signature::V1, case.expected("authorization").expect("v1")),
            (Some("v4" | "v1"), Some("query")) => case.check_query(),
            other => panic!("{}: unknown kind {other:?}", case.id),
        }
        asserted += 1;
    }
    assert_eq!(asserted, 37);
}

#[test]
fn strings_to_sign_are_those_of_the_vectors() {
    let document: Value = serde_json::from_str(VECTORS).expect("JSON");
    for json in document["vectors"].as_array().expect("vectors") {
        let case = Case::new(json);
        if let Some(expected) = case.expected("v1_string_to_sign") {
            let date = json["date"].as_str().expect("a date").as_bytes();
            let mut headers = case.headers.clone();
            if let Some(token) = case.credentials.security_token() {
                headers.insert("x-oss-security-token", HeaderValue::try_from(token).expect("a token"));
            }
            assert_eq!(String::from_utf8_lossy(&v1::string_to_sign(case.subject(), &headers, date, &[])), expected, "{}", case.id);
        }
    }
}

#[test]
fn secrets_do_not_show() {
    let credentials = Credentials::new("id", "s3cret", Some("t0ken".to_owned()));
    let signer = Signer { version: Signature::V4, credentials: &credentials, region: "r", time: Timestamp::UNIX_EPOCH };
    let mut headers = HeaderMap::new();
    let subject = Subject { method: &Method::GET, bucket: None, key: None, query: &[] };
    signer.sign_headers(subject, &mut headers, &[]).expect("signed");
    let shown = format!("{signer:?} {headers:?}");
    assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
}

#[test]
fn a_link_lives_a_week_at_most() {
    let credentials = Credentials::new("id", "s", None::<String>);
    let signer = Signer { version: Signature::V4, credentials: &credentials, region: "r", time: Timestamp::UNIX_EPOCH };
    let subject = Subject { method: &Method::GET, bucket: Some("b"), key: Some(b"k"), query: &[] };
    for seconds in [0, 7 * 24 * 3600 + 1] {
        assert!(signer.sign_query(subject, &HeaderMap::new(), Duration::from_secs(seconds), &[]).is_err());
    }
}
