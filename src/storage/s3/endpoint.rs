//! Where a bucket is: the AWS SDK's own endpoint rules, so that the lean road agrees with it on every partition and variant.

use std::net::IpAddr;

use aws_sdk_s3::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use http::Uri;

use super::Options;
use crate::error::{Error, Result};
use crate::storage::Key;
use crate::storage::transport::target::{Target, decode_percent};

/// Where to send a bucket's requests, and for which scope to sign them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Default))]
pub(super) struct Site {
    /// `http` or `https`.
    pub(super) scheme: String,
    /// Host, with the port where it is not the scheme's own: also the `Host` header.
    pub(super) authority: String,
    /// What stands before the key, not encoded: empty, or `bucket`.
    base: Vec<u8>,
    /// Region to sign for.
    pub(super) region: String,
    /// Service name to sign for: `s3`, or `s3express` for directory buckets.
    pub(super) service: String,
}

impl Site {
    /// The target of an object, or of the bucket itself.
    pub(super) fn target(&self, key: Option<&Key>) -> Target {
        let Some(key) = key else { return Target::new(&self.base) };
        let mut path = self.base.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(key.as_bytes());
        Target::new(&path)
    }
}

/// Whether the bucket must stand in the path: no name leads to `bucket.127.0.0.1`.
pub(super) fn is_path_style(options: &Options, endpoint: Option<&str>) -> bool {
    options.path_style.unwrap_or_else(|| {
        let uri = endpoint.and_then(|e| e.parse::<Uri>().ok());
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<IpAddr>().is_ok()
    })
}

/// Asks the SDK's rules where `bucket` of `region` is.
pub(super) async fn resolve(options: &Options, endpoint: Option<&str>, region: &str, bucket: &str) -> Result<Site> {
    let bad = |e: &dyn std::fmt::Display| {
        Error::invalid(format!("no S3 endpoint for bucket '{bucket}' in region '{region}': {e}")).advise("check the bucket's name, the region and the endpoint")
    };
    let params = Params::builder()
        .bucket(bucket)
        .region(region)
        .use_fips(options.use_fips)
        .use_dual_stack(options.use_dualstack)
        .accelerate(options.accelerate)
        .force_path_style(is_path_style(options, endpoint))
        .use_arn_region(true)
        // A directory bucket takes ordinary signatures where session tokens are declined.
        .disable_s3_express_session_auth(true)
        // The rules join an endpoint and a bucket as texts.
        .set_endpoint(endpoint.map(|e| format!("{}/", e.trim_end_matches('/'))))
        .build()
        .map_err(|e| bad(&e))?;
    let resolver = DefaultResolver::new();
    let found = ResolveEndpoint::resolve_endpoint(&resolver, &params).await.map_err(|e| bad(&e))?;
    let uri: Uri = found.url().parse().map_err(|e| bad(&e))?;
    let scheme = found.auth_schemes().first().ok_or_else(|| bad(&"it names no signature"))?;
    if scheme.name() != "sigv4" {
        return Err(Error::unsupported(format!("bucket '{bucket}' demands the signature {}, which Dragon does not have", scheme.name()))
            .advise("name one region's bucket instead of a multi-region access point"));
    }
    let property = |name: &str| scheme.get(name).and_then(|d| d.as_string()).map(str::to_owned);
    let base = decode_percent(uri.path().trim_matches('/')).ok_or_else(|| bad(&"its path is broken"))?;
    Ok(Site {
        scheme: uri.scheme_str().unwrap_or("https").to_owned(),
        authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
        base,
        region: property("signingRegion").unwrap_or_else(|| region.to_owned()),
        service: property("signingName").unwrap_or_else(|| "s3".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn at(options: Options, endpoint: Option<&str>, region: &str, bucket: &str) -> String {
        let site = resolve(&options, endpoint, region, bucket).await.expect("an endpoint");
        let key = Key::from("a/../b c");
        format!("{}://{}{} {}/{}", site.scheme, site.authority, site.target(Some(&key)).path_and_query(), site.service, site.region)
    }

    #[tokio::test]
    async fn urls_are_those_of_the_sdk() {
        let o = Options::default;
        assert_eq!(at(o(), None, "us-east-1", "photos").await, "https://photos.s3.us-east-1.amazonaws.com/a/../b%20c s3/us-east-1");
        assert_eq!(at(o(), None, "cn-north-1", "photos").await, "https://photos.s3.cn-north-1.amazonaws.com.cn/a/../b%20c s3/cn-north-1");
        assert_eq!(at(o(), None, "us-gov-west-1", "photos").await, "https://photos.s3.us-gov-west-1.amazonaws.com/a/../b%20c s3/us-gov-west-1");
        assert_eq!(at(o(), None, "eu-west-1", "with.dots").await, "https://s3.eu-west-1.amazonaws.com/with.dots/a/../b%20c s3/eu-west-1");
        let fips = Options { use_fips: true, use_dualstack: true, ..o() };
        assert_eq!(at(fips, None, "us-east-2", "b-b").await, "https://b-b.s3-fips.dualstack.us-east-2.amazonaws.com/a/../b%20c s3/us-east-2");
        let fast = Options { accelerate: true, ..o() };
        assert_eq!(at(fast, None, "eu-west-1", "b-b").await, "https://b-b.s3-accelerate.amazonaws.com/a/../b%20c s3/eu-west-1");
        assert_eq!(at(o(), Some("http://127.0.0.1:9000"), "us-east-1", "b-b").await, "http://127.0.0.1:9000/b-b/a/../b%20c s3/us-east-1");
        assert_eq!(at(o(), Some("http://[::1]:9000"), "us-east-1", "b-b").await, "http://[::1]:9000/b-b/a/../b%20c s3/us-east-1");
        assert_eq!(at(o(), Some("http://localhost:9000"), "us-east-1", "b-b").await, "http://localhost:9000/b-b/a/../b%20c s3/us-east-1");
        assert_eq!(at(o(), Some("https://minio.example"), "us-east-1", "b-b").await, "https://b-b.minio.example/a/../b%20c s3/us-east-1");
        let path = Options { path_style: Some(true), ..o() };
        assert_eq!(at(path, Some("https://minio.example/s3"), "us-east-1", "b-b").await, "https://minio.example/s3/b-b/a/../b%20c s3/us-east-1");
        let access_point = "arn:aws:s3:eu-west-1:123456789012:accesspoint/photos";
        assert_eq!(
            at(o(), None, "us-east-1", access_point).await,
            "https://photos-123456789012.s3-accesspoint.eu-west-1.amazonaws.com/a/../b%20c s3/eu-west-1"
        );
        assert_eq!(
            at(o(), None, "us-west-2", "x--usw2-az1--x-s3").await,
            "https://x--usw2-az1--x-s3.s3express-usw2-az1.us-west-2.amazonaws.com/a/../b%20c s3express/us-west-2"
        );
    }

    #[tokio::test]
    async fn what_the_rules_refuse_is_an_error() {
        let fips_abroad = Options { use_fips: true, ..Options::default() };
        assert!(resolve(&fips_abroad, Some("https://minio.example"), "us-east-1", "b-b").await.is_err());
        let mrap = "arn:aws:s3::123456789012:accesspoint:mfzwi23gnjvgw.mrap";
        assert!(resolve(&Options::default(), None, "us-east-1", mrap).await.expect_err("sigv4a").to_string().contains("sigv4a"));
    }
}
