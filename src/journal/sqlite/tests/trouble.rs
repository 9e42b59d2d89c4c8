//! What can be wrong with a disk, a file or another process: a clear error, and nothing lost.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use super::*;

fn file(desk: &Desk) -> PathBuf {
    desk.dir.path().join("pairs").join(pair("a", "b").name()).join("journal.db")
}

/// Opening fails for a reason of this machine that names the file, and leaves every byte as it is.
async fn refused_untouched(desk: &Desk, words: &[&str]) {
    let before = std::fs::read(file(desk)).expect("readable");
    let error = desk.try_open(&pair("a", "b")).await.expect_err("refused");
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Disk, "{text}");
    assert!(text.contains(&file(desk).display().to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "no '{word}' in: {text}");
    }
    assert_eq!(std::fs::read(file(desk)).expect("readable"), before);
}

async fn used() -> Desk {
    let desk = Desk::new();
    let journal = desk.open().await;
    for i in 0..2000 {
        journal.prove(&format!("{i:04}").as_str().into(), proved(i)).await.expect("noted");
    }
    journal.end(Outcome::Done, start()).await.expect("written");
    desk
}

#[tokio::test]
async fn a_second_process_is_told_who_is_at_work() {
    let desk = Desk::new();
    let journal = desk.open().await;
    for pair in [pair("a", "b"), pair("b", "a")] {
        let error = desk.try_open(&pair).await.expect_err("locked");
        assert!(error.kind() == ErrorKind::Local && error.to_string().contains("process 7 of ops on bj-1"), "{error}");
    }
    desk.try_open(&pair("a", "c")).await.expect("another pair is nobody's business");
    drop(journal);
    desk.open().await;
}

#[tokio::test]
async fn a_newer_database_is_refused_untouched() {
    let desk = used().await;
    Connection::open(file(&desk)).and_then(|db| db.pragma_update(None, "user_version", schema::VERSION + 1)).expect("written");
    refused_untouched(&desk, &["newer Dragon", "update this Dragon"]).await;
}

#[tokio::test]
async fn a_file_that_is_no_journal_is_refused_untouched() {
    let desk = used().await;
    std::fs::write(file(&desk), "my thesis, finally done".repeat(500)).expect("written");
    refused_untouched(&desk, &["damaged, or no journal", "no object is lost"]).await;
    std::fs::remove_file(file(&desk)).expect("removed");
    Connection::open(file(&desk)).and_then(|db| db.execute_batch("CREATE TABLE recipes (name)")).expect("written");
    refused_untouched(&desk, &["another program"]).await;
}

#[tokio::test]
async fn a_journal_in_another_pairs_place_is_refused() {
    let desk = used().await;
    let other = desk.dir.path().join("pairs").join(pair("a", "c").name());
    std::fs::create_dir(&other).expect("made");
    std::fs::copy(file(&desk), other.join("journal.db")).expect("copied");
    let error = desk.try_open(&pair("a", "c")).await.expect_err("refused");
    assert!(error.kind() == ErrorKind::Disk && error.to_string().contains("another pair"), "{error}");
}

#[tokio::test]
async fn damage_within_a_file_is_an_error_when_it_is_met() {
    let desk = used().await;
    let mut bytes = std::fs::read(file(&desk)).expect("readable");
    for at in (8192..bytes.len()).step_by(97) {
        bytes[at] ^= 0x55;
    }
    std::fs::write(file(&desk), bytes).expect("written");
    let met = match desk.try_open(&pair("a", "b")).await {
        Ok(journal) => journal.proofs(None, 5000).await.expect_err("met"),
        Err(error) => error,
    };
    assert!(met.kind() == ErrorKind::Disk && met.to_string().contains("damaged") && met.to_string().contains("no object is lost"), "{met}");
}

