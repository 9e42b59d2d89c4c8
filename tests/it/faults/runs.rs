//! What faults do to a whole run: outages, sick endpoints, halted accounts.

use super::*;

/// A door before a service that can be shut: who comes is turned away, who is in is thrown out.
struct Door {
    address: SocketAddr,
    shut: Arc<AtomicBool>,
    turned_away: Arc<AtomicUsize>,
}

impl Door {
    async fn to(upstream: String) -> Self {
        let (shut, turned_away) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (is_shut, count) = (shut.clone(), turned_away.clone());
        let address = listen(move |mut tcp| {
            let (is_shut, count, upstream) = (is_shut.clone(), count.clone(), upstream.trim_start_matches("http://").to_owned());
            async move {
                let thrown_out = async {
                    while !is_shut.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                if is_shut.load(Ordering::Relaxed) {
                    count.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let mut to = TcpStream::connect(upstream).await.expect("upstream");
                tokio::select! {
                    _ = copy_bidirectional(&mut tcp, &mut to) => {}
                    () = thrown_out => {}
                }
            }
        })
        .await;
        Self { address, shut, turned_away }
    }
}

fn brief() -> retry::Options {
    let short = Duration::from_millis(20);
    retry::Options { attempts_max: 4, fault_delay: short, throttle_delay: short, delay_max: 2 * short, ..retry::Options::default() }
}

/// A source of small objects in memory.
async fn source(objects: usize) -> Arc<dyn Storage> {
    let source = memory::MemoryStore::new("source");
    for i in 0..objects {
        put(&source, &format!("k{i:04}")).await.expect("written");
    }
    Arc::new(source)
}

#[tokio::test]
async fn an_outage_in_the_middle_of_a_sync_fails_no_object() {
    let server = DevServer::start(devserver::Options::default()).await.expect("two clouds");
    for (cloud, endpoint) in [(Cloud::S3, server.s3_endpoint()), (Cloud::Oss, server.oss_endpoint())] {
        make_bucket(cloud, &endpoint).await;
        let door = Door::to(endpoint).await;
        let metrics = Arc::<Metrics>::default();
        let destination = layered(at(cloud, door.address).await, brief(), Clock::system(), metrics.clone());
        let job = Job::new(Location::new(source(400).await, Key::EMPTY), Location::new(destination.clone(), Key::EMPTY));
        let shut = door.shut.clone();
        let traffic = async {
            while server.traffic(cloud).operation("PutObject") < 50 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            shut.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(3)).await;
            shut.store(false, Ordering::Relaxed);
        };
        let (report, ()) = futures::join!(Box::pin(run(job, Context::default())), traffic);
        let report = report.expect("a run");
        assert_eq!((report.copied, report.failed, report.stopped.is_none()), (400, 0, true), "{cloud:?}: {report:?}");
        assert_eq!(metrics.outages.get(), 1, "{cloud:?}");
        let turned_away = door.turned_away.load(Ordering::Relaxed);
        assert!(turned_away < 400, "{cloud:?}: {turned_away} knocks in three seconds");
        let keys: usize =
            destination.list(List::default()).map_ok(|page| page.len()).try_fold(0, |n, len| async move { Ok(n + len) }).await.expect("a listing");
        assert_eq!(keys, 400);
    }
}

#[tokio::test]
async fn an_outage_without_end_stops_the_run_with_one_clear_error() {
    let server = DevServer::start(devserver::Options::default()).await.expect("two clouds");
    make_bucket(Cloud::Oss, &server.oss_endpoint()).await;
    let door = Door::to(server.oss_endpoint()).await;
    let options = retry::Options { give_up_after: Some(Duration::from_secs(2)), ..brief() };
    let destination = layered(at(Cloud::Oss, door.address).await, options, Clock::system(), Arc::default());
    put(&*destination, "first contact").await.expect("it is up");
    door.shut.store(true, Ordering::Relaxed);
    let job = Job::new(Location::new(source(50).await, Key::EMPTY), Location::new(destination, Key::EMPTY));
    let began = Instant::now();
    let error = match Box::pin(run(job, Context::default())).await {
        Ok(report) => report.stopped.expect("stopped"),
        Err(error) => error,
    };
    assert_eq!(error.kind(), ErrorKind::Outage, "{error}");
    assert!(error.to_string().contains("the store has been down since") && error.to_string().contains("oss://bucket"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_endpoint_that_fails_by_itself_gives_way_and_fails_no_object() {
    let server = DevServer::start(devserver::Options::default()).await.expect("two clouds");
    let sick = Arc::new(Mutex::new(0));
    let count = sick.clone();
    let broken = service(move |_| {
        *count.lock().expect("not poisoned") += 1;
        refusal(500, "InternalError", "")
    })
    .await;
    for (cloud, endpoint) in [(Cloud::S3, server.s3_endpoint()), (Cloud::Oss, server.oss_endpoint())] {
        make_bucket(cloud, &endpoint).await;
        *sick.lock().expect("not poisoned") = 0;
        let store = store(cloud, &[format!("http://{broken}"), endpoint], Way::default()).await;
        let destination = layered(store, brief(), Clock::system(), Arc::default());
        for i in 0..20 {
            put(&*destination, &format!("k{i}")).await.unwrap_or_else(|e| panic!("{cloud:?}: {e}"));
        }
        assert_eq!(*sick.lock().expect("not poisoned"), 3, "{cloud:?}: three in a row, then it is left");
    }
}

#[tokio::test]
async fn a_halted_account_stops_the_run_at_once_and_a_key_that_is_refused_does_not() {
    for (cloud, code, status) in
        [(Cloud::Oss, "UserDisable", 403), (Cloud::Oss, "InDebt", 403), (Cloud::Oss, "PublicEndpointForbidden", 400), (Cloud::S3, "AllAccessDisabled", 403)]
    {
        let puts = Arc::new(AtomicUsize::new(0));
        let count = puts.clone();
        let address = service(move |asked| match asked.method() {
            "PUT" => {
                count.fetch_add(1, Ordering::Relaxed);
                refusal(status, code, "")
            }
            _ => answer(200, STORED, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
        })
        .await;
        let destination = layered(at(cloud, address).await, brief(), Clock::system(), Arc::default());
        let job = Job::new(Location::new(source(500).await, Key::EMPTY), Location::new(destination, Key::EMPTY));
        let report = Box::pin(run(job, Context::default())).await.expect("a report");
        assert_eq!(report.stopped.as_ref().map(Error::kind), Some(ErrorKind::Account), "{code}: {report:?}");
        assert_eq!(report.failed, 1, "{code}: one clear message");
        assert!(puts.load(Ordering::Relaxed) <= 64, "{code}: {} requests after it was known", puts.load(Ordering::Relaxed));
    }
    for cloud in BOTH {
        let address = service(|asked| match (asked.method(), asked.target()) {
            ("PUT", target) if target.ends_with("/k0007") => refusal(403, "AccessDenied", ""),
            ("PUT", _) => answer(200, "etag: \"900150983CD24FB0D6963F7D28E17F72\"\r\nx-amz-request-id: R1\r\nx-oss-request-id: R1\r\n", ""),
            _ => answer(200, STORED, "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"),
        })
        .await;
        let destination = layered(at(cloud, address).await, brief(), Clock::system(), Arc::default());
        let job = Job::new(Location::new(source(20).await, Key::EMPTY), Location::new(destination, Key::EMPTY));
        let report = Box::pin(run(job, Context::default())).await.expect("a report");
        assert_eq!((report.copied, report.failed, report.stopped.is_none()), (19, 1, true), "{cloud:?}: {report:?}");
    }
}

#[tokio::test]
async fn a_listing_that_is_refused_ends_the_run_at_once() {
    for (cloud, code, kind) in [
        (Cloud::S3, "AccessDenied", ErrorKind::Denied),
        (Cloud::Oss, "AccessDenied", ErrorKind::Denied),
        (Cloud::Oss, "InDebtOverdue", ErrorKind::Account),
        (Cloud::S3, "InvalidAccessKeyId", ErrorKind::Credentials),
    ] {
        let puts = Arc::new(AtomicUsize::new(0));
        let count = puts.clone();
        let address = service(move |asked| {
            count.fetch_add(usize::from(asked.method() == "PUT"), Ordering::Relaxed);
            refusal(403, code, "")
        })
        .await;
        let destination = layered(at(cloud, address).await, brief(), Clock::system(), Arc::default());
        let job = Job::new(Location::new(source(50).await, Key::EMPTY), Location::new(destination, Key::EMPTY));
        let error = match Box::pin(run(job, Context::default())).await {
            Ok(report) => report.stopped.unwrap_or_else(|| panic!("{cloud:?} {code}: nothing stopped it")),
            Err(error) => error,
        };
        assert_eq!(error.kind(), kind, "{cloud:?} {code}: {error}");
        assert_eq!(puts.load(Ordering::Relaxed), 0, "{cloud:?} {code}: nothing is written to a store that refuses its listing");
    }
}
