//! The object_store crate, both ways.
//!
//! [`v0_14`] and [`v0_13`] hand any Dragon store, OSS included, to code that wants `Arc<dyn ObjectStore>`: Lance takes 0.14,
//! DataFusion and delta-rs 0.13. `foreign` is the other way: whatever that crate opens (`gs://`, `az://`, ...) is a Dragon store.
//!
//! That crate's paths cannot name every key (`a//b`, a trailing `/`). A listing that meets such a key fails and names it, as the
//! crate's own S3 store does: leaving it out would be a silent loss.

#[cfg(feature = "object_store")]
pub mod foreign;
#[cfg(any(feature = "oss", feature = "s3"))]
mod from_url;
#[cfg(feature = "object_store_0_13")]
#[allow(clippy::duplicate_mod, reason = "one adapter, compiled once for each version of the crate")]
pub mod v0_13;
#[cfg(feature = "object_store")]
#[allow(clippy::duplicate_mod, reason = "one adapter, compiled once for each version of the crate")]
pub mod v0_14;

#[cfg(any(feature = "oss", feature = "s3"))]
pub use from_url::open_with_options;
