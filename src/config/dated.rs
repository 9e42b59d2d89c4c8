//! Destinations that hold a date, for rolling backups: `oss://backup/db/{date}/` is another place each day.
//!
//! A placeholder is a word of letters in braces; other braces are what they are, for a key may hold any.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use jiff::civil::Date;

use super::section::suggest;
use crate::storage::Key;
use crate::storage::location::Address;

/// What stands for a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    /// `2026-11-27`.
    Date,
    /// `2026-11`.
    Month,
    /// `2026-Q4`.
    Quarter,
    /// `2026`.
    Year,
    /// `2026-W48`, as ISO 8601 counts weeks: one belongs to the year that its Thursday lies in.
    Week,
}

const PLACEHOLDERS: [(&str, Placeholder); 5] =
    [("date", Placeholder::Date), ("month", Placeholder::Month), ("quarter", Placeholder::Quarter), ("year", Placeholder::Year), ("week", Placeholder::Week)];

impl Placeholder {
    fn of(word: &[u8]) -> Option<Self> {
        PLACEHOLDERS.iter().find(|(name, _)| name.as_bytes() == word).map(|(_, placeholder)| *placeholder)
    }

    fn fill(self, day: Date) -> String {
        let (year, month) = (day.year(), day.month());
        match self {
            Self::Date => day.to_string(),
            Self::Month => format!("{year:04}-{month:02}"),
            Self::Quarter => format!("{year:04}-Q{}", (month + 2) / 3),
            Self::Year => format!("{year:04}"),
            Self::Week => {
                let week = day.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
        }
    }
}

/// The words in braces, with where they and their braces stand.
fn words(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    memchr::memchr_iter(b'{', text).filter_map(|at| {
        let word = &text[at + 1..];
        let end = word.iter().position(|byte| !byte.is_ascii_alphabetic() && *byte != b'_')?;
        (end > 0 && word[end] == b'}').then_some((at, &word[..end]))
    })
}

/// What of an address may hold a date: the key, or a path.
fn dated_part(address: &Address) -> &[u8] {
    match address {
        Address::Store { key, .. } => key.as_bytes(),
        Address::Path(path) => path.as_os_str().as_bytes(),
        Address::Stdio => &[],
    }
}

/// The first word that is no date, and what to write instead; a date in the bucket is misplaced.
pub(super) fn mistake(address: &Address) -> Option<(String, String)> {
    let in_bucket = match address {
        Address::Store { bucket, .. } => words(bucket.as_bytes()).map(|(_, word)| word).find(|word| *word != b"bucket"),
        Address::Path(_) | Address::Stdio => None,
    };
    if let Some(word) = in_bucket {
        let known = if Placeholder::of(word).is_some() { "a date stands in what follows the bucket" } else { "a bucket's name has no such placeholder" };
        return Some((format!("{{{}}} stands in the bucket's name", word.escape_ascii()), known.to_owned()));
    }
    let (_, word) = words(dated_part(address)).find(|(_, word)| Placeholder::of(word).is_none())?;
    let word = String::from_utf8_lossy(word).into_owned();
    let advice =
        if word == "bucket" { format!("{} stands in the bucket's name", super::job::BUCKET) } else { suggest(&word, PLACEHOLDERS.map(|(name, _)| name)) };
    Some((format!("{{{word}}} is no placeholder of a destination"), advice))
}

/// Whether an address holds a date.
pub fn is_dated(address: &Address) -> bool {
    words(dated_part(address)).any(|(_, word)| Placeholder::of(word).is_some())
}

/// What all dates of a dated address have in common: the bytes of its key or path before the first placeholder. `None` where it holds no date.
pub(super) fn stem(address: &Address) -> Option<&[u8]> {
    let text = dated_part(address);
    let (at, _) = words(text).find(|(_, word)| Placeholder::of(word).is_some())?;
    text.get(..at)
}

/// The folder in which all dates of an address lie; an address without a date as it is.
pub(super) fn folder(address: &Address) -> Address {
    let Some(stem) = stem(address) else { return address.clone() };
    let folder = &stem[..memchr::memrchr(b'/', stem).map_or(0, |slash| slash + 1)];
    with(address, folder.to_vec())
}

/// The address of a day.
pub fn fill(address: &Address, day: Date) -> Address {
    let text = dated_part(address);
    let mut filled = Vec::with_capacity(text.len());
    let mut done = 0;
    for (at, word) in words(text) {
        let Some(placeholder) = Placeholder::of(word) else { continue };
        filled.extend_from_slice(&text[done..at]);
        filled.extend_from_slice(placeholder.fill(day).as_bytes());
        done = at + word.len() + 2;
    }
    filled.extend_from_slice(&text[done..]);
    with(address, filled)
}

fn with(address: &Address, text: Vec<u8>) -> Address {
    match address {
        Address::Store { store, bucket, .. } => Address::Store { store: store.clone(), bucket: bucket.clone(), key: Key::new(text) },
        Address::Path(_) => Address::Path(PathBuf::from(OsString::from_vec(text))),
        Address::Stdio => Address::Stdio,
    }
}

/// Whether two trees may share an object, where one at least holds a date: each is then all that begins with its stem.
pub(super) fn stems_overlap(a: &Address, b: &Address) -> bool {
    let (whole_a, whole_b) = (a.tree(), b.tree());
    let part = |address: &Address, whole: &Address| -> Vec<u8> {
        match (stem(address), whole) {
            (Some(stem), _) => stem.to_vec(),
            // A directory is all that lies in it, with or without the slash.
            (None, Address::Path(path)) => OsStr::as_bytes(path.join("").as_os_str()).to_vec(),
            (None, whole) => dated_part(whole).to_vec(),
        }
    };
    let (x, y) = (part(a, &whole_a), part(b, &whole_b));
    x.starts_with(&y) || y.starts_with(&x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Address {
        Address::parse(text).expect("an address")
    }

    fn filled(text: &str, day: &str) -> String {
        fill(&at(text), day.parse().expect("a day")).to_string()
    }

    #[test]
    fn a_date_is_filled_in() {
        let all = "s3://b/{date}/{month}/{quarter}/{year}/{week}/x{date}";
        assert_eq!(filled(all, "2026-11-27"), "s3://b/2026-11-27/2026-11/2026-Q4/2026/2026-W48/x2026-11-27");
        assert_eq!(filled("/backup/{year}/db-{date}/", "2026-01-02"), "/backup/2026/db-2026-01-02/");
        for (day, quarter, week) in [("2027-01-01", "2027-Q1", "2026-W53"), ("2024-12-30", "2024-Q4", "2025-W01"), ("2026-04-01", "2026-Q2", "2026-W14")] {
            assert_eq!(filled("s3://b/{quarter}/{week}", day), format!("s3://b/{quarter}/{week}"), "{day}");
        }
        assert_eq!(filled("s3://b/{3F25-04E0}/{a b}/{}/{date", "2026-11-27"), "s3://b/{3F25-04E0}/{a b}/{}/{date", "other braces are keys'");
        assert!(is_dated(&at("s3://b/{week}")) && !is_dated(&at("s3://b/date")) && !is_dated(&at("s3://{date}/x")));
    }

    #[test]
    fn what_stands_before_the_date_is_all_of_it() {
        let stem_of = |text: &str| stem(&at(text)).map(<[u8]>::to_vec);
        assert_eq!(stem_of("s3://b/db/x-{date}/{year}"), Some(b"db/x-".to_vec()));
        assert_eq!((stem_of("s3://b/{date}"), stem_of("s3://b/db")), (Some(Vec::new()), None));
        assert_eq!(folder(&at("s3://b/db/x-{date}/y")).to_string(), "s3://b/db/");
        assert_eq!(folder(&at("s3://b/db")).to_string(), "s3://b/db");
        for (a, b, wanted) in [
            ("s3://b/db/{date}/", "s3://b/db/", true),
            ("s3://b/db/{date}/", "s3://b/", true),
            ("s3://b/db/{date}/", "s3://b/db/2026-11-27/sub/", true),
            ("s3://b/db-{date}/", "s3://b/db-{week}/", true),
            ("s3://b/db-{date}/", "s3://b/web-{date}/", false),
            ("s3://b/db/{date}/", "s3://b/dbx/", false),
            ("/backup/db-{date}/", "/backup", true),
            ("/backup/db-{date}/", "/backup/db-1/x", true),
            ("/backup/db-{date}/", "/backup/web", false),
        ] {
            assert_eq!(stems_overlap(&at(a), &at(b)), wanted, "{a} {b}");
            assert_eq!(stems_overlap(&at(b), &at(a)), wanted, "{b} {a}");
        }
    }

    #[test]
    fn mistakes_have_the_nearest_right_word() {
        assert_eq!(mistake(&at("s3://b/{date}/{week}")), None);
        for (text, what, advice) in [
            ("s3://b/{dat}/", "{dat} is no placeholder", "did you mean 'date'?"),
            ("s3://b/{Date}/", "{Date} is no placeholder", "did you mean 'date'?"),
            ("s3://b/{hour}/", "{hour} is no placeholder", "date, month, quarter, week, year"),
            ("s3://b/{bucket}/", "{bucket} is no placeholder", "stands in the bucket's name"),
            ("s3://b-{date}/x", "{date} stands in the bucket's name", "what follows the bucket"),
        ] {
            let (told, advised) = mistake(&at(text)).expect(text);
            assert!(told.contains(what) && advised.contains(advice), "{text}: {told}; {advised}");
        }
    }
}
