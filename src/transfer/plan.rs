//! Decides what to do about one pairing: pure, synchronous, and in one place.
//!
//! | source | destination | decision |
//! |---|---|---|
//! | unreadable | any | refuse: nothing under it is copied or deleted |
//! | symlink of OSS, with `follow_symlinks` | any | look at the source: what HEAD says is its target's, and is compared |
//! | another symlink | any | leave it out, and count that |
//! | device, socket | any | pass over, with a warning |
//! | hidden by a glob | there | pass over; delete where `delete_excluded` |
//! | hidden by size or age | any | pass over; the source holds it, so it is never deleted |
//! | there | unknown | look at the destination |
//! | there | absent | copy: absent |
//! | there | there | compare |
//! | absent | there | delete where `delete`, unless the filter hides it, it is no object, or a folder marker beside a local end |
//! | unknown | there | pass over: an error is never an absence |
//!
//! Comparing, the first line that holds decides:
//!
//! | what is known | decision |
//! |---|---|
//! | `ignore_existing` | skip |
//! | destination is a link or a device | refuse |
//! | `update`, and the destination is newer | skip |
//! | sizes differ | copy: size |
//! | `size_only`, or both are folder markers | skip |
//! | `checksum`: equal, different, neither (local ends are read for it) | skip, copy: checksum, copy: checksum |
//! | the journal: the destination took other bytes than were sent | copy: checksum |
//! | the journal: both ends are what they were when the copy was proved | skip |
//! | the journal: they are, but for the source's time or class; attributes equal or not | skip, copy: metadata |
//! | local destination: its mtime is the source's (its listed time, or its metadata `mtime`) or not | skip, copy: newer |
//! | equal ETags, both of them MD5 (or both MD5 of equally many parts) | skip |
//! | destination's stamp states other checksums than the destination | copy: checksum |
//! | both ETags are MD5s, and differ | copy: etag, whatever the stamp says |
//! | destination's stamp means this source object | skip; attributes differ and the source was written again: copy: metadata |
//! | source's stamp means this destination object (a copy that comes back) | skip |
//! | stated checksums equal, different | skip, copy: etag or checksum |
//! | local source: the destination's `mtime` is the source's or not | skip, copy: newer |
//! | destination's stamp means another source object | copy: etag |
//! | the source is not older than the destination (an ETag `-N` reaches 24 h further), or a time is missing | copy: newer |
//! | nothing of this | skip |
//!
//! What would be skipped by one of the last lines (from `checksum` on) and has sunk to a colder class at the source is renewed: copy:
//! metadata, which the service does by itself.
//!
//! What a listing does not tell is asked for with [`Decision::Look`]; the question comes again with [`Evidence`], and at most twice.

use jiff::{SignedDuration, Timestamp};

use super::job::{ClassChoice, Compare, Options};
use super::join::{Pairing, Side};
use super::stamp::{self, Stamp};
use super::task::Reason;
use crate::journal::Proved;
use crate::storage::checksum::{Agreement, Algorithm};
use crate::storage::class::Class;
use crate::storage::object::is_md5;
use crate::storage::{Attributes, ETag, Entry, Kind, ObjectInfo, Service};

/// S3 stamps a multipart object with the time of its initiation, and an upload may take this long.
const MULTIPART_LAG: SignedDuration = SignedDuration::from_hours(24);
/// Two local times closer than this are one time: file systems and metadata keep different fractions.
const MTIME_TOLERANCE: SignedDuration = SignedDuration::from_micros(1);

/// What to do about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Copy it.
    Copy(Reason),
    /// Both hold the same, or a flag says to leave it alone.
    Skip,
    /// It takes no part in this transfer.
    Pass,
    /// It cannot take part, and a person should know why.
    Warn(&'static str),
    /// A symbolic link that is not followed: what it leads to is missing at the destination under this key.
    LeaveLink,
    /// It should take part and cannot: a failure.
    Refuse(&'static str),
    /// Only the destination holds it: a candidate for deletion.
    Delete,
    /// More must be known first.
    Look(Look),
}

/// What must be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// HEAD the source.
    pub source: bool,
    /// HEAD the destination.
    pub destination: bool,
    /// Read what lies on a local end and compute its checksums.
    pub read: bool,
}

/// What was looked at so far, beyond the listings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// What HEAD said of the source.
    pub source: Option<&'a ObjectInfo>,
    /// What HEAD said of the destination; absence stands in the pairing.
    pub destination: Option<&'a ObjectInfo>,
    /// The destination has been looked at, whatever it said.
    pub destination_looked: bool,
    /// Local ends have been read, and their checksums stand in the infos.
    pub read: bool,
}

/// What the decision depends on besides the pairing.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The transfer's options.
    pub options: &'a Options,
    /// What the source is.
    pub source: Service,
    /// What the destination is.
    pub destination: Service,
}

