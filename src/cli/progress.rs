//! Progress on standard error: bars on a terminal, elsewhere a status line now and then. SIGUSR1 prints one at once.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::transfer::Progress;

use super::human;
use super::output::Output;

/// How often the bars are drawn.
const FRAME: Duration = Duration::from_millis(150);
/// How many objects in motion have a bar of their own.
const BARS_MAX: usize = 5;

/// Shows progress until stopped.
pub(super) struct Watch {
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to show. `stats` is the time between status lines where there is no terminal; zero for none.
    pub(super) fn start(output: &Output, progress: Arc<Progress>, metrics: Arc<Metrics>, stats: Duration, clock: Clock) -> Result<Self> {
        let now = signal(SignalKind::user_defined1()).map_err(|e| Error::new(ErrorKind::Local, format!("SIGUSR1 cannot be caught: {e}")))?;
        let stop = CancellationToken::new();
        let bars = output.bars();
        let period = if output.quiet || stats.is_zero() { None } else { Some(stats) };
        let show = Show { meter: Meter::new(progress, metrics, clock.clone()), clock, stop: stop.clone(), now };
        let task = if bars.is_hidden() { tokio::spawn(show.lines(period)) } else { tokio::spawn(show.bars(bars)) };
        Ok(Self { stop, task: AbortOnDropHandle::new(task) })
    }

    /// Takes the bars away.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        // The task only draws: that it panicked changes nothing for the run.
        let _ = self.task.await;
    }
}

struct Show {
    meter: Meter,
    clock: Clock,
    stop: CancellationToken,
    now: tokio::signal::unix::Signal,
}

impl Show {
    async fn lines(mut self, period: Option<Duration>) {
        loop {
            let wait = async {
                match period {
                    Some(period) => self.clock.sleep(period).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                Some(()) = self.now.recv() => {}
                () = wait => {}
            }
            say(&self.meter.sample().line());
        }
    }

    async fn bars(mut self, all: MultiProgress) {
        let style = |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
        let whole = all.add(ProgressBar::new(0).with_style(style("[{bar:30}] {msg}")));
        let mut moving: Vec<ProgressBar> = Vec::new();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(()) = self.now.recv() => all.suspend(|| say(&self.meter.sample().line())),
                () = self.clock.sleep(FRAME) => {}
            }
            let sample = self.meter.sample();
            whole.set_length(if sample.listed { sample.planned_bytes.max(1) } else { 0 });
            whole.set_position(if sample.listed { sample.bytes } else { 0 });
            whole.set_message(sample.line());
            let rows = self.meter.progress.in_flight();
            while moving.len() < rows.len().min(BARS_MAX) {
                moving.push(all.add(ProgressBar::new(0).with_style(style("  [{bar:20}] {bytes:>10}/{total_bytes:<10} {wide_msg}"))));
            }
            for extra in moving.drain(rows.len().min(BARS_MAX)..) {
                all.remove(&extra);
            }
            for (bar, row) in moving.iter().zip(&rows) {
                bar.set_length(row.size);
                bar.set_position(row.done.min(row.size));
                bar.set_message(row.key.to_string());
            }
        }
        for bar in moving.iter().chain([&whole]) {
            bar.finish_and_clear();
            all.remove(bar);
        }
    }
}

#[allow(clippy::print_stderr, reason = "this is the program's voice")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// Turns counters into rates: over the last seconds, so that a stall shows.
struct Meter {
    progress: Arc<Progress>,
    metrics: Arc<Metrics>,
    clock: Clock,
    begun: tokio::time::Instant,
    seen: std::collections::VecDeque<(tokio::time::Instant, u64)>,
}

/// The stretch of time that a rate is taken over.
const WINDOW: Duration = Duration::from_secs(15);

impl Meter {
    fn new(progress: Arc<Progress>, metrics: Arc<Metrics>, clock: Clock) -> Self {
        let begun = clock.instant();
        Self { progress, metrics, clock, begun, seen: [(begun, 0)].into() }
    }

