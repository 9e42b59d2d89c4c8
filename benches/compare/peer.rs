//! Who is compared: Dragon, the library yardsticks, rclone and s5cmd; and how each is told to do a workload.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::install;
use crate::workload::{Task, Workload};

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Peer {
    /// S3 to OSS, both checksums, journal on, defaults
    Dragon,
    /// The same where BBR is not to be had: with the system's congestion control; for W5
    DragonSystem,
    /// The crate `object_store`, S3 to S3
    ObjectStore,
    /// The crate `aws-sdk-s3`, S3 to S3
    AwsSdk,
    /// rclone as it comes, S3 to S3
    Rclone,
    /// rclone with the flags that make it fastest here
    RcloneTuned,
    /// s5cmd: download to tmpfs and upload, since it knows one endpoint at a time
    S5cmd,
}

/// Where a client finds its servers.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// S3 of the source, and of the target; OSS of the target.
    pub(crate) s3: String,
    pub(crate) target_s3: String,
    pub(crate) oss: String,
    /// The certificate to trust, where they speak https.
    pub(crate) certificate: Option<PathBuf>,
    /// A folder that lasts over the rounds of one workload.
    pub(crate) lasting: PathBuf,
    /// A folder in memory, empty at the beginning of a round.
    pub(crate) scratch: PathBuf,
}

/// A program with its arguments and environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Invocation {
    pub(crate) command: Vec<OsString>,
    pub(crate) environment: Vec<(String, OsString)>,
}

const KEYS: [(&str, &str); 7] = [
    ("AWS_ACCESS_KEY_ID", "dragon"),
    ("AWS_SECRET_ACCESS_KEY", "dragon-secret"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("OSS_ACCESS_KEY_ID", "dragon"),
    ("OSS_ACCESS_KEY_SECRET", "dragon-secret"),
    ("OSS_REGION", "cn-hangzhou"),
];

impl Peer {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Dragon => "**dragon**",
            Self::DragonSystem => "**dragon**, the system's congestion control",
            Self::ObjectStore => "object_store (library)",
            Self::AwsSdk => "aws-sdk-s3 (library)",
            Self::Rclone => "rclone",
            Self::RcloneTuned => "rclone, tuned",
            Self::S5cmd => "s5cmd, via tmpfs",
        }
    }

    /// Whether the client can do this at all.
    pub(crate) fn can(self, workload: &Workload) -> bool {
        match (self, workload.task) {
            // What a comparison of two listings means is not in these libraries.
            (Self::ObjectStore | Self::AwsSdk, task) => task == Task::Copy,
            _ => true,
        }
    }

    /// The program's version, or why it is not there.
    pub(crate) fn version(self, dragon: &Path) -> Result<String, String> {
        match self {
            Self::Dragon | Self::DragonSystem => install::first_line(dragon, &["--version"]),
            Self::ObjectStore => Ok("object_store 0.14".into()),
            Self::AwsSdk => Ok("aws-sdk-s3 1.157".into()),
            Self::Rclone | Self::RcloneTuned => install::first_line(&install::rclone()?, &["version"]),
            Self::S5cmd => install::first_line(&install::s5cmd()?, &["version"]).map(|version| format!("s5cmd {version}")),
        }
    }

    /// What to run, one behind the other.
    pub(crate) fn invocations(self, workload: &Workload, place: &Place, dragon: &Path) -> Result<Vec<Invocation>, String> {
        Ok(match self {
            Self::Dragon => vec![self.dragon(workload, place, dragon)],
            Self::DragonSystem => {
                let file = place.lasting.join("system.toml");
                std::fs::write(&file, "[engine]\ncongestion_control = \"system\"\n").map_err(|error| format!("{}: {error}", file.display()))?;
                vec![self.dragon(workload, place, dragon).with(["--config".as_ref(), file.as_os_str()])]
            }
            Self::ObjectStore => vec![role("object-store", workload, place)],
            Self::AwsSdk => vec![role("aws-sdk", workload, place)],
            Self::Rclone | Self::RcloneTuned => vec![self.rclone(workload, place, &install::rclone()?)],
            Self::S5cmd => s5cmd(workload, place, &install::s5cmd()?),
        })
    }

    fn dragon(self, workload: &Workload, place: &Place, dragon: &Path) -> Invocation {
        let target = workload.target();
        let mut invocation = Invocation::dragon(dragon, &place.s3, &place.oss)
            .with(["sync", "s3://source/", &format!("oss://{target}/"), "--quiet", "--state-dir"])
            .with([place.state_dir(workload)]);
        if let Some(certificate) = &place.certificate {
            let set = |store: &str| format!("stores.{store}.ca_file={}", certificate.display());
            invocation = invocation.with(["--set", &set("s3"), "--set", &set("oss")]);
        }
        invocation
    }

    fn rclone(self, workload: &Workload, place: &Place, rclone: &Path) -> Invocation {
        let target = workload.target();
        let mut invocation = Invocation::of(rclone).with(["sync", "src:source", &format!("dst:{target}"), "--config", "/dev/null"]);
        for (remote, endpoint) in [("SRC", &place.s3), ("DST", &place.target_s3)] {
            let settings =
                [("TYPE", "s3"), ("PROVIDER", "Other"), ("ACCESS_KEY_ID", "dragon"), ("SECRET_ACCESS_KEY", "dragon-secret"), ("REGION", "us-east-1")];
            for (name, value) in settings.into_iter().chain([("ENDPOINT", endpoint.as_str())]) {
                invocation = invocation.env(&format!("RCLONE_CONFIG_{remote}_{name}"), value);
            }
        }
        if let Some(certificate) = &place.certificate {
            invocation = invocation.with(["--ca-cert".as_ref(), certificate.as_os_str()]);
        }
        if self == Self::RcloneTuned {
            invocation = invocation.with(["--fast-list", "--checksum", "--s3-no-check-bucket", "--s3-no-head", "--checkers", "64"]);
            invocation = match (workload.task, workload.size_bytes) {
                (Task::Copy, size) if size >= 1 << 20 => {
                    invocation.with(["--s3-chunk-size", "16M", "--s3-upload-concurrency", "8", "--transfers", "8", "--multi-thread-streams", "8"])
                }
                _ => invocation.with(["--transfers", "64"]),
            };
        }
        invocation
    }
}

