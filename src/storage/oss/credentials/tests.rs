//! The chain, tried against a fake metadata service and a fake STS that check what they are asked.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::chain::Chosen;
use super::*;
use crate::clock::Clock;
use crate::storage::transport;
use crate::storage::transport::canned::{Asked, Canned, answer};

fn choose(options: &Options, environment: &Environment) -> Result<Chosen> {
    chain(options, environment, &transport::Options::default(), &Clock::system())
}

async fn id(options: &Options, environment: &Environment) -> String {
    choose(options, environment).expect("a source").provider.credentials().await.expect("credentials").access_key_id().to_owned()
}

fn write(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

fn key(id: &str, token: &str) -> String {
    format!(r#"{{"Code":"Success","AccessKeyId":"{id}","AccessKeySecret":"secret-of-{id}","SecurityToken":"{token}","Expiration":"2099-01-01T00:00:00Z"}}"#)
}

/// The metadata service of an instance whose role is `worker`; with `v2_only` it wants the session token everywhere.
fn metadata(v2: bool) -> impl Fn(usize, &Asked) -> Vec<u8> {
    move |_, asked| match (asked.method.as_str(), asked.target.as_str()) {
        ("PUT", "/latest/api/token") if v2 && asked.header("x-aliyun-ecs-metadata-token-ttl-seconds") == "21600" => answer(200, &[], "session"),
        ("PUT", _) => answer(404, &[], "<html>no such thing</html>"),
        _ if v2 && asked.header("x-aliyun-ecs-metadata-token") != "session" => answer(401, &[], "no token"),
        ("GET", "/latest/meta-data/ram/security-credentials/") => answer(200, &[], "worker\n"),
        ("GET", "/latest/meta-data/ram/security-credentials/worker") => answer(200, &[], key("ecs", "ecs-token")),
        _ => answer(404, &[], ""),
    }
}

#[tokio::test]
async fn the_first_source_that_is_configured_wins() {
    let home = tempfile::tempdir().expect("a folder");
    let empty = Environment::of(&[("ALIBABA_CLOUD_ECS_METADATA_DISABLED", "true")]).with_home(home.path());
    let none = Options::default();
    let nothing = choose(&none, &empty).expect("settled at the first request").provider.credentials().await.expect_err("nothing there");
    assert_eq!(nothing.kind(), ErrorKind::Credentials);
    assert!(nothing.to_string().contains("OSS_ACCESS_KEY_ID") && nothing.to_string().contains("~/.ossutilconfig"), "{nothing}");

    write(home.path(), ".ossutilconfig", "[Credentials]\naccessKeyID=util\naccessKeySecret=s\n");
    assert_eq!(id(&none, &empty).await, "util");
    write(
        home.path(),
        ".alibabacloud/credentials.ini",
        "[default]\ntype=access_key\naccess_key_id=ini\naccess_key_secret=s\n[p]\naccess_key_id=p\naccess_key_secret=s\n",
    );
    assert_eq!(id(&none, &empty).await, "ini");
    write(
        home.path(),
        ".aliyun/config.json",
        r#"{"current":"default","profiles":[{"name":"default","mode":"AK","access_key_id":"cli","access_key_secret":"s"}]}"#,
    );
    assert_eq!(id(&none, &empty).await, "cli");
    let with = |vars: &[(&str, &str)]| Environment::of(vars).with_home(home.path());
    let alibaba: &[(&str, &str)] =
        &[("ALIBABA_CLOUD_ACCESS_KEY_ID", "alibaba"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"), ("ALIBABA_CLOUD_SECURITY_TOKEN", "t")];
    assert_eq!(choose(&none, &with(alibaba)).expect("a source").provider.credentials().await.expect("a key").security_token(), Some("t"));
    let oss: &[(&str, &str)] = &[("OSS_ACCESS_KEY_ID", "oss"), ("OSS_ACCESS_KEY_SECRET", "s")];
    assert_eq!(id(&none, &with(&[alibaba, oss].concat())).await, "oss");
    let named = Options { profile: Some("p".into()), ..Options::default() };
    assert_eq!(id(&named, &with(&[alibaba, oss].concat())).await, "p");
    let explicit = Options { access_key_id: Some(" own\n".into()), access_key_secret: Some("s".into()), ..named };
    assert_eq!(id(&explicit, &with(oss)).await, "own");
}

#[tokio::test]
async fn half_a_key_is_an_error_and_not_a_reason_to_look_elsewhere() {
    for (vars, missing) in [
        (&[("OSS_ACCESS_KEY_ID", "x"), ("ALIBABA_CLOUD_ACCESS_KEY_ID", "y"), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s")][..], "OSS_ACCESS_KEY_SECRET is not"),
        (&[("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "hush")], "ALIBABA_CLOUD_ACCESS_KEY_ID is not"),
    ] {
        let e = choose(&Options::default(), &Environment::of(vars)).expect_err(missing);
        assert!(e.kind() == ErrorKind::Credentials && e.to_string().contains(missing) && !e.to_string().contains("hush"), "{e}");
    }
    let e = choose(&Options { profile: Some("gone".into()), ..Options::default() }, &Environment::default()).expect_err("no profile");
    assert!(e.to_string().contains("'gone'"), "{e}");
    let e = choose(&Options { web_identity_token_file: Some("f".into()), ..Options::default() }, &Environment::default()).expect_err("no role");
    assert!(e.to_string().contains("role_arn"), "{e}");
}

#[tokio::test]
async fn an_instance_hands_out_its_role_by_either_protocol() {
    for (v2, requests) in [(true, 3), (false, 3)] {
        let server = Canned::start(metadata(v2)).await;
        let options = Options { metadata_endpoint: Some(server.url.clone()), ..Options::default() };
        let chosen = choose(&options, &Environment::default()).expect("a source");
        let credentials = chosen.provider.credentials().await.expect("a role");
        assert_eq!((credentials.access_key_id(), credentials.security_token()), ("ecs", Some("ecs-token")));
        chosen.provider.credentials().await.expect("kept");
        assert_eq!(server.asked().len(), requests, "asked once");
    }
    let server = Canned::start(metadata(false)).await;
    let options = Options { metadata_endpoint: Some(server.url.clone()), ecs_role: Some("worker".into()), ..Options::default() };
    let strict = Environment::of(&[("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")]);
    let e = choose(&options, &strict).expect("a source").provider.credentials().await.expect_err("the older protocol is disabled");
    assert_eq!(e.kind(), ErrorKind::Credentials, "{e}");
    assert_eq!(id(&options, &Environment::default()).await, "ecs");
}

#[tokio::test]
async fn a_uri_serves_where_the_instance_has_no_role() {
    let instance = Canned::start(|_, _| answer(404, &[], "")).await;
    let uri = Canned::start(|_, _| answer(200, &[], key("uri", "t"))).await;
    let options = Options { metadata_endpoint: Some(instance.url.clone()), ..Options::default() };
    assert_eq!(id(&options, &Environment::of(&[("ALIBABA_CLOUD_CREDENTIALS_URI", &uri.url)])).await, "uri");
}

/// Checks an RPC signature as STS does: over all parameters, each encoded, sorted, under `SECRET&`.
fn is_signed(asked: &Asked, secret: &str) -> bool {
    let form = String::from_utf8(asked.body.clone()).expect("a form");
    let query = asked.target.trim_start_matches("/?");
    let mut pairs: Vec<&str> = query.split('&').chain(form.split('&')).filter(|p| !p.starts_with("Signature=")).collect();
    pairs.sort_unstable();
    let encode = |text: &str| -> String {
        let escape = |b: u8| if b.is_ascii_alphanumeric() || b"-._~".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") };
        text.bytes().map(escape).collect()
    };
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes()).expect("a key");
    mac.update(format!("POST&%2F&{}", encode(&pairs.join("&"))).as_bytes());
    asked.parameter("Signature") == Some(BASE64.encode(mac.finalize().into_bytes()))
}

fn sts(_: usize, asked: &Asked) -> Vec<u8> {
    let is = |name: &str, value: &str| asked.parameter(name).as_deref() == Some(value);
    let common = asked.method == "POST" && is("Version", "2015-04-01") && is("Format", "JSON") && is("DurationSeconds", "3600");
    let refuse = |code: &str| answer(403, &[], format!(r#"{{"Code":"{code}","Message":"no","RequestId":"S1"}}"#));
    match asked.parameter("Action").as_deref() {
        _ if !common => refuse("BadRequest"),
        Some("AssumeRole") if !is_signed(asked, "s/+") => refuse("SignatureDoesNotMatch"),
        Some("AssumeRole") if is("AccessKeyId", "base") && is("ExternalId", "e x") && is("RoleSessionName", "nightly") => {
            answer(200, &[], format!(r#"{{"Credentials":{}}}"#, key("assumed", "role-token")))
        }
        Some("AssumeRoleWithOIDC") if is("OIDCProviderArn", "acs:ram::1:oidc-provider/k8s") && asked.parameter("Signature").is_none() => {
            let token = asked.parameter("OIDCToken").unwrap_or_default();
            answer(200, &[], format!(r#"{{"Credentials":{}}}"#, key(&format!("oidc-{token}"), "t")))
        }
        _ => refuse("NoPermission"),
    }
}

#[tokio::test]
async fn a_role_is_assumed_with_a_signed_request() {
    let server = Canned::start(sts).await;
    let options = Options {
        access_key_id: Some("base".into()),
        access_key_secret: Some("s/+".into()),
        session_token: Some("st=1".into()),
        role_arn: Some("acs:ram::1:role/r".into()),
        external_id: Some("e x".into()),
        session_name: Some("nightly".into()),
        sts_endpoint: Some(server.url.clone()),
        ..Options::default()
    };
    let chosen = choose(&options, &Environment::default()).expect("a source");
    let credentials = chosen.provider.credentials().await.expect("the role");
    assert_eq!((credentials.access_key_id(), credentials.security_token(), chosen.account.as_str()), ("assumed", Some("role-token"), "acs:ram::1:role/r"));
    assert_eq!(server.asked()[0].parameter("SecurityToken").as_deref(), Some("st=1"));
    let wrong = Options { access_key_secret: Some("other".into()), ..options };
    let e = choose(&wrong, &Environment::default()).expect("a source").provider.credentials().await.expect_err("a wrong secret");
    assert_eq!((e.kind(), e.answer().map(|a| a.request_id.as_str())), (ErrorKind::Credentials, Some("S1")));
    assert!(e.advice().contains("acs:ram::1:role/r") && !e.to_string().contains("other"), "{e}");
}

#[tokio::test]
async fn a_cluster_token_is_read_anew_for_each_renewal() {
    let server = Canned::start(sts).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "one\n").expect("written");
    let vars = [
        ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/r"),
        ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/k8s"),
        ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", file.to_str().expect("a path")),
    ];
    let options = Options { sts_endpoint: Some(server.url.clone()), ..Options::default() };
    let chosen = choose(&options, &Environment::of(&vars)).expect("a source");
    let first = chosen.provider.credentials().await.expect("one");
    assert_eq!(first.access_key_id(), "oidc-one");
    std::fs::write(&file, "two\n").expect("written");
    assert_eq!(chosen.provider.credentials().await.expect("kept"), first);
    chosen.provider.refused(&first);
    assert_eq!(chosen.provider.credentials().await.expect("two").access_key_id(), "oidc-two");
}

#[tokio::test]
async fn what_is_no_key_is_refused_without_being_shown() {
    for (body, word) in [
        ("hush, not JSON", "not JSON"),
        (r#"{"Code":"Success","AccessKeyId":"i","AccessKeySecret":""}"#, "AccessKeySecret"),
        (r#"{"Code":"Failed"}"#, "Failed"),
        (r#"{"Code":"Success","AccessKeyId":"i","AccessKeySecret":"hush","Expiration":"soon"}"#, "expiration"),
    ] {
        let server = Canned::start(move |_, asked| if asked.method == "PUT" { answer(200, &[], "session") } else { answer(200, &[], body) }).await;
        let options = Options { metadata_endpoint: Some(server.url.clone()), ecs_role: Some("worker".into()), ..Options::default() };
        let e = choose(&options, &Environment::default()).expect("a source").provider.credentials().await.expect_err(word);
        assert!(e.to_string().contains(word) && !e.to_string().contains("hush"), "{e}");
    }
    let shown = format!("{:?} {:?}", Credentials::new("id", "hush", Some("hush")), Options { access_key_secret: Some("hush".into()), ..Options::default() });
    assert!(shown.contains("id") && !shown.contains("hush"), "{shown}");
}

#[tokio::test]
async fn a_temporary_key_in_a_file_is_read_again_when_it_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let config = |id: &str| {
        let profile = format!(r#"{{"name":"sso","mode":"CloudSSO","access_key_id":"{id}","access_key_secret":"s","sts_token":"t"}}"#);
        write(home.path(), ".aliyun/config.json", &format!(r#"{{"current":"sso","profiles":[{profile}]}}"#));
    };
    config("one");
    let chosen = choose(&Options::default(), &Environment::default().with_home(home.path())).expect("a source");
    let first = chosen.provider.credentials().await.expect("one");
    config("two");
    assert_eq!(chosen.provider.credentials().await.expect("kept"), first);
    chosen.provider.refused(&first);
    assert_eq!(chosen.provider.credentials().await.expect("two").access_key_id(), "two");
}
