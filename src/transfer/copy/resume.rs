//! Finds the upload to go on with: the one that the journal knows, an orphan that can be adopted, or a new one.
//!
//! What the service lists decides; the journal only says what is already proved of it. A part is taken for done where both agree on
//! ETag, length and checksum. A part that only one of them knows, or of which they differ, is in doubt: the source's range is read
//! again, and the part is sent again only if it turns out to be another.
//!
//! Without the journal nothing tells what an open upload is for, since neither cloud lists its metadata. It is adopted only where it is
//! the sole open one for its key, begun after the source was last modified, and cut as this object can be cut; all of its parts are in
//! doubt then, and what was made of it is looked at once more ([`Writer::prove_taken_up`]).

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};

use super::assemble::{Sent, Target};
use super::write::Writer;
use crate::error::{Error, ErrorKind, Result};
use crate::journal::flight::Cargo;
use crate::journal::{Event, Flight, FlightId, Intent, SentPart, State};
use crate::storage::checksum::Agreement;
use crate::storage::{Attributes, Encryption, Key, Multipart, ObjectRef, OpenUpload, Part, Service, Upload};
use crate::transfer::parts::{Cutter, Parts};
use crate::transfer::plan::same_attributes;
use crate::transfer::stamp::Stamp;

/// How far the clocks of a source and a destination may be apart.
const SLACK: SignedDuration = SignedDuration::from_mins(15);

/// Open uploads that are remembered from one listing of the destination; where there are more, each key is asked for.
const OPEN_UPLOADS_MAX: usize = 10_000;

/// What the service holds under a part's number.
pub(super) enum Held {
    /// The bytes that were sent, as journal and service both say.
    Proved(Sent),
    /// Something: only the source's bytes can say whether it is right.
    Doubted(Part),
}

/// An object that is to travel in parts.
pub(super) struct Freight<'a> {
    /// The key relative to both ends.
    pub(super) key: &'a Key,
    pub(super) destination_key: &'a Key,
    pub(super) cargo: Cargo,
    /// Last modification of the source.
    pub(super) modified: Option<Timestamp>,
    pub(super) attributes: &'a Attributes,
    pub(super) cutter: Cutter<'a>,
    /// How it would be cut if it were begun now.
    pub(super) parts: Parts,
    /// An earlier attempt did not prove: no part is taken for done unread.
    pub(super) doubted: bool,
}

impl Freight<'_> {
    fn intent(&self, part_size_bytes: u64, begun: Timestamp) -> Intent {
        Intent {
            key: self.key.clone(),
            destination_key: self.destination_key.clone(),
            cargo: self.cargo.clone(),
            part_size_bytes,
            attributes: digest(self.attributes),
            begun,
        }
    }

    /// Whether a flight carries this object, as it is and as it is to be written.
    fn is_aboard(&self, flight: &Flight) -> bool {
        let same = |intent: &Intent| Intent { begun: intent.begun, part_size_bytes: intent.part_size_bytes, ..self.intent(0, intent.begun) } == *intent;
        flight.outbound && same(&flight.intent)
    }
}

/// A digest of what travels with an object, the same in every process.
pub(super) fn digest(attributes: &Attributes) -> u64 {
    crate::storage::checksum::Crc64::of(format!("{attributes:?}").as_bytes()).xz
}

/// The open uploads of a destination by key, or that they are too many to remember.
pub(super) type OpenUploads = Option<HashMap<Key, Vec<OpenUpload>>>;

/// An upload to go on with, before its parts are judged.
struct Found {
    flight: FlightId,
    upload: Upload,
    parts: Parts,
    listed: Vec<Part>,
    /// What the journal knows of its parts.
    recorded: Vec<SentPart>,
    /// It was begun by an earlier run, which may have adopted it from somebody else.
    taken_up: bool,
    source_proved: bool,
}

impl Writer {
    /// Goes on with an upload of this object, or begins one.
    pub(super) async fn board<'a>(&'a self, freight: &Freight<'a>) -> Result<Target<'a>> {
        let unsupported = || Error::unsupported("the destination has no multipart uploads").in_store(&self.destination);
        let multipart = self.destination.multipart().ok_or_else(unsupported)?;
        let found = match self.recorded(multipart, freight).await? {
            Some(found) => found,
            None => match self.adopt(multipart, freight).await? {
                Some(found) => found,
                None => self.begin(multipart, freight).await?,
            },
        };
        let recorded = if freight.doubted { &[][..] } else { &found.recorded };
        let md5_etags = !self.no_md5 && freight.attributes.encryption.as_ref().is_none_or(Encryption::keeps_md5_etag);
        Ok(Target {
            multipart,
            held: judge_parts(found.parts, found.listed, recorded),
            upload: found.upload,
            attributes: freight.attributes,
            md5_etags,
            flight: found.flight,
            parts: found.parts,
            taken_up: found.taken_up,
            source_proved: found.source_proved,
        })
    }

