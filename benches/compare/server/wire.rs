//! HTTP/1.1 as a server reads and writes it: blocking, one thread a connection, large buffers, nothing copied that need not be.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use rustls::{ServerConnection, StreamOwned};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// As much of a body goes with its head in one write.
const FIRST_WRITE_BYTES_MAX: usize = 64 << 10;

/// What bytes go over.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(into),
            Self::Tls(tls) => tls.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection: bytes read ahead, and the answer being written.
pub(super) struct Wire {
    pub(super) stream: Stream,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
    pub(super) out: Vec<u8>,
}

/// A request's head, within its text.
pub(super) struct Head<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a str,
    pub(super) headers: Vec<(&'a str, &'a str)>,
}

impl<'a> Head<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let mut lines = text.split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target) = (first.next()?, first.next()?);
        let mut headers = Vec::with_capacity(24);
        headers.extend(lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())));
        Some(Self { method, target, headers })
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: vec![0; READ_BYTES].into_boxed_slice(), from: 0, to: 0, out: Vec::with_capacity(4096) }
    }

    /// Reads more. False at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.to..]) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.to += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The text of the next request's head, without its last empty line. `None` where the client has gone.
    pub(super) fn head(&mut self, text: &mut String) -> io::Result<bool> {
        text.clear();
        let mut looked = 0;
        loop {
            let have = &self.buffer[self.from..self.to];
            if let Some(at) = memchr::memmem::find(&have[looked..], b"\r\n\r\n") {
                let end = looked + at;
                text.push_str(std::str::from_utf8(&have[..end]).map_err(|_| broken("a head that is not UTF-8"))?);
                self.from += end + 4;
                return Ok(true);
            }
            looked = have.len().saturating_sub(3);
            if have.len() > HEAD_BYTES_MAX {
                return Err(broken("a head without an end"));
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Gives `len` bytes to `sink` as they come.
    fn take(&mut self, mut len: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        while len > 0 {
            if self.from == self.to && !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let have = (self.to - self.from).min(usize::try_from(len).unwrap_or(usize::MAX));
            sink(&self.buffer[self.from..self.from + have]);
            self.from += have;
            len -= have as u64;
        }
        Ok(())
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            let have = &self.buffer[self.from..self.to];
            if let Some(at) = memchr::memchr(b'\n', have) {
                let line = String::from_utf8_lossy(&have[..at]).trim_end().to_owned();
                self.from += at + 1;
                return Ok(line);
            }
            if have.len() > HEAD_BYTES_MAX {
                return Err(broken("a line without an end"));
            }
            if !self.fill()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads a request's body to its end, whichever way it is framed.
    pub(super) fn body(&mut self, head: &Head<'_>, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if head.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        // The SDKs' own framing, with a signature or a checksum behind each chunk.
        let streaming = head.header("x-amz-content-sha256").is_some_and(|sha| sha.starts_with("STREAMING-"));
        let chunked = head.header("transfer-encoding").is_some_and(|encoding| encoding.eq_ignore_ascii_case("chunked"));
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        match (streaming, chunked) {
            (false, false) => self.take(length, sink),
            (false, true) => self.chunks(sink),
            (true, false) => {
                let mut decoder = AwsChunks::default();
                self.take(length, &mut |bytes| decoder.feed(bytes, sink))?;
                decoder.end()
            }
            (true, true) => {
                let mut decoder = AwsChunks::default();
                self.chunks(&mut |bytes| decoder.feed(bytes, sink))?;
                decoder.end()
            }
        }
    }

    fn chunks(&mut self, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size.trim(), 16).map_err(|_| broken("a chunk without a size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(());
            }
            self.take(size, sink)?;
            self.line()?;
        }
    }

    /// Sends what stands in `out`, and the beginning of a body with it. Returns how much of the body went.
    pub(super) fn send_with(&mut self, body: &[u8]) -> io::Result<usize> {
        let first = body.len().min(FIRST_WRITE_BYTES_MAX);
        self.out.extend_from_slice(&body[..first]);
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(first)
    }
}

/// Takes `aws-chunked` framing off: `SIZE[;chunk-signature=...]\r\nBYTES\r\n ... 0\r\n[trailers]\r\n`.
#[derive(Default)]
struct AwsChunks {
    line: Vec<u8>,
    left: u64,
    /// The line end behind a chunk's bytes.
    closing: bool,
    last: bool,
}

impl AwsChunks {
    fn feed(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
        while !bytes.is_empty() && !self.last {
            if self.left > 0 {
                let now = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                sink(&bytes[..now]);
                self.left -= now as u64;
                self.closing = self.left == 0;
                bytes = &bytes[now..];
                continue;
            }
            let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end..];
            if self.line.last() != Some(&b'\n') {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.closing) {
                continue;
            }
            let size = String::from_utf8_lossy(&line);
            let size = size.split([';', '\r', '\n']).next().unwrap_or_default();
            self.left = u64::from_str_radix(size, 16).unwrap_or(0);
            self.last = self.left == 0;
        }
    }

    fn end(&self) -> io::Result<()> {
        if self.last { Ok(()) } else { Err(broken("an aws-chunked body without its last chunk")) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// The body that the server reads where a client sends this head and these bytes.
    fn received(headers: &str, sent: &str) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let mut wire = Wire::new(Stream::Plain(listener.accept()?.0));
        // In pieces, so that nothing depends on what comes together.
        let request = format!("PUT /b/k HTTP/1.1\r\n{headers}\r\n\r\n{sent}");
        let sender = std::thread::spawn(move || request.as_bytes().chunks(7).try_for_each(|piece| client.write_all(piece)));
        let mut text = String::new();
        assert!(wire.head(&mut text)?);
        let head = Head::parse(&text).expect("a head");
        let mut body = Vec::new();
        let read = wire.body(&head, &mut |bytes| body.extend_from_slice(bytes));
        sender.join().expect("no panic")?;
        read.map(|()| body)
    }

    #[test]
    fn a_body_is_read_however_it_is_framed() {
        let trailing = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
        let signed = "3;chunk-signature=aa\r\nhel\r\n2;chunk-signature=bb\r\nlo\r\n0;chunk-signature=cc\r\n\r\n";
        let streaming = |kind: &str, body: &str| format!("x-amz-content-sha256: STREAMING-{kind}\r\ncontent-length: {}", body.len());
        for (headers, sent) in [
            ("Content-Length: 5".to_owned(), "hello"),
            ("transfer-encoding: chunked".to_owned(), "3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"),
            (streaming("UNSIGNED-PAYLOAD-TRAILER", trailing), trailing),
            (streaming("AWS4-HMAC-SHA256-PAYLOAD", signed), signed),
        ] {
            assert_eq!(received(&headers, sent).expect(&headers), b"hello", "{headers}");
        }
    }

    #[test]
    fn a_body_that_ends_early_is_none() {
        assert!(received("content-length: 9", "hello").is_err());
        assert!(received("x-amz-content-sha256: STREAMING-X\r\ncontent-length: 10", "5\r\nhello\r\n").is_err());
    }
}
