//! The daemon's HTTP door: the status page, the API, metrics; over TCP for people and machines, over a Unix socket for the command line.
//!
//! | path | who | what |
//! |---|---|---|
//! | `GET /`, `/jobs/NAME` | reader | the status page |
//! | `GET /events` | reader | the page's live part, as server-sent events |
//! | `POST /jobs/NAME/run`, `pause`, `resume`, `cancel` | owner | the page's buttons |
//! | `GET`, `POST /login`, `POST /logout` | anybody | a browser's session |
//! | `GET /api/v1/status`, `/api/v1/jobs`, `/api/v1/jobs/NAME` | reader | [`Snapshot`](super::status::Snapshot) and its parts |
//! | `POST /api/v1/commands` | owner | a [`Command`](super::control::Command) |
//! | `POST /api/v1/hints/NAME` | the job's own token | change events |
//! | `GET /api/v1/usage`, `/api/v1/usage.csv` | reader | [`MonthlyUsage`](super::usage::MonthlyUsage) of `?month=2026-11`, or of the present month |
//! | `GET /api/v1/openapi.json` | reader | what all of this looks like |
//! | `GET /metrics` | reader | Prometheus |
//! | `GET /healthz`, `/readyz` | anybody | whether it lives, whether it works |
//!
//! # Invariants
//! - Whoever changes something has shown the token, a session made with it, or is the socket's owner; and a browser comes from our own page.
//! - The Host header names us, so that no foreign page reads ours by way of a name it controls.
//! - Requests, bodies, connections, sessions and the time that each takes are bounded.

pub mod client;
mod guard;
mod listen;
pub mod metrics;
mod openapi;
mod routes;
mod token;

pub use guard::Access;
pub use listen::{Socket, serve, serve_socket, tls};
pub use routes::router;
pub use token::Token;
