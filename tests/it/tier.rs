//! A job's rules as an operator sees them: what would change, what is changed, and what nobody touches.

use std::sync::Arc;

use dragon::devserver::store::{ListQuery, Store};
use dragon::storage::s3::{Options, S3Account};
use dragon::storage::{Account, Storage, transport};
use serde_json::Value;

use crate::stage::Stage;

const JOB: &str = "[[jobs]]\nname = \"photos\"\nsource = \"s3://photos/\"\ndestination = \"oss://photos-cn/\"\n";

fn keys(store: &Store, bucket: &str) -> Vec<String> {
    let query = ListQuery { prefix: "", after: "", delimiter: "", limit: 1000 };
    store.list(bucket, &query).expect("listed").entries.iter().map(|entry| entry.name().to_owned()).collect()
}

async fn stage() -> Stage {
    let stage = Stage::empty().await;
    stage.server.s3_store().create_bucket("photos", Default::default()).expect("a bucket");
    stage.server.oss_store().create_bucket("photos-cn", Default::default()).expect("a bucket");
    stage
}

fn configure(stage: &Stage, rules: &str) {
    std::fs::write(stage.folder.path().join("dragon.toml"), format!("{JOB}{rules}")).expect("written");
}

#[tokio::test]
async fn a_rolling_backup_is_planned_and_thinned_out() {
    let stage = stage().await;
    let store = stage.server.oss_store();
    for day in 1..=20 {
        store.put_bytes("photos-cn", &format!("dumps/db-2025-03-{day:02}.gz"), "x".into()).await.expect("written");
    }
    store.put_bytes("photos-cn", "dumps/readme", "x".into()).await.expect("written");
    configure(&stage, "[[jobs.tier]]\nname = \"rolling\"\nprefix = \"dumps/\"\nkeep_daily = 7\nkeep_weekly = 1\n");
    let (code, told) = stage.dragon(&["tier", "plan", "photos"]).await;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("rolling: dumps/: snapshots kept: daily 7, weekly 1") && told.contains("12 objects would be deleted"), "{told}");
    assert_eq!(keys(store, "photos-cn").len(), 21, "a plan deletes nothing");
    let (code, told) = stage.dragon(&["tier", "run", "photos", "--max-delete", "5"]).await;
    assert!(code == 5 && told.contains("12 of 21 objects would be deleted, and the limit is 5"), "{code} {told}");
    let (code, told) = stage.dragon(&["tier", "run", "photos", "--json"]).await;
    assert_eq!(code, 0, "{told}");
    let rows: Vec<Value> = told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(rows.iter().filter(|row| row["action"] == "delete" && row["status"] == "ok" && row["rule"] == "rolling").count(), 12, "{told}");
    assert_eq!(rows.last().map(|row| (row["event"].clone(), row["deleted"].clone())), Some(("summary".into(), 12.into())));
    let left = keys(store, "photos-cn");
    assert_eq!(left.len(), 9, "{left:?}");
    // The last Sunday before the last seven days, and what has no date.
    assert!(left.contains(&"dumps/db-2025-03-09.gz".to_owned()) && left.contains(&"dumps/readme".to_owned()), "{left:?}");
    let (code, told) = stage.dragon(&["history", "oss://photos-cn/", "oss://photos-cn/", "--deletes", "--json"]).await;
    assert!(code == 0 && told.lines().count() == 12, "what is deleted stands in a journal: {told}");
}

#[tokio::test]
async fn what_cannot_be_is_told_before_anything_is_asked() {
    let stage = stage().await;
    configure(&stage, "");
    for (arguments, told) in [(&["tier", "plan", "photoz"][..], "there are: photos"), (&["tier", "plan", "photos"], "[[jobs.tier]]")] {
        let (code, printed) = stage.dragon(arguments).await;
        assert!(code == 2 && printed.contains(told), "{arguments:?}: {code} {printed}");
    }
    configure(&stage, "[[jobs.tier]]\nname = \"cool\"\ntransitions = [\"GLACIER after 30d\"]\n");
    let (code, printed) = stage.dragon(&["tier", "plan", "photos"]).await;
    assert!(code == 2 && printed.contains("the class most like it there is Archive"), "{code} {printed}");
}

