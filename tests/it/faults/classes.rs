//! What a service refuses: the class of each code, the waits that it names, tokens and clocks.

use super::*;

/// What a refusal is taken for.
struct Class {
    status: u16,
    code: &'static str,
    headers: &'static str,
    kind: ErrorKind,
    retry: Retry,
    stops: bool,
}

fn class(status: u16, code: &'static str, kind: ErrorKind, retry: Retry) -> Class {
    let stops = Error::new(kind, "").stops_store();
    Class { status, code, headers: "", kind, retry, stops }
}

#[tokio::test]
async fn refusals_are_taken_for_what_they_are() {
    use ErrorKind as K;
    let slow = Retry::Slow { after: None };
    let after = |millis| Retry::Slow { after: Some(Duration::from_millis(millis)) };
    let both = || {
        vec![
            class(500, "InternalError", K::Unavailable, Retry::Soon),
            class(502, "", K::Unavailable, Retry::Soon),
            class(503, "SlowDown", K::Throttled, slow),
            class(429, "", K::Throttled, slow),
            Class { headers: "retry-after: 7\r\n", ..class(503, "SlowDown", K::Throttled, after(7000)) },
            Class { headers: "retry-after: 7\r\n", ..class(500, "InternalError", K::Unavailable, after(7000)) },
            class(400, "RequestTimeout", K::Unavailable, Retry::Soon),
            class(404, "NoSuchKey", K::NotFound, Retry::Never),
            class(404, "NoSuchBucket", K::BucketNotFound, Retry::Never),
            class(403, "AccessDenied", K::Denied, Retry::Never),
            class(403, "InvalidAccessKeyId", K::Credentials, Retry::Never),
            class(403, "SignatureDoesNotMatch", K::Credentials, Retry::Never),
            class(403, "InvalidObjectState", K::Frozen, Retry::Never),
            class(412, "PreconditionFailed", K::Changed, Retry::Never),
        ]
    };
    let s3 = vec![
        class(503, "ServiceUnavailable", K::Throttled, slow),
        class(400, "ExpiredToken", K::TokenExpired, Retry::Never),
        class(403, "AllAccessDisabled", K::Account, Retry::Never),
        class(403, "AccountProblem", K::Account, Retry::Never),
    ];
    let oss = vec![
        class(503, "DownloadTrafficRateLimitExceeded", K::Throttled, slow),
        class(503, "UploadTrafficRateLimitExceeded", K::Throttled, slow),
        class(503, "MetaOperationQpsLimitExceeded", K::Throttled, slow),
        class(503, "TotalQpsLimitExceeded", K::Throttled, slow),
        class(503, "ActiveRequestLimitExceeded", K::Throttled, slow),
        class(503, "CpuLimitExceeded", K::Throttled, slow),
        class(503, "QpsLimitExceeded", K::Throttled, slow),
        Class { headers: "x-oss-qos-delay-time: 75\r\n", ..class(503, "ServiceUnavailable", K::Throttled, after(75)) },
        class(503, "ServiceUnavailable", K::Unavailable, Retry::Soon),
        class(424, "MirrorFailed", K::Unavailable, Retry::Soon),
        class(403, "UserDisable", K::Account, Retry::Never),
        class(403, "InDebt", K::Account, Retry::Never),
        class(403, "InDebtOverdue", K::Account, Retry::Never),
        class(403, "KmsInDebt", K::Account, Retry::Never),
        class(403, "BucketDisable", K::Account, Retry::Never),
        class(403, "AbnormalBucketOwnerStatus", K::Account, Retry::Never),
        class(400, "PublicEndpointForbidden", K::Account, Retry::Never),
        class(403, "SecondLevelDomainForbidden", K::Account, Retry::Never),
        class(409, "FileImmutable", K::Locked, Retry::Never),
        class(403, "SecurityTokenExpired", K::TokenExpired, Retry::Never),
    ];
    for (cloud, own) in [(Cloud::S3, s3), (Cloud::Oss, oss)] {
        let classes: Arc<Vec<Class>> = Arc::new(both().into_iter().chain(own).collect());
        let table = classes.clone();
        let address = service(move |asked| {
            let index: usize = asked.target().rsplit('/').next().and_then(|name| name.parse().ok()).expect("a case");
            let Class { status, code, headers, .. } = &table[index];
            refusal(*status, code, headers)
        })
        .await;
        let store = at(cloud, address).await;
        for (index, class) in classes.iter().enumerate() {
            let error = read(&*store, &index.to_string()).await.expect_err(class.code);
            let seen = (error.kind(), error.retry(), error.stops_store());
            assert_eq!(seen, (class.kind, class.retry, class.stops), "{cloud:?} {} {}: {error}", class.status, class.code);
            assert_eq!(error.answer().map(|a| (a.http_status, a.code.as_str())), Some((class.status, class.code)), "{cloud:?}: {error}");
            if class.stops {
                assert!(!error.advice().is_empty(), "{cloud:?} {}: it stops everything, and says not what to do", class.code);
            }
        }
    }
}

