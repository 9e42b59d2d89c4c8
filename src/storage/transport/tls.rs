//! TLS: whom to trust, and which cipher to prefer.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::Options;
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};

/// Encrypted bytes that are read from the kernel at a time.
const READ_AHEAD_BYTES: usize = 128 << 10;
/// Encrypted bytes that wait to be written.
const WRITE_BEHIND_BYTES: usize = 512 << 10;

/// Trust in the system's authorities (or SSL_CERT_FILE's and SSL_CERT_DIR's), and in `ca_file`'s or else AWS_CA_BUNDLE's besides.
pub(super) fn connector(options: &Options, env: &dyn Fn(&str) -> Option<String>) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    // This reads SSL_CERT_FILE and SSL_CERT_DIR. A system store may hold certificates that rustls refuses; the others still serve.
    let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let named = options.ca_file.clone().or_else(|| env("AWS_CA_BUNDLE").filter(|v| !v.is_empty()).map(PathBuf::from));
    for path in named.into_iter().chain(env("SSL_CERT_FILE").filter(|v| !v.is_empty()).map(PathBuf::from)) {
        for certificate in certificates(&path)? {
            roots.add(certificate).map_err(|e| unreadable(&path, &e))?;
        }
    }
    if roots.is_empty() {
        tracing::warn!("no certificate authorities found: https endpoints will be refused; install ca-certificates or set ca_file");
    }
    // AES-128 costs a fifth less than AES-256 per byte, and a server takes the client's order (performance.md 1c).
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|s| s.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Unexpected, "cannot set up TLS").caused_by(e))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let all = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, &e))?.collect::<Result<Vec<_>, _>>().map_err(|e| unreadable(path, &e))?;
    if all.is_empty() {
        return Err(unreadable(path, &"it holds no certificate"));
    }
    Ok(all)
}

fn unreadable(path: &Path, e: &dyn std::fmt::Display) -> Error {
    Error::invalid(format!("cannot read the certificate authorities in {}: {e}", path.display()))
        .advise("it must be a PEM file with -----BEGIN CERTIFICATE-----")
}

/// Shakes hands with `host` over `stream`.
pub(super) async fn handshake(tls: &TlsConnector, host: &str, stream: Stream) -> Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::invalid(format!("'{host}' is no host name that TLS can check")))?;
    let address = stream.address();
    // rustls reads 4 KiB at a time, and takes 64 KiB to be sent: with larger ones the kernel is asked less often.
    let wire = tokio::io::BufReader::with_capacity(READ_AHEAD_BYTES, stream);
    match tls.connect_with(name, wire, |session| session.set_buffer_limit(Some(WRITE_BEHIND_BYTES))).await {
        Ok(stream) => Ok(Stream::new(stream, address)),
        Err(e) => Err(explain(host, e)),
    }
}

/// A certificate that is refused stays refused: that is a matter of configuration. Anything else may pass.
fn explain(host: &str, e: std::io::Error) -> Error {
    use rustls::CertificateError as Bad;
    let advice = match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(bad)) => match bad {
            Bad::UnknownIssuer | Bad::BadSignature => "if a private authority signed it, name its PEM file in ca_file or AWS_CA_BUNDLE",
            Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "check this machine's clock, and the certificate's dates"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => "check the endpoint; a bucket name with dots needs path style",
            _ => "check the endpoint's certificate",
        },
        Some(rustls::Error::InvalidMessage(_)) => "the other side does not speak TLS: check the endpoint's scheme and port",
        _ => return Error::new(ErrorKind::Unavailable, format!("the TLS handshake with {host} failed")).caused_by(e),
    };
    Error::new(ErrorKind::WrongEndpoint, format!("the TLS handshake with {host} failed")).caused_by(e).advise(advice)
}
