//! Packets from one device to the other: some are lost, the rest wait for the link and then travel.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use super::{Options, tun};

/// Most packets under way in one direction: more than two seconds of 200 Mbit/s.
const PACKETS_MAX: usize = 1 << 16;

/// One direction's loss, rate and queue.
struct Direction {
    loss: f64,
    delay: Duration,
    queue: Duration,
    seconds_per_byte: f64,
    /// When the link has sent all that waits for it.
    free: Instant,
    dice: fastrand::Rng,
}

impl Direction {
    /// When a packet arrives that comes now; `None` where it is lost. Loss comes before the link, as from a policer: it costs no rate.
    fn arrival(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if self.dice.f64() < self.loss {
            return None;
        }
        let start = self.free.max(now);
        if start - now > self.queue {
            return None;
        }
        self.free = start + Duration::from_secs_f64(bytes as f64 * self.seconds_per_byte);
        Some(self.free + self.delay)
    }
}

/// Passes packets until the process is killed. Says `ready` when the devices are there.
pub(super) fn run(options: &Options) -> io::Result<()> {
    let near = tun::open(&options.near, "near0")?;
    let far = tun::open(&options.far, "far0")?;
    println!("ready near={} far={}", super::NEAR, super::FAR);
    io::stdout().flush()?;
    let path = options.path;
    std::thread::scope(|scope| {
        for (from, to, loss, seed) in [(&near, &far, path.loss_out, 1), (&far, &near, path.loss_back, 2)] {
            let direction = Direction {
                loss: loss / 100.0,
                delay: path.delay,
                queue: path.queue,
                seconds_per_byte: 8e-6 / path.rate_mbit,
                free: Instant::now(),
                dice: fastrand::Rng::with_seed(seed),
            };
            let (sender, receiver) = sync_channel(PACKETS_MAX);
            scope.spawn(move || take(from, direction, &sender));
            scope.spawn(move || give(to, &receiver));
        }
    });
    Ok(())
}

fn take(mut from: &File, mut direction: Direction, sender: &SyncSender<(Instant, Box<[u8]>)>) {
    let mut packet = vec![0; 1 << 16];
    // A device that is not up yet has nothing to read.
    loop {
        match from.read(&mut packet) {
            Ok(bytes) => {
                if let Some(arrival) = direction.arrival(Instant::now(), bytes) {
                    // A full channel drops, as any queue does.
                    let _ = sender.try_send((arrival, packet[..bytes].into()));
                }
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn give(mut to: &File, receiver: &Receiver<(Instant, Box<[u8]>)>) {
    for (arrival, packet) in receiver {
        let wait = arrival.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        // What the other end cannot take is lost, as on any link.
        let _ = to.write(&packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direction(loss: f64) -> Direction {
        Direction {
            loss,
            delay: Duration::from_millis(100),
            queue: Duration::from_millis(50),
            // 1,000 bytes a millisecond.
            seconds_per_byte: 1e-6,
            free: Instant::now(),
            dice: fastrand::Rng::with_seed(1),
        }
    }

    #[test]
    fn packets_wait_for_the_link_and_then_travel() {
        let mut link = direction(0.0);
        let now = link.free;
        let arrivals: Vec<_> = (0..3).map(|_| link.arrival(now, 1000).expect("not lost") - now).collect();
        assert_eq!(arrivals, [101, 102, 103].map(Duration::from_millis));
    }

    #[test]
    fn a_full_queue_drops() {
        let mut link = direction(0.0);
        let now = link.free;
        let passed = (0..100).filter(|_| link.arrival(now, 1000).is_some()).count();
        assert_eq!(passed, 51, "what fits into 50 ms, and the packet that is being sent");
    }

    #[test]
    fn so_many_are_lost_as_was_asked_for() {
        let mut link = Direction { queue: Duration::MAX / 4, ..direction(0.15) };
        let now = link.free;
        let passed = (0..100_000).filter(|_| link.arrival(now, 1).is_some()).count();
        assert!((84_000..86_000).contains(&passed), "{passed}");
    }
}
