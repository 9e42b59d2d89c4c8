//! What only OSS has: symbolic links, and objects that can be appended to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use dragon::storage::{Get, Payload, transport};
use dragon::transfer::verify;
use futures::TryStreamExt;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::*;

/// Sends OSS what the storage contract has no word for, signed by hand (V1, protocol.md 1.3).
pub(super) async fn ask_oss(server: &DevServer, method: &str, resource: &str, header: Option<(&str, &str)>, body: &'static str) {
    let date = Clock::system().now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let lines = header.map(|(name, value)| format!("{name}:{value}\n")).unwrap_or_default();
    let mut mac = Hmac::<Sha1>::new_from_slice(b"dragon-secret").expect("a key");
    mac.update(format!("{method}\n\n\n{date}\n{lines}{resource}").as_bytes());
    let signature = BASE64.encode(mac.finalize().into_bytes());
    let uri: http::Uri = format!("{}{resource}", server.oss_endpoint()).parse().expect("a URI");
    let host = uri.authority().expect("absolute").to_string();
    let mut request = http::Request::builder().method(method).uri(uri).header("host", host).header("date", date);
    request = request.header("authorization", format!("OSS dragon:{signature}"));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let direct = transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() };
    let request = request.body(Payload::from(body)).expect("a request");
    let response = transport::Transport::new(&direct).expect("a transport").send(request).await.expect("an answer");
    let status = response.status();
    let told = response.collect(1 << 20).await.expect("a body");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&told));
}

/// Makes a link in the bucket `middle`.
pub(super) async fn link(clouds: &Clouds, key: &str, target: &str) {
    ask_oss(&clouds.server, "PUT", &format!("/middle/{key}?symlink"), Some(("x-oss-symlink-target", target)), "").await;
}

async fn bytes(store: &Arc<dyn Storage>, key: &str) -> Vec<u8> {
    let output = store.get(&ObjectRef::from(Key::from(key.to_owned())), Get::default()).await.expect("there");
    output.body.try_collect::<Vec<_>>().await.expect("read").concat()
}

fn counted(report: &Report) -> Vec<(Fate, Attribute, u64)> {
    report.losses.iter().map(|(fate, attribute, _, count)| (fate, attribute, count)).collect()
}

fn following() -> Options {
    Options { follow_symlinks: true, ..Options::default() }
}

#[tokio::test]
async fn links_are_left_out_and_counted_or_followed_and_proved() {
    let clouds = Clouds::new().await;
    write(&clouds.middle, "a/target", 200 << 10, Attributes::default()).await;
    link(&clouds, "b/link", "a%2Ftarget").await;
    let report = clouds.sync(&clouds.middle, &clouds.first, Options { delete: true, ..Options::default() }).await;
    assert_eq!((report.copied, report.failed, counted(&report)), (1, 0, vec![(Fate::Lost, Attribute::Link, 1)]));

    let report = clouds.sync(&clouds.middle, &clouds.first, following()).await;
    assert_eq!((report.copied, report.verified, report.failed), (1, 1, 0));
    assert_eq!(counted(&report), [(Fate::Mapped, Attribute::Link, 1)]);
    assert_eq!(bytes(&clouds.first, "b/link").await, vec![7; 200 << 10]);

    // Unchanged it costs a HEAD, and what it leads to is compared.
    clouds.server.reset_traffic();
    let report = clouds.sync(&clouds.middle, &clouds.first, following()).await;
    let asked = clouds.server.traffic(Cloud::Oss);
    assert_eq!((report.copied, report.skipped, asked.operation("GetObject"), asked.operation("HeadObject")), (0, 2, 0, 1), "{asked:?}");
    let location = |store: &Arc<dyn Storage>| Location::new(store.clone(), Key::EMPTY);
    let job = Job { options: following(), ..Job::new(location(&clouds.middle), location(&clouds.first)) };
    let verified = Box::pin(verify(job, true, Context::default())).await.expect("verified");
    assert_eq!((verified.failed, verified.verified), (0, 2));

    write(&clouds.middle, "a/other", 100, Attributes::default()).await;
    link(&clouds, "b/link", "a%2Fother").await;
    assert_eq!(clouds.sync(&clouds.middle, &clouds.first, following()).await.copied, 2);
    assert_eq!(bytes(&clouds.first, "b/link").await.len(), 100);

    // Left out again, its copy is no orphan.
    let report = clouds.sync(&clouds.middle, &clouds.first, Options { delete: true, ..Options::default() }).await;
    assert_eq!((report.copied, report.deleted), (0, 0));
    assert_eq!(bytes(&clouds.first, "b/link").await.len(), 100);
}

