//! Mirrors one place to another, with progress: `cargo run --example sync -- s3://photos/ oss://photos-cn/`.
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use dragon::transfer::{self, Context, Job};

#[tokio::main]
async fn main() -> dragon::Result<()> {
    let [source, destination] = [1, 2].map(|n| std::env::args().nth(n).expect("usage: sync SOURCE DESTINATION"));
    let job = Job::new(dragon::open(&source).await?, dragon::open(&destination).await?);

    let context = Context::default();
    let progress = context.progress.clone();
    let mut run = std::pin::pin!(transfer::run(job, context));
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    let report = loop {
        tokio::select! {
            report = &mut run => break report?,
            _ = every_second.tick() => eprintln!("{} objects copied", progress.copied_objects.load(Relaxed)),
        }
    };
    println!("{} copied, {} proved, {} failed", report.copied, report.verified, report.failed);
    Ok(())
}
