//! `dragon cp - DST`: an upload whose length nobody knows until it ends.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::stores::Opening;
use crate::config::units::GiveUp;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Agreement, Crc64, Crc64Combiner};
use crate::storage::limit::Pipes;
use crate::storage::location::{Address, Location};
use crate::storage::{Attributes, Checksums, Complete, Multipart, MultipartLimits, Part, Payload, Put, PutOutput, Upload};
use crate::transfer::Options;
use crate::transfer::parts::growing_part_size;

use super::exit::{self, Outcome};
use super::human;
use super::session::Session;

/// Parts in flight; one more is being read.
const PARTS_IN_FLIGHT: usize = 3;

/// Uploads standard input as one object, and proves it against what the store states.
pub(super) async fn upload(session: &Session, destination: &Address, options: &Options, give_up_after: Option<GiveUp>) -> Outcome {
    if destination.is_folder() {
        return Err(Error::invalid(format!("standard input has no name to keep in {destination}")).advise("give the whole key").into());
    }
    let Pipes { read, write } = session.pipes(options);
    // Nothing is read from a store here.
    let pipes = Pipes { read: None, write: write.or(read) };
    let opening = Opening { make: !options.dry_run, follow_symlinks: false, pipes: vec![pipes], give_up_after, ..Opening::default() };
    let to = session.stores.object(destination, &opening).await?;
    if options.dry_run {
        session.output.line(&format!("+ {}", to.prefix))?;
        return Ok(exit::OK);
    }
    let attributes = Attributes {
        storage_class: options.storage_class.named().map(str::to_owned),
        encryption: options.encryption.named().cloned(),
        acl: options.acl.named().map(str::to_owned),
        ..Attributes::default()
    };
    let stream = Stream { input: tokio::io::stdin(), to, attributes, memory_bytes: options.memory_bytes, part_size_bytes: options.part_size_bytes };
    let (crc, output) = stream.send().await?;
    if let Agreement::Different(algorithm) = crc.checksums().agreement(&output.checksums) {
        return Err(Error::integrity(format!("the store holds something else than was sent: its {algorithm} differs")).on_key(destination).into());
    }
    if !session.output.quiet {
        session.output.line(&format!("copied {} to {destination}", human::bytes(crc.len)))?;
    }
    Ok(exit::OK)
}

struct Stream<R> {
    input: R,
    to: Location,
    attributes: Attributes,
    memory_bytes: u64,
    part_size_bytes: Option<u64>,
}

impl<R: AsyncRead + Unpin> Stream<R> {
    /// Sends everything: as one put where it is short, else in parts.
    async fn send(mut self) -> Result<(Crc64, PutOutput)> {
        let storage = self.to.storage.clone();
        let facets = storage.multipart().zip(storage.capabilities().multipart);
        let first_bytes = match &facets {
            Some((_, limits)) => self.part_size(1, limits),
            // Without parts, what is put must be whole in memory.
            None => self.memory_bytes,
        };
        let first = self.read(first_bytes).await?;
        let (Some((multipart, limits)), true) = (facets, first.len() as u64 == first_bytes) else {
            if first.len() as u64 == first_bytes {
                return Err(Error::unsupported(format!("{storage} has no uploads in parts, and the stream is longer than --memory")));
            }
            let crc = Crc64::of(&first);
            let put = Put { attributes: self.attributes, checksums: Some(crc.checksums()), condition: None };
            return Ok((crc, storage.put(&self.to.prefix, Payload::from(first), put).await?));
        };
        let upload = Upload { key: self.to.prefix.clone(), id: multipart.create(&self.to.prefix, &self.attributes).await? };
        match self.send_parts(multipart, &limits, &upload, first).await {
            Ok(done) => Ok(done),
            Err(error) => {
                // What was sent costs money while it lies there; that it cannot be removed is the smaller trouble of the two.
                if let Err(e) = multipart.abort(&upload).await {
                    tracing::warn!(key = %upload.key, upload = upload.id.0, error = %e, "the unfinished upload could not be removed");
                }
                Err(error)
            }
        }
    }

