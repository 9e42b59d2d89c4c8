//! This machine's own troubles: full and read-only disks, missing permissions, a second process. Each ends with a clear error and the
//! right exit status, and nothing is lost.
//!
//! Small file systems are mounted for it, which takes root; without root those tests say that they were left out.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use dragon::clock::Clock;
use dragon::devserver::weather::{Effect, Fault};
use dragon::storage::{Account, Key, Payload, Put, s3};

use crate::stage::Stage;

/// A file system of its own, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this user may mount nothing.
    fn new(at: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at));
        }
        println!("left out: mounting a small file system takes root");
        None
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "remounted");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Both buckets, and objects of these sizes in the S3 one.
async fn set(sizes: &[(&str, usize)]) -> Stage {
    let stage = Stage::empty().await;
    let options = s3::Options {
        endpoints: vec![stage.server.s3_endpoint()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        ..s3::Options::default()
    };
    let account = Box::pin(s3::S3Account::open(options, Clock::system())).await.expect("an account");
    account.create_bucket("photos").await.expect("a bucket");
    let bucket = account.bucket("photos").expect("a bucket");
    for (key, size) in sizes {
        let body: Bytes = key.bytes().cycle().take(*size).collect::<Vec<u8>>().into();
        bucket.put(&Key::from(*key), Payload::from(body), Put::default()).await.expect("an object");
    }
    let (status, printed) = stage.dragon(&["mb", "oss://photos-cn"]).await;
    assert_eq!(status, 0, "{printed}");
    stage
}

impl Stage {
    async fn expect_words(&self, arguments: &[&str], status: i32, words: &[&str]) {
        let (ended, printed) = self.dragon(arguments).await;
        assert_eq!(ended, status, "{arguments:?} printed\n{printed}");
        for word in words {
            assert!(printed.contains(word), "'{word}' is missing in what {arguments:?} printed\n{printed}");
        }
    }

    fn start(&self, arguments: &[&str]) -> std::process::Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.prepare(&mut command);
        command.spawn().expect("started")
    }
}

async fn ended(child: std::process::Child) -> (i32, String) {
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("a task").expect("ended");
    let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().expect("a status"), printed)
}

/// Waits until something is so, for half a minute at most.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..600 {
        if is_so() {
            return;
        }
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>()).await.expect_err("a pause");
    }
    panic!("it never came so far: {what}");
}

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_pair_is_told_who_has_it() {
    let stage = set(&[("a", 100), ("b", 100)]).await;
    stage.server.inject(Fault::new(Effect::Delay(Duration::from_secs(5))).operation("GetObject").times(2));
    let first = stage.start(&["sync", "s3://photos", "oss://photos-cn"]);
    let pid = first.id().to_string();
    let lock = stage.folder.path().join(".local/state/dragon/pairs");
    until("the first has its lock", || {
        let pairs = std::fs::read_dir(&lock).into_iter().flatten().flatten();
        pairs.map(|pair| pair.path().join("lock")).any(|lock| std::fs::read_to_string(lock).is_ok_and(|text| text.contains(&pid)))
    })
    .await;
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 3, &[&format!("process {pid} "), "same two places"]).await;
    stage.expect_words(&["sync", "oss://photos-cn", "s3://photos"], 3, &[&format!("process {pid} ")]).await;
    // Another pair runs beside it, and so does one that keeps nothing.
    stage.expect_words(&["sync", "s3://photos", "./elsewhere"], 0, &[]).await;
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn", "--state-dir", "none"], 0, &[]).await;
    let (status, printed) = ended(first).await;
    assert_eq!(status, 0, "{printed}");
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 0, &["2 unchanged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_takes_no_journal() {
    let stage = set(&[("a", 100)]).await;
    let Some(mount) = Mount::new(stage.folder.path().join(".local/state"), "size=1m,ro") else { return };
    // The user's own: the run goes on without, and says so.
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 0, &["copied 1 object", "without a journal"]).await;
    // One that was asked for: nothing is begun.
    let named = mount.0.display().to_string();
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn", "--state-dir", &named], 3, &[&named, "--state-dir none"]).await;
    mount.remount("size=1m,rw");
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn", "--state-dir", &named], 3, &["free"]).await;
    mount.remount("size=200m,rw");
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn", "--state-dir", &named], 0, &["1 unchanged"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_directory_that_fills_up_stops_the_run_and_loses_nothing() {
    let stage = set(&[("large", 24 * MIB), ("a", 100), ("b", 100)]).await;
    let Some(mount) = Mount::new(stage.folder.path().join("state"), "size=80m") else { return };
    let named = mount.0.display().to_string();
    let arguments = ["sync", "s3://photos", "oss://photos-cn", "--state-dir", &named, "--part-size", "5MiB", "--concurrency", "1"];
    stage.server.inject(Fault::new(Effect::Delay(Duration::from_millis(700))).operation("UploadPart").always());
    let run = stage.start(&arguments);
    until("a part was sent", || stage.server.traffic(dragon::devserver::Cloud::Oss).operation("UploadPart") > 1).await;
    let filler = mount.0.join("filler");
    let filled = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display())).stderr(Stdio::null()).status();
    assert!(filled.is_ok_and(|status| !status.success()), "the disk is full");
    let (status, printed) = ended(run).await;
    assert_eq!(status, 3, "{printed}");
    assert!(printed.contains(&named) && printed.matches("dragon: ").count() <= 4, "one clear message, but\n{printed}");
    std::fs::remove_file(filler).expect("room again");
    stage.server.clear_faults();
    stage.server.reset_traffic();
    stage.expect_words(&arguments, 0, &["0 failed"]).await;
    assert!(stage.server.traffic(dragon::devserver::Cloud::Oss).operation("UploadPart") < 5, "what was sent is not sent again");
    stage.expect_words(&["verify", "s3://photos", "oss://photos-cn", "--deep"], 0, &["3 objects proved the same"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_destination_that_is_full_or_read_only() {
    let names: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
    let sizes: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 100_000)).collect();
    let stage = set(&sizes).await;
    let Some(mount) = Mount::new(stage.folder.path().join("disk"), "size=1m") else { return };
    let target = mount.0.display().to_string();
    let (status, printed) = stage.dragon(&["sync", "s3://photos", &target]).await;
    assert_eq!(status, 3, "{printed}");
    assert!(printed.contains("free some space") && printed.lines().filter(|line| line.starts_with("! ")).count() <= 2, "one clear message, but\n{printed}");
    mount.remount("size=20m");
    stage.expect_words(&["sync", "s3://photos", &target], 0, &["0 failed"]).await;
    stage.expect_words(&["verify", "s3://photos", &target], 0, &["40 objects proved the same"]).await;
    assert!(partials(&mount.0).is_empty(), "{:?}", partials(&mount.0));
    mount.remount("ro");
    stage.expect_words(&["sync", "s3://photos", &target, "--checksum", "--exclude", "k3*"], 0, &["0 failed"]).await;
    let (status, printed) = stage.dragon(&["cp", "s3://photos/k00", &format!("{target}/another")]).await;
    assert_eq!(status, 3, "{printed}");
    assert!(printed.contains("read-only"), "{printed}");
}

