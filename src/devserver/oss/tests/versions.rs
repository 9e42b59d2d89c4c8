//! Versions and lifecycles over the wire.

use super::*;
use crate::devserver::calendar::DAY;
use crate::devserver::lifecycle::Lifecycle;
use crate::devserver::oss::rules_of;

const ENABLED: &[u8] = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
const SUSPENDED: &[u8] = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";

async fn versioned() -> Cloud {
    let cloud = Cloud::new().await;
    assert_eq!(cloud.send("PUT /bkt?versioning", &[], ENABLED).await.status, 200);
    cloud
}

#[tokio::test(start_paused = true)]
async fn versioning_is_told_once_it_was_set() {
    let cloud = Cloud::new().await;
    assert!(!cloud.send("GET /bkt?versioning", &[], b"").await.text().contains("Status"));
    assert_eq!(cloud.put("k", b"1").await.header("x-oss-version-id"), "");
    assert_eq!(cloud.send("PUT /bkt?versioning", &[], b"<VersioningConfiguration/>").await.refused(), (400, "MalformedXML"));
    for (document, status) in [(ENABLED, "Enabled"), (SUSPENDED, "Suspended")] {
        assert_eq!(cloud.send("PUT /bkt?versioning", &[], document).await.status, 200);
        assert_eq!(cloud.send("GET /bkt?versioning", &[], b"").await.element("Status"), status);
        assert_eq!(cloud.send("GET /bkt?bucketInfo", &[], b"").await.element("Versioning"), status);
    }
    assert_eq!(cloud.put("k", b"2").await.header("x-oss-version-id"), "null");
}

#[tokio::test(start_paused = true)]
async fn a_former_version_is_read_changed_copied_and_removed_by_its_id() {
    let cloud = versioned().await;
    let first = cloud.put("k", b"one").await.header("x-oss-version-id").to_owned();
    let second = cloud.put("k", b"two!").await;
    assert_ne!(first, second.header("x-oss-version-id"));
    let at = |method: &str, what: &str| format!("{method} /bkt/k?{what}versionId={first}");
    let get = cloud.send(&at("GET", ""), &[], b"").await;
    assert_eq!((get.body.as_slice(), get.header("x-oss-version-id")), (&b"one"[..], first.as_str()));
    assert_eq!(cloud.send(&at("HEAD", ""), &[], b"").await.header("content-length"), "3");
    assert_eq!(cloud.send(&at("HEAD", "objectMeta&"), &[], b"").await.header("x-oss-version-id"), first);
    let tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    assert_eq!(cloud.send(&at("PUT", "tagging&"), &[], tags).await.header("x-oss-version-id"), first);
    assert_eq!(cloud.send(&at("GET", "tagging&"), &[], b"").await.element("Key"), "a");
    assert!(!cloud.send("GET /bkt/k?tagging", &[], b"").await.text().contains("<Key>"));
    assert_eq!(cloud.send(&at("PUT", "acl&"), &[("x-oss-object-acl", "public-read")], b"").await.status, 200);
    assert_eq!(cloud.send("GET /bkt/k?acl", &[], b"").await.element("Grant"), "default");
    let copy = cloud.send("PUT /bkt/copy", &[("x-oss-copy-source", &format!("/bkt/k?versionId={first}"))], b"").await;
    assert_eq!((copy.status, copy.header("x-oss-copy-source-version-id")), (200, first.as_str()));
    assert_eq!(cloud.send("GET /bkt/copy", &[], b"").await.body, b"one");
    assert_eq!(cloud.send("GET /bkt/k?versionId=none", &[], b"").await.refused(), (404, "NoSuchVersion"));
    // What would overwrite is a new version, forbidden or not.
    assert_eq!(cloud.send("PUT /bkt/k", &[("x-oss-forbid-overwrite", "true")], b"three").await.status, 200);
    let gone = cloud.send(&at("DELETE", ""), &[], b"").await;
    assert_eq!((gone.status, gone.header("x-oss-version-id"), gone.header("x-oss-delete-marker")), (204, first.as_str(), ""));
    assert_eq!(cloud.send(&at("GET", ""), &[], b"").await.refused(), (404, "NoSuchVersion"));
}