/// One of our own roles: a library used as its documentation shows.
fn role(name: &str, workload: &Workload, place: &Place) -> Invocation {
    let own = std::env::current_exe().unwrap_or_else(|_| "compare".into());
    let mut invocation = Invocation::of(&own).with([name, "--endpoint", &place.s3, "--from", "source", "--to", workload.target()]);
    if let Some(certificate) = &place.certificate {
        // The SDK asks the system's store, which this variable names.
        invocation = invocation.with(["--certificate".as_ref(), certificate.as_os_str()]).env("SSL_CERT_FILE", &certificate.display().to_string());
    }
    invocation
}

fn s5cmd(workload: &Workload, place: &Place, s5cmd: &Path) -> Vec<Invocation> {
    let base = || {
        let base = Invocation::of(s5cmd).with(["--endpoint-url", &place.s3, "--log", "error"]);
        if place.certificate.is_some() { base.with(["--no-verify-ssl"]) } else { base }
    };
    let target = format!("s3://{}/", workload.target());
    match workload.task {
        Task::Copy => {
            let folder = format!("{}/", place.scratch.display());
            vec![base().with(["cp", "s3://source/*", &folder]), base().with(["cp", &folder, &target])]
        }
        Task::Compare { .. } => vec![base().with(["sync", "--size-only", "s3://source/*", &target])],
    }
}

impl Place {
    /// Where Dragon keeps its journal: anew each round for a copy; for a comparison the one that an earlier run filled.
    fn state_dir(&self, workload: &Workload) -> PathBuf {
        match workload.task {
            Task::Copy => self.scratch.join("state"),
            Task::Compare { .. } => self.lasting.join("state"),
        }
    }
}

impl Invocation {
    /// One of our own roles, without any keys.
    pub(crate) fn own(program: &Path, arguments: impl IntoIterator<Item = String>) -> Self {
        Self::of(program).with(arguments)
    }

    /// Dragon with both clouds where they are.
    pub(crate) fn dragon(program: &Path, s3: &str, oss: &str) -> Self {
        Self::of(program).env("AWS_ENDPOINT_URL_S3", s3).env("OSS_ENDPOINT", oss)
    }

    fn of(program: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let keys = KEYS.map(|(name, value)| (name.to_owned(), value.into()));
        Self { command: vec![program.into()], environment: keys.into_iter().chain([("PATH".to_owned(), path)]).collect() }
    }

    pub(crate) fn with<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(arguments.into_iter().map(Into::into));
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }
}