/// Decides about one pairing by the tables of this module.
pub fn decide(rules: &Rules<'_>, pairing: &Pairing<'_>, evidence: &Evidence<'_>) -> Decision {
    match (&pairing.source, &pairing.destination) {
        (Side::Present(source), _) => rules.held(pairing, source, evidence),
        (Side::Absent, Side::Present(destination)) => rules.destination_only(pairing.key, destination),
        _ => Decision::Pass,
    }
}

impl Rules<'_> {
    fn source_is_local(&self) -> bool {
        self.source == Service::Local
    }

    fn destination_is_local(&self) -> bool {
        self.destination == Service::Local
    }

    /// A local tree that follows its links lists what they lead to; links of OSS are followed here.
    fn follows_links(&self) -> bool {
        self.options.follow_symlinks && self.source == Service::Oss
    }

    /// Whether the source's object has sunk to a colder class and its copy has not. What has sunk at the destination by a rule of its
    /// own stays there, and what comes up again at the source does not bring its copy up: that costs.
    fn has_sunk(&self, source: &Entry<'_>, destination: &Entry<'_>) -> bool {
        let ClassChoice::Mapped(map) = &self.options.storage_class else { return false };
        // Almost all keys of almost all runs.
        if map.named.is_empty() && Class::find(self.source, source.storage_class).is_none_or(Class::is_standard) {
            return false;
        }
        let find = |word| Class::find(self.destination, word);
        let (Some(held), Some(meant)) = (find(destination.storage_class), map.map(self.source, source.storage_class, self.destination).and_then(find)) else {
            return false;
        };
        held.depth == 0 && meant.depth > 0 && !(self.source != self.destination && meant.is_dear_for(source.size))
    }

    /// The source holds it.
    fn held(&self, pairing: &Pairing<'_>, source: &Entry<'_>, evidence: &Evidence<'_>) -> Decision {
        let (key, destination) = (pairing.key, &pairing.destination);
        if self.options.filter.hides_key(key) {
            return match destination {
                Side::Present(destination) if self.options.delete_excluded => self.destination_only(key, destination),
                _ => Decision::Pass,
            };
        }
        match source.kind {
            Kind::Unreadable => return Decision::Refuse("it cannot be read at the source; nothing under it is copied, and nothing under it is deleted"),
            Kind::Symlink if !self.follows_links() => return Decision::LeaveLink,
            // The listing tells the link's own size and ETag.
            Kind::Symlink if evidence.source.is_none() => return LOOK_SOURCE,
            Kind::Special => return Decision::Warn("a device, socket or pipe is not copied"),
            Kind::Object | Kind::Appendable | Kind::Symlink => {}
        }
        if self.options.filter.hides_object(source.size, source.modified) {
            return Decision::Pass;
        }
        match destination {
            Side::Present(destination) => self.compare(pairing, source, destination, evidence),
            // A local listing does not show the directories that folder markers become.
            Side::Absent if self.destination_is_local() && is_marker(key, source) && !evidence.destination_looked => LOOK_DESTINATION,
            Side::Absent => Decision::Copy(Reason::Absent),
            Side::Unknown(_) => LOOK_DESTINATION,
        }
    }

    /// Only the destination holds it, or the operator wants what is hidden gone.
    fn destination_only(&self, key: &[u8], destination: &Entry<'_>) -> Decision {
        let filter = &self.options.filter;
        let hidden = filter.hides_key(key) || filter.hides_object(destination.size, destination.modified);
        let object = matches!(destination.kind, Kind::Object | Kind::Appendable);
        let directory = (self.source_is_local() || self.destination_is_local()) && is_marker(key, destination);
        if self.options.delete && object && !directory && (!hidden || self.options.delete_excluded) { Decision::Delete } else { Decision::Pass }
    }

    fn compare(&self, pairing: &Pairing<'_>, source: &Entry<'_>, destination: &Entry<'_>, evidence: &Evidence<'_>) -> Decision {
        if self.options.ignore_existing {
            return Decision::Skip;
        }
        if !matches!(destination.kind, Kind::Object | Kind::Appendable) {
            return Decision::Refuse("the destination has something there that is no ordinary object or file");
        }
        if self.options.update && source.modified.zip(destination.modified).is_some_and(|(source, destination)| destination > source) {
            return Decision::Skip;
        }
        if source.size != destination.size {
            return Decision::Copy(Reason::Size);
        }
        if self.options.compare == Compare::SizeOnly || is_marker(pairing.key, source) {
            return Decision::Skip;
        }
        match self.compare_contents(pairing, source, destination, evidence) {
            Decision::Skip if self.has_sunk(source, destination) => match (evidence.source, evidence.destination) {
                (Some(_), Some(_)) => Decision::Copy(Reason::Metadata),
                (here, there) => Decision::Look(Look { source: here.is_none(), destination: there.is_none(), read: false }),
            },
            decision => decision,
        }
    }

    fn compare_contents(&self, pairing: &Pairing<'_>, source: &Entry<'_>, destination: &Entry<'_>, evidence: &Evidence<'_>) -> Decision {
        if self.options.compare == Compare::Checksum {
            return self.by_checksum(evidence);
        }
        if let Some(decision) = pairing.proved.and_then(|proved| by_record(proved, source, destination, evidence)) {
            return decision;
        }
        if self.destination_is_local() {
            return self.by_mtime(source, destination, evidence);
        }
        // Most keys of most runs end here, so it costs no allocation.
        if is_md5(source.etag) && source.etag.eq_ignore_ascii_case(destination.etag) {
            return Decision::Skip;
        }
        let (a, b) = (ETag::new(source.etag), ETag::new(destination.etag));
        if a == b && (a.md5().is_some() || a.multipart().is_some()) {
            return Decision::Skip;
        }
        match evidence.destination {
            Some(info) => self.by_evidence(source, destination, info, evidence),
            None => LOOK_DESTINATION,
        }
    }

    fn by_checksum(&self, evidence: &Evidence<'_>) -> Decision {
        let (Some(source), Some(destination)) = (evidence.source, evidence.destination) else {
            return Decision::Look(Look { source: evidence.source.is_none(), destination: evidence.destination.is_none(), read: false });
        };
        match stamp::known_checksums(source).agreement(&stamp::known_checksums(destination)) {
            Agreement::Equal(_) => Decision::Skip,
            Agreement::Unknown if !evidence.read && (self.source_is_local() || self.destination_is_local()) => {
                Decision::Look(Look { read: true, ..Look::default() })
            }
            Agreement::Different(_) | Agreement::Unknown => Decision::Copy(Reason::Checksum),
        }
    }

    /// A local destination has its source's time as mtime, or it has been changed.
    fn by_mtime(&self, source: &Entry<'_>, destination: &Entry<'_>, evidence: &Evidence<'_>) -> Decision {
        if same_time(source.modified, destination.modified) {
            return Decision::Skip;
        }
        match evidence.source {
            None if !self.source_is_local() => LOOK_SOURCE,
            Some(info) if same_time(stamp::mtime(&info.attributes.user), destination.modified) => Decision::Skip,
            _ => Decision::Copy(Reason::Newer),
        }
    }

    /// The destination is in a cloud and has been looked at.
    fn by_evidence(&self, source: &Entry<'_>, destination: &Entry<'_>, there: &ObjectInfo, evidence: &Evidence<'_>) -> Decision {
        let stamp = Stamp::read(&there.attributes.user);
        // A stamp is written with the first byte, and says what the bytes were to be.
        if stamp.as_ref().is_some_and(|stamp| matches!(there.checksums.agreement(&stamp.checksums), Agreement::Different(_))) {
            return Decision::Copy(Reason::Checksum);
        }
        let stamped = stamp.as_ref().is_some_and(|stamp| stamp.means(source.size, source.etag));
        let unmoved = stamp.as_ref().is_some_and(|stamp| stamp.modified.is_none() || source.modified.is_none() || same_second(stamp.modified, source.modified));
        // Where both ETags look like MD5s and differ, the bytes may have come out wrong.
        let at_odds = ETag::new(source.etag).md5().zip(ETag::new(destination.etag).md5()).is_some_and(|(here, there)| here != there);
        if stamped && unmoved && !at_odds {
            return Decision::Skip;
        }
        if self.source_is_local() {
            match stamp::mtime(&there.attributes.user) {
                Some(mtime) if same_time(Some(mtime), source.modified) => return Decision::Skip,
                Some(_) => return Decision::Copy(Reason::Newer),
                None => {}
            }
        } else {
            let Some(here) = evidence.source else { return LOOK_SOURCE };
            if let (true, Agreement::Different(algorithm)) = (at_odds, stamp::known_checksums(here).agreement(&stamp::known_checksums(there))) {
                return Decision::Copy(if algorithm == Algorithm::Md5 { Reason::ETag } else { Reason::Checksum });
            }
            if stamped {
                return if unmoved || same_attributes(&here.attributes, &there.attributes) { Decision::Skip } else { Decision::Copy(Reason::Metadata) };
            }
            if Stamp::read(&here.attributes.user).is_some_and(|stamp| stamp.means(destination.size, destination.etag)) {
                return Decision::Skip;
            }
            match stamp::known_checksums(here).agreement(&stamp::known_checksums(there)) {
                Agreement::Equal(_) => return Decision::Skip,
                Agreement::Different(Algorithm::Md5) => return Decision::Copy(Reason::ETag),
                Agreement::Different(_) => return Decision::Copy(Reason::Checksum),
                Agreement::Unknown => {}
            }
        }
        match stamp {
            Some(_) if !stamped => Decision::Copy(Reason::ETag),
            _ if is_newer(source, destination) => Decision::Copy(Reason::Newer),
            _ => Decision::Skip,
        }
    }
}

