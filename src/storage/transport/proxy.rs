//! Which requests go through which proxy, and the CONNECT handshake.

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Options;
use super::stream::Stream;
use crate::error::{CloudAnswer, Error, ErrorKind, Result};

/// Instance and container metadata live on this machine's own link: no proxy can reach them, and none may see their answers.
pub(super) const METADATA_HOSTS: [&str; 6] = ["169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "fd00:ec2::254", "fd00:ec2::23"];

/// Longest answer to CONNECT, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Reads the proxy rules from the options, then from `env` (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, upper case first).
pub(super) fn rules(options: &Options, env: &dyn Fn(&str) -> Option<String>) -> Result<Matcher> {
    let of_env = |name: &str| [name.to_owned(), name.to_lowercase()].iter().find_map(|n| env(n)).filter(|v| !v.is_empty()).unwrap_or_default();
    let mut no_proxy = options.no_proxy.clone().unwrap_or_else(|| of_env("NO_PROXY"));
    for host in METADATA_HOSTS {
        no_proxy.push(',');
        no_proxy.push_str(host);
    }
    let builder = Matcher::builder().no(no_proxy);
    Ok(match &options.proxy {
        Some(proxy) => builder.all(checked(proxy, "the proxy")?),
        None => builder
            .all(checked(&of_env("ALL_PROXY"), "ALL_PROXY")?)
            .http(checked(&of_env("HTTP_PROXY"), "HTTP_PROXY")?)
            .https(checked(&of_env("HTTPS_PROXY"), "HTTPS_PROXY")?),
    }
    .build())
}

/// A proxy URL that the matcher would drop without a word must be an error: requests would go out past the proxy.
fn checked(url: &str, name: &str) -> Result<String> {
    if url.is_empty() {
        return Ok(String::new());
    }
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let usable =
        full.parse::<Uri>().is_ok_and(|u| u.host().is_some_and(|h| !h.is_empty()) && matches!(u.scheme_str(), Some("http" | "https" | "socks5" | "socks5h")));
    // The URL itself may hold a password: it is not repeated.
    usable.then_some(full).ok_or_else(|| Error::invalid(format!("{name} must be a URL such as http://HOST:PORT, https://HOST:PORT or socks5h://HOST:PORT")))
}

/// The proxy's own address with an explicit port, without user and password.
pub(super) fn address(proxy: &Intercept) -> Uri {
    let uri = proxy.uri();
    let port = uri.port_u16().unwrap_or(match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => 1080,
    });
    let scheme = if uri.scheme_str() == Some("https") { "https" } else { "http" };
    let built = Uri::builder().scheme(scheme).authority(format!("{}:{port}", uri.host().unwrap_or_default())).path_and_query("/").build();
    // The parts come from a valid URI.
    built.unwrap_or_else(|_| uri.clone())
}

/// Asks the proxy at the other end of `stream` for a tunnel to `target` (`host:port`).
///
/// Plain http goes through a tunnel too: a forwarding proxy may rewrite the path, and another path is another object.
pub(super) async fn connect(mut stream: Stream, proxy: &Intercept, target: &str) -> Result<Stream> {
    let at = address(proxy);
    let at = at.authority().map(ToString::to_string).unwrap_or_default();
    let broken = |e: std::io::Error| Error::new(ErrorKind::Unavailable, format!("the proxy {at} broke off while opening the way to {target}")).caused_by(e);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(basic) = proxy.basic_auth() {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(basic.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;

    // Byte by byte: what follows the blank line belongs to the tunnel.
    let mut answer = Vec::with_capacity(256);
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == ANSWER_BYTES_MAX {
            return Err(Error::new(ErrorKind::Unexpected, format!("{at} does not answer as an HTTP proxy")).advise("check the proxy's address and scheme"));
        }
        answer.push(stream.read_u8().await.map_err(broken)?);
    }
    let line = String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
    let status = line.split(' ').nth(1).and_then(|s| s.parse::<u16>().ok()).unwrap_or(0);
    let refused = |kind, advice: &str| {
        let message = format!("the proxy {at} refuses the way to {target}: {}", crate::storage::key::escape(line.as_bytes()));
        Err(Error::new(kind, message).answered(CloudAnswer { http_status: status, ..CloudAnswer::default() }).advise(advice))
    };
    match status {
        200..=299 => Ok(stream),
        407 => refused(ErrorKind::Credentials, "give the proxy's user and password in its URL: http://USER:PASSWORD@HOST:PORT"),
        400..=499 => refused(ErrorKind::WrongEndpoint, "ask the proxy's owner to allow this host, or add the host to NO_PROXY"),
        _ => refused(ErrorKind::Unavailable, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(options: &Options, env: &[(&str, &str)], uri: &str) -> Option<String> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<std::collections::HashMap<_, _>>();
        let rules = rules(options, &|name| env.get(name).cloned()).expect("valid rules");
        rules.intercept(&uri.parse().expect("a URI")).map(|i| address(&i).to_string())
    }

    #[test]
    fn the_environment_and_the_option_choose_the_proxy() {
        let env = [("HTTPS_PROXY", "http://u:p@secure:3128"), ("http_proxy", "plain"), ("NO_PROXY", "internal.example,10.0.0.0/8")];
        let none = Options::default();
        assert_eq!(proxy_of(&none, &env, "https://s3.amazonaws.com/").as_deref(), Some("http://secure:3128/"));
        assert_eq!(proxy_of(&none, &env, "http://s3.amazonaws.com/").as_deref(), Some("http://plain:80/"));
        assert_eq!(proxy_of(&none, &env, "https://a.internal.example/"), None);
        assert_eq!(proxy_of(&none, &env, "https://10.1.2.3/"), None);
        assert_eq!(proxy_of(&none, &[("ALL_PROXY", "socks5h://s")], "https://x.example/").as_deref(), Some("http://s:1080/"));
        let explicit = Options { proxy: Some("https://p".into()), ..Options::default() };
        assert_eq!(proxy_of(&explicit, &env, "https://s3.amazonaws.com/").as_deref(), Some("https://p:443/"));
        assert_eq!(proxy_of(&none, &[], "https://s3.amazonaws.com/"), None);
    }

    #[test]
    fn metadata_addresses_never_pass_a_proxy() {
        let all = Options { proxy: Some("http://p:1".into()), ..Options::default() };
        for host in METADATA_HOSTS {
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
            assert_eq!(proxy_of(&all, &[], &format!("http://{host}/latest")), None, "{host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_without_its_password() {
        for bad in ["ftp://u:secret@h:1", "http://", "socks4://u:secret@h"] {
            let e = rules(&Options { proxy: Some(bad.into()), ..Options::default() }, &|_| None).expect_err(bad);
            assert_eq!(e.kind(), ErrorKind::Invalid);
            assert!(!e.to_string().contains("secret"), "{e}");
        }
    }
}