#[tokio::test(start_paused = true)]
async fn a_marker_hides_its_key_until_it_is_removed() {
    let cloud = versioned().await;
    cloud.put("k", b"one").await;
    let deleted = cloud.send("DELETE /bkt/k", &[], b"").await;
    let marker = deleted.header("x-oss-version-id").to_owned();
    assert_eq!((deleted.status, deleted.header("x-oss-delete-marker")), (204, "true"));
    let get = cloud.send("GET /bkt/k", &[], b"").await;
    assert_eq!((get.refused(), get.header("x-oss-delete-marker"), get.header("x-oss-version-id")), ((404, "NoSuchKey"), "true", marker.as_str()));
    let named = cloud.send(&format!("GET /bkt/k?versionId={marker}"), &[], b"").await;
    assert_eq!((named.refused(), named.header("x-oss-delete-marker")), ((405, "MethodNotAllowed"), "true"));
    assert!(cloud.send("GET /bkt?list-type=2", &[], b"").await.elements("Key").is_empty());
    let listed = cloud.send("GET /bkt?versions", &[], b"").await;
    assert_eq!((listed.elements("IsLatest").join(" "), listed.text().find("<DeleteMarker>") < listed.text().find("<Version>")), ("true false".into(), true));
    assert_eq!(cloud.send("GET /bkt?stat", &[], b"").await.element("DeleteMarkerCount"), "1");
    assert_eq!(cloud.send("DELETE /bkt", &[], b"").await.refused(), (409, "BucketNotEmpty"));
    let body = format!("<Delete><Object><Key>k</Key><VersionId>{marker}</VersionId></Object><Object><Key>new</Key></Object></Delete>");
    let many = cloud.send("POST /bkt?delete", &[("content-md5", &md5_of(body.as_bytes()))], body.as_bytes()).await;
    assert_eq!(many.elements("DeleteMarker"), ["true", "true"]);
    assert_eq!((many.elements("VersionId"), many.elements("DeleteMarkerVersionId")[0].as_str()), (vec![marker.clone()], marker.as_str()));
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.body, b"one");
}