/// What the journal says; `None` where it speaks of other objects than those that are there.
fn by_record(proved: &Proved, source: &Entry<'_>, destination: &Entry<'_>, evidence: &Evidence<'_>) -> Option<Decision> {
    let is = |etag: &ETag, entry: &Entry<'_>| !etag.is_empty() && *etag == ETag::new(entry.etag);
    if !is(&proved.destination.etag, destination) {
        return None;
    }
    if proved.suspect {
        return Some(Decision::Copy(Reason::Checksum));
    }
    if !is(&proved.source.etag, source) || proved.size != source.size {
        return None;
    }
    let same_class = proved.source.storage_class.is_empty() || source.storage_class.is_empty() || proved.source.storage_class == source.storage_class;
    if same_class && (proved.source.modified.is_none() || same_second(proved.source.modified, source.modified)) {
        return Some(Decision::Skip);
    }
    let (Some(here), Some(there)) = (evidence.source, evidence.destination) else {
        return Some(Decision::Look(Look { source: evidence.source.is_none(), destination: evidence.destination.is_none(), read: false }));
    };
    Some(if same_attributes(&here.attributes, &there.attributes) { Decision::Skip } else { Decision::Copy(Reason::Metadata) })
}

const LOOK_SOURCE: Decision = Decision::Look(Look { source: true, destination: false, read: false });
const LOOK_DESTINATION: Decision = Decision::Look(Look { source: false, destination: true, read: false });

