//! A copy within one service of an object that is larger than one copy request takes: it copies range by range into an upload.
//!
//! Where the object was written in parts, and the service tells how long they are, the copy is cut at the same bounds: its `-N` ETag then
//! comes out as the original's. The upload stands in the journal like any other. Its parts are not noted one by one, since nothing was read
//! of which a checksum could be kept: a copy that does not come to its end is thrown away, at the latest by the next run.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::multipart::PARTS_AT_ONCE;
use super::resume::digest;
use super::within::Original;
use super::{Copier, tags_of};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::flight::Cargo;
use crate::journal::{Event, FlightId, Intent};
use crate::storage::{Attributes, Checksums, Complete, CopyRange, Multipart, MultipartLimits, Part, PutOutput, ServerCopy, Service, Upload};
use crate::transfer::parts::Parts;
use crate::transfer::task::CopyTask;

/// How long a range usually is, in bytes. The service copies ranges side by side, each of them slowly.
const RANGE_BYTES_USUAL: u64 = 256 << 20;

impl Copier {
    /// Has the service make an object of ranges of another. The flight is left for whoever proves what was made.
    pub(super) async fn copy_ranges(
        &self,
        task: &CopyTask,
        server: &dyn ServerCopy,
        original: &Original<'_>,
        attributes: &Attributes,
    ) -> Result<(PutOutput, FlightId)> {
        let capabilities = self.writer.destination.capabilities();
        let (Some(multipart), Some(limits)) = (self.writer.destination.multipart(), capabilities.multipart) else {
            return Err(Error::unsupported("it is larger than the service copies at once"));
        };
        if !survives(original.stated, capabilities.service) {
            return Err(Error::unsupported("the service states no checksum that a copy in parts has as well"));
        }
        // What a copy in one request keeps of itself must be named here.
        let mut attributes = attributes.clone();
        if attributes.tags.is_none() {
            attributes.tags = Some(tags_of(original.store, &original.object, original.info).await?);
        }
        let parts = ranges(original, &limits, server.copy_bytes_max()).await?;
        // What an earlier run left, by whatever way, is of no use here.
        self.end_flight(&task.key).await?;
        let intent = Intent {
            key: task.key.clone(),
            destination_key: task.destination_key.clone(),
            cargo: Cargo { etag: task.etag.clone(), version: original.info.version.clone(), size: parts.size_bytes },
            part_size_bytes: parts.part_size_bytes,
            attributes: digest(&attributes),
            begun: self.context.clock.now(),
        };
        let flight = self.writer.journal.intend(intent).await?;
        let made = self.fill_with_ranges(task, (server, multipart), original, &attributes, (flight, parts)).await;
        if made.is_err() {
            self.writer.leave(&task.key, false).await;
        }
        Ok((made?, flight))
    }

    async fn fill_with_ranges(
        &self,
        task: &CopyTask,
        (server, multipart): (&dyn ServerCopy, &dyn Multipart),
        original: &Original<'_>,
        attributes: &Attributes,
        (flight, parts): (FlightId, Parts),
    ) -> Result<PutOutput> {
        let id = multipart.create(&task.destination_key, attributes).await?;
        let upload = &Upload { key: task.destination_key.clone(), id };
        self.writer.journal.advance(flight, Event::Created(upload.id.clone())).await?;
        let numbers = stream::iter(1..=parts.count()).take_until(self.context.cancel.cancelled());
        let copied = numbers.map(|number| async move {
            let stream = self.streams.open().await?;
            let from = CopyRange { bucket: original.bucket(), object: &original.object, if_match: original.pin, range: parts.range(number) };
            let part = server.copy_part(&from, upload, number).await?;
            stream.done(0);
            Ok::<_, Error>(part)
        });
        let mut copied: Vec<Part> = copied.buffer_unordered(PARTS_AT_ONCE).try_collect().await?;
        if copied.len() < parts.count() as usize {
            return Err(Error::new(ErrorKind::Interrupted, format!("interrupted when the service had copied {} of {} parts", copied.len(), parts.count())));
        }
        copied.sort_by_key(|part| part.number);
        self.writer.journal.advance(flight, Event::Completing).await?;
        let whole = Checksums { crc64xz: original.stated.crc64xz, crc64nvme: original.stated.crc64nvme, ..Checksums::default() };
        multipart.complete(upload, &copied, Complete { checksums: Some(whole), condition: None }).await
    }
}

/// Whether a copy in parts will be stated with a checksum that the original has: what the service computes over the whole of it.
fn survives(stated: &Checksums, service: Service) -> bool {
    match service {
        Service::Oss => stated.crc64xz.is_some(),
        Service::S3 => stated.crc64nvme.is_some(),
        _ => stated.crc64xz.is_some() || stated.crc64nvme.is_some(),
    }
}

/// At which bounds the original is cut: those it was written with, where they are told, regular and within the limits.
async fn ranges(original: &Original<'_>, limits: &MultipartLimits, copy_bytes_max: u64) -> Result<Parts> {
    let size_bytes = original.info.size;
    let (least, most) = (limits.part_bytes_min, limits.part_bytes_max.min(copy_bytes_max));
    let cut = |part_size_bytes| Parts { size_bytes, part_size_bytes, streamed: false };
    if original.info.etag.multipart().is_some()
        && let Some(first) = original.store.stored_part(&original.object, 1).await?
        && (least..=most).contains(&first.size_bytes)
        && cut(first.size_bytes).count() == first.parts
    {
        return Ok(cut(first.size_bytes));
    }
    let usual = RANGE_BYTES_USUAL.max(size_bytes.div_ceil(u64::from(limits.parts_max)));
    Ok(cut(usual.min(most).max(least)))
}