#[tokio::test(start_paused = true)]
async fn an_append_makes_no_version_and_pages_of_versions_follow_each_other() {
    let cloud = versioned().await;
    let first = cloud.send("POST /bkt/log?append&position=0", &[], b"a").await;
    let second = cloud.send("POST /bkt/log?append&position=1", &[], b"b").await;
    assert_eq!((second.status, second.header("x-oss-version-id")), (200, first.header("x-oss-version-id")));
    for body in [b"1", b"2", b"3"] {
        cloud.put("k", body).await;
    }
    let (mut seen, mut at) = (Vec::new(), String::new());
    loop {
        let page = cloud.send(&format!("GET /bkt?versions&max-keys=2{at}"), &[], b"").await;
        seen.extend(page.elements("Key"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        at = format!("&key-marker={}&version-id-marker={}", page.element("NextKeyMarker"), page.element("NextVersionIdMarker"));
    }
    assert_eq!(seen, ["k", "k", "k", "log"]);
}

#[tokio::test(start_paused = true)]
async fn rules_that_overlap_or_are_out_of_order_are_refused_with_their_ec() {
    let cloud = Cloud::new().await;
    let rule = |prefix: &str, actions: &str| format!("<Rule><Prefix>{prefix}</Prefix><Status>Enabled</Status>{actions}</Rule>");
    let put = async |rules: &[String], headers: &[(&str, &str)]| {
        let document = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat());
        let answer = cloud.send("PUT /bkt?lifecycle", headers, document.as_bytes()).await;
        (answer.status, answer.header("x-oss-ec").to_owned())
    };
    let expires = |prefix: &str, days: u32| rule(prefix, &format!("<Expiration><Days>{days}</Days></Expiration>"));
    let moves =
        |prefix: &str, days: u32, class: &str| rule(prefix, &format!("<Transition><Days>{days}</Days><StorageClass>{class}</StorageClass></Transition>"));
    let refused = |ec: &str| (400, ec.to_owned());
    let may_overlap = [("x-oss-allow-same-action-overlap", "true")];
    assert_eq!(put(&[expires("a", 200), expires("a/b", 100)], &[]).await, refused("0014-00000084"));
    assert_eq!(put(&[expires("a", 200), expires("a/b", 100)], &may_overlap).await.0, 200);
    assert_eq!(put(&[expires("a", 200), expires("b", 100)], &[]).await.0, 200);
    assert_eq!(put(&[moves("a", 30, "IA"), moves("a/b", 60, "IA")], &[]).await, refused("0014-00000079"));
    assert_eq!(put(&[moves("a", 120, "IA"), moves("a/b", 60, "Archive"), expires("a/b/c", 30)], &[]).await, refused("0014-00000082"));
    assert_eq!(put(&[moves("a", 30, "IA"), moves("a/b", 60, "Archive"), expires("a/b/c", 90)], &[]).await.0, 200);
    let dated = rule("a/b", "<Transition><CreatedBeforeDate>2021-12-30T00:00:00.000Z</CreatedBeforeDate><StorageClass>Archive</StorageClass></Transition>");
    assert_eq!(put(&[moves("a", 30, "IA"), dated], &[]).await, refused("0014-00000080"));
    for broken in ["<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>", "<Expiration/>", "<Other/>", ""] {
        assert_eq!(put(&[rule("a", broken)], &[]).await, refused("0031-00000001"), "{broken}");
    }
    assert_eq!(put(&vec![expires("a", 1); 1001], &may_overlap).await, refused("0031-00000001"));
}

#[tokio::test(start_paused = true)]
async fn a_cold_class_tells_when_it_was_entered() {
    let cloud = Cloud::new().await;
    cloud.put("k", b"body").await;
    let document = b"<LifecycleConfiguration><Rule><Prefix/><Status>Enabled</Status><Transition><Days>1</Days><StorageClass>ColdArchive</StorageClass></Transition></Rule></LifecycleConfiguration>";
    assert_eq!(cloud.send("PUT /bkt?lifecycle", &[], document).await.status, 200);
    let lifecycle = Lifecycle::new(Arc::clone(&cloud.oss.store), rules_of);
    cloud.oss.store.calendar().pass(DAY * 2);
    lifecycle.tick();
    let head = cloud.send("HEAD /bkt/k", &[], b"").await;
    assert_eq!(
        ["last-modified", "x-oss-storage-class", "x-oss-transition-time"].map(|name| head.header(name)),
        ["Thu, 01 Jan 2026 00:00:00 GMT", "ColdArchive", "Sat, 03 Jan 2026 00:00:00 GMT"]
    );
    assert_eq!(cloud.send("GET /bkt?list-type=2", &[], b"").await.element("TransitionTime"), "2026-01-03T00:00:00.000Z");
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.refused(), (403, "InvalidObjectState"));
    let thaw = b"<RestoreRequest><Days>1</Days></RestoreRequest>";
    assert_eq!(cloud.send("POST /bkt/k?restore", &[], thaw).await.status, 202);
    cloud.wait(1).await;
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.body, b"body");
    cloud.oss.store.calendar().pass(DAY);
    assert_eq!(cloud.send("GET /bkt/k", &[], b"").await.refused(), (403, "InvalidObjectState"));
    assert_eq!(cloud.send("HEAD /bkt/k", &[], b"").await.header("x-oss-restore"), "");
}
