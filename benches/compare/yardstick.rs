//! Library yardsticks: the same copy by two well-known libraries, used as their documentation shows, with no listing compared,
//! no journal and no proof. What Dragon costs beyond them it does beyond them.

use std::io;
use std::path::PathBuf;

use clap::Args;

mod aws_sdk;
mod object_store;

/// Objects up to this size are copied whole; larger ones in parts of this size.
const PART_BYTES: u64 = 8 << 20;
/// Small objects, and parts of large ones, under way at once.
const OBJECTS_AT_ONCE: usize = 64;
const PARTS_AT_ONCE: usize = 16;

/// What to copy.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The S3 endpoint of both buckets
    #[arg(long)]
    endpoint: String,
    /// The bucket to read
    #[arg(long)]
    from: String,
    /// The bucket to write
    #[arg(long)]
    to: String,
    /// The certificate to trust
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
}

/// Runs a copy as a task of the runtime: on the main thread, every byte that arrives would change threads.
fn run(copy: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(runtime.spawn(copy)).map_err(io::Error::other)?
}

/// Copies with the crate `object_store`.
pub(crate) fn object_store(options: &Options) -> io::Result<()> {
    run(object_store::copy(options.clone()))
}

/// Copies with the crate `aws-sdk-s3`.
pub(crate) fn aws_sdk(options: &Options) -> io::Result<()> {
    run(aws_sdk::copy(options.clone()))
}

/// The ranges of the parts of an object.
fn parts(size: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    (0..size.div_ceil(PART_BYTES)).map(move |part| part * PART_BYTES..size.min((part + 1) * PART_BYTES))
}
