//! The status page in a real browser, where one is installed: it renders, its script runs, it is live, and nothing comes from elsewhere.
//! Pictures of it go to `target/page/`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{PHOTOS, World, until};

/// The names that a headless Chromium goes by.
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];

fn browser() -> Option<&'static str> {
    BROWSERS.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success()))
}

fn browse(browser: &str, home: &Path, arguments: &[&str]) -> String {
    let fixed = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"];
    let output = Command::new("timeout").args(["60", browser]).args(fixed).args(arguments).env("HOME", home).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_page_is_what_a_person_needs_at_night() {
    let Some(browser) = browser() else {
        eprintln!("LEFT OUT: no Chromium is installed, so the page was not tried in a browser");
        return;
    };
    let world = World::new();
    for bucket in ["us://photos", "cn://photos-cn", "us://logs", "cn://logs-cn"] {
        world.ok(&["mb", bucket]);
    }
    (0..4).for_each(|n| world.put(&format!("us://photos/2026/{n}.jpg"), "picture"));
    world.put("us://logs/a.log", "line");
    world.configure(&format!(
        "{PHOTOS}schedule = \"every 5m\"\nlag_max = \"1h\"\n[[jobs.events]]\ntype = \"webhook\"\ntoken = \"hint\"\n\
         [[jobs]]\nname = \"logs\"\nsource = \"us://logs/\"\ndestination = \"cn://logs-cn/\"\ndelete = true\nmax_delete = 0\nschedule = \"0 3 * * * Asia/Shanghai\"\nwindows = [\"00:00-24:00 UTC\"]\n\
         [[jobs]]\nname = \"archive\"\nsource = \"us://archive/\"\ndestination = \"cn://archive-cn/\"\nschedule = \"every 1h\"\n"
    ));
    let daemon = world.start();
    for job in ["photos", "logs", "archive"] {
        world.ok(&["jobs", "run", job]);
    }
    until("photos are in sync", 30, || world.job("photos")["state"] == "in-sync" && world.job("logs")["state"] == "in-sync");
    until("the archive fails", 30, || world.job("archive")["state"] == "failing");
    world.ok(&["rm", "us://logs/a.log"]);
    world.put("us://logs/b.log", "line");
    world.ok(&["jobs", "run", "logs"]);
    until("the guard refuses", 30, || world.job("logs")["state"] == "refused");
    let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/page");
    std::fs::create_dir_all(&pictures).expect("made");
    let page = daemon.page.as_str();
    let dom = browse(browser, world.dir.path(), &["--dump-dom", page]);
    assert!(dom.contains("2 of 3 mirrors need you"), "{dom}");
    assert!(dom.contains("<time datetime=\"") && dom.contains("\" title=\""), "the script says moments in local time: {dom}");
    let job = format!("{page}jobs/logs");
    for (name, size, more, address) in [
        ("light", "1000,1500", None, page),
        ("dark", "1000,1500", Some("--blink-settings=preferredColorScheme=0"), page),
        ("narrow", "420,1500", None, page),
        ("trouble", "1000,1100", None, job.as_str()),
    ] {
        let picture = pictures.join(format!("{name}.png"));
        let _ = std::fs::remove_file(&picture);
        let (shot, size) = (format!("--screenshot={}", picture.display()), format!("--window-size={size}"));
        let arguments: Vec<&str> = [shot.as_str(), size.as_str()].into_iter().chain(more).chain([address]).collect();
        browse(browser, world.dir.path(), &arguments);
        assert!(std::fs::metadata(&picture).is_ok_and(|found| found.len() > 10_000), "{name} was taken");
    }
    // It is live: a state that changes is told to whoever looks.
    let mut stream = std::net::TcpStream::connect(daemon.host()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    std::io::Write::write_all(&mut stream, format!("GET /events HTTP/1.1\r\nhost: {}\r\n\r\n", daemon.host()).as_bytes()).expect("sent");
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains("paused</span>") {
        world.ok(&["jobs", "pause", "photos"]);
        let read = std::io::Read::read(&mut stream, &mut bytes).expect("it goes on");
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    assert!(text.contains("content-type: text/event-stream") && text.contains("event: state"));
    assert_eq!(daemon.end(), 0);
}
