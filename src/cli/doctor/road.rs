//! The way to a cloud: name resolution, proxy, TCP, TLS, and the time at its other end.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use jiff::SignedDuration;

use crate::cli::exit::Failure;
use crate::cli::human;
use crate::cli::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Payload;
use crate::storage::transport::{self, Transport};

use super::Role;
use super::cloud::Cloud;
use super::findings::Findings;

/// Longest wait for each step: a person is watching.
const STEP_MAX: Duration = Duration::from_secs(8);
/// A round trip of a long road.
const FAR: Duration = Duration::from_millis(100);
/// Addresses that are named.
const ADDRESSES_SHOWN: usize = 4;
/// Clocks this far apart are worth a word; the clouds refuse 15 minutes.
const SKEW_TOLD: SignedDuration = SignedDuration::from_secs(60);

/// Walks to the cloud's door. `false` where it cannot be reached, so that nothing behind it can be tried.
pub(super) async fn examine(session: &Session, role: Role, cloud: &Cloud, findings: &mut Findings<'_>) -> std::result::Result<bool, Failure> {
    let (uri, proxy) = match route(cloud) {
        Ok(route) => route,
        Err(e) => {
            findings.fail("network", &e)?;
            return Ok(false);
        }
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    match &proxy {
        Some(proxy) => findings.fine("proxy", format_args!("{proxy}, which also resolves the name {host}"))?,
        None if host.parse::<IpAddr>().is_err() => match resolve(&host).await {
            Ok(addresses) => findings.fine("dns", format_args!("{host} is {addresses}"))?,
            Err(e) => {
                findings.fail("dns", &e)?;
                return Ok(false);
            }
        },
        None => {}
    }
    let started = session.clock.instant();
    let response = match knock(cloud, uri.clone()).await {
        Ok(response) => response,
        Err(e) => {
            findings.fail("network", &e)?;
            return Ok(false);
        }
    };
    let elapsed = started.elapsed();
    let took = human::duration(elapsed);
    let (secured, round_trips) = if uri.scheme_str() == Some("https") { ("TCP and TLS", 3) } else { ("TCP, without TLS", 2) };
    findings.fine("network", format_args!("{host} answers over {secured} after {took}"))?;
    if role == Role::Source && elapsed / round_trips >= FAR {
        findings.warn(
            "side",
            "the source is far away: what is read from it comes no faster than its own congestion control lets it, whatever this machine does; a host beside the source sends over the long road itself, with BBR",
        )?;
    }
    clock(session, &response, findings)?;
    Ok(true)
}

fn route(cloud: &Cloud) -> Result<(Uri, Option<String>)> {
    let uri: Uri = format!("{}/", cloud.address).parse().map_err(|e| Error::invalid(format!("'{}' is no address", cloud.address)).caused_by(e))?;
    let proxy = transport::proxy_of(&cloud.transport, &uri)?;
    Ok((uri, proxy))
}

async fn resolve(host: &str) -> Result<String> {
    let unknown = |why: String| {
        Error::new(ErrorKind::Unavailable, format!("{host} cannot be resolved: {why}"))
            .advise("check the endpoint, the bucket's name and this machine's DNS, or whether a proxy is needed")
    };
    let found = tokio::time::timeout(STEP_MAX, tokio::net::lookup_host((host, 0))).await.map_err(|_| unknown(format!("no answer within {STEP_MAX:?}")))?;
    let addresses: Vec<String> = found.map_err(|e| unknown(e.to_string()))?.take(ADDRESSES_SHOWN).map(|a| a.ip().to_string()).collect();
    if addresses.is_empty() { Err(unknown("it has no address".to_owned())) } else { Ok(addresses.join(", ")) }
}

/// One unsigned request, over the very road that the copies will take. Any answer will do.
async fn knock(cloud: &Cloud, uri: Uri) -> Result<transport::Response> {
    let options = transport::Options { connect_timeout: STEP_MAX.min(cloud.transport.connect_timeout), read_timeout: STEP_MAX, ..cloud.transport.clone() };
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let request = http::Request::get(uri).header(http::header::HOST, host).body(Payload::from(""));
    Transport::new(&options)?.send(request.map_err(|e| Error::invalid("the endpoint is no host").caused_by(e))?).await
}

fn clock(session: &Session, response: &transport::Response, findings: &mut Findings<'_>) -> std::result::Result<(), Failure> {
    let stated = response.header("date").and_then(|d| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(d).ok());
    let Some(theirs) = stated else { return findings.warn("clock", "the answer has no date: the clocks cannot be compared") };
    let skew = session.clock.now().duration_since(theirs);
    let apart = human::duration(skew.unsigned_abs());
    let direction = if skew.is_positive() { "ahead of" } else { "behind" };
    match skew.abs() {
        s if s < SKEW_TOLD => findings.fine("clock", "this machine and the service agree on the time"),
        _ => findings.warn(
            "clock",
            format_args!("this machine is {apart} {direction} the service: Dragon corrects its signatures by the service's time, but let NTP set the clock"),
        ),
    }
}
