//! The processes that serve a run: started, asked, and ended with it.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde::Deserialize;

/// A process that serves until this is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    child: Child,
    /// What its `ready` line said: `NAME=VALUE` each.
    ready: Vec<(String, String)>,
    /// Kept open, so that the process can print.
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    /// Starts a process and waits for its line `ready NAME=VALUE ...`.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or_else(|| io::Error::other("no output to read"))?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Some(words) = line.trim().strip_prefix("ready ") else {
            let status = child.wait()?;
            return Err(io::Error::other(format!("{command:?} did not start: '{}', {status}", line.trim())));
        };
        let ready = words.split(' ').filter_map(|word| word.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Self { child, ready, _stdout: stdout })
    }

    /// One of our own roles, as a process.
    pub(crate) fn role<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> io::Result<Self> {
        Self::start(Command::new(std::env::current_exe()?).args(arguments))
    }

    pub(crate) fn ready(&self, name: &str) -> &str {
        self.ready.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value.as_str())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have died by itself: then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the lean server counted and verified.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) count: Count,
    pub(crate) target: Target,
}

/// Requests and bytes.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
pub(crate) struct Count {
    pub(crate) operations: std::collections::BTreeMap<String, u64>,
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) connections: u64,
    pub(crate) open_max: u64,
    pub(crate) throttled: u64,
    pub(crate) resets: u64,
    pub(crate) stalls: u64,
    pub(crate) corrupted: u64,
    pub(crate) refused: u64,
}

/// The target bucket beside the source.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
pub(crate) struct Target {
    pub(crate) objects: u64,
    pub(crate) same: u64,
    pub(crate) different: u64,
    pub(crate) missing: u64,
    pub(crate) bytes: u64,
}

/// Requests that are about a bucket, and not about one of its objects.
const BUCKET_OPERATIONS: [&str; 6] = ["list", "list_uploads", "list_buckets", "head_bucket", "bucket_setting", "create_bucket"];

impl Count {
    /// Requests that are about objects: not listings, nor what is asked of a bucket.
    pub(crate) fn object_requests(&self) -> u64 {
        self.operations.iter().filter(|(name, _)| !BUCKET_OPERATIONS.contains(&name.as_str())).map(|(_, count)| count).sum()
    }
}

impl Report {
    /// Whether the target holds exactly what the source holds.
    pub(crate) fn is_complete(&self) -> bool {
        self.target.different == 0 && self.target.missing == 0
    }
}

/// Asks a control port.
pub(crate) fn ask(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut tcp = TcpStream::connect(address)?;
    write!(tcp, "GET /-/{path} HTTP/1.1\r\nhost: control\r\n\r\n")?;
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer)?;
    let head = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(|| io::Error::other("the server's control port answers nothing"))?;
    Ok(answer.split_off(head + 4))
}

/// Makes the lean server forget what was written and counted.
pub(crate) fn reset(server: &Service) -> io::Result<()> {
    ask(server.ready("control"), "reset").map(|_| ())
}

/// The lean server's report on a bucket.
pub(crate) fn report(server: &Service, bucket: &str) -> io::Result<Report> {
    serde_json::from_slice(&ask(server.ready("control"), &format!("report/{bucket}"))?).map_err(io::Error::other)
}
