//! Weather in words: what `dragon dev-server --weather` takes.
//!
//! A forecast is words with blanks or line ends between them, and comments from `#` to the end of the line:
//!
//! ```text
//! seed=7                          # what happens by chance repeats with its seed
//! latency=20ms                    # each request waits so long
//! 503=1% 500=0.1% 429=1%/2s       # refused: slow down (naming a wait, where one is given), internal error, too many requests
//! refuse=0.5%                     # the connection is reset before anything is done
//! reset=0.5%                      # it is reset midway
//! lost=0.1%                       # what was asked for is done, and then the connection is reset
//! truncate=0.01%                  # a body that is read ends early
//! stall=0.2%/60s                  # a body that is read pauses midway (other requests: before they are looked at)
//! corrupt=0.01%                   # a bit of an object's bytes flips, in either direction
//! outage=s3@30s+60s               # from second 30 on, nothing answers for 60 s; without `s3@` or `oss@`-cloud: on both
//! skew=20m                        # the clouds' clocks are 20 minutes ahead (-20m: behind)
//! token=10s                       # only temporary keys are taken, and none lasts longer than this (see `token`)
//! ```
//!
//! A word may be meant for one cloud: `s3.503=1%`, `oss.latency=250ms`. Listings are never corrupted: they carry no checksum, so that
//! nothing could tell.

use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use jiff::SignedDuration;

use super::{Effect, Fault, Spoil};
use crate::devserver::Cloud;
use crate::error::{Error, Result};

/// The weather to come. The default is fair.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// What happens by chance repeats with its seed.
    pub seed: u64,
    /// What befalls requests.
    pub faults: Vec<Fault>,
    /// When nothing answers.
    pub outages: Vec<Outage>,
    /// How far the clouds' clocks are ahead.
    pub skew: SignedDuration,
    /// Where it is set, only temporary keys are taken, and none that lasts longer.
    pub token_lifetime: Option<Duration>,
}

/// A time in which nothing answers: open connections are reset, and new ones as soon as they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which cloud; both where there is none.
    pub cloud: Option<Cloud>,
    /// When it begins, counted from the start of the server.
    pub after: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Outage {
    /// Whether this cloud is out at that age of the server.
    pub(super) fn holds(&self, cloud: Cloud, age: Duration) -> bool {
        self.is_of(cloud) && age >= self.after && age - self.after < self.length
    }

    pub(super) fn is_of(&self, cloud: Cloud) -> bool {
        self.cloud.is_none_or(|struck| struck == cloud)
    }
}

/// The words that may stand before `=`.
const NAMES: [&str; 16] =
    ["seed", "latency", "429", "500", "502", "503", "504", "refuse", "reset", "lost", "truncate", "stall", "corrupt", "outage", "skew", "token"];

impl FromStr for Forecast {
    type Err = Error;

    /// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid), naming the word and the nearest right one.
    fn from_str(text: &str) -> Result<Self> {
        let mut forecast = Self::default();
        let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
        for word in words {
            forecast.add(word).map_err(|what| Error::invalid(format!("the weather '{word}' is not understood: {what}")))?;
        }
        Ok(forecast)
    }
}

impl Forecast {
    fn add(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once('=').ok_or("expected NAME=VALUE, such as 503=1%")?;
        let (cloud, name) = match name.split_once('.') {
            Some(("s3", name)) => (Some(Cloud::S3), name),
            Some(("oss", name)) => (Some(Cloud::Oss), name),
            Some((cloud, _)) => return Err(format!("there is no cloud '{cloud}', only s3 and oss")),
            None => (None, name),
        };
        if matches!(name, "seed" | "skew" | "token") && cloud.is_some() {
            return Err(format!("{name} is for both clouds"));
        }
        match name {
            "seed" => self.seed = value.parse().map_err(|_| "expected a number")?,
            "skew" => self.skew = skew(value)?,
            "token" => self.token_lifetime = Some(duration(value)?),
            "outage" => self.outages.push(outage(cloud, value)?),
            "latency" => self.fault(cloud, 1.0, Effect::Delay(duration(value)?)),
            "refuse" => self.fault(cloud, chance(value)?, Effect::ResetBeforeAnswer),
            "lost" => self.fault(cloud, chance(value)?, Effect::LoseAnswer),
            "reset" => self.fault(cloud, chance(value)?, Effect::Somewhere(Spoil::Reset)),
            "truncate" => self.fault(cloud, chance(value)?, Effect::Somewhere(Spoil::Truncate)),
            "corrupt" => self.fault(cloud, chance(value)?, Effect::Somewhere(Spoil::Flip)),
            "stall" => {
                let (percent, pause) = value.split_once('/').ok_or("expected a chance and a time, such as 0.2%/60s")?;
                self.fault(cloud, chance(percent)?, Effect::Somewhere(Spoil::Stall(duration(pause)?)));
            }
            "429" | "500" | "502" | "503" | "504" => {
                let (percent, wait) = value.split_once('/').map_or((value, None), |(percent, wait)| (percent, Some(wait)));
                let (chance, wait) = (chance(percent)?, wait.map(duration).transpose()?);
                for cloud in [Cloud::S3, Cloud::Oss].into_iter().filter(|one| cloud.is_none_or(|wanted| wanted == *one)) {
                    self.fault(Some(cloud), chance, refusal(cloud, name, wait));
                }
            }
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    fn fault(&mut self, cloud: Option<Cloud>, chance: f64, effect: Effect) {
        let mut fault = Fault::new(effect).always().chance(chance);
        fault.matching.cloud = cloud;
        self.faults.push(fault);
    }
}

/// How a cloud refuses with that status, in its words (protocol.md 2.8).
fn refusal(cloud: Cloud, status: &str, wait: Option<Duration>) -> Effect {
    let (status, code) = match (status, cloud) {
        ("429", Cloud::S3) => (429, "TooManyRequests"),
        ("429", Cloud::Oss) => (429, "MetaOperationQpsLimitExceeded"),
        ("503", Cloud::S3) => (503, "SlowDown"),
        ("503", Cloud::Oss) => (503, "TotalQpsLimitExceeded"),
        ("502", _) => (502, "BadGateway"),
        ("504", _) => (504, "GatewayTimeout"),
        _ => (500, "InternalError"),
    };
    let header = wait.map(|wait| match cloud {
        Cloud::S3 => (http::header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1000) as u64)),
        Cloud::Oss => (HeaderName::from_static("x-oss-qos-delay-time"), HeaderValue::from(wait.as_millis() as u64)),
    });
    Effect::Answer { status, code: code.to_owned(), headers: header.into_iter().collect() }
}

