//! Storage classes of both clouds: one lattice, and the way from one cloud's class to the other's.
//!
//! What is said of each is the services' own documentation (protocol.md section 4). A class that is not in the table is some other
//! service's word: nothing is known of it, and nothing is assumed.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::capabilities::Service;

/// How an object of a class is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// At once, for nothing but the traffic.
    Free,
    /// At once, for a fee for each byte.
    Paid,
    /// After a restore, which takes minutes to days and costs a fee.
    AfterRestore,
}

/// From when a class's minimum duration counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CountedFrom {
    /// The object's last modification.
    Modified,
    /// When the object came into the class, which no listing tells where a lifecycle rule brought it there.
    Transition,
}

/// What one cloud promises, and charges, for objects of a class.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Whose class it is: [`Service::S3`] or [`Service::Oss`].
    pub service: Service,
    /// The service's own word.
    pub word: &'static str,
    /// How cold it is, the same on both clouds: 0 is Standard, and an object only ever sinks by itself.
    pub depth: u8,
    /// How an object is read.
    pub reading: Reading,
    /// For how many days storage is charged at the least; deleted, overwritten or moved before that, the remainder is charged.
    pub days_min: u16,
    /// From when they count.
    pub counted_from: CountedFrom,
    /// A smaller object is charged as if it had so many bytes, or (Glacier's archives) with as much again for what describes it: below
    /// it a colder class costs more than Standard.
    pub bytes_min: u64,
}

/// Every class that Dragon knows, warm before cold within each service.
pub const CLASSES: [Class; 14] = {
    use CountedFrom::{Modified, Transition};
    use Reading::{AfterRestore, Free, Paid};
    const fn of(service: Service, word: &'static str, depth: u8, reading: Reading, days_min: u16, counted_from: CountedFrom, bytes_min: u64) -> Class {
        Class { service, word, depth, reading, days_min, counted_from, bytes_min }
    }
    [
        of(Service::S3, "STANDARD", 0, Free, 0, Modified, 0),
        of(Service::S3, "REDUCED_REDUNDANCY", 0, Free, 0, Modified, 0),
        of(Service::S3, "EXPRESS_ONEZONE", 0, Free, 0, Modified, 0),
        of(Service::S3, "INTELLIGENT_TIERING", 0, Free, 0, Modified, 0),
        of(Service::S3, "STANDARD_IA", 1, Paid, 30, Modified, 128 << 10),
        of(Service::S3, "ONEZONE_IA", 1, Paid, 30, Modified, 128 << 10),
        of(Service::S3, "GLACIER_IR", 1, Paid, 90, Modified, 128 << 10),
        of(Service::S3, "GLACIER", 2, AfterRestore, 90, Modified, 128 << 10),
        of(Service::S3, "DEEP_ARCHIVE", 4, AfterRestore, 180, Modified, 128 << 10),
        of(Service::Oss, "Standard", 0, Free, 0, Modified, 0),
        of(Service::Oss, "IA", 1, Paid, 30, Modified, 64 << 10),
        of(Service::Oss, "Archive", 2, AfterRestore, 60, Modified, 64 << 10),
        of(Service::Oss, "ColdArchive", 3, AfterRestore, 180, Transition, 64 << 10),
        of(Service::Oss, "DeepColdArchive", 4, AfterRestore, 180, Transition, 64 << 10),
    ]
};

impl Class {
    /// The class that a service calls so. An empty word is Standard, which S3 does not name in HEAD.
    pub fn find(service: Service, word: &str) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.service == service && (class.word == word || (word.is_empty() && class.is_standard())))
    }

    /// Whether it is what a service uses where nobody names a class.
    pub fn is_standard(&self) -> bool {
        matches!(self.word, "STANDARD" | "Standard")
    }

    /// Its place among the classes that a service's own rules take objects through: only to a higher one. `None`: no rule moves there.
    ///
    /// S3's is the order of its supported transitions (Amazon S3 User Guide, "Transitioning objects using Amazon S3 Lifecycle"), OSS's the one
    /// of PutBucketLifecycle.
    pub fn rank(&self) -> Option<u8> {
        match self.word {
            "STANDARD_IA" => Some(1),
            "INTELLIGENT_TIERING" => Some(2),
            "ONEZONE_IA" | "GLACIER_IR" => Some(3),
            "GLACIER" => Some(4),
            "DEEP_ARCHIVE" => Some(5),
            _ if self.service == Service::Oss && self.depth > 0 => Some(self.depth),
            _ => None,
        }
    }

    /// The class of another service that is most like it.
    pub fn like(&self, service: Service) -> Option<&'static Self> {
        let word = match (self.service, service) {
            (own, other) if own == other => self.word,
            (Service::S3, Service::Oss) => match self.word {
                "STANDARD_IA" | "ONEZONE_IA" | "GLACIER_IR" => "IA",
                "GLACIER" => "Archive",
                "DEEP_ARCHIVE" => "DeepColdArchive",
                _ => "Standard",
            },
            (Service::Oss, Service::S3) => match self.word {
                "IA" => "STANDARD_IA",
                "Archive" | "ColdArchive" => "GLACIER",
                "DeepColdArchive" => "DEEP_ARCHIVE",
                _ => "STANDARD",
            },
            _ => return None,
        };
        Self::find(service, word)
    }

    /// Whether an object of so many bytes costs more in this class than in Standard.
    pub fn is_dear_for(&self, bytes: u64) -> bool {
        bytes < self.bytes_min
    }

    /// Whether changing an object of this class, last modified then, costs the rest of a minimum duration, as far as anyone can tell:
    /// where nobody knows from when it counts, it does.
    pub fn charges_for_change(&self, modified: Option<Timestamp>, now: Timestamp) -> bool {
        if self.days_min == 0 {
            return false;
        }
        let Some(modified) = modified.filter(|_| self.counted_from == CountedFrom::Modified) else { return true };
        now.duration_since(modified).as_hours() < i64::from(self.days_min) * 24
    }
}