#[tokio::test]
async fn a_row_that_cannot_be_is_damage() {
    let desk = used().await;
    Connection::open(file(&desk)).and_then(|db| db.execute("UPDATE proof SET row = x'ff00' WHERE key = x'30303031'", [])).expect("written");
    let met = desk.open().await.proof(&"0001".into()).await.expect_err("met");
    assert!(met.kind() == ErrorKind::Disk && met.to_string().contains("is damaged"), "{met}");
}

#[tokio::test]
async fn a_path_that_is_no_directory_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state");
    std::fs::write(&path, "").expect("a file");
    let error = StateDir::new(&path).open(&pair("a", "b"), Keep::Full, run(), Clock::system()).await.expect_err("refused");
    assert!(error.kind() == ErrorKind::Disk && error.to_string().contains("state") && error.to_string().contains("--state-dir"), "{error}");
}

/// A file system of its own, in memory.
struct Mounted(TempDir);

impl Mounted {
    /// `None`, and a line that says so, where this process may not mount.
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let owner = dir.path().metadata().expect("there").uid();
        let mounted = owner == 0 && mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], dir.path());
        if !mounted {
            println!("left out: this process may not mount a file system");
            return None;
        }
        Some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    Command::new("mount").args(options).arg(at).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_read_only_directory_is_named_with_what_to_do() {
    let Some(disk) = Mounted::new("80m") else { return };
    let state = StateDir::new(disk.0.path().join("state"));
    let open = async || state.open(&pair("a", "b"), Keep::Full, run(), Clock::system()).await;
    open().await.expect("a journal").end(Outcome::Done, start()).await.expect("written");
    assert!(mount(&["-o", "remount,ro"], disk.0.path()));
    for error in [open().await.expect_err("refused"), state.prepare().expect_err("refused")] {
        let text = error.to_string();
        assert!(
            error.kind() == ErrorKind::Disk && text.contains("read-only") && text.contains("--state-dir DIR") && text.contains("--state-dir none"),
            "{text}"
        );
        assert!(text.contains(&disk.0.path().display().to_string()), "{text}");
    }
    let history = state.history(&pair("a", "b").name()).await.expect("looking takes no writing");
    assert_eq!(history.runs(None, 10).await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_refused_at_the_start() {
    let Some(disk) = Mounted::new("8m") else { return };
    let error = StateDir::new(disk.0.path()).open(&pair("a", "b"), Keep::Full, run(), Clock::system()).await.expect_err("refused");
    assert!(error.kind() == ErrorKind::Disk && error.to_string().contains("a run wants 64"), "{error}");
}

#[tokio::test]
async fn a_disk_that_fills_up_midway_keeps_all_that_was_acknowledged() {
    let Some(disk) = Mounted::new("80m") else { return };
    let state = StateDir::new(disk.0.path().join("state"));
    let open = async || state.open(&pair("a", "b"), Keep::Full, run(), Clock::system()).await;
    let journal = open().await.expect("a journal");
    let flight = journal.intend(intent("k")).await.expect("noted");
    let ballast = disk.0.path().join("ballast");
    let filled = std::fs::File::create(&ballast).map(|mut file| std::io::copy(&mut std::io::repeat(0).take(200 << 20), &mut file));
    assert!(filled.is_ok_and(|copied| copied.is_err()), "the disk is full");
    let mut acknowledged = 0;
    let error = loop {
        let key = format!("{acknowledged:06}");
        let wrote = async {
            journal.prove(&key.as_str().into(), proved(1)).await?;
            journal.flush().await
        };
        match wrote.await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Disk && text.contains("full") && text.contains("free some space") && text.contains("intact"), "{text}");
    for after in [journal.flush().await, journal.advance(flight, Event::Failed).await, journal.intend(intent("l")).await.map(drop)] {
        assert_eq!(after.expect_err("nothing more is taken").to_string(), text);
    }
    drop(journal);
    std::fs::remove_file(ballast).expect("freed");
    let journal = open().await.expect("a journal");
    assert_eq!(journal.proofs(None, usize::MAX).await.expect("read").len(), acknowledged);
    assert_eq!(journal.flight(&"k".into()).await.expect("read").map(|f| f.state), Some(State::Intent));
}
