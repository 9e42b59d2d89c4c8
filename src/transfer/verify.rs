//! Compares two places and says of each key what is proved. Writes nothing.
//!
//! Without `deep`, sizes and what the stores state decide: ETags that are MD5, stored checksums, what the journal has proved of both
//! ends (an audit by HEAD alone, also where they state different checksums), and the stamp of the copy, which says from which source
//! object the destination was made. A local file is read, since nothing states its checksum. With `deep`,
//! the bytes of both ends are read and held against each other and against what their own store states.
//!
//! | source | destination | verdict |
//! |---|---|---|
//! | there | absent | missing_destination |
//! | absent | there | missing_source |
//! | unknown | there | look, then one of these |
//! | there | there, another size | differs |
//! | there | there | same, differs or unproved |

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::{BoxFuture, FutureExt};

use super::concurrency::Streams;
use super::event::{Event, Notice, Verdict, VerdictEvent};
use super::job::{Context, Options};
use super::join::{Pairing, Side};
use super::plan::{Evidence, Look};
use super::progress::Moving;
use super::report::Report;
use super::schedule::{Stage, Step};
use super::stamp::{self, Stamp};
use super::subject::{self, Ends, Subject};
use super::task::Proof;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::Proved;
use crate::storage::checksum::Agreement;
use crate::storage::location::Location;
use crate::storage::{Checksums, ETag, Entry, Key, Kind, ObjectInfo, Service};

/// What a pairing comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// It takes no part.
    Pass,
    Warn(&'static str),
    Refuse(&'static str),
    Verdict(Verdict, Proof),
    Look(Look),
    /// The bytes of both must be read.
    Read,
}

/// What the judgement depends on besides the pairing.
#[derive(Debug, Clone, Copy)]
struct Rules<'a> {
    options: &'a Options,
    deep: bool,
    a_local_end: bool,
    /// Links of OSS at the source are followed.
    follows_links: bool,
}

const LOOK_BOTH: Judgement = Judgement::Look(Look { source: true, destination: true, read: false });

/// Judges one pairing by the table of this module.
fn judge(rules: &Rules<'_>, pairing: &Pairing<'_>, evidence: &Evidence<'_>) -> Judgement {
    let filter = &rules.options.filter;
    let marker = |entry: &Entry<'_>| entry.size == 0 && pairing.key.ends_with(b"/");
    if filter.hides_key(pairing.key) {
        return Judgement::Pass;
    }
    // A link of OSS is compared as what it leads to, which its listing does not tell.
    let followed = rules.follows_links && matches!(&pairing.source, Side::Present(entry) if entry.kind == Kind::Symlink);
    if followed && evidence.source.is_none() {
        return Judgement::Look(Look { source: true, ..Look::default() });
    }
    for side in [Some(&pairing.source).filter(|_| !followed), Some(&pairing.destination)].into_iter().flatten() {
        match side {
            Side::Present(entry) if entry.kind == Kind::Unreadable => return Judgement::Refuse("it cannot be read, and what is under it is unknown"),
            Side::Present(entry) if matches!(entry.kind, Kind::Symlink | Kind::Special) => {
                return Judgement::Warn("a symbolic link, device, socket or pipe is not compared");
            }
            _ => {}
        }
    }
    match (&pairing.source, &pairing.destination) {
        (Side::Present(entry), _) | (Side::Absent, Side::Present(entry)) if filter.hides_object(entry.size, entry.modified) => Judgement::Pass,
        (Side::Present(source), Side::Present(destination)) => compare(rules, pairing, (source, destination), evidence, marker(source)),
        // Directories are not listed on a local end, so a marker's absence there says nothing.
        (Side::Present(entry), Side::Absent) | (Side::Absent, Side::Present(entry)) if rules.a_local_end && marker(entry) => Judgement::Pass,
        (Side::Present(_), Side::Absent) => Judgement::Verdict(Verdict::MissingDestination, Proof::None),
        (Side::Absent, Side::Present(_)) => Judgement::Verdict(Verdict::MissingSource, Proof::None),
        (Side::Absent, Side::Absent) => Judgement::Pass,
        (Side::Unknown(_), _) => Judgement::Look(Look { source: true, ..Look::default() }),
        (_, Side::Unknown(_)) => Judgement::Look(Look { destination: true, ..Look::default() }),
    }
}

