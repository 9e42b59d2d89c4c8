//! SIGINT and SIGTERM: the first asks the run to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind};

use super::exit::{Failure, Outcome};

const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// How long a transfer may take to put things in order.
pub(super) const GRACE: Duration = Duration::from_secs(20);

/// The signals that end a run.
pub(super) struct Signals {
    token: CancellationToken,
    status: Arc<AtomicU8>,
    clock: Clock,
    _listener: AbortOnDropHandle<()>,
}

impl Signals {
    /// Begins to listen.
    pub(super) fn listen(clock: Clock) -> Result<Self, Error> {
        let broken = |e: std::io::Error| Error::new(ErrorKind::Local, format!("signals cannot be caught: {e}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(broken)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(broken)?;
        let token = CancellationToken::new();
        let status = Arc::new(AtomicU8::new(0));
        let (cancel, seen) = (token.clone(), status.clone());
        let listener = tokio::spawn(async move {
            loop {
                let code = tokio::select! {
                    Some(()) = interrupt.recv() => INTERRUPTED,
                    Some(()) = terminate.recv() => TERMINATED,
                };
                if seen.swap(code, Ordering::Relaxed) != 0 {
                    std::process::exit(code.into());
                }
                cancel.cancel();
            }
        });
        Ok(Self { token, status, clock, _listener: AbortOnDropHandle::new(listener) })
    }

    /// Cancelled when the run is to stop.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a command until it ends or a signal ends it. One that stops by itself gets the `grace` to.
    pub(super) async fn guard(&self, grace: Duration, command: impl Future<Output = Outcome>) -> Outcome {
        let stopped = async {
            self.token.cancelled().await;
            self.clock.sleep(grace).await;
        };
        let outcome = tokio::select! {
            outcome = command => outcome,
            () = stopped => Err(Failure::Error(Error::new(ErrorKind::Interrupted, "interrupted"))),
        };
        match (self.status.load(Ordering::Relaxed), outcome) {
            // What was done before the signal came stays done.
            (0, outcome) | (_, outcome @ Ok(0)) => outcome,
            (status, Ok(_)) => Ok(status),
            (status, Err(Failure::Error(error))) => {
                super::exit::complain(&error.to_string());
                Ok(status)
            }
            (status, Err(Failure::PipeClosed)) => Ok(status),
        }
    }
}