    async fn send_parts(&mut self, multipart: &dyn Multipart, limits: &MultipartLimits, upload: &Upload, first: Bytes) -> Result<(Crc64, PutOutput)> {
        use futures::stream::{FuturesOrdered, StreamExt};
        let (mut sending, mut parts, mut whole) = (FuturesOrdered::new(), Vec::<Part>::new(), Crc64Combiner::default());
        let (mut number, mut chunk) = (1_u32, first);
        loop {
            if number > limits.parts_max {
                return Err(Error::new(ErrorKind::Invalid, format!("the stream is longer than {} parts can hold", limits.parts_max))
                    .advise("raise --memory or --part-size"));
            }
            let crc = Crc64::of(&chunk);
            whole.push(crc);
            let last = (chunk.len() as u64) < self.part_size(number, limits);
            sending.push_back(send_part(multipart, upload, number, chunk, crc.checksums()));
            if last {
                break;
            }
            while sending.len() >= PARTS_IN_FLIGHT {
                parts.extend(sending.next().await.transpose()?);
            }
            number += 1;
            let size = self.part_size(number, limits);
            // Parts go on moving while the next one is read.
            chunk = tokio::select! {
                chunk = self.read(size) => chunk?,
                error = first_error(&mut sending, &mut parts) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
        }
        while let Some(part) = sending.next().await {
            parts.push(part?);
        }
        let crc = whole.finish();
        let complete = Complete { checksums: Some(crc.checksums()), condition: None };
        Ok((crc, multipart.complete(upload, &parts, complete).await?))
    }

    fn part_size(&self, number: u32, limits: &MultipartLimits) -> u64 {
        // Those in flight and the one that is read share the memory.
        let memory = self.memory_bytes / (PARTS_IN_FLIGHT as u64 + 1);
        self.part_size_bytes.map_or_else(|| growing_part_size(number, limits, memory), |size| size.max(limits.part_bytes_min))
    }

    async fn read(&mut self, bytes: u64) -> Result<Bytes> {
        let mut buffer = BytesMut::new();
        let mut input = (&mut self.input).take(bytes);
        while input.read_buf(&mut buffer).await.map_err(|e| Error::from(e).during("read standard input"))? > 0 {}
        Ok(buffer.freeze())
    }
}

async fn send_part(multipart: &dyn Multipart, upload: &Upload, number: u32, chunk: Bytes, checksums: Checksums) -> Result<Part> {
    let part = multipart.upload_part(upload, number, Payload::from(chunk), Some(&checksums)).await?;
    match checksums.agreement(&part.checksums) {
        Agreement::Different(algorithm) => Err(Error::integrity(format!("part {number} arrived changed: its {algorithm} differs")).on_key(&upload.key)),
        _ => Ok(part),
    }
}

/// Collects finished parts; returns only when one failed.
async fn first_error<F: Future<Output = Result<Part>>>(sending: &mut futures::stream::FuturesOrdered<F>, parts: &mut Vec<Part>) -> Error {
    use futures::StreamExt;
    loop {
        match sending.next().await {
            Some(Ok(part)) => parts.push(part),
            Some(Err(error)) => return error,
            None => return std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::memory::MemoryStore;
    use crate::storage::{Get, ObjectRef, Storage};

    async fn send(len: usize, part_size: Option<u64>) -> (Crc64, Bytes) {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStore::new("b"));
        let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
        let to = Location::new(storage.clone(), "k");
        let stream = Stream { input: &bytes[..], to, attributes: Attributes::default(), memory_bytes: 64 << 20, part_size_bytes: part_size };
        let (crc, _) = stream.send().await.expect("sent");
        assert_eq!(crc, Crc64::of(&bytes));
        let mut body = storage.get(&ObjectRef::from(crate::storage::Key::from("k")), Get::default()).await.expect("there").body;
        let mut all = BytesMut::new();
        while let Some(chunk) = futures::StreamExt::next(&mut body).await {
            all.extend_from_slice(&chunk.expect("a chunk"));
        }
        assert_eq!(all, bytes);
        (crc, all.freeze())
    }

    #[tokio::test]
    async fn a_stream_of_any_length_arrives_whole() {
        for len in [0, 1, (5 << 20) - 1, 5 << 20, (5 << 20) + 1, 17 << 20] {
            send(len, Some(5 << 20)).await;
        }
        send(1000, None).await;
    }
}