fn compare(rules: &Rules<'_>, pairing: &Pairing<'_>, (source, destination): (&Entry<'_>, &Entry<'_>), evidence: &Evidence<'_>, marker: bool) -> Judgement {
    if source.size != destination.size {
        return Judgement::Verdict(Verdict::Differs, Proof::Size);
    }
    // What has no bytes has the same bytes.
    if marker || (source.size == 0 && !rules.deep) || rules.options.compare == super::job::Compare::SizeOnly {
        return Judgement::Verdict(Verdict::Same, Proof::Size);
    }
    if rules.deep {
        return Judgement::Read;
    }
    let (a, b) = (ETag::new(source.etag), ETag::new(destination.etag));
    if a == b && a.md5().is_some() {
        return Judgement::Verdict(Verdict::Same, Proof::Md5);
    }
    let (Some(here), Some(there)) = (evidence.source, evidence.destination) else { return LOOK_BOTH };
    match stamp::known_checksums(here).agreement(&stamp::known_checksums(there)) {
        Agreement::Equal(algorithm) => Judgement::Verdict(Verdict::Same, algorithm.into()),
        Agreement::Different(algorithm) => Judgement::Verdict(Verdict::Differs, algorithm.into()),
        Agreement::Unknown if rules.a_local_end && !evidence.read => Judgement::Look(Look { read: true, ..Look::default() }),
        Agreement::Unknown => pairing.proved.and_then(|proved| by_record(proved, here, there)).unwrap_or_else(|| by_stamp(here, there)),
    }
}

/// The journal knows both checksums of the bytes, so that two stores that state different ones are held against each other all the same.
/// An end that states none is the one that was proved as long as its ETag is. `None` where the record is of another source object.
fn by_record(proved: &Proved, here: &ObjectInfo, there: &ObjectInfo) -> Option<Judgement> {
    if proved.suspect || proved.size != here.size {
        return None;
    }
    let stands = |info: &ObjectInfo, etag: &ETag, proof: Proof| match stamp::known_checksums(info).agreement(&proved.checksums()) {
        Agreement::Equal(algorithm) => Ok(Proof::from(algorithm)),
        Agreement::Different(algorithm) => Err(Some(algorithm)),
        Agreement::Unknown if !etag.is_empty() && info.etag == *etag => Ok(proof),
        Agreement::Unknown => Err(None),
    };
    let source = stands(here, &proved.source.etag, proved.source_proof).ok()?;
    match stands(there, &proved.destination.etag, proved.destination_proof) {
        Ok(destination) if source.min(destination) > Proof::Size => Some(Judgement::Verdict(Verdict::Same, source.min(destination))),
        Ok(_) | Err(None) => None,
        Err(Some(algorithm)) => Some(Judgement::Verdict(Verdict::Differs, algorithm.into())),
    }
}

/// A stamp says which object the other end's is a copy of, and perhaps a checksum that the original's store states too.
fn by_stamp(here: &ObjectInfo, there: &ObjectInfo) -> Judgement {
    for (copy, original) in [(there, here), (here, there)] {
        let stamp = Stamp::read(&copy.attributes.user);
        if let Some(stamp) = stamp.filter(|stamp| stamp.means(original.size, original.etag.as_str())) {
            // It was written before the bytes.
            if let Agreement::Different(algorithm) = stamp.checksums.agreement(&copy.checksums) {
                return Judgement::Verdict(Verdict::Differs, algorithm.into());
            }
            return match stamp.checksums.agreement(&original.checksums) {
                Agreement::Equal(algorithm) => Judgement::Verdict(Verdict::Same, algorithm.into()),
                Agreement::Different(algorithm) => Judgement::Verdict(Verdict::Differs, algorithm.into()),
                Agreement::Unknown => Judgement::Verdict(Verdict::Same, Proof::Size),
            };
        }
    }
    Judgement::Verdict(Verdict::Unproved, Proof::Size)
}