#[tokio::test]
async fn a_buckets_own_rules_are_brought_up_to_date_and_foreign_ones_stay_on_moto() {
    if !crate::foreign::enabled("lifecycle rules against moto") {
        return;
    }
    let server = crate::foreign::server::moto();
    let options = Options {
        endpoints: vec![server.url.clone()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        transport: transport::Options { no_proxy: Some("*".into()), ..transport::Options::default() },
        ..Options::default()
    };
    let account = Box::pin(S3Account::open(options, dragon::clock::Clock::system())).await.expect("opened");
    for bucket in ["photos", "mirror"] {
        account.create_bucket(bucket).await.expect("made");
    }
    let mirror: Arc<dyn Storage> = account.bucket("mirror").expect("a store");
    let own = mirror.lifecycle().expect("rules");
    assert_eq!(own.lifecycle().await.expect("read"), None);
    let theirs = "<LifecycleConfiguration><Rule><ID>theirs</ID><Filter><Prefix>tmp/</Prefix></Filter><Status>Enabled</Status><Expiration><Days>3</Days></Expiration></Rule></LifecycleConfiguration>";
    own.set_lifecycle(Some(theirs), false).await.expect("put");
    let stage = stage().await.with("AWS_ENDPOINT_URL", &server.url);
    let job = |rules: &str| {
        let job = format!("[[jobs]]\nname = \"photos\"\nsource = \"s3://photos/\"\ndestination = \"s3://mirror/\"\n{rules}");
        std::fs::write(stage.folder.path().join("dragon.toml"), job).expect("written");
    };
    let cool = |days: u32| format!("[[jobs.tier]]\nname = \"cool\"\nprefix = \"raw/\"\ntransitions = [\"GLACIER after {days}d\"]\nabort_uploads = \"7d\"\n");
    job(&cool(90));
    let (code, told) = stage.dragon(&["tier", "plan", "photos"]).await;
    assert!(code == 0 && told.contains("+ dragon-photos.cool  raw/: GLACIER after 90 days, open uploads thrown away after 7 days"), "{told}");
    assert!(told.contains("1 rule of somebody else's stays as it is"), "{told}");
    let shown = async || own.lifecycle().await.expect("read").expect("rules");
    assert!(!shown().await.contains("dragon-"), "a plan puts nothing");
    let (code, told) = stage.dragon(&["tier", "run", "photos"]).await;
    assert!(code == 0 && told.contains("were changed, and read again"), "{told}");
    assert!(shown().await.contains("dragon-photos.cool") && shown().await.contains("theirs"));
    let (code, told) = stage.dragon(&["tier", "diff", "photos"]).await;
    assert!(code == 0 && told.contains("are as the job says") && told.contains("= dragon-photos.cool"), "{told}");
    job(&cool(60));
    let (_, told) = stage.dragon(&["tier", "plan", "photos", "--json"]).await;
    let row: Value = serde_json::from_str(told.lines().next().expect("a row")).expect("JSON");
    assert_eq!((&row["action"], &row["id"], &row["status"]), (&"change".into(), &"dragon-photos.cool".into(), &"planned".into()));
    let (code, told) = stage.dragon(&["tier", "plan", "photos", "--terraform"]).await;
    assert!(code == 0 && told.contains("resource \"aws_s3_bucket_lifecycle_configuration\" \"mirror\"") && told.contains("days = 60"), "{told}");
    // The rule goes from the job, and then from the bucket.
    job("[[jobs.tier]]\nname = \"other\"\nkeep_newest = 3\n");
    let (code, told) = stage.dragon(&["tier", "apply", "photos"]).await;
    assert!(code == 0 && told.contains("- dragon-photos.cool"), "{told}");
    assert!(!shown().await.contains("dragon-") && shown().await.contains("theirs"));
}

/// Both clouds carry the same rule out, on a clock that the test moves.
#[tokio::test]
async fn each_cloud_carries_out_what_it_was_given() {
    let stage = stage().await;
    let large = vec![7; 200 << 10];
    for (store, bucket) in [(stage.server.s3_store(), "photos"), (stage.server.oss_store(), "photos-cn")] {
        store.put_bytes(bucket, "raw/a", large.clone().into()).await.expect("written");
        store.put_bytes(bucket, "tmp/b", large.clone().into()).await.expect("written");
    }
    configure(
        &stage,
        "[[jobs.tier]]\nname = \"cool\"\non = \"source\"\nprefix = \"raw/\"\ntransitions = [\"STANDARD_IA after 30d\", \"GLACIER after 90d\"]\n\
         [[jobs.tier]]\nname = \"cool\"\nprefix = \"raw/\"\ntransitions = [\"IA after 30d\", \"Archive after 90d\"]\n"
            .replace("name = \"cool\"\nprefix", "name = \"cool-cn\"\nprefix")
            .as_str(),
    );
    let (code, told) = stage.dragon(&["tier", "run", "photos"]).await;
    assert!(code == 0 && told.contains("+ dragon-photos.cool  raw/: STANDARD_IA after 30 days, GLACIER after 90 days"), "{code} {told}");
    assert!(told.contains("+ dragon-photos.cool-cn  raw/: IA after 30 days, Archive after 90 days"), "{told}");
    let class = |store: &Store, bucket: &str, key: &str| store.object(bucket, key).expect("there").attributes.storage_class.clone();
    let classes = || {
        let (s3, oss) = (stage.server.s3_store(), stage.server.oss_store());
        [class(s3, "photos", "raw/a"), class(s3, "photos", "tmp/b"), class(oss, "photos-cn", "raw/a"), class(oss, "photos-cn", "tmp/b")]
    };
    assert_eq!(classes(), [None, None, None, None]);
    stage.server.pass_time(std::time::Duration::from_secs(32 * 86_400));
    assert_eq!(classes(), [Some("STANDARD_IA".into()), None, Some("IA".into()), None]);
    stage.server.pass_time(std::time::Duration::from_secs(60 * 86_400));
    assert_eq!(classes(), [Some("GLACIER".into()), None, Some("Archive".into()), None]);
    // A mirror of what sank at both ends is in order: nothing is thawed, copied or brought up again.
    let (code, told) = stage.dragon(&["sync", "s3://photos/", "oss://photos-cn/", "--dry-run"]).await;
    assert!(code == 0 && told.contains("would copy 0 objects"), "{code} {told}");
    let (code, told) = stage.dragon(&["tier", "plan", "photos"]).await;
    assert!(code == 0 && told.matches("are as the job says").count() == 2, "{told}");
}