    /// The upload that the journal knows, if it carries this object and the service still has it. What is of no use is thrown away.
    async fn recorded(&self, multipart: &dyn Multipart, freight: &Freight<'_>) -> Result<Option<Found>> {
        let Some(flight) = self.journal.flight(freight.key).await? else { return Ok(None) };
        let kept = freight.cutter.keep(freight.cargo.size, flight.intent.part_size_bytes);
        let (Some(id), Some(parts), true) = (&flight.upload, kept, freight.is_aboard(&flight)) else {
            self.throw_away(&flight).await?;
            return Ok(None);
        };
        let upload = Upload { key: freight.destination_key.clone(), id: id.clone() };
        // The source had been proved when Complete was about to be sent.
        let source_proved = flight.state == State::Completing && !freight.doubted;
        let listed = match multipart.list_parts(&upload).await {
            Ok(listed) => listed,
            // Completed, and only the record of it is missing; or thrown away by somebody. Completing it once more tells.
            Err(error) if error.kind() == ErrorKind::UploadNotFound && source_proved => flight.parts.iter().map(as_listed).collect(),
            Err(error) if error.kind() == ErrorKind::UploadNotFound => {
                self.journal.advance(flight.id, Event::Failed).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.on_key(freight.destination_key).in_store(&self.destination)),
        };
        tracing::info!(key = %freight.destination_key, upload = %upload.id.0, parts = listed.len(), "going on with an open upload");
        Ok(Some(Found { flight: flight.id, upload, parts, listed, recorded: flight.parts, taken_up: true, source_proved }))
    }

    /// An upload that nobody here remembers, if it can only be this object's.
    async fn adopt(&self, multipart: &dyn Multipart, freight: &Freight<'_>) -> Result<Option<Found>> {
        let open = match self.open_uploads(multipart, freight.destination_key).await {
            Ok(open) => open,
            Err(error) => {
                tracing::info!(%error, "open uploads cannot be listed, so none is adopted");
                return Ok(None);
            }
        };
        let [only] = &open[..] else { return Ok(None) };
        let newer = only.initiated.zip(freight.modified).is_some_and(|(begun, modified)| begun.duration_since(modified) >= -SLACK);
        if !newer {
            return Ok(None);
        }
        let listed = match multipart.list_parts(&only.upload).await {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::UploadNotFound => return Ok(None),
            Err(error) => return Err(error.on_key(freight.destination_key).in_store(&self.destination)),
        };
        let Some(parts) = geometry(freight, &listed) else { return Ok(None) };
        tracing::info!(key = %freight.destination_key, upload = %only.upload.id.0, parts = listed.len(), "adopting an open upload");
        let flight = self.journal.intend(freight.intent(parts.part_size_bytes, self.clock.now())).await?;
        self.journal.advance(flight, Event::Created(only.upload.id.clone())).await?;
        Ok(Some(Found { flight, upload: only.upload.clone(), parts, listed, recorded: Vec::new(), taken_up: true, source_proved: false }))
    }

    async fn begin(&self, multipart: &dyn Multipart, freight: &Freight<'_>) -> Result<Found> {
        let flight = self.journal.intend(freight.intent(freight.parts.part_size_bytes, self.clock.now())).await?;
        let id = match multipart.create(freight.destination_key, freight.attributes).await {
            Ok(id) => id,
            Err(error) => {
                // Where the service began it all the same, the next attempt adopts it.
                self.journal.advance(flight, Event::Failed).await?;
                return Err(error);
            }
        };
        let upload = Upload { key: freight.destination_key.clone(), id };
        self.journal.advance(flight, Event::Created(upload.id.clone())).await?;
        Ok(Found { flight, upload, parts: freight.parts, listed: Vec::new(), recorded: Vec::new(), taken_up: false, source_proved: false })
    }