struct Shared {
    ends: Ends,
    options: Options,
    deep: bool,
    context: Context,
    streams: Streams,
}

impl Shared {
    fn rules(&self) -> Rules<'_> {
        Rules {
            options: &self.options,
            deep: self.deep,
            a_local_end: self.ends.source_is_local() || self.ends.destination_is_local(),
            follows_links: self.options.follow_symlinks && self.ends.source.storage.capabilities().service == Service::Oss,
        }
    }

    /// Compares one key, as one stream.
    async fn compare(&self, subject: &mut Subject) -> Result<Judged> {
        let stream = self.streams.open().await?;
        let judged = self.settle(subject).await?;
        stream.done(if self.deep { size_of(&subject.pairing()) } else { 0 });
        Ok(judged)
    }

    async fn settle(&self, subject: &mut Subject) -> Result<Judged> {
        if matches!((&subject.source, &subject.destination), (Side::Unknown(_), Side::Unknown(_))) {
            subject.look(&self.ends, Look { source: true, destination: true, read: false }).await?;
            if matches!((&subject.source, &subject.destination), (Side::Absent, Side::Absent)) {
                return Err(Error::new(ErrorKind::NotFound, "there is no such object at either end").on_key(&subject.key));
            }
        }
        loop {
            match judge(&self.rules(), &subject.pairing(), &subject.evidence()) {
                Judgement::Look(look) => subject.look(&self.ends, look).await?,
                Judgement::Read => return self.read(&subject.key, size_of(&subject.pairing())).await,
                Judgement::Verdict(verdict, proof) => {
                    let crc64xz = subject.evidence().source.and_then(|info| stamp::known_checksums(info).crc64xz);
                    return Ok(Judged { verdict: Some(verdict), proof, crc64xz });
                }
                Judgement::Pass | Judgement::Warn(_) => return Ok(Judged::default()),
                Judgement::Refuse(why) => return Err(Error::new(ErrorKind::Local, why).on_key(&subject.key)),
            }
        }
    }

    /// Reads both ends at once and compares their CRC-64s. Bytes are counted once, as the source gives them.
    async fn read(&self, key: &Key, size: u64) -> Result<Judged> {
        let moving = self.context.progress.enter(key.clone(), size);
        let (here, there) = tokio::join!(digest(&self.ends.source, key, Some(&moving)), digest(&self.ends.destination, key, None));
        let (here, there) = (here?, there?);
        let (verdict, proof) = match here.agreement(&there) {
            Agreement::Equal(algorithm) => (Verdict::Same, algorithm.into()),
            Agreement::Different(algorithm) => (Verdict::Differs, algorithm.into()),
            Agreement::Unknown => (Verdict::Unproved, Proof::None),
        };
        Ok(Judged { verdict: Some(verdict), proof, crc64xz: here.crc64xz })
    }
}

async fn digest(location: &Location, key: &Key, moving: Option<&Moving>) -> Result<Checksums> {
    subject::digest(&*location.storage, &location.key(key.as_bytes()), &ETag::default(), false, moving).await
}

/// The size at the source, or at the destination where the source has none.
fn size_of(pairing: &Pairing<'_>) -> u64 {
    match (&pairing.source, &pairing.destination) {
        (Side::Present(entry), _) | (_, Side::Present(entry)) => entry.size,
        _ => 0,
    }
}

/// What came of one key; without a verdict it takes no part.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    verdict: Option<Verdict>,
    proof: Proof,
    crc64xz: Option<u64>,
}

/// How one key ended.
pub(crate) struct Ended {
    key: Key,
    size: u64,
    what: Result<Judged>,
    warning: Option<&'static str>,
}

