//! `dragon dev-server`: S3 and OSS on loopback.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueHint};

use crate::config::units;
use crate::devserver::weather::Forecast;
use crate::devserver::{Credentials, DevServer, Options};
use crate::error::{Error, Result};

use super::exit::{self, Outcome};
use super::session::Session;

/// Serve S3 and OSS on loopback, in memory or in a directory: two clouds, with no account
///
/// Prints one line once it listens: ready s3=http://HOST:PORT oss=http://HOST:PORT access_key_id=... access_key_secret=...
/// The keys are dragon and dragon-secret; DRAGON_DEV_ACCESS_KEY_ID and DRAGON_DEV_ACCESS_KEY_SECRET change them.
///
/// --weather makes bad weather, which its seed repeats: words such as those below, or a file of them (# begins a comment). A word may
/// be meant for one cloud: s3.503=1%.
///
///   seed=7              what happens by chance repeats with its seed
///   latency=20ms        each request waits so long
///   503=1%              refused: 429, 500, 502, 503 or 504; 503=1%/2s names a wait
///   refuse=0.5%         the connection is reset before anything is done
///   reset=0.5%          it is reset midway
///   lost=0.1%           what was asked for is done, and its answer lost
///   truncate=0.01%      a body that is read ends early
///   stall=0.2%/60s      a body that is read pauses midway, any other request first
///   corrupt=0.01%       a bit of an object's bytes flips, in either direction
///   outage=s3@30s+60s   from second 30 on S3 does not answer for 60 s
///   skew=20m            both clocks are ahead; -20m: behind
///   token=10s           only temporary keys are taken, with a session token until-SECONDS: a Unix time at most so far ahead
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
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
    /// Make bad weather: a file of words, or the words themselves, such as 'seed=7 503=1% reset=0.5%'
    #[arg(long, value_name = "FILE|SPEC", value_hint = ValueHint::FilePath)]
    weather: Option<String>,
    /// How long a day lasts for lifecycle rules and restored copies, such as 2s, so that objects age while one looks
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = day)]
    day: Duration,
}

impl DevServerCommand {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut options = Options {
            s3_listen: self.s3_listen,
            oss_listen: self.oss_listen,
            data: self.data,
            day: self.day,
            clock: session.clock.clone(),
            ..Options::default()
        };
        let variable = |name, default: String| session.environment.get(name).map_or(default, str::to_owned);
        options.credentials = Credentials {
            access_key_id: variable("DRAGON_DEV_ACCESS_KEY_ID", options.credentials.access_key_id),
            access_key_secret: variable("DRAGON_DEV_ACCESS_KEY_SECRET", options.credentials.access_key_secret),
        };
        if let Some(weather) = &self.weather {
            options.weather = forecast(weather)?;
        }
        let server = DevServer::start(options).await?;
        session.output.line(&server.ready_line())?;
        session.output.flush()?;
        session.cancel.cancelled().await;
        server.shutdown().await;
        // It was asked to end, and did: a service that stops when told has not failed.
        Ok(exit::OK)
    }
}

/// A day of a second at least: the times of objects are whole seconds.
fn day(text: &str) -> std::result::Result<Duration, String> {
    let day = units::parse_duration(text)?;
    if day >= Duration::from_secs(1) {
        Ok(day)
    } else {
        Err(format!("'{text}' is too short for a day: the times of objects are whole seconds; write 1s or more"))
    }
}

/// A file's words, or the words themselves.
fn forecast(weather: &str) -> Result<Forecast> {
    let path = Path::new(weather);
    if weather.contains('=') && !path.exists() {
        return weather.parse();
    }
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::invalid(format!("the weather file {} cannot be read", path.display()))
            .caused_by(error)
            .advise("name a file, or give the weather itself, such as --weather '503=1% reset=0.5%'")
    })?;
    text.parse::<Forecast>().map_err(|error| Error::invalid(format!("in {}: {}", path.display(), error.message())))
}
