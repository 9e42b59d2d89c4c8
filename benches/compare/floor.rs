//! The floor F: what it costs to read bytes from one socket and write them to another, and nothing else.
//!
//! Three processes, as in a real copy: one pours and swallows (`compare floor serve`), one relays (`compare floor relay`) and is
//! measured. Over TLS the same is done with rustls on both legs.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::{Args, Subcommand};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::server::tls;

/// Bytes read and written at once.
const BUFFER_BYTES: usize = 1 << 20;

/// The two sides.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Role {
    /// Pour into whoever asks and swallow what comes, until killed
    Serve(Serve),
    /// Read from it and write to it
    Relay(Relay),
}

/// The far ends.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Over TLS, with a certificate that is written to this file
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
    /// Run on this core
    #[arg(long)]
    core: Option<usize>,
}

/// The relay.
#[derive(Debug, Clone, Args)]
pub(crate) struct Relay {
    /// Where the far ends listen
    #[arg(long)]
    to: SocketAddr,
    /// How much to relay
    #[arg(long)]
    bytes: ByteSize,
    /// Over TLS, trusting this certificate
    #[arg(long, value_name = "FILE")]
    tls: Option<PathBuf>,
}

pub(crate) fn run(role: &Role) -> io::Result<()> {
    match role {
        Role::Serve(serve) => far_ends(serve),
        Role::Relay(relay) => relay_bytes(relay),
    }
}

/// A connection says first how many bytes it wants; 0 means that it brings some, whose end is answered with one byte.
fn far_ends(serve: &Serve) -> io::Result<()> {
    if let Some(core) = serve.core {
        crate::measure::pin(core)?;
    }
    let tls = serve.tls.as_deref().map(tls::configure).transpose()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("ready floor={}", listener.local_addr()?);
    for tcp in listener.incoming() {
        let (tcp, tls) = (tcp?, tls.clone());
        std::thread::spawn(move || -> io::Result<()> {
            let mut stream = tls::open(tls.as_ref(), tcp)?;
            let mut buffer = vec![7; BUFFER_BYTES];
            let mut wanted = [0; 8];
            stream.read_exact(&mut wanted)?;
            let mut left = u64::from_le_bytes(wanted);
            while left > 0 {
                let now = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                stream.write_all(&buffer[..now])?;
                left -= now as u64;
            }
            if u64::from_le_bytes(wanted) == 0 {
                stream.read_exact(&mut wanted)?;
                let mut left = u64::from_le_bytes(wanted);
                while left > 0 {
                    left -= stream.read(&mut buffer)? as u64;
                }
                stream.write_all(b".")?;
            }
            stream.flush()
        });
    }
    Ok(())
}

trait Leg: Read + Write {}
impl<T: Read + Write> Leg for T {}

fn relay_bytes(relay: &Relay) -> io::Result<()> {
    let trust = relay.tls.as_deref().map(trusting).transpose()?;
    let connect = || -> io::Result<Box<dyn Leg>> {
        let tcp = TcpStream::connect(relay.to)?;
        tcp.set_nodelay(true)?;
        Ok(match &trust {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let mut connection = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
                connection.set_buffer_limit(Some(2 * BUFFER_BYTES));
                Box::new(StreamOwned::new(connection, tcp))
            }
        })
    };
    let (mut from, mut to) = (connect()?, connect()?);
    let bytes = relay.bytes.as_u64();
    from.write_all(&bytes.to_le_bytes())?;
    from.flush()?;
    to.write_all(&0_u64.to_le_bytes())?;
    to.write_all(&bytes.to_le_bytes())?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    to.flush()?;
    to.read_exact(&mut [0])
}

/// A client's configuration that trusts one certificate.
fn trusting(file: &std::path::Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(io::Error::other)?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}
