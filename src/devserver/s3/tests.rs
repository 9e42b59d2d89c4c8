//! Tests of what is done before s3s sees a request. The operations themselves are tried with real clients (tests/it/sdk.rs).

use http_body_util::BodyExt as _;

use super::*;

fn request(method: Method, host: &str, uri: &str) -> http::request::Builder {
    Request::builder().method(method).uri(uri).header("host", host)
}

fn parts(builder: http::request::Builder) -> Parts {
    builder.body(()).expect("a valid request").into_parts().0
}

#[test]
fn the_host_or_the_path_names_the_bucket() {
    assert_eq!(bucket_in_host("photos.s3.localhost:9000"), Some("photos"));
    assert_eq!(bucket_in_host("a.b.localhost"), Some("a.b"));
    for plain in ["s3.localhost:9000", "localhost", "127.0.0.1:9000", "dragon.test"] {
        assert_eq!(bucket_in_host(plain), None, "{plain}");
    }
    let aims = |host, uri| target(&parts(request(Method::GET, host, uri)));
    assert_eq!(aims("127.0.0.1", "/"), Target::Service);
    assert_eq!(aims("127.0.0.1", "/b/"), Target::Bucket);
    assert_eq!(aims("127.0.0.1", "/b//k"), Target::Object);
    assert_eq!(aims("b.localhost", "/"), Target::Bucket);
    assert_eq!(aims("b.localhost", "//k"), Target::Object);
}

#[test]
fn the_region_is_read_from_the_header_or_the_query() {
    let header =
        request(Method::GET, "h", "/").header("authorization", "AWS4-HMAC-SHA256 Credential=AK/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host");
    assert_eq!(signed_region(&parts(header)), Some("eu-west-1"));
    let query = request(Method::GET, "h", "/?X-Amz-Credential=AK%2F20260101%2Fcn-north-1%2Fs3%2Faws4_request&X-Amz-Date=x");
    assert_eq!(signed_region(&parts(query)), Some("cn-north-1"));
    assert_eq!(signed_region(&parts(request(Method::GET, "h", "/"))), None);
}

#[tokio::test]
async fn a_list_of_keys_to_delete_is_taken_only_with_its_digest() {
    let xml = "<Delete/>";
    let body = || Full::from(xml).map_err(|never| match never {}).boxed_unsync();
    let code = |result: S3Result<Bytes>| result.map(|_| ()).map_err(|error| error.code().as_str().to_owned());
    let with = |name: &str, value: &str| parts(request(Method::POST, "h", "/b?delete").header(name, value));
    let none = checked_body(&parts(request(Method::POST, "h", "/b?delete")), body()).await;
    assert_eq!(code(none), Err("InvalidRequest".into()));
    let right = "content-md5";
    let md5 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, Digests::of(xml.as_bytes()).md5.expect("known"));
    assert_eq!(checked_body(&with(right, &md5), body()).await.expect("the body"), xml);
    assert_eq!(code(checked_body(&with(right, "1B2M2Y8AsgTpgAmY7PhCfg=="), body()).await), Err("BadDigest".into()));
    assert_eq!(code(checked_body(&with(right, "x"), body()).await), Err("InvalidDigest".into()));
    assert_eq!(code(checked_body(&with("x-amz-checksum-crc32", "AAAAAA=="), body()).await), Err("BadDigest".into()));
}