/// Which class a copy gets, by the class of its source: the [most like one](Class::like), unless the operator says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassMap {
    /// From the source service's word to the destination service's.
    pub named: BTreeMap<String, String>,
}

impl ClassMap {
    /// The destination's word for a class of the source, whatever the object's size. `None`: nobody knows one, or one of them has no classes.
    pub fn map<'a>(&'a self, source: Service, word: &'a str, destination: Service) -> Option<&'a str> {
        if [source, destination].iter().any(|service| !matches!(service, Service::S3 | Service::Oss)) {
            return None;
        }
        let known = Class::find(source, word);
        let named = self.named.get(known.map_or(word, |class| class.word));
        match (named, known) {
            (Some(named), _) => Some(named),
            (None, Some(class)) => class.like(destination).map(|class| class.word),
            (None, None) if source == destination && !word.is_empty() => Some(word),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_the_documented_one_and_comes_back_where_it_can() {
        let map = ClassMap::default();
        for (s3, oss, back) in [
            ("STANDARD", "Standard", "STANDARD"),
            ("", "Standard", "STANDARD"),
            ("REDUCED_REDUNDANCY", "Standard", "STANDARD"),
            ("EXPRESS_ONEZONE", "Standard", "STANDARD"),
            ("INTELLIGENT_TIERING", "Standard", "STANDARD"),
            ("STANDARD_IA", "IA", "STANDARD_IA"),
            ("ONEZONE_IA", "IA", "STANDARD_IA"),
            ("GLACIER_IR", "IA", "STANDARD_IA"),
            ("GLACIER", "Archive", "GLACIER"),
            ("DEEP_ARCHIVE", "DeepColdArchive", "DEEP_ARCHIVE"),
        ] {
            assert_eq!(map.map(Service::S3, s3, Service::Oss), Some(oss), "{s3}");
            assert_eq!(map.map(Service::Oss, oss, Service::S3), Some(back), "{oss}");
        }
        assert_eq!(map.map(Service::Oss, "ColdArchive", Service::S3), Some("GLACIER"));
        assert_eq!(map.map(Service::S3, "ONEZONE_IA", Service::S3), Some("ONEZONE_IA"));
        assert_eq!(map.map(Service::S3, "SNOW", Service::S3), Some("SNOW"));
        assert_eq!((map.map(Service::S3, "SNOW", Service::Oss), map.map(Service::S3, "STANDARD", Service::Local)), (None, None));
    }

    #[test]
    fn the_operator_has_the_last_word() {
        let map = ClassMap { named: BTreeMap::from([("DEEP_ARCHIVE".into(), "ColdArchive".into()), ("STANDARD".into(), "IA".into())]) };
        assert_eq!(map.map(Service::S3, "DEEP_ARCHIVE", Service::Oss), Some("ColdArchive"));
        assert_eq!(map.map(Service::S3, "", Service::Oss), Some("IA"), "S3's HEAD names no Standard");
        assert_eq!(map.map(Service::S3, "GLACIER", Service::Oss), Some("Archive"));
    }

    #[test]
    fn no_map_makes_an_object_warmer_than_it_was() {
        for class in &CLASSES {
            let other = if class.service == Service::S3 { Service::Oss } else { Service::S3 };
            let like = class.like(other).expect("each has one");
            // ColdArchive is between S3's two archives; Alibaba's own mapping is the warmer one.
            assert!(like.depth == class.depth || class.word == "ColdArchive", "{} -> {}", class.word, like.word);
            assert_eq!(like.reading, class.reading, "{} -> {}", class.word, like.word);
        }
    }

    #[test]
    fn what_changes_early_is_charged() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let class = |service, word| Class::find(service, word).expect("known");
        let modified = Some(at("2026-01-01T00:00:00Z"));
        let ia = class(Service::S3, "STANDARD_IA");
        assert!(ia.charges_for_change(modified, at("2026-01-30T23:59:59Z")));
        assert!(!ia.charges_for_change(modified, at("2026-01-31T00:00:00Z")));
        assert!(ia.charges_for_change(None, at("2026-01-31T00:00:00Z")), "nobody knows");
        assert!(class(Service::Oss, "ColdArchive").charges_for_change(modified, at("2030-01-01T00:00:00Z")), "nobody knows since when it is there");
        assert!(!class(Service::Oss, "Standard").charges_for_change(None, at("2026-01-01T00:00:00Z")));
        assert!(ia.is_dear_for((128 << 10) - 1) && !ia.is_dear_for(128 << 10));
    }
}
