//! Buckets.

use super::*;

#[tokio::test(start_paused = true)]
async fn buckets_are_made_described_and_removed() {
    let cloud = Cloud::new().await;
    let config = b"<CreateBucketConfiguration><StorageClass>IA</StorageClass></CreateBucketConfiguration>";
    let made = cloud.send("PUT /cold", &[("x-oss-acl", "public-read")], config).await;
    assert_eq!((made.status, made.header("location")), (200, "/cold"));
    let info = cloud.send("GET /cold?bucketInfo", &[], b"").await;
    assert_eq!((info.element("Name"), info.element("StorageClass"), info.element("Grant")), ("cold", "IA", "public-read"));
    assert_eq!((info.element("Location"), info.element("ExtranetEndpoint")), ("oss-cn-hangzhou", "http://127.0.0.1:9001"));
    let named = cloud.send("GET /?bucketInfo", &[("host", "cold.oss-local.test")], b"").await;
    assert_eq!(named.element("ExtranetEndpoint"), "oss-cn-hangzhou.aliyuncs.com");
    assert!(cloud.send("GET /cold?location", &[], b"").await.text().ends_with("<LocationConstraint>oss-cn-hangzhou</LocationConstraint>"));
    assert!(cloud.send("GET /cold?versioning", &[], b"").await.elements("Status").is_empty());

    cloud.send("PUT /cold/k", &[], b"xyz").await;
    assert_eq!(cloud.send("HEAD /cold/k", &[], b"").await.header("x-oss-storage-class"), "IA");
    let stat = cloud.send("GET /cold?stat", &[], b"").await;
    assert_eq!((stat.element("ObjectCount"), stat.element("InfrequentAccessStorage"), stat.element("StandardStorage")), ("1", "3", "0"));
    assert_eq!(cloud.send("DELETE /cold", &[], b"").await.refused(), (409, "BucketNotEmpty"));
    cloud.send("DELETE /cold/k", &[], b"").await;
    assert_eq!(cloud.send("DELETE /cold", &[], b"").await.status, 204);
    assert_eq!(cloud.send("GET /cold?stat", &[], b"").await.refused(), (404, "NoSuchBucket"));
}

#[tokio::test(start_paused = true)]
async fn making_a_bucket_again_is_fine_unless_its_class_would_change() {
    let cloud = Cloud::new().await;
    assert_eq!(cloud.send("PUT /bkt", &[("x-oss-acl", "public-read")], b"").await.status, 200);
    assert_eq!(cloud.send("GET /bkt?acl", &[], b"").await.element("Grant"), "public-read");
    let archive = b"<CreateBucketConfiguration><StorageClass>Archive</StorageClass></CreateBucketConfiguration>";
    assert_eq!(cloud.send("PUT /bkt", &[], archive).await.refused(), (409, "BucketAlreadyExists"));
    assert_eq!(cloud.send("PUT /new", &[], b"<Nonsense/>").await.refused(), (400, "MalformedXML"));
}

#[tokio::test(start_paused = true)]
async fn the_account_lists_its_buckets_page_by_page() {
    let cloud = Cloud::new().await;
    for name in ["aaa", "abb", "zzz"] {
        cloud.send(&format!("PUT /{name}"), &[], b"").await;
    }
    let all = cloud.send("GET /", &[], b"").await;
    assert_eq!((all.elements("Name"), all.element("IsTruncated")), (["aaa", "abb", "bkt", "zzz"].map(str::to_owned).to_vec(), "false"));
    assert_eq!((all.element("Region"), all.element("Location")), ("cn-hangzhou", "oss-cn-hangzhou"));
    let page = cloud.send("GET /?prefix=a&max-keys=1", &[], b"").await;
    assert_eq!((page.elements("Name"), page.element("NextMarker")), (vec!["aaa".to_owned()], "aaa"));
    assert_eq!(cloud.send("GET /?prefix=a&marker=aaa", &[], b"").await.elements("Name"), ["abb"]);
}

#[tokio::test(start_paused = true)]
async fn configurations_are_kept_and_told_and_what_is_not_offered_is_refused() {
    let cloud = Cloud::new().await;
    assert_eq!(cloud.send("GET /bkt?lifecycle", &[], b"").await.refused(), (404, "NoSuchLifecycle"));
    assert_eq!(cloud.send("PUT /bkt?lifecycle", &[], b"<Other/>").await.refused(), (400, "MalformedXML"));
    let document = b"<LifecycleConfiguration><Rule><ID>a</ID><Prefix>x</Prefix><Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule></LifecycleConfiguration>";
    assert_eq!(cloud.send("PUT /bkt?lifecycle", &[], document).await.status, 200);
    assert_eq!(cloud.send("GET /bkt?lifecycle", &[], b"").await.body, document);
    assert_eq!(cloud.send("DELETE /bkt?lifecycle", &[], b"").await.status, 204);
    assert_eq!(cloud.send("GET /bkt?lifecycle", &[], b"").await.refused(), (404, "NoSuchLifecycle"));
    assert!(cloud.send("GET /bkt?tagging", &[], b"").await.text().contains("<TagSet/>"));
    assert_eq!(cloud.send("GET /bkt?live", &[], b"").await.element("IsTruncated"), "false");
    for request in ["PUT /bkt?replication", "GET /bkt?inventory"] {
        assert_eq!(cloud.send(request, &[], b"").await.refused(), (400, "NotImplemented"), "{request}");
    }
}

#[tokio::test(start_paused = true)]
async fn even_a_stranger_is_told_that_there_is_no_such_bucket() {
    let cloud = Cloud::new().await;
    let stranger = [("authorization", "OSS stranger:AAAA")];
    assert_eq!(cloud.send_anonymously("GET /absent?acl", &stranger, b"").await.refused(), (404, "NoSuchBucket"));
    assert_eq!(cloud.send_anonymously("GET /bkt?acl", &stranger, b"").await.refused(), (403, "InvalidAccessKeyId"));
    assert_eq!(cloud.send_anonymously("PUT /absent", &stranger, b"").await.refused(), (403, "InvalidAccessKeyId"));
}
