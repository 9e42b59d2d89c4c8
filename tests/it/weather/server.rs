//! `dragon dev-server --weather`, and what a client meets in each kind of it.

use dragon::devserver::{DevServer, Options};

/// Runs the binary against a server in that weather.
async fn dragon(weather: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let server = DevServer::start(Options { weather: weather.parse().expect("a forecast"), ..Options::default() }).await.expect("two clouds");
    for store in [server.s3_store(), server.oss_store()] {
        store.create_bucket("tree", Default::default()).expect("a new bucket");
        store.put_bytes("tree", "leaf", "green".into()).await.expect("put");
    }
    let mut command = crate::dragon(&server.s3_endpoint(), &server.oss_endpoint());
    command.args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("it runs");
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_clocks_are_met_and_corrected() {
    for weather in ["skew=20m", "skew=-20m"] {
        for url in ["s3://tree/", "oss://tree/"] {
            let (status, printed) = dragon(weather, &["ls", url]).await;
            assert!(status == Some(0) && printed.contains("leaf"), "{weather} {url}: {printed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_that_is_out_resets_whoever_comes_until_it_is_back() {
    for url in ["s3://tree/leaf", "oss://tree/leaf"] {
        let (status, printed) = dragon("outage=0s+1500ms", &["cat", url]).await;
        assert!(status == Some(0) && printed.contains("green"), "{url}: {printed}");
    }
    let (status, printed) = dragon("outage=oss@0s+1h", &["cat", "s3://tree/leaf"]).await;
    assert!(status == Some(0) && printed.contains("green"), "the other cloud stays: {printed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_without_a_token_are_refused_where_tokens_are_asked_for() {
    for url in ["s3://tree/", "oss://tree/"] {
        let (status, printed) = dragon("token=10s", &["ls", url]).await;
        assert!(status == Some(3) && printed.contains("InvalidAccessKeyId"), "{url}: {status:?} {printed}");
    }
}

#[test]
fn a_wrong_word_is_refused_with_the_nearest_right_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("storm");
    std::fs::write(&file, "seed=7 # ours\n503=1%\nlatancy=20ms\n").expect("a file");
    let absent = folder.path().join("absent");
    for (weather, said) in [
        ("503=1% stal=1%/60s".as_ref(), "did you mean 'stall'?"),
        (file.as_os_str(), "did you mean 'latency'?"),
        (absent.as_os_str(), "cannot be read"),
        ("503=1".as_ref(), "in percent"),
    ] {
        let output = crate::dragon("", "").args(["dev-server", "--s3-listen", "127.0.0.1:0", "--oss-listen", "127.0.0.1:0", "--weather"]).arg(weather).output();
        let output = output.expect("it runs");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && printed.contains(said), "{weather:?}: {printed}");
    }
}
