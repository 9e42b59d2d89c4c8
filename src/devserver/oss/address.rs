//! From Host and path to bucket and key: protocol.md 2.1.
//!
//! The real service knows virtual hosts and bound domains (CNAME) only; path style is for IP endpoints and `localhost`, as
//! Alibaba's SDKs assume. Paths are decoded once and never normalised: `a//b` and `a/../c` are keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;

use super::error::{OssError, OssResult};

/// The hosts that this server answers to beside IP addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Addressing {
    /// Endpoints whose subdomains are buckets, beside `localhost` and everything that begins with `oss-`.
    pub(crate) endpoints: Vec<String>,
    /// Bound domains: host to bucket.
    pub(crate) cnames: BTreeMap<String, String>,
}

/// What a request addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    /// Whether the host is an address or `localhost`, so that the bucket stands in the path.
    pub(crate) is_path_style: bool,
    pub(crate) bucket: Option<String>,
    pub(crate) key: Option<Vec<u8>>,
}

/// How a host leads to a bucket.
enum HostKind {
    /// The bucket is the first segment of the path.
    Path,
    /// The host names the bucket.
    Bucket(String),
    /// An endpoint without a bucket.
    Endpoint,
}

impl Addressing {
    /// Resolves a Host header value (with or without a port) and a raw path.
    pub(crate) fn resolve(&self, authority: &str, path: &str) -> OssResult<Address> {
        let host = host_of(authority).to_ascii_lowercase();
        let path = path.strip_prefix('/').unwrap_or(path);
        let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let kind = self.kind(&host);
        let is_path_style = matches!(kind, HostKind::Path);
        let (bucket, key) = match kind {
            HostKind::Bucket(bucket) => (Some(bucket), decode(path)),
            HostKind::Path => match path.split_once('/') {
                _ if path.is_empty() => (None, Vec::new()),
                Some((bucket, key)) => (Some(bucket.to_owned()), decode(key)),
                None => (Some(path.to_owned()), Vec::new()),
            },
            HostKind::Endpoint if path.is_empty() => (None, Vec::new()),
            HostKind::Endpoint => {
                let message = "The bucket you are attempting to access must be addressed using OSS third level domain.";
                return Err(OssError::new(403, "SecondLevelDomainForbidden", message));
            }
        };
        Ok(Address { host, is_path_style, bucket, key: (!key.is_empty()).then_some(key) })
    }

    fn kind(&self, host: &str) -> HostKind {
        if let Some(bucket) = self.cnames.get(host) {
            return HostKind::Bucket(bucket.clone());
        }
        if host.is_empty() || host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return HostKind::Path;
        }
        if is_endpoint(host) || self.endpoints.iter().any(|e| e == host) {
            return HostKind::Endpoint;
        }
        match host.split_once('.') {
            Some((bucket, rest)) if rest == "localhost" || is_endpoint(rest) || self.endpoints.iter().any(|e| e == rest) => HostKind::Bucket(bucket.to_owned()),
            // Any other name, such as a container's, is an endpoint too: path style is refused there, as the service does.
            _ => HostKind::Endpoint,
        }
    }
}

/// Whether a host is one of the service's own: `oss-cn-hangzhou.aliyuncs.com`, `oss-local.test`, `cn-hangzhou.oss.aliyuncs.com`.
fn is_endpoint(host: &str) -> bool {
    host.starts_with("oss-") || host.split('.').nth(1) == Some("oss")
}

/// The host without its port; an IPv6 address keeps its brackets.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']')) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(host: &str, path: &str) -> (Option<String>, Option<String>) {
        let addressing = Addressing { endpoints: vec!["devbox".into()], cnames: [("img.example.com".to_owned(), "photos".to_owned())].into() };
        let address = addressing.resolve(host, path).unwrap();
        (address.bucket, address.key.map(|k| String::from_utf8(k).unwrap()))
    }

    fn pair(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        (some(bucket), some(key))
    }

    #[test]
    fn path_style_is_for_addresses_and_localhost() {
        assert_eq!(resolve("127.0.0.1:9001", "/b/a%2Fb//c/../d"), pair("b", "a/b//c/../d"));
        assert_eq!(resolve("[::1]:9001", "/b/k"), pair("b", "k"));
        assert_eq!(resolve("localhost", "/b/"), pair("b", ""));
        assert_eq!(resolve("localhost:1", "/b"), pair("b", ""));
        assert_eq!(resolve("127.0.0.1", "/"), pair("", ""));
    }

    #[test]
    fn virtual_hosts_and_bound_domains_name_the_bucket() {
        assert_eq!(resolve("B.localhost:9001", "//a"), pair("b", "/a"));
        assert_eq!(resolve("b.oss-local.test", "/%E4%B8%AD+x"), pair("b", "\u{4E2D}+x"));
        assert_eq!(resolve("b.oss-cn-hangzhou.aliyuncs.com", "/"), pair("b", ""));
        assert_eq!(resolve("b.cn-hangzhou.oss.aliyuncs.com", "/k"), pair("b", "k"));
        assert_eq!(resolve("b.devbox:80", "/k"), pair("b", "k"));
        assert_eq!(resolve("img.example.com:9001", "/k"), pair("photos", "k"));
        assert_eq!(resolve("oss-cn-hangzhou.aliyuncs.com", "/"), pair("", ""));
    }

    #[test]
    fn path_style_on_a_domain_is_refused() {
        for host in ["oss-cn-hangzhou.aliyuncs.com", "devbox", "example.com"] {
            let error = Addressing { endpoints: vec!["devbox".into()], ..Addressing::default() }.resolve(host, "/b/k").unwrap_err();
            assert_eq!((error.status.as_u16(), &*error.code), (403, "SecondLevelDomainForbidden"), "{host}");
        }
    }
}
