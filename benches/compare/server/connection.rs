//! One connection: requests are answered one behind the other until the client goes.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Server;
use super::dialect::Dialect;
use super::fault::{Fault, STALL};
use super::listing::{self, Ask};
use super::request::{Operation, Request};
use super::wire::{Head, Stream, Wire};
use super::xml::{escape, texts, unescape};

mod object;
mod upload;

/// Serves a connection to its end: of the cloud whose dialect this is, or of the control port.
pub(super) fn serve(server: &Arc<Server>, dialect: Option<Dialect>, stream: Stream) {
    let mut connection = Connection { server, wire: Wire::new(stream) };
    // A client that goes away is no event here: what it missed it counts itself.
    let Some(dialect) = dialect else {
        let _ = connection.control();
        return;
    };
    server.counters.opened();
    let _ = connection.run(dialect);
    server.counters.open.fetch_sub(1, Relaxed);
}

struct Connection<'a> {
    server: &'a Server,
    wire: Wire,
}

/// Why a connection ends.
enum End {
    Gone(#[allow(dead_code, reason = "told to nobody; kept for a debugger")] io::Error),
    /// A fault that was asked for.
    Cut,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Gone(error)
    }
}

type Answered = Result<(), End>;

impl Connection<'_> {
    fn run(&mut self, dialect: Dialect) -> Answered {
        let mut text = String::with_capacity(4096);
        while self.wire.head(&mut text)? {
            let Some(head) = Head::parse(&text) else { return Ok(()) };
            self.one(&Request::parse(dialect, &head))?;
            if head.header("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close")) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One question to the control port.
    fn control(&mut self) -> Answered {
        let mut text = String::new();
        if !self.wire.head(&mut text)? {
            return Ok(());
        }
        let path = Head::parse(&text).and_then(|head| head.target.strip_prefix("/-/")).unwrap_or_default();
        let report = self.server.control(path);
        self.answer(200, "content-type: application/json\r\nconnection: close\r\n", report.as_bytes())
    }

    fn one(&mut self, request: &Request<'_>) -> Answered {
        self.server.counters.count(request.operation);
        let fault = if request.operation.moves_bytes() { self.server.faults.next() } else { Fault::None };
        match fault {
            Fault::Throttle => {
                self.wire.body(request.head, &mut |_| {})?;
                self.server.counters.throttled.fetch_add(1, Relaxed);
                return self.throttle(request);
            }
            Fault::Stall => {
                self.server.counters.stalls.fetch_add(1, Relaxed);
                std::thread::sleep(STALL);
            }
            Fault::Reset => {
                self.server.counters.resets.fetch_add(1, Relaxed);
            }
            Fault::Corrupt | Fault::Truncate => {
                self.server.counters.corrupted.fetch_add(1, Relaxed);
            }
            Fault::None => {}
        }
        match request.operation {
            Operation::Get => return self.get(request, fault),
            Operation::Put => return self.put(request, fault),
            Operation::UploadPart => return self.upload_part(request, fault),
            _ => {}
        }
        let mut body = Vec::new();
        self.wire.body(request.head, &mut |bytes| body.extend_from_slice(bytes))?;
        let body = String::from_utf8_lossy(&body);
        match request.operation {
            Operation::Head => self.head(request),
            Operation::List => self.list(request),
            Operation::CreateUpload => self.create_upload(request),
            Operation::CompleteUpload => self.complete_upload(request, &body),
            Operation::ListParts => self.list_parts(request),
            Operation::ListUploads => self.list_uploads(request),
            Operation::AbortUpload => {
                self.server.store.uploads().remove(request.query("uploadId").unwrap_or_default());
                self.answer(204, "", b"")
            }
            Operation::Delete => {
                self.server.store.delete(&request.bucket, &request.key);
                self.answer(204, "", b"")
            }
            Operation::DeleteMany => self.delete_many(request, &body),
            Operation::HeadBucket => self.answer(200, "x-amz-bucket-region: us-east-1\r\n", b""),
            Operation::CreateBucket => self.answer(200, "", b""),
            Operation::ListBuckets => self.xml(200, "<ListAllMyBucketsResult><Owner><ID>0</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>"),
            Operation::BucketSetting => self.bucket_setting(request),
            _ => self.refuse(request, 501, "NotImplemented", "the benchmark's server does not do this"),
        }
    }

    /// Writes an answer's head into the wire's buffer.
    fn write_head(&mut self, status: u16, headers: &str, length: u64) {
        let reason = match status {
            200 => "OK",
            204 => "No Content",
            206 => "Partial Content",
            _ => "No",
        };
        // Writing to a Vec cannot fail.
        let _ = write!(self.wire.out, "HTTP/1.1 {status} {reason}\r\nserver: bench\r\nx-amz-request-id: B\r\nx-oss-request-id: B\r\n{headers}");
        if status != 204 {
            let _ = write!(self.wire.out, "content-length: {length}\r\n");
        }
        self.wire.out.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, status: u16, headers: &str, body: &[u8]) -> Answered {
        self.write_head(status, headers, body.len() as u64);
        let sent = self.wire.send_with(body)?;
        self.wire.stream.write_all(&body[sent..])?;
        Ok(self.wire.stream.flush()?)
    }

    fn xml(&mut self, status: u16, document: &str) -> Answered {
        self.answer(status, "content-type: application/xml\r\n", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{document}").as_bytes())
    }

    fn refuse(&mut self, request: &Request<'_>, status: u16, code: &str, message: &str) -> Answered {
        self.server.counters.refused.fetch_add(1, Relaxed);
        self.error(request, status, "", code, message)
    }

    fn error(&mut self, request: &Request<'_>, status: u16, headers: &str, code: &str, message: &str) -> Answered {
        if request.head.method == "HEAD" {
            // An answer to HEAD has no body, and says no length that one would have.
            return self.answer(status, headers, b"");
        }
        let key = String::from_utf8_lossy(&escape(&request.key)).into_owned();
        let document = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message><Resource>{key}</Resource><RequestId>B</RequestId></Error>"
        );
        self.answer(status, &format!("content-type: application/xml\r\n{headers}"), document.as_bytes())
    }

    fn throttle(&mut self, request: &Request<'_>) -> Answered {
        let headers = if request.dialect == Dialect::Oss { "x-oss-qos-delay-time: 100\r\n" } else { "" };
        self.error(request, 503, headers, request.dialect.throttled(), "please reduce your request rate")
    }

    fn missing(&mut self, request: &Request<'_>) -> Answered {
        // Looking whether a key is there is nobody's fault.
        self.error(request, 404, "", "NoSuchKey", "there is no object of this key")
    }
    fn list(&mut self, request: &Request<'_>) -> Answered {
        if !self.server.page_delay.is_zero() {
            std::thread::sleep(self.server.page_delay);
        }
        let version_2 = request.query("list-type") == Some("2");
        let ask = Ask {
            version_2,
            prefix: request.query("prefix").unwrap_or_default().as_bytes().to_vec(),
            delimiter: request.query("delimiter").and_then(|delimiter| delimiter.bytes().next()),
            after: request.query(if version_2 { "start-after" } else { "marker" }).unwrap_or_default().as_bytes().to_vec(),
            token: request.query("continuation-token").map(str::to_owned),
            max_keys: request.query("max-keys").and_then(|max| max.parse().ok()).unwrap_or(request.dialect.page_keys()).min(1000),
            url: request.query("encoding-type") == Some("url"),
        };
        match listing::page(&self.server.store, request.dialect, &request.bucket, &ask) {
            Some(page) => self.answer(200, "content-type: application/xml\r\n", &page),
            None => self.refuse(request, 400, "InvalidArgument", "the continuation token is not ours"),
        }
    }
    fn delete_many(&mut self, request: &Request<'_>, body: &str) -> Answered {
        let mut document = String::from("<DeleteResult>");
        for key in texts(body, "Key") {
            self.server.store.delete(&request.bucket, unescape(key).as_bytes());
            document.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
        }
        self.xml(200, &(document + "</DeleteResult>"))
    }

    fn bucket_setting(&mut self, request: &Request<'_>) -> Answered {
        if request.query("location").is_some() {
            return match request.dialect {
                Dialect::S3 => self.xml(200, "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"),
                Dialect::Oss => self.xml(200, "<LocationConstraint>oss-cn-hangzhou</LocationConstraint>"),
            };
        }
        if request.query("versioning").is_some() {
            return self.xml(200, "<VersioningConfiguration/>");
        }
        self.refuse(request, 501, "NotImplemented", "the benchmark's server does not do this")
    }
}