    /// Aborts a flight's upload and ends the flight.
    pub(super) async fn throw_away(&self, flight: &Flight) -> Result<()> {
        if let (Some(id), Some(multipart)) = (&flight.upload, self.destination.multipart()) {
            let upload = Upload { key: flight.intent.destination_key.clone(), id: id.clone() };
            multipart.abort(&upload).await.map_err(|e| e.during("abort upload").on_key(&upload.key).in_store(&self.destination))?;
        }
        self.journal.advance(flight.id, Event::Aborted).await
    }

    /// The open uploads of one key. The destination is listed once a run, where it does not hold too many.
    async fn open_uploads(&self, multipart: &dyn Multipart, key: &Key) -> Result<Vec<OpenUpload>> {
        let of_key = || multipart.list_uploads(key.clone()).take(OPEN_UPLOADS_MAX).try_filter(|open| std::future::ready(open.upload.key == *key)).try_collect();
        // A tree is walked for it: only the key's own directory.
        if self.destination.capabilities().service == Service::Local {
            return of_key().await;
        }
        let all = self.open_uploads.get_or_try_init(|| async {
            let mut all: HashMap<Key, Vec<OpenUpload>> = HashMap::new();
            let mut listed = multipart.list_uploads(self.prefix.clone()).take(OPEN_UPLOADS_MAX + 1);
            let mut count = 0;
            while let Some(open) = listed.try_next().await? {
                all.entry(open.upload.key.clone()).or_default().push(open);
                count += 1;
            }
            Ok::<_, Error>(Some(all).filter(|_| count <= OPEN_UPLOADS_MAX))
        });
        match all.await? {
            Some(all) => Ok(all.get(key).cloned().unwrap_or_default()),
            None => of_key().await,
        }
    }

    /// Looks at an object that was made of an upload that was taken up: what travels with it was given when somebody began that upload.
    pub(super) async fn prove_taken_up(&self, key: &Key, sent: &Attributes) -> Result<()> {
        let made = self.destination.head(&ObjectRef::from(key)).await?.attributes;
        let asked = |asked: &Option<String>, got: &Option<String>| asked.is_none() || asked == got;
        if Stamp::read(&made.user) == Stamp::read(&sent.user) && same_attributes(&made, sent) && asked(&sent.storage_class, &made.storage_class) {
            return Ok(());
        }
        Err(Error::integrity("the upload that was taken up had been begun with other attributes"))
    }
}

/// How an orphan is cut, if this object can be cut so: all parts of one length but for the last.
fn geometry(freight: &Freight<'_>, listed: &[Part]) -> Option<Parts> {
    let Some(longest) = listed.iter().map(|part| part.size).max() else { return Some(freight.parts) };
    // A lone last part may be shorter than the rest: it only fits as we would cut.
    let lone = |size: u64| freight.cutter.keep(freight.cargo.size, size).filter(|parts| fits(parts, listed));
    lone(longest).or_else(|| Some(freight.parts).filter(|parts| fits(parts, listed)))
}

fn fits(parts: &Parts, listed: &[Part]) -> bool {
    listed.iter().all(|part| part.number >= 1 && part.number <= parts.count() && len(parts, part.number) == part.size)
}

fn len(parts: &Parts, number: u32) -> u64 {
    let range = parts.range(number);
    range.end - range.start
}

/// What the service lists, held against what the journal knows.
fn judge_parts(parts: Parts, listed: Vec<Part>, recorded: &[SentPart]) -> BTreeMap<u32, Held> {
    let mut held = BTreeMap::new();
    for part in listed.into_iter().filter(|part| (1..=parts.count()).contains(&part.number) && part.size == len(&parts, part.number)) {
        let known = recorded.binary_search_by_key(&part.number, |known| known.number).ok().map(|at| &recorded[at]);
        let proved = known.filter(|known| {
            known.etag == part.etag && known.crc.len == part.size && !matches!(part.checksums.agreement(&known.crc.checksums()), Agreement::Different(_))
        });
        let number = part.number;
        let what = match proved {
            Some(known) => Held::Proved(Sent { crc: known.crc, proof: known.proof, part }),
            None => Held::Doubted(part),
        };
        held.insert(number, what);
    }
    held
}

/// A recorded part as the service would list it.
fn as_listed(part: &SentPart) -> Part {
    Part { number: part.number, etag: part.etag.clone(), size: part.crc.len, checksums: part.crc.checksums(), modified: None }
}
