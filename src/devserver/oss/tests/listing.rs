//! Listings.

use super::*;

/// Keys that break whoever normalises, decodes or escapes wrongly; in byte order.
const ODD: &[&str] = &["a b", "a%b", "a&<b>\"'", "a+b", "a/../c", "a//b", "a/b", "c\u{1}d", "中文/文件", "🐉"];

async fn odd_cloud() -> Cloud {
    let cloud = Cloud::new().await;
    for key in ODD {
        cloud.put(&list::Encoding::Url.name(key), b"x").await;
    }
    cloud
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

#[tokio::test(start_paused = true)]
async fn every_odd_key_is_listed_in_byte_order_and_read_back() {
    let cloud = odd_cloud().await;
    let listing = cloud.send("GET /bkt?list-type=2&encoding-type=url", &[], b"").await;
    let keys: Vec<String> = listing.elements("Key").iter().map(|key| decode(key)).collect();
    assert_eq!(keys, ODD);
    assert_eq!((listing.element("KeyCount"), listing.element("IsTruncated"), listing.element("EncodingType")), ("10", "false", "url"));
    assert!(!listing.text().contains("<Owner>") && !listing.text().contains('+'));
    for key in ODD {
        assert_eq!(cloud.send(&format!("GET /bkt/{}", list::Encoding::Url.name(key)), &[], b"").await.body, b"x", "{key}");
    }
    assert!(cloud.send("GET /bkt?list-type=2&fetch-owner=true", &[], b"").await.text().contains("<Owner>"));
}

#[tokio::test(start_paused = true)]
async fn pages_of_both_versions_make_the_whole() {
    let cloud = odd_cloud().await;
    for (first, next, marker) in
        [("list-type=2&", "NextContinuationToken", "continuation-token"), ("", "NextMarker", "marker"), ("versions&", "NextKeyMarker", "key-marker")]
    {
        let (mut keys, mut from) = (Vec::new(), String::new());
        loop {
            let page = cloud.send(&format!("GET /bkt?{first}max-keys=3&encoding-type=url{from}"), &[], b"").await;
            keys.extend(page.elements("Key").iter().map(|key| decode(key)));
            assert!(page.elements("Key").len() <= 3);
            if page.element("IsTruncated") == "false" {
                break;
            }
            from = format!("&{marker}={}", page.element(next));
        }
        assert_eq!(keys, ODD, "{marker}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_delimiter_folds_and_start_after_skips() {
    let cloud = odd_cloud().await;
    let folded = cloud.send("GET /bkt?list-type=2&delimiter=%2F&encoding-type=url", &[], b"").await;
    let prefixes: Vec<String> = folded.elements("CommonPrefixes").iter().map(|text| decode(text)).collect();
    assert_eq!(prefixes, ["<Prefix>a/</Prefix>", "<Prefix>中文/</Prefix>"]);
    assert_eq!(folded.element("KeyCount"), "8");
    assert_eq!(cloud.send("GET /bkt?list-type=2&prefix=a%2F&encoding-type=url", &[], b"").await.elements("Key"), ["a%2F..%2Fc", "a%2F%2Fb", "a%2Fb"]);
    assert_eq!(cloud.send("GET /bkt?list-type=2&start-after=c&encoding-type=url", &[], b"").await.elements("Key").len(), 3);
    // A form-encoded blank, as OSS2 sends it.
    assert_eq!(cloud.send("GET /bkt?prefix=a+", &[], b"").await.elements("Key"), ["a b"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_holds_a_hundred_names_unless_asked_otherwise() {
    let cloud = Cloud::new().await;
    for i in 0..101 {
        cloud.put(&format!("k{i:03}"), b"").await;
    }
    for request in ["GET /bkt", "GET /bkt?list-type=2"] {
        let page = cloud.send(request, &[], b"").await;
        assert_eq!((page.elements("Key").len(), page.element("MaxKeys"), page.element("IsTruncated")), (100, "100", "true"), "{request}");
    }
    assert_eq!(cloud.send("GET /bkt?max-keys=1000", &[], b"").await.elements("Key").len(), 101);
    for bad in ["0", "1001", "-1", "many"] {
        assert_eq!(cloud.send(&format!("GET /bkt?max-keys={bad}"), &[], b"").await.refused(), (400, "InvalidArgument"), "{bad}");
    }
    assert_eq!(cloud.send("GET /bkt?list-type=2&continuation-token=%FF", &[], b"").await.refused(), (400, "InvalidArgument"));
}

#[tokio::test(start_paused = true)]
async fn entries_tell_type_class_etag_and_time() {
    let cloud = Cloud::new().await;
    let etag = cloud.send("PUT /bkt/k", &[("x-oss-storage-class", "IA")], b"xyz").await.header("etag").to_owned();
    let page = cloud.send("GET /bkt", &[], b"").await;
    assert_eq!((page.element("ETag"), page.element("Type"), page.element("Size"), page.element("StorageClass")), (etag.as_str(), "Normal", "3", "IA"));
    assert_eq!(page.element("LastModified"), "2026-01-01T00:00:00.000Z");
    let versions = cloud.send("GET /bkt?versions", &[], b"").await;
    assert_eq!((versions.element("VersionId"), versions.element("IsLatest")), ("null", "true"));
}
