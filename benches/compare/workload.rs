//! The work that all peers do alike (performance.md section 11).

use std::time::Duration;

use crate::peer::Peer;
use crate::server::Shape;
use crate::service::Count;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scale {
    /// For CI: under a minute
    Small,
    /// The numbers of record
    Full,
}

/// What is asked of a client.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Task {
    /// Copy a bucket into an empty one.
    Copy,
    /// Find out that two buckets are the same, but for one key in so many.
    Compare { changed: Option<u64>, page_delay: Duration },
}

/// One piece of work, and what it is measured by.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    /// As it is chosen on the command line; a prefix chooses several.
    pub(crate) name: String,
    /// As a person reads it.
    pub(crate) title: String,
    pub(crate) task: Task,
    pub(crate) objects: u64,
    pub(crate) size_bytes: u64,
    pub(crate) shape: Shape,
    pub(crate) tls: bool,
    pub(crate) who: Who,
    pub(crate) server: Server,
}

/// What serves a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// The lean one, which never sets the pace.
    Lean,
    /// One that stores bytes and checks signatures: `dragon dev-server`.
    Real,
}

/// What CPU time is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// CPU seconds a GiB.
    Gib,
    /// CPU microseconds an object.
    Object,
    /// CPU microseconds a key of each side.
    Key,
}

/// Who does a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Dragon alone, on the size that its targets are set for.
    Dragon,
    /// Everyone, on a size that the slowest can do five times over.
    Everyone,
    /// Dragon, and rclone as it comes.
    Pair,
}

impl Workload {
    pub(crate) fn copy(name: &str, title: &str, objects: u64, size_bytes: u64) -> Self {
        let title = format!("{title} ({} x {})", count(objects), size(size_bytes));
        Self { name: name.into(), title, task: Task::Copy, objects, size_bytes, shape: Shape::Tree, tls: false, who: Who::Dragon, server: Server::Lean }
    }

    pub(crate) fn compare(name: &str, title: &str, objects: u64, shape: Shape) -> Self {
        let title = format!("{title} ({} keys a side)", count(objects));
        let task = Task::Compare { changed: None, page_delay: Duration::ZERO };
        Self { name: name.into(), title, task, objects, size_bytes: 4 * KIB, shape, tls: false, who: Who::Dragon, server: Server::Lean }
    }

    fn everyone(self) -> Self {
        Self { name: format!("{}-peers", self.name), who: Who::Everyone, ..self }
    }

    /// On the real server. A comparison is Dragon's alone there: only its target is filled.
    fn real(self) -> Self {
        let who = if self.task == Task::Copy { Who::Pair } else { Who::Dragon };
        Self { name: format!("{}-real", self.name), title: format!("{}, on `dragon dev-server`", self.title), who, server: Server::Real, ..self }
    }

    fn https(self) -> Self {
        Self { name: self.name.replacen("w1", "w1-https", 1), title: format!("{}, https", self.title), tls: true, ..self }
    }

    fn delayed(self, page_delay: Duration) -> Self {
        let Task::Compare { changed, .. } = self.task else { return self };
        let title = format!("{}, {} ms a page", self.title, page_delay.as_millis());
        let (stem, peers) = self.name.strip_suffix("-peers").map_or((self.name.as_str(), ""), |stem| (stem, "-peers"));
        Self { name: format!("{stem}-{}ms{peers}", page_delay.as_millis()), title, task: Task::Compare { changed, page_delay }, ..self }
    }

    fn changed(self, changed: u64) -> Self {
        let title = format!("{}, one in {} changed", self.title, count(changed));
        Self { name: "w4-changed".into(), title, task: Task::Compare { changed: Some(changed), page_delay: Duration::ZERO }, ..self }
    }

