//! What a sync would take and cost, asked of the binary over both clouds.

use dragon::devserver::Cloud;
use serde_json::Value;

use crate::stage::Stage;

async fn stage() -> Stage {
    let stage = Stage::empty().await;
    for command in [&["mb", "s3://photos"][..], &["mb", "oss://photos-cn"]] {
        assert_eq!(stage.dragon(command).await.0, 0);
    }
    std::fs::write(stage.folder.path().join("large"), vec![7; 300 << 10]).expect("a file");
    for (key, class) in [("plain", "STANDARD"), ("cool", "STANDARD_IA"), ("cold", "DEEP_ARCHIVE")] {
        let (code, told) = stage.dragon(&["cp", "./large", &format!("s3://photos/{key}"), "--storage-class", class]).await;
        assert_eq!(code, 0, "{told}");
    }
    stage
}

/// A table whose prices nobody charges: a unit of money for each thousand requests and each gigabyte.
fn table(stage: &Stage, but_not: &str) {
    let mut text = String::new();
    let mut price = |store: &str, item: &str, class: &str, per: &str| {
        if item == but_not {
            return;
        }
        let class = if class.is_empty() { String::new() } else { format!("class = \"{class}\"\n") };
        text += &format!(
            "[[price]]\nstore = \"{store}\"\nitem = \"{item}\"\n{class}amount = \"1\"\ncurrency = \"USD\"\nper = \"{per}\"\nsource = \"this test\"\ndate = \"2026-11-27\"\n"
        );
    };
    for class in ["STANDARD", "STANDARD_IA", "DEEP_ARCHIVE", "GLACIER"] {
        price("s3", "get", class, "1000");
    }
    for class in ["STANDARD_IA", "DEEP_ARCHIVE", "GLACIER"] {
        price("s3", "retrieval", class, "GB");
        price("s3", "restore", class, "1000");
    }
    for class in ["Standard", "IA", "DeepColdArchive"] {
        price("oss", "put", class, "1000");
        price("oss", "storage", class, "GB-month");
    }
    for store in ["s3", "oss"] {
        price(store, "list", "", "1000");
        price(store, "egress", "", "GB");
    }
    std::fs::write(stage.folder.path().join("prices.toml"), text).expect("written");
    std::fs::write(stage.folder.path().join("dragon.toml"), "prices = \"prices.toml\"\n").expect("written");
}

#[tokio::test]
async fn an_estimate_reads_and_writes_nothing() {
    let stage = stage().await;
    stage.server.reset_traffic();
    let (code, told) = stage.dragon(&["estimate", "s3://photos/", "oss://photos-cn/"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("3 objects to copy (900.0 KiB)") && told.contains("have no known price"), "{told}");
    assert!(told.contains("retrieval DEEP_ARCHIVE") && told.contains("storage DeepColdArchive") && told.contains("unknown a month"), "{told}");
    for cloud in [Cloud::S3, Cloud::Oss] {
        let traffic = stage.server.traffic(cloud);
        assert!((traffic.bytes_in, traffic.operation("GetObject"), traffic.operation("RestoreObject")) == (0, 0, 0), "{cloud:?}: {traffic:?}");
    }
    let (_, left) = stage.dragon(&["ls", "oss://photos-cn/"]).await;
    assert_eq!(left.trim(), "");
    table(&stage, "");
    let (code, told) = stage.dragon(&["estimate", "s3://photos/", "oss://photos-cn/", "--json"]).await;
    assert_eq!(code, 0, "{told}");
    let rows: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let summary = rows.last().expect("a summary");
    assert_eq!((&summary["objects"], &summary["unknown"]), (&3.into(), &0.into()), "{told}");
    // 3 gets, 3 puts, 1 restore and 2 pages at a thousandth; 600 KiB of retrieval and 900 KiB of egress at a billionth a byte.
    let (requests, bytes) = (9.0 / 1000.0, 1500.0 * 1024.0 / 1e9);
    let once = summary["once"][0].as_str().expect("money").trim_end_matches(" USD").parse::<f64>().expect("a number");
    assert!((once - requests - bytes).abs() < 0.0002, "{once} for {}", requests + bytes);
}

#[tokio::test]
async fn a_limit_of_cost_stops_a_sync_before_it_begins() {
    let stage = stage().await;
    let sync = ["sync", "s3://photos/", "oss://photos-cn/"];
    let with = |more: &[&'static str]| [&sync[..], more].concat();
    let (code, told) = stage.dragon(&with(&["--max-cost", "1USD"])).await;
    assert!(code == 5 && told.contains("no price is known of"), "{code} {told}");
    table(&stage, "");
    let (code, told) = stage.dragon(&with(&["--max-cost", "0.001USD"])).await;
    assert!(code == 5 && told.contains("the limit is 0.0010 USD"), "{code} {told}");
    assert_eq!(stage.dragon(&["ls", "oss://photos-cn/"]).await.1.trim(), "", "nothing was copied");
    let (code, told) = stage.dragon(&with(&["--max-cost", "1", "--dry-run"])).await;
    assert!(code == 2 && told.contains("20USD"), "{code} {told}");
    // What can be read is copied; what lies in the archive is asked for as far as the day's money goes.
    let (code, told) = stage.dragon(&with(&["--max-cost", "1USD", "--thaw", "--thaw-max-cost", "0.001USD"])).await;
    assert!(code == 0 && told.contains("copied 2 objects"), "{code} {told}");
    // The request alone is a thousandth: the object's bytes do not fit any more.
    assert_eq!(stage.server.traffic(Cloud::S3).operation("RestoreObject"), 0);
    let (code, told) = stage.dragon(&with(&["--thaw", "--thaw-max-cost", "0.01USD"])).await;
    assert_eq!((code, stage.server.traffic(Cloud::S3).operation("RestoreObject")), (0, 1), "{told}");
    table(&stage, "restore");
    let (code, told) = stage.dragon(&with(&["--thaw", "--thaw-max-cost", "1USD"])).await;
    assert!(code == 5 && told.contains("no price at s3 for restore of GLACIER, restore of DEEP_ARCHIVE"), "{code} {told}");
    let (code, told) = stage.dragon(&["restore", "-r", "s3://photos/", "--max-cost", "1USD"]).await;
    assert!(code == 5 && told.contains("no price at s3"), "{code} {told}");
}