    fn sample(&mut self) -> Sample {
        let now = self.clock.instant();
        let p = &self.progress;
        let moved = p.moved_bytes.load(Relaxed);
        while self.seen.len() > 1 && now - self.seen[1].0 > WINDOW {
            self.seen.pop_front();
        }
        let (since, then) = self.seen.front().copied().unwrap_or((self.begun, 0));
        self.seen.push_back((now, moved));
        let span = (now - since).as_secs_f64();
        let rate = if span > 0.0 { moved.saturating_sub(then) as f64 / span } else { 0.0 };
        Sample {
            listed: p.listing_done.load(Relaxed),
            keys: p.source_listed.load(Relaxed),
            planned: p.planned_objects.load(Relaxed),
            planned_bytes: p.planned_bytes.load(Relaxed),
            copied: p.copied_objects.load(Relaxed),
            bytes: moved.max(p.copied_bytes.load(Relaxed)),
            skipped: p.skipped_objects.load(Relaxed),
            deleted: p.deleted_objects.load(Relaxed),
            failed: p.failed_objects.load(Relaxed),
            retries: p.retries.load(Relaxed) + self.metrics.retries.get(),
            rate,
            elapsed: now - self.begun,
        }
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Default)]
struct Sample {
    listed: bool,
    keys: u64,
    planned: u64,
    planned_bytes: u64,
    copied: u64,
    bytes: u64,
    skipped: u64,
    deleted: u64,
    failed: u64,
    retries: u64,
    rate: f64,
    elapsed: Duration,
}

impl Sample {
    /// One line of status. How long it will take is said only once the listing has ended: before, nobody knows.
    fn line(&self) -> String {
        let mut line = if self.listed {
            format!("{}/{} objects, {}/{}", human::count(self.copied), human::count(self.planned), human::bytes(self.bytes), human::bytes(self.planned_bytes))
        } else {
            format!("listed {} so far, {} objects copied, {}", human::count(self.keys), human::count(self.copied), human::bytes(self.bytes))
        };
        line += &format!(", {}/s", human::bytes(self.rate as u64));
        let figures = [("unchanged", self.skipped), ("deleted", self.deleted), ("failed", self.failed), ("retries", self.retries)];
        for (word, count) in figures.into_iter().filter(|(_, count)| *count > 0) {
            line += &format!(", {} {word}", human::count(count));
        }
        match self.eta() {
            Some(eta) => line += &format!(", {} left", human::duration(eta)),
            None => line += &format!(", {} so far", human::duration(self.elapsed)),
        }
        line
    }

    fn eta(&self) -> Option<Duration> {
        let left = self.planned_bytes.saturating_sub(self.bytes);
        (self.listed && self.rate >= 1.0 && left > 0).then(|| Duration::from_secs_f64((left as f64 / self.rate).min(1e9)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_is_told_once_the_listing_has_ended() {
        let mut sample =
            Sample { keys: 12_345_678, copied: 5, bytes: 1 << 20, planned: 10, planned_bytes: 3 << 20, rate: 1024.0 * 1024.0, ..Sample::default() };
        assert!(sample.line().starts_with("listed 12.3M so far, 5 objects copied") && !sample.line().contains("left"), "{}", sample.line());
        sample.listed = true;
        assert!(sample.line().starts_with("5/10 objects, 1.0 MiB/3.0 MiB, 1.0 MiB/s") && sample.line().ends_with("2.0 s left"), "{}", sample.line());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds() {
        let progress = Arc::new(Progress::default());
        let clock = Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
        let mut meter = Meter::new(progress.clone(), Arc::default(), clock.clone());
        for _ in 0..10 {
            clock.sleep(Duration::from_secs(1)).await;
            progress.moved_bytes.fetch_add(1000, Relaxed);
            assert_eq!(meter.sample().rate.round(), 1000.0);
        }
        for _ in 0..20 {
            clock.sleep(Duration::from_secs(1)).await;
            meter.sample();
        }
        assert_eq!(meter.sample().rate, 0.0, "a stall shows");
    }
}