/// Files with a temporary name.
fn partials(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    all.filter(|path| path.to_string_lossy().ends_with(".partial")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_belongs_to_somebody_else() {
    let stage = set(&[("a", 100)]).await;
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !is_root {
        return println!("left out: becoming somebody else takes root");
    }
    let theirs = stage.folder.path().join("theirs");
    std::fs::create_dir(&theirs).expect("a folder");
    let mut open = std::fs::metadata(stage.folder.path()).expect("a folder").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut open, 0o755);
    std::fs::set_permissions(stage.folder.path(), open).expect("opened");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command.args(arguments);
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        command
    };
    for (arguments, status) in
        [(["sync", "s3://photos", "./theirs", "--state-dir", "none"], 1), (["sync", "s3://photos", "oss://photos-cn", "--state-dir", "./theirs/state"], 3)]
    {
        let output = stage.output(run(&arguments)).await;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        if printed.contains("No such file") && output.status.code().is_none() {
            return println!("left out: the binary lies where others cannot read it");
        }
        assert_eq!(output.status.code(), Some(status), "{printed}");
        assert!(printed.contains("ermission denied"), "{printed}");
    }
    assert!(std::fs::read_dir(&theirs).expect("a folder").next().is_none(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_damaged_or_newer_is_left_as_it_is() {
    let stage = set(&[("a", 100)]).await;
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 0, &[]).await;
    let pairs = stage.folder.path().join(".local/state/dragon/pairs");
    let pair = std::fs::read_dir(&pairs).expect("pairs").flatten().map(|entry| entry.path()).find(|path| path.is_dir());
    let journal = pair.expect("a pair").join("journal.db");
    let bytes = std::fs::read(&journal).expect("a journal");
    let newer = [&bytes[..60], &[0, 0, 3, 231], &bytes[64..]].concat();
    for broken in [b"this is no database, whatever its name says".repeat(100), newer] {
        std::fs::write(&journal, &broken).expect("written");
        stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 3, &["journal.db"]).await;
        assert_eq!(std::fs::read(&journal).expect("still there"), broken, "it is left as it is");
        stage.expect_words(&["sync", "s3://photos", "oss://photos-cn", "--state-dir", "none"], 0, &["1 unchanged"]).await;
    }
    std::fs::write(&journal, &bytes).expect("written");
    stage.expect_words(&["sync", "s3://photos", "oss://photos-cn"], 0, &["1 unchanged"]).await;
}
