//! Endpoints: where a bucket is reached, and what an endpoint's name says of its region (protocol.md 2.1).

use std::fmt;
use std::net::IpAddr;

use http::uri::Authority;

use super::options::{Addressing, Options};
use crate::error::{Error, Result};

/// One address of the service, or of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    scheme: &'static str,
    /// Host and port, in lower case.
    authority: String,
    host: String,
    addressing: Addressing,
}

impl Endpoint {
    /// Reads `host`, `host:port` or `http(s)://host:port`. Without a scheme it is https.
    pub(super) fn parse(text: &str, addressing: Option<Addressing>) -> Result<Self> {
        if text.contains('@') {
            return Err(
                Error::invalid("an OSS endpoint holds a user name or password").advise("take it out; keys belong into access_key_id and access_key_secret")
            );
        }
        let mistaken = |why: &str| Error::invalid(format!("'{text}' is no OSS endpoint: {why}"));
        let wrong = |why| mistaken(why).advise("an endpoint looks like https://oss-cn-hangzhou.aliyuncs.com");
        let lower = text.trim().to_ascii_lowercase();
        let (scheme, rest) = match lower.split_once("://") {
            Some(("https", rest)) => ("https", rest),
            Some(("http", rest)) => ("http", rest),
            Some(_) => return Err(wrong("it must begin with https:// or http://")),
            None => ("https", lower.as_str()),
        };
        let authority: Authority = rest.trim_end_matches('/').parse().map_err(|_| wrong("it must be a host, perhaps with a port, and nothing else"))?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if let Some(advice) = mistake(&host) {
            return Err(mistaken("it is another kind of address").advise(advice));
        }
        let bare = host.parse::<IpAddr>().is_ok() || host == "localhost";
        let addressing = addressing.unwrap_or(if bare { Addressing::Path } else { Addressing::Virtual });
        Ok(Self { scheme, authority: authority.to_string(), host, addressing })
    }

    /// The endpoints that the options name, or the region's own.
    pub(super) fn all(options: &Options, endpoints: &[String], region: Option<&str>) -> Result<Vec<Self>> {
        if !endpoints.is_empty() {
            return endpoints.iter().map(|e| Self::parse(e, options.addressing)).collect();
        }
        let region = region.ok_or_else(|| {
            Error::invalid("neither an OSS region nor an endpoint is known")
                .advise("set region (or OSS_REGION), for example cn-hangzhou, or endpoint (or OSS_ENDPOINT)")
        })?;
        let host = match (options.accelerate, options.use_dualstack) {
            (true, _) => "oss-accelerate.aliyuncs.com".to_owned(),
            (false, true) => format!("{region}.oss.aliyuncs.com"),
            (false, false) => format!("oss-{region}.aliyuncs.com"),
        };
        Ok(vec![Self::parse(&host, options.addressing)?])
    }

    /// An endpoint that the service named as the right one, reached as this one is.
    pub(super) fn moved_to(&self, text: &str) -> Result<Self> {
        // In the same scheme, so that no answer can lead from https to http.
        Ok(Self { scheme: self.scheme, ..Self::parse(text, None)? })
    }

    /// Host and port to connect to and to name in `Host`, for a bucket or for the service itself.
    pub(super) fn authority(&self, bucket: Option<&str>) -> String {
        match bucket {
            Some(bucket) if self.addressing == Addressing::Virtual => format!("{bucket}.{}", self.authority),
            _ => self.authority.clone(),
        }
    }

    /// The raw path of a key, without the leading `/`.
    pub(super) fn path(&self, bucket: Option<&str>, key: &[u8]) -> Vec<u8> {
        match bucket {
            Some(bucket) if self.addressing == Addressing::Path => [bucket.as_bytes(), b"/", key].concat(),
            _ => key.to_vec(),
        }
    }

    /// `https` or `http`.
    pub(super) fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Host and port.
    pub(super) fn host_and_port(&self) -> &str {
        &self.authority
    }

    /// Whether this is a domain of one bucket.
    pub(super) fn is_cname(&self) -> bool {
        self.addressing == Addressing::Cname
    }

    /// Whether Alibaba owns the domain, so that keys may be shown to it.
    pub(super) fn is_aliyun(&self) -> bool {
        self.host.ends_with(".aliyuncs.com")
    }

    /// Whether this is an address within one machine or network, where no name can say the region.
    pub(super) fn is_bare(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok() || self.host == "localhost" || self.host.ends_with(".localhost")
    }