#[tokio::test]
async fn a_wait_that_a_service_names_is_kept() {
    for (cloud, refused) in
        [(Cloud::S3, refusal(503, "SlowDown", "retry-after: 1\r\n")), (Cloud::Oss, refusal(503, "QpsLimitExceeded", "x-oss-qos-delay-time: 1000\r\n"))]
    {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let address = service(move |_| if count.fetch_add(1, Ordering::Relaxed) == 0 { refused.clone() } else { answer(200, STORED, "") }).await;
        let metrics = Arc::<Metrics>::default();
        let store = layered(at(cloud, address).await, retry::Options::default(), Clock::system(), metrics.clone());
        let began = Instant::now();
        put(&*store, "k").await.expect("the second attempt");
        assert!(began.elapsed() >= Duration::from_secs(1), "{cloud:?}: {:?}", began.elapsed());
        assert_eq!((asked.load(Ordering::Relaxed), metrics.throttled.get(), metrics.outages.get()), (2, 1, 0));
    }
}

#[tokio::test]
async fn an_account_at_its_limits_is_given_the_pace_that_oss_names() {
    let address = service(|asked| match asked.target() {
        "/bucket/first" => answer(200, &format!("{STORED}x-oss-qos-delay-time: 700\r\n"), ""),
        _ => answer(200, STORED, ""),
    })
    .await;
    let store = at(Cloud::Oss, address).await;
    let timed = async |name: &str| {
        let began = Instant::now();
        put(&*store, name).await.expect("written");
        began.elapsed()
    };
    assert!(timed("first").await < Duration::from_millis(500));
    assert!(timed("second").await >= Duration::from_millis(650), "the account goes slower");
    assert!(timed("third").await < Duration::from_millis(500), "once");
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_by_many_and_uploads_outlive_it() {
    for cloud in BOTH {
        let folder = tempfile::tempdir().expect("a folder");
        let count = folder.path().join("count");
        let (secret, token, version) = match cloud {
            Cloud::S3 => ("SecretAccessKey", "SessionToken", "\"Version\":1,"),
            Cloud::Oss => ("AccessKeySecret", "SecurityToken", ""),
        };
        // Each call prints another token.
        let command =
            format!("echo x >> {0}; printf '{{{version}\"AccessKeyId\":\"AKID\",\"{secret}\":\"s\",\"{token}\":\"t%s\"}}' $(wc -l < {0})", count.display());
        let good = Arc::new(AtomicUsize::new(1));
        let serving = good.clone();
        let address = service(move |asked| {
            let head = asked.head.to_ascii_lowercase();
            if !head.contains(&format!("security-token: t{}\r\n", serving.load(Ordering::Relaxed))) {
                let code = if cloud == Cloud::S3 { "ExpiredToken" } else { "SecurityTokenExpired" };
                return refusal(if cloud == Cloud::S3 { 400 } else { 403 }, code, "");
            }
            match (asked.method(), asked.target()) {
                ("POST", target) if target.contains("uploads") => {
                    answer(200, STORED, "<InitiateMultipartUploadResult><UploadId>U</UploadId></InitiateMultipartUploadResult>")
                }
                ("POST", _) => answer(200, STORED, "<CompleteMultipartUploadResult><ETag>\"E-2\"</ETag></CompleteMultipartUploadResult>"),
                _ => answer(200, STORED, ""),
            }
        })
        .await;
        let way = Way { credential_process: Some(command), ..Way::default() };
        let store = store(cloud, &[format!("http://{address}")], way).await;
        let fetches = || std::fs::read_to_string(&count).expect("counted").lines().count();
        put(&*store, "k").await.expect("the first token works");
        assert_eq!(fetches(), 1);

        good.store(2, Ordering::Relaxed);
        let all = join_all((0..16).map(|i| {
            let store = store.clone();
            async move { put(&*store, &format!("k{i}")).await }
        }))
        .await;
        assert!(all.iter().all(Result::is_ok), "{cloud:?}: {all:?}");
        assert_eq!(fetches(), 2, "{cloud:?}: one fetch serves sixteen");

        let multipart = store.multipart().expect("parts");
        let id = multipart.create(&"k".into(), &Attributes::default()).await.expect("begun with the second token");
        let upload = Upload { key: "k".into(), id };
        let first = multipart.upload_part(&upload, 1, "a".into(), None).await.expect("a part");
        good.store(3, Ordering::Relaxed);
        let second = multipart.upload_part(&upload, 2, "b".into(), None).await.expect("a part with the third token");
        good.store(4, Ordering::Relaxed);
        multipart.complete(&upload, &[first, second], Complete::default()).await.expect("completed with the fourth");
        assert_eq!(fetches(), 4, "{cloud:?}");
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_corrected() {
    let server = DevServer::start(devserver::Options::default()).await.expect("two clouds");
    for (cloud, endpoint) in [(Cloud::S3, server.s3_endpoint()), (Cloud::Oss, server.oss_endpoint())] {
        make_bucket(cloud, &endpoint).await;
        for hours in [-30, 30] {
            let clock = Clock::system_with_offset(jiff::SignedDuration::from_hours(hours));
            let store = store(cloud, std::slice::from_ref(&endpoint), Way { clock: Some(clock), ..Way::default() }).await;
            put(&*store, "k").await.unwrap_or_else(|e| panic!("{cloud:?} {hours} h: {e}"));
            assert_eq!(read(&*store, "k").await.expect("read"), b"abc");
        }
    }
}