    /// What this suite measures over loopback, in order.
    pub(crate) fn all(scale: Scale) -> Vec<Self> {
        let w1 = |bytes| Self::copy("w1", "W1: one large object", 1, bytes);
        let w2 = |objects, bytes| Self::copy("w2", "W2: large objects", objects, bytes);
        let w3 = |objects| Self::copy("w3", "W3: small objects", objects, 4 * KIB);
        let tree = |keys| Self::compare("w4-tree", "W4a: nothing to do, in a tree", keys, Shape::Tree);
        let flat = |keys| Self::compare("w4-flat", "W4b: nothing to do, under one prefix", keys, Shape::Flat);
        let far = Duration::from_millis(60);
        match scale {
            Scale::Small => {
                vec![
                    w1(GIB).everyone(),
                    w3(2_000).everyone(),
                    w3(10_000),
                    tree(5_000).everyone(),
                    tree(100_000),
                    flat(100_000),
                    tree(100_000).delayed(far),
                    w3(2_000).real(),
                ]
            }
            Scale::Full => vec![
                w1(10 * GIB),
                w1(10 * GIB).https(),
                w2(100, 100 * MIB),
                w3(100_000),
                tree(1_000_000),
                flat(1_000_000),
                tree(1_000_000).changed(1_000),
                tree(1_000_000).delayed(far),
                flat(1_000_000).delayed(far),
                flat(10_000_000).named("w4-ten-million"),
                w1(GIB).everyone(),
                w1(GIB).https().everyone(),
                w2(10, 100 * MIB).everyone(),
                w3(5_000).everyone(),
                tree(20_000).everyone(),
                flat(20_000).everyone(),
                flat(20_000).delayed(far).everyone(),
                w1(GIB).real(),
                w3(5_000).real(),
                tree(20_000).real(),
            ],
        }
    }

    fn named(self, name: &str) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Whether this client does it.
    pub(crate) fn asks(&self, peer: Peer) -> bool {
        match self.who {
            Who::Everyone => true,
            Who::Pair => matches!(peer, Peer::Dragon | Peer::Rclone),
            Who::Dragon => peer == Peer::Dragon,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.objects * self.size_bytes
    }

    /// The bucket that the client makes like the source.
    pub(crate) fn target(&self) -> &'static str {
        match self.task {
            Task::Copy => "target",
            Task::Compare { .. } => crate::server::MIRROR,
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        match self.task {
            Task::Copy if self.size_bytes >= MIB => Unit::Gib,
            Task::Copy => Unit::Object,
            Task::Compare { .. } => Unit::Key,
        }
    }

    /// What requests are counted by: objects, or thousands of keys on both sides.
    pub(crate) fn per(&self) -> &'static str {
        match self.task {
            Task::Copy => "per object, listings apart",
            Task::Compare { .. } => "per 1,000 + 1,000 keys",
        }
    }

    /// The requests that count.
    pub(crate) fn requests(&self, count: &Count) -> u64 {
        match self.task {
            Task::Copy => count.object_requests(),
            Task::Compare { .. } => count.requests,
        }
    }

    pub(crate) fn per_how_many(&self) -> f64 {
        match self.task {
            Task::Copy => self.objects as f64,
            Task::Compare { .. } => self.objects as f64 / 1000.0,
        }
    }

    /// The server's options for it.
    pub(crate) fn server_arguments(&self) -> Vec<String> {
        let shape = match self.shape {
            Shape::Tree => "tree",
            Shape::Flat => "flat",
        };
        let mut arguments: Vec<String> =
            ["server", "--shape", shape, "--objects", &self.objects.to_string(), "--size", &format!("{}B", self.size_bytes)].map(String::from).to_vec();
        if let Task::Compare { changed, page_delay } = self.task {
            arguments.extend(["--page-delay".into(), format!("{}ms", page_delay.as_millis())]);
            arguments.extend(changed.into_iter().flat_map(|changed| ["--changed".into(), changed.to_string()]));
        }
        arguments
    }
}

/// A count with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        GIB.. => format!("{} GiB", bytes / GIB),
        MIB.. => format!("{} MiB", bytes / MIB),
        _ => format!("{} KiB", bytes / KIB),
    }
}