    /// The region that the name says: `oss-REGION[-internal].aliyuncs.com`, `REGION.oss.aliyuncs.com`, CloudBox.
    pub(super) fn region(&self) -> Option<String> {
        let name = self.host.strip_suffix(".aliyuncs.com")?;
        let region = match name.rsplit_once('.') {
            Some((region, "oss")) => region,
            Some((place, "oss-cloudbox" | "oss-cloudbox-control")) => place.split('.').next().filter(|p| p.starts_with("cb-"))?,
            Some(_) => return None,
            None => name.strip_prefix("oss-").filter(|r| !r.starts_with("accelerate"))?,
        };
        Some(region.strip_suffix("-internal").unwrap_or(region).to_owned())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

/// Names that look like an endpoint and are not one, and what to write instead.
fn mistake(host: &str) -> Option<String> {
    let name = host.strip_suffix(".aliyuncs.com")?;
    let (first, rest) = name.split_once('.')?;
    if first == "s3" {
        return Some(format!("this is the S3-compatible address; write {rest}.aliyuncs.com, or use a store of type s3"));
    }
    let names_bucket = rest.starts_with("oss-") && !rest.contains('.') && !rest.starts_with("oss-cloudbox");
    names_bucket.then(|| format!("it names a bucket; write {rest}.aliyuncs.com, the bucket stands in oss://{first}/"))
}

/// `oss-cn-hangzhou`, as GetBucketLocation says it, is the region `cn-hangzhou`.
pub(super) fn plain_region(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("oss-").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Endpoint {
        Endpoint::parse(text, None).expect(text)
    }

    #[test]
    fn a_bucket_stands_in_the_host_the_path_or_nowhere() {
        let at = |text, addressing| {
            let e = Endpoint::parse(text, addressing).expect(text);
            (e.authority(Some("b")), String::from_utf8(e.path(Some("b"), b"k//x")).expect("text"))
        };
        assert_eq!(at("OSS-cn-Hangzhou.aliyuncs.com", None), ("b.oss-cn-hangzhou.aliyuncs.com".into(), "k//x".into()));
        for bare in ["http://127.0.0.1:9001", "http://localhost:9001/", "http://[::1]:9001"] {
            assert_eq!(at(bare, None).1, "b/k//x", "{bare}");
        }
        assert_eq!(at("http://localhost:1", Some(Addressing::Virtual)), ("b.localhost:1".into(), "k//x".into()));
        assert_eq!(at("img.example.com", Some(Addressing::Cname)), ("img.example.com".into(), "k//x".into()));
        assert_eq!(parse("127.0.0.1").scheme(), "https");
    }

    #[test]
    fn names_say_the_region() {
        for (host, region) in [
            ("oss-cn-hangzhou.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-cn-hangzhou-internal.aliyuncs.com", Some("cn-hangzhou")),
            ("cn-hangzhou.oss.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-accelerate.aliyuncs.com", None),
            ("oss-accelerate-overseas.aliyuncs.com", None),
            ("cb-123.cn-hangzhou.oss-cloudbox.aliyuncs.com", Some("cb-123")),
            ("img.example.com", None),
            ("oss-cn-hangzhou.aliyuncs.com.evil.example", None),
            ("127.0.0.1", None),
        ] {
            assert_eq!(parse(host).region().as_deref(), region, "{host}");
        }
        assert_eq!(plain_region("oss-cn-beijing"), "cn-beijing");
    }

    #[test]
    fn only_alibabas_own_domain_is_trusted() {
        assert!(parse("oss-cn-shanghai.aliyuncs.com").is_aliyun());
        for other in ["aliyuncs.com.evil.example", "evilaliyuncs.com", "127.0.0.1"] {
            assert!(!parse(other).is_aliyun(), "{other}");
        }
        let moved = |from: &str, to| parse(from).moved_to(to).expect("moved").to_string();
        assert_eq!(moved("http://oss-cn-a.aliyuncs.com", "oss-cn-b.aliyuncs.com"), "http://oss-cn-b.aliyuncs.com");
        assert_eq!(moved("oss-cn-a.aliyuncs.com", "http://oss-cn-b.aliyuncs.com"), "https://oss-cn-b.aliyuncs.com");
    }

    #[test]
    fn a_region_is_enough_and_nothing_is_not() {
        let all = |o: Options| Endpoint::all(&o, &[], Some("cn-beijing")).map(|e| e[0].to_string()).expect("an endpoint");
        assert_eq!(all(Options::default()), "https://oss-cn-beijing.aliyuncs.com");
        assert_eq!(all(Options { use_dualstack: true, ..Options::default() }), "https://cn-beijing.oss.aliyuncs.com");
        assert_eq!(all(Options { accelerate: true, ..Options::default() }), "https://oss-accelerate.aliyuncs.com");
        assert!(Endpoint::all(&Options::default(), &[], None).expect_err("nothing known").advice().contains("OSS_REGION"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, word) in [
            ("https://photos.oss-cn-hangzhou.aliyuncs.com", "oss://photos/"),
            ("s3.oss-cn-hangzhou.aliyuncs.com", "type s3"),
            ("ftp://x", ""),
            ("https://h/path", ""),
            ("https://id:secret@h/path", "take it out"),
            ("", ""),
        ] {
            let e = Endpoint::parse(text, None).expect_err(text);
            assert!(e.advice().contains(word), "{text}: {e}");
            assert!(!e.to_string().contains("secret@"), "{e}");
        }
    }
}
