//! Alibaba Cloud OSS, natively: its own signatures, headers, errors and limits (protocol.md sections 1 to 3).

pub mod credentials;
mod options;
mod sign;

pub use options::{Addressing, Options, Signature};