/// A zero-byte key that ends in `/`.
fn is_marker(key: &[u8], entry: &Entry<'_>) -> bool {
    entry.size == 0 && key.ends_with(b"/")
}

fn same_time(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a.duration_since(b).abs() < MTIME_TOLERANCE)
}

/// A HEAD and a listing of one object may show different fractions of a second.
fn same_second(a: Option<Timestamp>, b: Option<Timestamp>) -> bool {
    a.map(Timestamp::as_second) == b.map(Timestamp::as_second)
}

/// Not older: what was written in the same second may have been written after.
fn is_newer(source: &Entry<'_>, destination: &Entry<'_>) -> bool {
    let lag = if ETag::new(source.etag).multipart().is_some() { MULTIPART_LAG } else { SignedDuration::ZERO };
    source.modified.zip(destination.modified).is_none_or(|(source, destination)| destination.duration_since(source) <= lag)
}

/// Compares what travels with an object, without Dragon's own metadata and what each service decides for itself.
pub(super) fn same_attributes(a: &Attributes, b: &Attributes) -> bool {
    let plain = |attributes: &Attributes| {
        let mut plain = attributes.clone();
        plain.user.retain(|name, _| !name.starts_with(stamp::PREFIX));
        (plain.storage_class, plain.encryption, plain.acl, plain.tags) = (None, None, None, None);
        plain
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;
    use crate::journal::End;
    use crate::storage::checksum::{Checksums, Crc64, Proof};
    use crate::storage::object::Encryption;

    const MD5_A: &str = "900150983cd24fb0d6963f7d28e17f72";
    const MD5_B: &str = "0cc175b9c0f1b6a831c399e269772661";

    fn time(hour: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hour * 3600).expect("a time")
    }

    fn entry(etag: &'static str, size: u64, hour: i64) -> Entry<'static> {
        Entry { key: b"k", size, etag, modified: Some(time(hour)), storage_class: "", kind: Kind::Object }
    }

    fn info(entry: Entry<'_>) -> ObjectInfo {
        ObjectInfo { size: entry.size, etag: ETag::new(entry.etag), modified: entry.modified, ..ObjectInfo::default() }
    }

    fn clouds(options: &Options) -> Rules<'_> {
        Rules { options, source: Service::S3, destination: Service::Oss }
    }

    /// Asks until nothing more is to be looked at, as the schedule does; gives the decision and how often it looked.
    fn settle(rules: &Rules<'_>, pairing: &Pairing<'_>, here: &ObjectInfo, there: &ObjectInfo) -> (Decision, u32) {
        let mut evidence = Evidence::default();
        for looks in 0..3 {
            match decide(rules, pairing, &evidence) {
                Decision::Look(look) => {
                    evidence.source = if look.source { Some(here) } else { evidence.source };
                    evidence.destination = if look.destination { Some(there) } else { evidence.destination };
                    evidence.destination_looked |= look.destination;
                    evidence.read |= look.read;
                }
                decision => return (decision, looks),
            }
        }
        panic!("it never decides");
    }

    fn paired<'a>(source: Entry<'a>, destination: Entry<'a>) -> Pairing<'a> {
        Pairing { key: source.key, source: Side::Present(source), destination: Side::Present(destination), proved: None }
    }

    fn compare(options: &Options, source: Entry<'_>, destination: Entry<'_>) -> (Decision, u32) {
        settle(&clouds(options), &paired(source, destination), &info(source), &info(destination))
    }

    #[test]
    fn listings_alone_decide_where_they_can() {
        let options = Options::default();
        assert_eq!(compare(&options, entry(MD5_A, 1, 5), entry(MD5_A, 2, 9)), (Decision::Copy(Reason::Size), 0));
        assert_eq!(compare(&options, entry(MD5_A, 1, 5), entry(MD5_A, 1, 0)), (Decision::Skip, 0));
        let update = Options { update: true, ..Options::default() };
        assert_eq!(compare(&update, entry(MD5_A, 1, 5), entry(MD5_B, 2, 6)), (Decision::Skip, 0));
        assert_eq!(compare(&update, entry(MD5_A, 1, 6), entry(MD5_B, 2, 5)), (Decision::Copy(Reason::Size), 0));
        let existing = Options { ignore_existing: true, ..Options::default() };
        assert_eq!(compare(&existing, entry(MD5_A, 1, 5), entry(MD5_B, 2, 0)), (Decision::Skip, 0));
        let sizes = Options { compare: Compare::SizeOnly, ..Options::default() };
        assert_eq!(compare(&sizes, entry(MD5_A, 1, 5), entry(MD5_B, 1, 0)), (Decision::Skip, 0));
    }

    /// What the journal recorded decides without a request, and only of the very objects that it speaks of.
    #[test]
    fn the_journal_decides_where_both_ends_are_as_recorded() {
        let end = |etag: &str, hour| End { etag: ETag::new(etag), modified: Some(time(hour)), ..End::default() };
        let proved = |source, destination| Proved {
            size: 1,
            source,
            destination,
            reversed: false,
            crc64xz: None,
            crc64nvme: None,
            source_proof: Proof::Crc64Xz,
            destination_proof: Proof::Crc64Xz,
            suspect: false,
            when: time(0),
            run: 0,
        };
        let options = Options::default();
        let decided = |proved: &Proved, source: Entry<'_>, destination: Entry<'_>, there: &ObjectInfo| {
            let pairing = Pairing { key: b"k", source: Side::Present(source), destination: Side::Present(destination), proved: Some(proved) };
            settle(&clouds(&options), &pairing, &info(source), there)
        };
        let (source, destination) = (entry("a-2", 1, 9), entry("b-3", 1, 0));
        let there = info(destination);
        let recorded = proved(end("a-2", 9), end("b-3", 0));
        assert_eq!(decided(&recorded, source, destination, &there), (Decision::Skip, 0));
        // Another source, another destination: the record says nothing, and the newer source is copied.
        assert_eq!(decided(&proved(end("c-2", 9), end("b-3", 0)), source, destination, &there).0, Decision::Copy(Reason::Newer));
        assert_eq!(decided(&proved(end("a-2", 9), end("c-3", 0)), source, destination, &there).0, Decision::Copy(Reason::Newer));
        // Only the source's time moved: its attributes may have changed.
        let moved = proved(end("a-2", 8), end("b-3", 0));
        assert_eq!(decided(&moved, source, destination, &there), (Decision::Skip, 1));
        let mut other = there.clone();
        other.attributes.content_type = Some("text/plain".into());
        assert_eq!(decided(&moved, source, destination, &other), (Decision::Copy(Reason::Metadata), 1));
        // What was stored wrong is copied again, whatever its stamp says; what somebody put in its place is judged on its own.
        let suspect = Proved { suspect: true, ..recorded };
        assert_eq!(decided(&suspect, source, destination, &there), (Decision::Copy(Reason::Checksum), 0));
        assert_ne!(decided(&suspect, source, entry("d-1", 1, 12), &there).0, Decision::Copy(Reason::Checksum));
    }

    #[test]
    fn etags_that_are_md5_differ_only_where_both_are_really_md5() {
        let options = Options::default();
        let (source, destination) = (entry(MD5_A, 1, 0), entry(MD5_B, 1, 9));
        assert_eq!(compare(&options, source, destination), (Decision::Copy(Reason::ETag), 2));
        let mut kms = info(source);
        kms.attributes.encryption = Some(Encryption { algorithm: "aws:kms".into(), key_id: None });
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &kms, &info(destination)).0, Decision::Skip, "older, and nothing else is known");
        let mut stamped = info(destination);
        Stamp::of(&kms).write(&mut stamped.attributes.user);
        // Two ETags that look like MD5s and differ: the source is asked whether its is one.
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &kms, &stamped), (Decision::Skip, 2));
    }

    /// The stamp is written before the bytes: where the destination itself says that they are others, it is not believed.
    #[test]
    fn a_stamp_over_other_bytes_is_not_believed() {
        let options = Options::default();
        let (source, destination) = (entry("a-2", 1, 0), entry("b-2", 1, 9));
        let mut there = info(destination);
        Stamp { checksums: Crc64::of(b"x").checksums(), ..Stamp::of(&info(source)) }.write(&mut there.attributes.user);
        there.checksums.crc64xz = Crc64::of(b"x").checksums().crc64xz;
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &info(source), &there), (Decision::Skip, 1));
        there.checksums.crc64xz = Crc64::of(b"y").checksums().crc64xz;
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &info(source), &there), (Decision::Copy(Reason::Checksum), 1));
    }

    #[test]
    fn stamps_know_a_copy_in_both_directions() {
        let options = Options::default();
        let (source, destination) = (entry("abc-3", 7, 5), entry("ef-1", 7, 0));
        let mut there = info(destination);
        Stamp::of(&info(source)).write(&mut there.attributes.user);
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &info(source), &there), (Decision::Skip, 1));
        // Failing back: what was the copy is now the source.
        assert_eq!(settle(&clouds(&options), &paired(destination, source), &there, &info(source)), (Decision::Skip, 2));
        let changed = entry("other-3", 7, 0);
        assert_eq!(settle(&clouds(&options), &paired(changed, destination), &info(changed), &there).0, Decision::Copy(Reason::ETag));
    }

    #[test]
    fn an_object_written_again_with_other_attributes_is_copied_for_them() {
        let options = Options::default();
        let (first, again, destination) = (entry("abc-3", 7, 0), entry("abc-3", 7, 5), entry("ef-1", 7, 1));
        let mut there = info(destination);
        Stamp::of(&info(first)).write(&mut there.attributes.user);
        assert_eq!(settle(&clouds(&options), &paired(again, destination), &info(again), &there).0, Decision::Skip);
        let mut here = info(again);
        here.attributes.cache_control = Some("no-store".into());
        assert_eq!(settle(&clouds(&options), &paired(again, destination), &here, &there).0, Decision::Copy(Reason::Metadata));
    }

    #[test]
    fn stated_checksums_decide_before_times_do() {
        let options = Options::default();
        let (source, destination) = (entry("a-2", 1, 99), entry("b-3", 1, 0));
        let (mut here, mut there) = (info(source), info(destination));
        here.checksums.crc64nvme = Crc64::of(b"x").checksums().crc64nvme;
        there.checksums = Crc64::of(b"x").checksums();
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &here, &there).0, Decision::Skip);
        there.checksums = Crc64::of(b"y").checksums();
        assert_eq!(settle(&clouds(&options), &paired(source, destination), &here, &there).0, Decision::Copy(Reason::Checksum));
    }

    #[test]
    fn times_decide_last_and_multipart_reaches_a_day_further() {
        let options = Options::default();
        let newer = Decision::Copy(Reason::Newer);
        assert_eq!(compare(&options, entry("a", 1, 5), entry("b", 1, 5)).0, newer);
        assert_eq!(compare(&options, entry("a", 1, 5), entry("b", 1, 6)).0, Decision::Skip);
        let multipart = "900150983cd24fb0d6963f7d28e17f72-2";
        assert_eq!(compare(&options, entry(multipart, 1, 0), entry("b", 1, 23)).0, newer);
        assert_eq!(compare(&options, entry(multipart, 1, 0), entry("b", 1, 25)).0, Decision::Skip);
        assert_eq!(compare(&options, Entry { modified: None, ..entry("a", 1, 0) }, entry("b", 1, 25)).0, newer);
    }

    #[test]
    fn checksum_mode_wants_proof_and_reads_local_ends_for_it() {
        let options = Options { compare: Compare::Checksum, ..Options::default() };
        assert_eq!(compare(&options, entry("a", 1, 0), entry("b", 1, 9)).0, Decision::Copy(Reason::Checksum));
        assert_eq!(compare(&options, entry(MD5_A, 1, 9), entry(MD5_A, 1, 0)).0, Decision::Skip);
        let rules = Rules { source: Service::Local, ..clouds(&options) };
        let (source, destination) = (entry("1-2-3-4", 1, 0), entry("b", 1, 9));
        assert_eq!(settle(&rules, &paired(source, destination), &info(source), &info(destination)), (Decision::Copy(Reason::Checksum), 2));
        let proved = ObjectInfo { checksums: Crc64::of(b"x").checksums(), ..info(source) };
        let stored = ObjectInfo { checksums: Checksums { crc64xz: proved.checksums.crc64xz, ..Checksums::default() }, ..info(destination) };
        assert_eq!(settle(&rules, &paired(source, destination), &proved, &stored).0, Decision::Skip);
    }

    #[test]
    fn a_copy_follows_its_source_down_and_never_up() {
        let of = |class: &'static str, size| Entry { storage_class: class, ..entry(MD5_A, size, 0) };
        let sunk = |options: &Options, here: &'static str, there: &'static str, size| compare(options, of(here, size), of(there, size));
        let (options, large) = (Options::default(), 1 << 20);
        assert_eq!(sunk(&options, "GLACIER", "Standard", large), (Decision::Copy(Reason::Metadata), 1));
        assert_eq!(sunk(&options, "GLACIER", "Standard", 1000), (Decision::Skip, 0), "small objects cost less where they are");
        assert_eq!(sunk(&options, "STANDARD", "Archive", large), (Decision::Skip, 0), "a rule of the destination has put it there");
        assert_eq!(sunk(&options, "DEEP_ARCHIVE", "IA", large), (Decision::Skip, 0), "to leave a cold class costs");
        assert_eq!(sunk(&options, "STANDARD", "Standard", large), (Decision::Skip, 0));
        let bucket = Options { storage_class: ClassChoice::BucketDefault, ..Options::default() };
        assert_eq!(sunk(&bucket, "GLACIER", "Standard", large), (Decision::Skip, 0));
    }

    #[test]
    fn a_local_destination_goes_by_its_mtime() {
        let options = Options::default();
        let local = Rules { destination: Service::Local, ..clouds(&options) };
        let (source, destination) = (entry(MD5_A, 1, 5), entry("1-2-3-4", 1, 5));
        assert_eq!(settle(&local, &paired(source, destination), &info(source), &info(destination)), (Decision::Skip, 0));
        let older = Entry { modified: Some(time(2)), ..destination };
        assert_eq!(settle(&local, &paired(source, older), &info(source), &info(older)), (Decision::Copy(Reason::Newer), 1));
        let mut here = info(source);
        here.attributes.user.insert("mtime".into(), format!("{}.0", time(2).as_second()));
        assert_eq!(settle(&local, &paired(source, older), &here, &info(older)), (Decision::Skip, 1));
        let both = Rules { source: Service::Local, ..local };
        assert_eq!(settle(&both, &paired(source, older), &info(source), &info(older)), (Decision::Copy(Reason::Newer), 0));
    }

    #[test]
    fn a_local_source_goes_by_stamp_then_mtime() {
        let options = Options::default();
        let rules = Rules { source: Service::Local, ..clouds(&options) };
        let (source, destination) = (entry("1-2-3-4", 1, 5), entry(MD5_B, 1, 9));
        let mut there = info(destination);
        assert_eq!(settle(&rules, &paired(source, destination), &info(source), &there), (Decision::Skip, 1), "older, as the aws CLI has it");
        there.attributes.user.insert("mtime".into(), time(4).as_second().to_string());
        assert_eq!(settle(&rules, &paired(source, destination), &info(source), &there).0, Decision::Copy(Reason::Newer));
        there.attributes.user.insert("mtime".into(), time(5).as_second().to_string());
        assert_eq!(settle(&rules, &paired(source, destination), &info(source), &there).0, Decision::Skip);
    }

    #[test]
    fn what_is_no_object_is_never_copied_nor_deleted() {
        let options = Options { delete: true, ..Options::default() };
        let one = |kind, destination| {
            let source = Side::Present(Entry { kind, ..entry("", 0, 0) });
            decide(&clouds(&options), &Pairing { key: b"k", source, destination, proved: None }, &Evidence::default())
        };
        assert!(matches!(one(Kind::Unreadable, Side::Absent), Decision::Refuse(_)));
        assert!(matches!(one(Kind::Symlink, Side::Absent), Decision::LeaveLink));
        let link = Entry { kind: Kind::Symlink, ..entry("", 1, 0) };
        assert!(matches!(one(Kind::Object, Side::Present(link)), Decision::Refuse(_)));
        let only = Pairing { key: b"k", source: Side::Absent, destination: Side::Present(link), proved: None };
        assert_eq!(decide(&clouds(&options), &only, &Evidence::default()), Decision::Pass);
    }

    #[test]
    fn a_link_of_oss_is_followed_as_what_head_says_of_it() {
        let options = Options { follow_symlinks: true, ..Options::default() };
        let (link, target) = (Entry { kind: Kind::Symlink, ..entry("", 0, 0) }, Entry { kind: Kind::Symlink, ..entry(MD5_A, 7, 1) });
        let oss = Rules { source: Service::Oss, ..clouds(&options) };
        let pairing = |source| Pairing { key: b"k", source: Side::Present(source), destination: Side::Absent, proved: None };
        assert_eq!(decide(&oss, &pairing(link), &Evidence::default()), LOOK_SOURCE);
        let here = info(target);
        let looked = Evidence { source: Some(&here), ..Evidence::default() };
        assert_eq!(decide(&oss, &pairing(target), &looked), Decision::Copy(Reason::Absent));
        let held = Pairing { destination: Side::Present(entry(MD5_A, 7, 2)), ..pairing(target) };
        assert_eq!(decide(&oss, &held, &looked), Decision::Skip);
        let local = Rules { source: Service::Local, ..clouds(&options) };
        assert_eq!(decide(&local, &pairing(link), &Evidence::default()), Decision::LeaveLink, "a tree's own links are followed by its store");
    }

    #[test]
    fn a_local_end_licenses_no_delete_of_folder_markers() {
        let options = Options { delete: true, ..Options::default() };
        let marker = Pairing { key: b"d/", source: Side::Absent, destination: Side::Present(Entry { key: b"d/", ..entry(MD5_A, 0, 0) }), proved: None };
        assert_eq!(decide(&clouds(&options), &marker, &Evidence::default()), Decision::Delete);
        assert_eq!(decide(&Rules { source: Service::Local, ..clouds(&options) }, &marker, &Evidence::default()), Decision::Pass);
        let source = Pairing { source: marker.destination.clone(), destination: Side::Absent, ..marker };
        let local = Rules { destination: Service::Local, ..clouds(&options) };
        assert_eq!(decide(&local, &source, &Evidence::default()), LOOK_DESTINATION);
        let looked = Evidence { destination_looked: true, ..Evidence::default() };
        assert_eq!(decide(&local, &source, &looked), Decision::Copy(Reason::Absent));
    }

    fn any_side() -> impl Strategy<Value = Option<Option<(u64, usize, i64, Kind)>>> {
        let kinds = prop_oneof![4 => Just(Kind::Object), 1 => Just(Kind::Appendable), 1 => Just(Kind::Symlink), 1 => Just(Kind::Unreadable)];
        proptest::option::of(proptest::option::of((0..3u64, 0..4usize, 0..30i64, kinds)))
    }

    proptest! {
        /// Whatever is known: it decides within two looks, and deletes only what the source does not hold or the operator wants gone.
        #[test]
        fn every_delete_has_its_licence(
            (source, destination) in (any_side(), any_side()),
            (delete, delete_excluded, exclude, small_only) in any::<(bool, bool, bool, bool)>(),
            (mode, update, local) in (0..3usize, any::<bool>(), any::<(bool, bool)>()),
        ) {
            let mut options = Options { delete, delete_excluded, update, ..Options::default() };
            options.compare = [Compare::Default, Compare::Checksum, Compare::SizeOnly][mode];
            if exclude {
                options.filter.exclude("k*").expect("a glob");
            }
            options.filter.size_bytes_max = small_only.then_some(1);
            let etags = [MD5_A, MD5_B, "x", "900150983cd24fb0d6963f7d28e17f72-2"];
            let side = |from: &Option<Option<(u64, usize, i64, Kind)>>| match from {
                None => Side::Unknown(Arc::new(Error::invalid("x"))),
                Some(None) => Side::Absent,
                Some(Some((size, etag, hour, kind))) => Side::Present(Entry { kind: *kind, ..entry(etags[*etag], *size, *hour) }),
            };
            let rules = {
                let end = |is_local, cloud| if is_local { Service::Local } else { cloud };
                Rules { options: &options, source: end(local.0, Service::S3), destination: end(local.1, Service::Oss) }
            };
            let mut pairing = Pairing { key: b"k", source: side(&source), destination: side(&destination), proved: None };
            let here = match &pairing.source { Side::Present(e) => Some(info(*e)), _ => None };
            let there = match &pairing.destination { Side::Present(e) => Some(info(*e)), _ => None };
            let mut evidence = Evidence::default();
            let mut looks = 0;
            let decision = loop {
                match decide(&rules, &pairing, &evidence) {
                    Decision::Look(look) => {
                        prop_assert!(looks < 3 && (look.source || look.destination || look.read));
                        looks += 1;
                        if look.source { evidence.source = here.as_ref(); }
                        if look.destination {
                            evidence.destination = there.as_ref();
                            evidence.destination_looked = true;
                            if there.is_none() { pairing.destination = Side::Absent; }
                        }
                        evidence.read |= look.read;
                    }
                    decision => break decision,
                }
            };
            let hidden = exclude;
            match decision {
                Decision::Delete => {
                    prop_assert!(delete);
                    prop_assert!(matches!(pairing.destination, Side::Present(_)));
                    let absent = matches!(pairing.source, Side::Absent);
                    prop_assert!(absent || (hidden && delete_excluded && matches!(pairing.source, Side::Present(_))));
                    prop_assert!(!hidden || delete_excluded);
                }
                Decision::Copy(reason) => {
                    prop_assert!(matches!(&pairing.source, Side::Present(e) if matches!(e.kind, Kind::Object | Kind::Appendable)));
                    prop_assert!(!hidden);
                    prop_assert_eq!(reason == Reason::Absent, matches!(pairing.destination, Side::Absent));
                }
                _ => {}
            }
        }
    }
}