fn chance(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok()).filter(|percent| (0.0..=100.0).contains(percent));
    percent.map(|percent| percent / 100.0).ok_or_else(|| format!("'{text}' is no chance: expected one in percent, such as 0.5%"))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("'{text}' is no time: expected one with a unit, such as 250ms or 60s"))
}

fn skew(text: &str) -> Result<SignedDuration, String> {
    let (behind, text) = text.strip_prefix('-').map_or((false, text.strip_prefix('+').unwrap_or(text)), |text| (true, text));
    let skew = SignedDuration::try_from(duration(text)?).map_err(|_| "it is too long")?;
    Ok(if behind { -skew } else { skew })
}

/// `30s+60s`, or `s3@30s+60s`.
fn outage(cloud: Option<Cloud>, text: &str) -> Result<Outage, String> {
    let (named, times) = match text.split_once('@') {
        Some(("s3", times)) => (Some(Cloud::S3), times),
        Some(("oss", times)) => (Some(Cloud::Oss), times),
        Some((cloud, _)) => return Err(format!("there is no cloud '{cloud}', only s3 and oss")),
        None => (None, text),
    };
    let (after, length) = times.split_once('+').ok_or("expected when it begins and how long it lasts, such as s3@30s+60s")?;
    Ok(Outage { cloud: named.or(cloud), after: duration(after)?, length: duration(length)? })
}

fn unknown(name: &str) -> String {
    let nearest = NAMES.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min().filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, known)) => format!("there is no '{name}'; did you mean '{known}'?"),
        None => format!("there is no '{name}', only {}", NAMES.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Forecast {
        text.parse().expect("a forecast")
    }

    fn refuse(text: &str) -> String {
        text.parse::<Forecast>().expect_err("refused").to_string()
    }

    #[test]
    fn words_become_faults_outages_and_clocks() {
        let forecast = read(
            "seed=7 latency=20ms 503=1%/250ms\nreset=0.5% stall=0.2%/60s # the road\noss.corrupt=0.01% outage=s3@30s+60s outage=1m+1s skew=-20m token=10s",
        );
        assert_eq!((forecast.seed, forecast.token_lifetime), (7, Some(Duration::from_secs(10))));
        assert_eq!(forecast.skew, SignedDuration::from_mins(-20));
        let chances: Vec<(Option<Cloud>, f64)> = forecast.faults.iter().map(|fault| (fault.matching.cloud, fault.chance)).collect();
        let one = |cloud, percent: f64| (cloud, percent / 100.0);
        let (s3, oss) = (Some(Cloud::S3), Some(Cloud::Oss));
        assert_eq!(chances, [one(None, 100.0), one(s3, 1.0), one(oss, 1.0), one(None, 0.5), one(None, 0.2), one(oss, 0.01)]);
        assert!(forecast.faults.iter().all(|fault| fault.times.is_none()));
        let named: Vec<String> = forecast.faults[1..3]
            .iter()
            .map(|fault| match &fault.effect {
                Effect::Answer { status, code, headers } => format!("{status} {code} {headers:?}"),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(named, [r#"503 SlowDown [("retry-after", "1")]"#, r#"503 TotalQpsLimitExceeded [("x-oss-qos-delay-time", "250")]"#]);
        let [of_s3, of_both] = &forecast.outages[..] else { panic!("{:?}", forecast.outages) };
        assert!(of_s3.holds(Cloud::S3, Duration::from_secs(89)) && !of_s3.holds(Cloud::S3, Duration::from_secs(90)));
        assert!(!of_s3.holds(Cloud::Oss, Duration::from_secs(31)) && of_both.holds(Cloud::Oss, Duration::from_secs(60)));
        assert!(read("").faults.is_empty() && read("# fair\n").faults.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_would_be_right() {
        assert_eq!(refuse("503=1% latancy=2ms"), "the weather 'latancy=2ms' is not understood: there is no 'latancy'; did you mean 'latency'?");
        assert!(refuse("reset=1").contains("expected one in percent, such as 0.5%"));
        assert!(refuse("reset=101%").contains("no chance"));
        assert!(refuse("latency=20").contains("such as 250ms"));
        assert!(refuse("stall=1%").contains("0.2%/60s"));
        assert!(refuse("outage=gcs@1s+2s").contains("only s3 and oss"));
        assert!(refuse("gcs.503=1%").contains("only s3 and oss"));
        assert!(refuse("s3.token=1s").contains("both clouds"));
        assert!(refuse("storm").contains("NAME=VALUE"));
        assert!(refuse("hurricane=1%").contains("only seed, latency, 429"));
    }
}
