//! Dragon mirrors buckets between Amazon S3 and Alibaba Cloud OSS, and proves every copy.

#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "dev-server")]
pub mod devserver;
pub mod error;
pub mod metrics;
pub mod storage;
pub mod transfer;