#[tokio::test]
async fn between_buckets_of_oss_the_bytes_of_a_link_are_copied_and_not_the_link() {
    let clouds = Clouds::new().await;
    let alibaba = alibaba(&clouds.server);
    alibaba.create_bucket("other").await.expect("a bucket");
    let other = alibaba.bucket("other").expect("a store");
    write(&clouds.middle, "target", 1000, Attributes::default()).await;
    link(&clouds, "link", "target").await;
    clouds.server.reset_traffic();
    assert_eq!(clouds.sync(&clouds.middle, &other, following()).await.copied, 2);
    assert_eq!(clouds.server.traffic(Cloud::Oss).operation("CopyObject"), 1, "the target's");
    assert_eq!((bytes(&other, "link").await.len(), head(&other, "link").await.kind), (1000, dragon::storage::Kind::Object));
    assert_eq!(clouds.sync(&clouds.middle, &other, following()).await.copied, 0);
}

#[tokio::test]
async fn a_link_that_leads_nowhere_fails_by_both_names() {
    let clouds = Clouds::new().await;
    let archived = Attributes { storage_class: Some("Archive".into()), ..Attributes::default() };
    write(&clouds.middle, "frozen", 10, archived).await;
    for (key, target, said) in [
        ("lost", "nobody", "'nobody', which is not there"),
        ("round", "round", "'round', which is a link as well"),
        ("cold", "frozen", "of a link, what it leads to"),
    ] {
        link(&clouds, key, target).await;
        let (report, errors) = clouds.sync_told(&clouds.middle, &clouds.first, Options { filter: only(key), ..following() }).await;
        assert_eq!((report.copied, report.failed), (0, 1), "{key}");
        assert!(errors[0].contains(said) && errors[0].contains(key), "{errors:?}");
    }
    assert!(clouds.sync(&clouds.middle, &clouds.first, Options::default()).await.failed <= 1, "links that are left out do not fail");
}

#[tokio::test]
async fn what_is_appended_to_while_it_is_copied_is_copied_as_it_then_is() {
    let clouds = Clouds::new().await;
    ask_oss(&clouds.server, "POST", "/middle/log?append&position=0", None, "first;").await;
    let slow = Fault::new(Effect::Delay(Duration::from_millis(700))).on(Cloud::Oss).operation("GetObject").times(1);
    clouds.server.inject(slow);
    let append = async {
        Clock::system().sleep(Duration::from_millis(300)).await;
        ask_oss(&clouds.server, "POST", "/middle/log?append&position=6", None, "second;").await;
    };
    let (report, ()) = futures::join!(clouds.sync(&clouds.middle, &clouds.first, Options::default()), append);
    assert_eq!((report.copied, report.failed, report.verified), (1, 0, 1));
    assert_eq!(counted(&report), [(Fate::Lost, Attribute::Appendable, 1)]);
    assert_eq!(bytes(&clouds.first, "log").await, b"first;second;");
    assert_eq!(clouds.sync(&clouds.middle, &clouds.first, Options::default()).await.copied, 0);
    ask_oss(&clouds.server, "POST", "/middle/log?append&position=13", None, "third;").await;
    assert_eq!(clouds.sync(&clouds.middle, &clouds.first, Options::default()).await.copied, 1);
}
