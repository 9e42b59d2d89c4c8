//! The destination's permissions, tried on objects of the doctor's own under a prefix of their own, which it removes whatever happens.

use std::sync::Arc;

use futures::StreamExt;

use crate::cli::exit::Failure;
use crate::cli::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::checksum::{Agreement, Crc64};
use crate::storage::{Attributes, Checksums, Complete, Key, List, Multipart, ObjectRef, Payload, Put, PutOutput, Storage, Upload};

use super::findings::Findings;
use super::permission::first_byte;

/// What the doctor made and has to remove. A key is noted before it is written: a write whose answer was lost may have happened.
struct Scratch {
    storage: Arc<dyn Storage>,
    prefix: Key,
    keys: Vec<Key>,
    uploads: Vec<Upload>,
}

/// Tries each permission, then removes what was made, also where a signal ended the trial.
pub(super) async fn examine(session: &Session, storage: &Arc<dyn Storage>, prefix: &Key, findings: &mut Findings<'_>) -> Result<(), Failure> {
    let own = prefix.join(format!(".dragon-doctor-{}/", session.clock.random_id()).as_bytes());
    let mut scratch = Scratch { storage: storage.clone(), prefix: own, keys: Vec::new(), uploads: Vec::new() };
    let tried = session.cancel.run_until_cancelled(scratch.try_all(findings)).await;
    let removed = scratch.remove(findings).await;
    tried.unwrap_or(Ok(()))?;
    removed
}

impl Scratch {
    async fn try_all(&mut self, findings: &mut Findings<'_>) -> Result<(), Failure> {
        let storage = self.storage.clone();
        let body = format!("{} made this and will remove it.\n", self.prefix).into_bytes();
        let key = self.prefix.join(b"object");
        self.keys.push(key.clone());
        let written = put(&*storage, &key, body.clone()).await;
        let there = written.is_ok();
        findings.settle("put", written.map(|output| format!("allowed; the service states {}", stated(&output))))?;
        if there {
            let object = ObjectRef::from(&key);
            findings.settle("head", storage.head(&object).await.and_then(|info| same_length(info.size, body.len())).map(|()| "allowed".to_owned()))?;
            findings.settle("get", first_byte(&*storage, &object, body.len() as u64).await.map(|()| "allowed".to_owned()))?;
            findings.settle("list scratch", self.find(&key).await.map(|()| "what was written is listed".to_owned()))?;
        }
        match storage.multipart() {
            Some(multipart) => self.try_uploads(multipart, body, findings).await,
            None => findings.warn("multipart", "this store has no multipart uploads: objects go in one piece"),
        }
    }

    async fn find(&self, key: &Key) -> Result<()> {
        let mut pages = self.storage.list(List::under(self.prefix.clone()));
        while let Some(page) = pages.next().await {
            if page?.iter().any(|entry| entry.key == key.as_bytes()) {
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unexpected, "what was just written is not listed").advise("a service whose listings lag cannot be compared with"))
    }

    /// An upload to its end, and one that is given up.
    async fn try_uploads(&mut self, multipart: &dyn Multipart, body: Vec<u8>, findings: &mut Findings<'_>) -> Result<(), Failure> {
        let upload = match self.begin(multipart, b"in-parts").await {
            Ok(upload) => upload,
            Err(e) => return findings.fail("multipart create", &e),
        };
        findings.fine("multipart create", "allowed")?;
        let checksums = Crc64::of(&body).checksums();
        match multipart.upload_part(&upload, 1, body.into(), Some(&checksums)).await {
            Err(e) => findings.fail("multipart part", &e)?,
            Ok(part) => {
                findings.fine("multipart part", "allowed")?;
                let complete = Complete { checksums: Some(checksums.clone()), condition: None };
                let completed = multipart.complete(&upload, &[part], complete).await.and_then(|output| agreed(output, &checksums));
                if completed.is_ok() {
                    self.uploads.retain(|u| *u != upload);
                }
                findings.settle("multipart complete", completed.map(|output| format!("allowed; the service states {}", stated(&output))))?;
            }
        }
        let aborted = match self.begin(multipart, b"given-up").await {
            Ok(upload) => multipart.abort(&upload).await.map(|()| self.uploads.retain(|u| *u != upload)),
            Err(e) => Err(e),
        };
        findings.settle("multipart abort", aborted.map(|()| "allowed".to_owned()))
    }

    async fn begin(&mut self, multipart: &dyn Multipart, name: &[u8]) -> Result<Upload> {
        let key = self.prefix.join(name);
        self.keys.push(key.clone());
        let upload = Upload { id: multipart.create(&key, &Attributes::default()).await?, key };
        self.uploads.push(upload.clone());
        Ok(upload)
    }

    /// Removes everything, and names what stays.
    async fn remove(self, findings: &mut Findings<'_>) -> Result<(), Failure> {
        if let Some(multipart) = self.storage.multipart() {
            for upload in &self.uploads {
                if let Err(e) = multipart.abort(upload).await {
                    findings.fail("clean up", &e.advise(format!("an open upload of '{}' stays: abort it, or let the bucket's lifecycle do it", upload.key)))?;
                }
            }
        }
        let objects: Vec<ObjectRef> = self.keys.iter().map(ObjectRef::from).collect();
        if objects.is_empty() {
            return Ok(());
        }
        let mut answers = self.storage.delete(futures::stream::iter(objects).boxed());
        let mut refused = None;
        while let Some((object, result)) = answers.next().await {
            if let Err(e) = result {
                refused.get_or_insert(e.advise(format!("'{}' may stay there: remove it by hand", object.key)));
            }
        }
        match refused {
            Some(e) => findings.fail("delete", &e),
            None => findings.fine("delete", "allowed; what the doctor wrote is gone"),
        }
    }
}

async fn put(storage: &dyn Storage, key: &Key, body: Vec<u8>) -> Result<PutOutput> {
    let checksums = Crc64::of(&body).checksums();
    let put = Put { checksums: Some(checksums.clone()), ..Put::default() };
    agreed(storage.put(key, Payload::from(body), put).await?, &checksums)
}

/// The service's checksums must be ours.
fn agreed(output: PutOutput, ours: &Checksums) -> Result<PutOutput> {
    match output.checksums.agreement(ours) {
        Agreement::Different(_) => Err(Error::integrity("the service states another checksum than that of what was sent")),
        _ => Ok(output),
    }
}

fn same_length(told_bytes: u64, sent_bytes: usize) -> Result<()> {
    if told_bytes == sent_bytes as u64 { Ok(()) } else { Err(Error::integrity(format!("{sent_bytes} bytes were written, {told_bytes} are there"))) }
}

/// Which checksum of the whole object the service stated.
fn stated(output: &PutOutput) -> &'static str {
    let Checksums { crc64nvme, crc64xz, .. } = &output.checksums;
    match (crc64nvme, crc64xz) {
        (Some(_), _) => "crc64nvme of the whole",
        (_, Some(_)) => "crc64ecma of the whole",
        _ if output.checksums.md5.is_some() || output.etag.md5().is_some() => "MD5 only",
        _ => "no checksum: copies are proved by reading them back",
    }
}
