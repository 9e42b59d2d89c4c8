//! Where the daemon's Unix socket is.

use std::path::{Path, PathBuf};

use crate::config::Environment;
use crate::daemon::api::client::DaemonClient;
use crate::journal::StateDir;

use super::session::Session;
use super::state;

const NAME: &str = "dragon.sock";
/// Where a service's runtime directory is.
const SYSTEM: &str = "/run/dragon";

/// Where a daemon listens: `DRAGON_SOCKET`, systemd's runtime directory, the user's, else the state directory.
pub(super) fn own(environment: &Environment, state: &StateDir) -> PathBuf {
    let runtime = || environment.path("RUNTIME_DIRECTORY").map(|dir| dir.join(NAME));
    let user = || environment.path("XDG_RUNTIME_DIR").filter(|dir| dir.is_dir()).map(|dir| dir.join("dragon").join(NAME));
    environment.path("DRAGON_SOCKET").or_else(runtime).or_else(user).unwrap_or_else(|| state.path().join(NAME))
}

/// The daemon that a command means: the first of the same places where there is a socket, the service's among them.
pub(super) fn client(session: &Session) -> DaemonClient {
    if let Some(named) = session.environment.path("DRAGON_SOCKET") {
        return DaemonClient::new(named);
    }
    let user = session.environment.path("XDG_RUNTIME_DIR").map(|dir| dir.join("dragon").join(NAME));
    let own = state::directory(session, None).map(|state| state.path().join(NAME));
    let places: Vec<PathBuf> = [user, own, Some(Path::new(SYSTEM).join(NAME))].into_iter().flatten().collect();
    let found = places.iter().find(|place| place.exists()).or(places.last()).cloned();
    DaemonClient::new(found.unwrap_or_else(|| Path::new(SYSTEM).join(NAME)))
}
