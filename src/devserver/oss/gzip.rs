//! The service compresses text on the fly and drops the ETag: protocol.md 2.5.
//!
//! What matters to a client is the trap (a body that is not the object's bytes, no length, no ETag), not the ratio, so the
//! stream is a valid gzip file of stored blocks and needs no compressor.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};

/// Smaller objects are sent as they are.
pub(super) const SIZE_BYTES_MIN: u64 = 1024;

const TYPES: &[&str] = &[
    "application/javascript",
    "application/json",
    "application/rss+xml",
    "application/x-javascript",
    "application/xml",
    "image/svg+xml",
    "image/tiff",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/x-component",
    "text/xml",
];

/// Whether the service compresses this type.
pub(super) fn compresses(content_type: &str) -> bool {
    let plain = content_type.split(';').next().unwrap_or("").trim();
    TYPES.iter().any(|t| t.eq_ignore_ascii_case(plain))
}

/// Wraps a stream as a gzip file (RFC 1952) of stored blocks (RFC 1951, 3.2.4).
pub(super) fn wrap(body: BoxStream<'static, std::io::Result<Bytes>>) -> BoxStream<'static, std::io::Result<Bytes>> {
    let wrapped = async_stream::try_stream! {
        yield Bytes::from_static(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        let (mut crc, mut total) = (Crc32::new(), 0u32);
        let mut body = body;
        while let Some(piece) = body.next().await {
            let piece = piece?;
            crc.update(&piece);
            total = total.wrapping_add(piece.len() as u32);
            for block in piece.chunks(0xffff) {
                yield stored_block(block, false);
            }
        }
        let mut end = BytesMut::from(&stored_block(&[], true)[..]);
        end.put_u32_le(crc.finish());
        end.put_u32_le(total);
        yield end.freeze();
    };
    wrapped.boxed()
}

fn stored_block(bytes: &[u8], last: bool) -> Bytes {
    let len = bytes.len() as u16;
    let mut block = BytesMut::with_capacity(bytes.len() + 5);
    block.put_u8(u8::from(last));
    block.put_u16_le(len);
    block.put_u16_le(!len);
    block.put_slice(bytes);
    block.freeze()
}

/// CRC-32 as gzip wants it, bit by bit: a dev server's texts are small.
struct Crc32(u32);

impl Crc32 {
    fn new() -> Self {
        Self(!0)
    }

    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u32::from(*byte);
            for _ in 0..8 {
                self.0 = (self.0 >> 1) ^ (0xedb8_8320 & (self.0 & 1).wrapping_neg());
            }
        }
    }

    fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_gzips() {
        let mut crc = Crc32::new();
        crc.update(b"123456789");
        assert_eq!(crc.finish(), 0xcbf4_3926);
    }

    #[tokio::test]
    async fn the_stream_is_header_stored_blocks_and_trailer() {
        let body = futures::stream::iter([Ok(Bytes::from(vec![b'x'; 70_000]))]).boxed();
        let file: Vec<u8> = wrap(body).map(|piece| piece.unwrap().to_vec()).concat().await;
        assert_eq!(file.len(), 10 + 3 * 5 + 70_000 + 8);
        assert_eq!(file[10..15], [0, 0xff, 0xff, 0, 0]);
        assert_eq!(file[file.len() - 13..file.len() - 8], [1, 0, 0, 0xff, 0xff]);
        assert_eq!(file[file.len() - 4..], 70_000u32.to_le_bytes());
        assert!(compresses("text/plain; charset=utf-8") && !compresses("image/png"));
    }
}