/// The stage, and the sum of what it found.
pub(crate) struct Verify {
    shared: Arc<Shared>,
    pub(crate) report: Report,
}

impl Verify {
    pub(crate) fn new(ends: Ends, options: Options, deep: bool, context: Context, streams: Streams) -> Self {
        Self { shared: Arc::new(Shared { ends, options, deep, context, streams }), report: Report::default() }
    }
}

impl Stage for Verify {
    type Ended = Ended;

    fn decide(&mut self, pairing: &Pairing<'_>) -> Step<Ended> {
        let size = size_of(pairing);
        let done = |what, warning| Step::Done(Ended { key: Key::from(pairing.key), size, what, warning });
        match judge(&self.shared.rules(), pairing, &Evidence::default()) {
            Judgement::Pass => Step::Pass,
            Judgement::Warn(why) => done(Ok(Judged::default()), Some(why)),
            Judgement::Refuse(why) => done(Err(Error::new(ErrorKind::Local, why).on_key(Key::from(pairing.key))), None),
            Judgement::Verdict(verdict, proof) => done(Ok(Judged { verdict: Some(verdict), proof, crc64xz: None }), None),
            Judgement::Look(_) | Judgement::Read => {
                let progress = &self.shared.context.progress;
                progress.planned_objects.fetch_add(1, Ordering::Relaxed);
                progress.planned_bytes.fetch_add(size, Ordering::Relaxed);
                Step::Work(Box::new(Subject::listed(pairing)))
            }
        }
    }

    fn work(&self, mut subject: Box<Subject>) -> BoxFuture<'static, Ended> {
        let shared = self.shared.clone();
        async move {
            let what = shared.compare(&mut subject).await;
            let size = size_of(&subject.pairing());
            shared.context.progress.copied_objects.fetch_add(1, Ordering::Relaxed);
            shared.context.progress.copied_bytes.fetch_add(size, Ordering::Relaxed);
            Ended { key: subject.key, size, what, warning: None }
        }
        .boxed()
    }

    async fn ended(&mut self, ended: Ended) -> Result<()> {
        let Ended { key, size, what, warning } = ended;
        let context = self.shared.context.clone();
        if let Some(message) = warning {
            context.tell(Event::Notice(Notice { key: Some(key), message: message.to_owned() })).await;
            return Ok(());
        }
        let mut event = VerdictEvent { key, verdict: None, size, proof: Proof::None, crc64xz: None, error: None };
        match what {
            Ok(judged) => {
                let Some(verdict) = judged.verdict else { return Ok(()) };
                match verdict {
                    Verdict::Same => self.report.verified += 1,
                    Verdict::Unproved => self.report.unproved += 1,
                    _ => self.report.differences += 1,
                }
                if verdict == Verdict::Same {
                    self.report.bytes += size;
                    if !self.shared.options.report_unchanged {
                        return Ok(());
                    }
                }
                (event.verdict, event.proof, event.crc64xz) = (Some(verdict), judged.proof, judged.crc64xz);
            }
            Err(error) => {
                self.report.failed += 1;
                context.progress.failed_objects.fetch_add(1, Ordering::Relaxed);
                if let Some(max) = self.shared.options.errors_max.filter(|max| self.report.failed >= (*max).max(1)) {
                    self.report
                        .limited
                        .get_or_insert_with(|| Error::new(ErrorKind::Interrupted, format!("{max} objects failed, as many as --max-errors allows")));
                }
                if error.stops_store() {
                    self.report.stopped.get_or_insert_with(|| error.clone());
                }
                event.error = Some(error);
            }
        }
        context.tell(Event::Verdict(Box::new(event))).await;
        Ok(())
    }

    fn is_halted(&self) -> bool {
        self.report.stopped.is_some() || self.report.limited.is_some()
    }

    /// A comparison starts from the first key each time.
    async fn settled(&mut self, _: Key, _: u64) -> Result<()> {
        Ok(())
    }
}
