//! What an answer corrects, and what the account does.

use super::*;

#[tokio::test]
async fn the_buckets_region_is_learnt_once() {
    let learn: [fn() -> Vec<u8>; 3] = [
        || refusal(301, "PermanentRedirect", &[("x-amz-bucket-region", "eu-west-1")], ""),
        || refusal(400, "AuthorizationHeaderMalformed", &[], "<Region>eu-west-1</Region>"),
        || answer(400, &[("x-amz-bucket-region", "eu-west-1")], ""),
    ];
    for wrong in learn {
        let (server, store) =
            serve(move |_, asked| if asked.header("authorization").contains("/eu-west-1/s3/") { ok(&[("etag", "\"e\"")], "abc") } else { wrong() }).await;
        for _ in 0..2 {
            store.get(&key("k"), Get::default()).await.expect("found");
        }
        assert_eq!(server.asked().len(), 3, "one wrong way, then straight");
    }
}

#[tokio::test]
async fn a_region_that_no_answer_names_is_asked_for() {
    let (server, store) = serve(|_, asked| match asked.target.as_str() {
        "/bucket/k" if asked.header("authorization").contains("/eu-west-1/s3/") => ok(&[("etag", "\"e\"")], "abc"),
        "/bucket/k" => refusal(307, "TemporaryRedirect", &[], ""),
        t if t.contains("location") => ok(&[], "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">EU</LocationConstraint>"),
        _ => answer(403, &[], ""),
    })
    .await;
    let output = store.get(&key("k"), Get::default()).await.expect("found");
    assert_eq!(body(output).await.expect("bytes"), b"abc");
    assert_eq!(server.asked().iter().filter(|a| a.target == "/bucket/k").count(), 2);

    let (_server, store) = serve(|_, asked| {
        if asked.method == "GET" && asked.target == "/bucket/k" {
            refusal(301, "PermanentRedirect", &[], "<Endpoint>elsewhere</Endpoint>")
        } else {
            answer(403, &[], "")
        }
    })
    .await;
    let e = store.get(&key("k"), Get::default()).await.expect_err("nobody says where");
    assert_eq!((e.kind(), e.endpoint()), (ErrorKind::WrongEndpoint, Some("elsewhere")));
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_from_the_answer() {
    let date = "Sat, 21 Nov 2026 10:30:00 GMT";
    let server = Canned::start(move |_, asked| match asked.header("x-amz-date") {
        d if d.starts_with("20261121T1") => ok(&[("etag", "\"e\""), ("content-length", "0")], ""),
        _ if asked.method == "HEAD" => answer(403, &[("date", date)], ""),
        _ => refusal(403, "RequestTimeTooSkewed", &[("date", date)], ""),
    })
    .await;
    for by_head in [false, true] {
        let clock = Clock::simulated("2026-11-21T08:00:00Z".parse().expect("a time"), 1);
        let store = S3Account::open(options(&server.url), clock).await.expect("opened").store("bucket").expect("a store");
        if by_head {
            store.head(&key("k")).await.expect("corrected");
        } else {
            let r = store.get(&key("k"), Get::default()).await;
            r.expect("corrected");
        }
        store.get(&key("k"), Get::default()).await.expect("straight");
    }
    assert_eq!(server.asked().len(), 6);

    // A service whose clock helps nothing is asked twice, not for ever.
    let (server, store) = serve(move |_, _| refusal(403, "RequestTimeTooSkewed", &[("date", date)], "")).await;
    assert_eq!(store.get(&key("k"), Get::default()).await.expect_err("refused").kind(), ErrorKind::ClockSkew);
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn an_expired_token_is_renewed_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let count = folder.path().join("count");
    // Each call prints another token.
    let command = format!(
        "echo x >> {0}; printf '{{\"Version\":1,\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t%s\"}}' $(wc -l < {0})",
        count.display()
    );
    let server = Canned::start(|_, asked| match asked.header("x-amz-security-token") {
        "t1" if asked.method == "HEAD" => answer(400, &[], ""),
        "t1" => refusal(400, "ExpiredToken", &[], ""),
        _ => ok(&[("etag", "\"e\""), ("content-length", "0")], ""),
    })
    .await;
    let store = open(Options { access_key_id: None, secret_access_key: None, credential_process: Some(command), ..options(&server.url) }).await;
    let all = futures::future::join_all((0..8).map(|_| async { store.head(&key("k")).await })).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(std::fs::read_to_string(count).expect("counted").lines().count(), 2, "one fetch to open, one to renew");
}

#[tokio::test]
async fn a_dead_endpoint_gives_way_to_the_next() {
    let server = Canned::start(|_, _| ok(&[("etag", "\"e\""), ("content-length", "0")], "")).await;
    let store = open(Options { endpoints: vec!["http://127.0.0.1:1".into(), server.url.clone()], ..options("") }).await;
    let e = store.head(&key("k")).await.expect_err("nothing listens there");
    assert_eq!((e.kind(), e.retry()), (ErrorKind::Unavailable, Retry::Soon));
    store.head(&key("k")).await.expect("the next one serves");
}

#[tokio::test]
async fn an_anonymous_caller_signs_nothing_and_a_strict_one_signs_the_body() {
    let server = Canned::start(|_, _| ok(&[("etag", "\"e\"")], "")).await;
    let anonymous = open(Options { anonymous: true, access_key_id: None, secret_access_key: None, ..options(&server.url) }).await;
    anonymous.put(&"k".into(), "abc".into(), Put::default()).await.expect("put");
    assert_eq!(server.asked()[0].header("authorization"), "");
    assert_eq!(anonymous.identity().account, "");
    let strict = open(Options { sign_payload: true, ..options(&server.url) }).await;
    strict.put(&"k".into(), "abc".into(), Put::default()).await.expect("put");
    assert_eq!(server.asked()[1].header("x-amz-content-sha256"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[tokio::test]
async fn buckets_are_listed_made_and_removed_over_our_road() {
    let server = Canned::start(|number, asked| match (number, asked.method.as_str()) {
        (0, _) => ok(&[], "<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name><CreationDate>2026-01-01T00:00:00.000Z</CreationDate><BucketRegion>eu-west-1</BucketRegion></Bucket></Buckets></ListAllMyBucketsResult>"),
        (_, "PUT") => ok(&[], ""),
        _ => refusal(409, "BucketNotEmpty", &[("x-amz-request-id", "R5")], ""),
    })
    .await;
    let account = S3Account::open(Options { region: Some("eu-west-1".into()), ..options(&server.url) }, Clock::system()).await.expect("opened");
    let buckets = account.list_buckets().await.expect("buckets");
    assert_eq!(
        (buckets[0].name.as_str(), buckets[0].region.as_deref(), buckets[0].created.map(|t| t.to_string())),
        ("a", Some("eu-west-1"), Some("2026-01-01T00:00:00Z".into()))
    );
    account.create_bucket("new-bucket").await.expect("made");
    let asked = server.asked().pop().expect("asked");
    assert_eq!((asked.method.as_str(), asked.target.trim_end_matches('/')), ("PUT", "/new-bucket"));
    assert!(String::from_utf8_lossy(&asked.body).contains("<LocationConstraint>eu-west-1</LocationConstraint>"));
    let e = account.delete_bucket("full").await.expect_err("not empty");
    assert_eq!((e.kind(), e.answer().map(|a| a.request_id.as_str())), (ErrorKind::Invalid, Some("R5")));

    let dead = S3Account::open(options("http://127.0.0.1:1"), Clock::system()).await.expect("opened");
    let e = dead.list_buckets().await.expect_err("nothing listens there");
    assert_eq!(e.kind(), ErrorKind::Unavailable);
    assert!(e.to_string().contains("127.0.0.1:1"), "{e}");
}

#[tokio::test]
async fn identity_tells_accounts_apart() {
    let server = Canned::start(|_, _| Vec::new()).await;
    let here = S3Account::open(options(&server.url), Clock::system()).await.expect("opened");
    let other = S3Account::open(Options { access_key_id: Some("OTHER".into()), ..options(&server.url) }, Clock::system()).await.expect("opened");
    let (a, b) = (here.store("a").expect("a store"), here.store("b").expect("a store"));
    assert!(a.can_copy_from(b.identity()));
    assert!(!a.can_copy_from(other.store("b").expect("a store").identity()));
    assert_eq!(Arc::new(here).bucket("").expect_err("no name").kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_refusal_whose_reason_is_cut_off_is_no_answer() {
    let cut_off = |status: u16| async move {
        let (_server, store) = serve(move |_, _| answer(status, &[("content-length", "500")], "<Error><Code>Expi")).await;
        store.get(&key("k"), Get::default()).await.expect_err("cut off").kind()
    };
    assert_eq!((cut_off(403).await, cut_off(400).await, cut_off(404).await), (ErrorKind::Unavailable, ErrorKind::Unavailable, ErrorKind::NotFound));
}
