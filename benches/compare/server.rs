//! The lean server: both clouds' protocols over synthetic objects, so light that it never sets the pace.
//!
//! It runs as a process of its own (`compare server`), on one port a cloud. It checks no signature. Everything it says is true: the
//! checksums it states are those of the bytes it sends, and it keeps both checksums of everything it receives. A third port tells
//! what it counted and how a target bucket compares with the source (`GET /-/report`), and makes it forget (`/-/reset`).

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

mod catalog;
mod connection;
mod content;
mod counters;
mod dialect;
mod fault;
mod listing;
mod request;
mod store;
mod time;
pub(crate) mod tls;
pub(crate) mod wire;
mod xml;

pub(crate) use catalog::Shape;
pub(crate) use store::MIRROR;

use catalog::Catalog;
use counters::Counters;
use dialect::Dialect;
use fault::Faults;
use store::Store;

/// What is served, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where S3 listens
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) s3_listen: SocketAddr,
    /// Where OSS listens
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) oss_listen: SocketAddr,
    /// Where it is asked what it counted, in plain http: /-/report[/BUCKET], /-/reset
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) control_listen: SocketAddr,
    /// Run on this core
    #[arg(long)]
    pub(crate) core: Option<usize>,
    /// Objects of the buckets `source` and `mirror`
    #[arg(long, default_value_t = 1)]
    pub(crate) objects: u64,
    /// Size of each
    #[arg(long, default_value = "1GiB")]
    pub(crate) size: ByteSize,
    /// How their keys lie
    #[arg(long, value_enum, default_value_t = Shape::Tree)]
    pub(crate) shape: Shape,
    /// One object in so many differs between `source` and `mirror`
    #[arg(long)]
    pub(crate) changed: Option<u64>,
    /// How long every page of a listing takes
    #[arg(long, default_value = "0ms", value_parser = humantime::parse_duration)]
    pub(crate) page_delay: Duration,
    /// Requests a second that read or write bytes; more are answered with 503
    #[arg(long)]
    pub(crate) throttle: Option<u32>,
    /// Fail as W6 says: 1 % throttled, 0.5 % reset, 0.2 % stalled for a minute, one in 10,000 corrupt or cut short
    #[arg(long)]
    pub(crate) flaky: bool,
    /// Serve https, and write the certificate to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) tls: Option<std::path::PathBuf>,
}

/// What all connections share.
struct Server {
    store: Store,
    counters: Counters,
    faults: Faults,
    page_delay: Duration,
    upload_number: AtomicU64,
}

impl Server {
    /// `report`, `report/BUCKET`, `reset`: answered as JSON.
    fn control(&self, path: &str) -> String {
        if path == "reset" {
            self.store.reset();
            self.counters.reset();
            return "{}".into();
        }
        let bucket = path.strip_prefix("report/").unwrap_or("target");
        let report = serde_json::json!({ "count": self.counters.read(), "target": self.store.verify(bucket) });
        report.to_string()
    }
}

/// Serves until it is killed. Prints one line, `ready s3=URL oss=URL control=ADDRESS`, when it listens.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if let Some(core) = options.core {
        crate::measure::pin(core)?;
    }
    let catalog = Catalog { shape: options.shape, objects: options.objects, size: options.size.as_u64() };
    let server = Arc::new(Server {
        store: Store::new(catalog, options.changed),
        counters: Counters::default(),
        faults: Faults::new(options.flaky, options.throttle),
        page_delay: options.page_delay,
        upload_number: AtomicU64::new(1),
    });
    // What is computed once is computed now, not while a client is measured.
    (0..16.min(options.objects + 1)).for_each(|number| server.store.warm(number));
    let tls = options.tls.as_deref().map(tls::configure).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let s3 = TcpListener::bind(options.s3_listen)?;
    let oss = TcpListener::bind(options.oss_listen)?;
    let control = TcpListener::bind(options.control_listen)?;
    println!("ready s3={scheme}://{} oss={scheme}://{} control={}", s3.local_addr()?, oss.local_addr()?, control.local_addr()?);
    io::stdout().flush()?;
    std::thread::scope(|scope| {
        for (listener, dialect, tls) in [(&s3, Some(Dialect::S3), &tls), (&oss, Some(Dialect::Oss), &tls), (&control, None, &None)] {
            let server = &server;
            scope.spawn(move || {
                for tcp in listener.incoming() {
                    // A client that is gone before it is met was none.
                    let Ok(tcp) = tcp.and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp)) else { continue };
                    let (server, tls) = (server.clone(), tls.clone());
                    let builder = std::thread::Builder::new().stack_size(256 << 10);
                    let spawned = builder.spawn(move || match tls::open(tls.as_ref(), tcp) {
                        Ok(stream) => connection::serve(&server, dialect, stream),
                        Err(error) => eprintln!("server: no TLS: {error}"),
                    });
                    if let Err(error) = spawned {
                        eprintln!("server: no thread for a connection: {error}");
                    }
                }
            });
        }
    });
    Ok(())
}
