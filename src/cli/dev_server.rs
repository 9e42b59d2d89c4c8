//! `dragon dev-server`: S3 and OSS on loopback.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::devserver::{Credentials, DevServer, Options};

use super::exit::{self, Outcome};
use super::session::Session;

/// Serve S3 and OSS on loopback, in memory or in a directory: two clouds, with no account
///
/// Prints one line once it listens: ready s3=http://HOST:PORT oss=http://HOST:PORT access_key_id=... access_key_secret=...
/// The keys are dragon and dragon-secret; DRAGON_DEV_ACCESS_KEY_ID and DRAGON_DEV_ACCESS_KEY_SECRET change them.
#[derive(Debug, Args)]
pub(super) struct DevServerCommand {
    /// Where the S3 side listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    s3_listen: SocketAddr,
    /// Where the OSS side listens; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    oss_listen: SocketAddr,
    /// Keep both clouds in this directory instead of memory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    data: Option<PathBuf>,
}

impl DevServerCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut options =
            Options { s3_listen: self.s3_listen, oss_listen: self.oss_listen, data: self.data, clock: session.clock.clone(), ..Options::default() };
        let variable = |name, default: String| session.environment.get(name).map_or(default, str::to_owned);
        options.credentials = Credentials {
            access_key_id: variable("DRAGON_DEV_ACCESS_KEY_ID", options.credentials.access_key_id),
            access_key_secret: variable("DRAGON_DEV_ACCESS_KEY_SECRET", options.credentials.access_key_secret),
        };
        let server = DevServer::start(options).await?;
        session.output.line(&server.ready_line())?;
        session.output.flush()?;
        session.cancel.cancelled().await;
        server.shutdown().await;
        // It was asked to end, and did: a service that stops when told has not failed.
        Ok(exit::OK)
    }
}
