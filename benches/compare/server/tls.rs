//! https with a certificate of our own.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::wire::Stream;

/// Makes a certificate for loopback, which the file then holds for clients to trust, and what it takes to serve with it.
pub(crate) fn configure(file: &Path) -> io::Result<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(file, made.cert.pem())?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(io::Error::other)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// A connection, encrypted where the server is.
pub(crate) fn open(tls: Option<&Arc<ServerConfig>>, tcp: TcpStream) -> io::Result<Stream> {
    Ok(match tls {
        None => Stream::Plain(tcp),
        Some(config) => {
            let mut connection = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
            // As much as one write of a body is encrypted before it is sent.
            connection.set_buffer_limit(Some(2 << 20));
            Stream::Tls(Box::new(StreamOwned::new(connection, tcp)))
        }
    })
}
