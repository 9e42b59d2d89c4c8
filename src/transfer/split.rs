//! Where to cut a range of keys whose listing has far to go: guesses from the keys that were seen, pure and cheap.
//!
//! Keys are read as fractions. The characters behind what the seen keys have in common are their digits, and each place has the digits
//! that were seen there or next to it, filled up where one of a kind seldom comes alone (`0` to `9`, and all between the least and the
//! greatest letter). How far the listing has come in these fractions says how much is left, and equal parts of the rest are the
//! pieces. A guess that is wrong costs a request that finds nothing or a piece that is long, and then that piece is cut again.
//!
//! What the seen keys have in common may end with the page, so one place of it counts as a digit too. What else lies beyond it nobody
//! knows, so that the ends of a few levels above are boundaries as well: of the folders on the way, and of the next digits in a name.

use std::collections::BTreeSet;

use crate::storage::Key;

/// Places behind the common beginning that are looked at; so many tell apart more pieces than there are.
const PLACES: usize = 6;

/// Of the digits of one name, the ends of so many levels above are boundaries; the next is ten times as far.
const NAME_LEVELS_MAX: usize = 4;

/// A script's characters lie within so many binary digits of code points.
const BLOCK_BITS: u32 = 15;

/// What is known of a range.
#[derive(Debug, Clone)]
pub(crate) struct Seen<'a> {
    /// The first key that was listed.
    pub(crate) first: &'a [u8],
    /// The last; the rest lies behind it.
    pub(crate) last: &'a [u8],
    /// The last key of the range; `None` where it has no end.
    pub(crate) end: Option<&'a [u8]>,
    /// How many pages were listed.
    pub(crate) pages: u64,
}

/// The rest of a range, by the digits of its keys.
#[derive(Debug)]
pub(crate) struct Rest<'a> {
    last: &'a str,
    end: Option<&'a str>,
    /// What all keys that are counted on have in common.
    base: &'a str,
    /// The digits of each place, ascending.
    places: Vec<Vec<char>>,
    /// How far the listing has come, and how far it has to go, as fractions of what begins with the base.
    from: f64,
    to: f64,
    /// About how many pages that is.
    pub(crate) pages: f64,
}

impl<'a> Rest<'a> {
    /// Judges the rest from some of the keys that were seen last. `None` where the keys are not text, which no boundary may split.
    pub(crate) fn of(seen: &Seen<'a>, sample: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let text = |key| std::str::from_utf8(key).ok();
        let (first, last) = (text(seen.first)?, text(seen.last)?);
        let end = seen.end.map(std::str::from_utf8).transpose().ok()?;
        let varies = common(first, last);
        let above = last[..varies].char_indices().next_back().map_or(0, |(at, _)| at);
        let base = &last[..above.max(end.map_or(0, |end| common(last, end)))];
        if base.chars().any(char::is_control) {
            return None;
        }
        let mut seen_at = vec![BTreeSet::new(); PLACES + 1];
        for key in sample.filter_map(text).chain([first, last]).chain(end) {
            let Some(rest) = key.strip_prefix(base) else { continue };
            for (place, digit) in seen_at.iter_mut().zip(rest.chars()) {
                place.insert(digit);
            }
        }
        // A place that shows one digit so far is like the next one, if both are of a name.
        let begins = base.is_empty() || base.ends_with('/');
        let is_name = |place: &BTreeSet<char>| place.iter().all(|digit| digit.is_alphanumeric() || begins && matches!(digit, '-' | '_'));
        let filled_up = |near: &[BTreeSet<char>]| filled(if near.iter().all(is_name) { &near[0] | &near[1] } else { near[0].clone() });
        let places = seen_at.windows(2).map(filled_up).collect();
        let mut rest = Self { last, end, base, places, from: 0.0, to: 1.0, pages: 0.0 };
        rest.from = rest.fraction(last);
        rest.to = end.map_or(1.0, |end| rest.fraction(end));
        let done = rest.from - rest.fraction(first);
        let left = (rest.to - rest.from).max(0.0);
        if done > 0.0 {
            rest.pages = seen.pages as f64 * left / done;
        }
        Some(rest)
    }

    /// Where a key stands among those that begin with the base.
    fn fraction(&self, key: &str) -> f64 {
        let Some(digits) = key.strip_prefix(self.base) else { return if key < self.base { 0.0 } else { 1.0 } };
        let (mut fraction, mut unit) = (0.0, 1.0);
        for (place, digit) in self.places.iter().zip(digits.chars()) {
            if place.is_empty() {
                break;
            }
            unit /= place.len() as f64;
            fraction += unit * place.partition_point(|known| *known < digit) as f64;
        }
        fraction
    }

    /// At most one boundary less than the pieces that are wanted, ascending, each behind what was seen and before the end.
    pub(crate) fn cut(&self, pieces: usize) -> Vec<Key> {
        let above = self.above(pieces);
        let pieces = pieces - above.len();
        let piece = (self.to - self.from) / pieces as f64;
        let near = (1..pieces).map(|n| self.key_at(self.from + piece * n as f64, piece));
        let mut cuts: Vec<String> = Vec::new();
        for cut in near.chain(above) {
            let behind = cuts.last().map_or(self.last, String::as_str);
            if cut.as_str() > behind && self.end.is_none_or(|end| cut.as_str() < end) {
                cuts.push(cut);
            }
        }
        cuts.into_iter().map(Key::from).collect()
    }

    /// Boundaries in the levels above the base, ascending: a quarter of the pieces for the nearest level, half of that for the next, and
    /// so on, until half of them are spent.
    fn above(&self, pieces: usize) -> Vec<String> {
        let shared = self.end.map_or(0, |end| common(self.last, end));
        let mut cuts = Vec::new();
        let (mut in_name, mut wanted) = (0, pieces / 4);
        for (at, digit) in self.base.char_indices().rev().take_while(|(at, _)| *at >= shared) {
            let above = &self.base[..at];
            in_name = if digit == '/' { 0 } else { in_name + usize::from(digit.is_ascii_digit()) };
            let next: Vec<char> = match digit {
                // What follows all that begins with a folder's name; where that ends in a digit, the next digit is.
                '/' if !above.ends_with(|last: char| last.is_ascii_digit()) => vec!['0'],
                '0'..='8' if in_name <= NAME_LEVELS_MAX => (char::from(digit as u8 + 1)..='9').collect(),
                _ => continue,
            };
            let boundaries = next.iter().map(|next| format!("{above}{next}")).filter(|cut| self.end.is_none_or(|end| cut.as_str() < end));
            let boundaries: Vec<String> = boundaries.collect();
            let room = (pieces / 2).saturating_sub(cuts.len());
            let count = wanted.max(1).min(room).min(boundaries.len());
            cuts.extend((0..count).map(|n| boundaries[n * boundaries.len() / count].clone()));
            wanted /= 2;
        }
        cuts
    }

    /// The shortest key near a fraction, as exact as pieces of that size need.
    fn key_at(&self, fraction: f64, piece: f64) -> String {
        let mut key = self.base.to_owned();
        let (mut rest, mut unit) = (fraction, 1.0);
        for place in self.places.iter().take_while(|place| !place.is_empty()) {
            rest *= place.len() as f64;
            let digit = (rest as usize).min(place.len() - 1);
            rest -= digit as f64;
            key.push(place[digit]);
            unit /= place.len() as f64;
            if unit < piece / 8.0 {
                break;
            }
        }
        key
    }
}

/// How many bytes two texts have in common at their beginning, in whole characters.
fn common(a: &str, b: &str) -> usize {
    a.char_indices().zip(b.chars()).find(|((_, a), b)| a != b).map_or(a.len().min(b.len()), |((at, _), _)| at)
}

/// The digits of a place, with those of their kind that were not seen yet. What no boundary may hold is none of them.
fn filled(mut seen: BTreeSet<char>) -> Vec<char> {
    let has_digits = seen.iter().any(char::is_ascii_digit);
    if has_digits {
        seen.extend('0'..='9');
    }
    for (a, f, z) in [('a', 'f', 'z'), ('A', 'F', 'Z')] {
        let least = seen.range(a..=z).next().copied();
        let greatest = seen.range(a..=z).next_back().copied();
        match least.zip(greatest) {
            Some((_, greatest)) if has_digits && greatest <= f => seen.extend(a..=f),
            Some((least, greatest)) => seen.extend(least..=greatest),
            None => {}
        }
    }
    // Of other scripts nobody knows how far they go: near and far are tried alike.
    if let Some(greatest) = seen.last().copied().filter(|digit| !digit.is_ascii()) {
        seen.extend((0..BLOCK_BITS).filter_map(|bit| char::from_u32(greatest as u32 + (1 << bit))));
    }
    seen.into_iter().filter(|digit| !digit.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rest behind a part of some sorted keys.
    fn rest<'a>(keys: &'a [String], range: std::ops::Range<usize>, end: Option<&'a str>) -> Rest<'a> {
        let seen = &keys[range];
        let (first, last) = (seen[0].as_bytes(), seen[seen.len() - 1].as_bytes());
        let seen_of = Seen { first, last, end: end.map(str::as_bytes), pages: seen.len() as u64 / 1000 };
        Rest::of(&seen_of, seen.iter().map(String::as_bytes)).expect("text")
    }

    /// How many keys lie between the cuts, of those behind the first 3000.
    fn pieces(keys: &[String], pieces: usize) -> Vec<usize> {
        let cuts = rest(keys, 0..3000, keys.last().map(String::as_str)).cut(pieces);
        let piece = |key: &String| cuts.iter().filter(|cut| key.as_bytes() > cut.as_bytes()).count();
        let mut counts = vec![0; cuts.len() + 1];
        keys[3000..].iter().for_each(|key| counts[piece(key)] += 1);
        counts
    }

    #[test]
    fn numbered_keys_are_cut_into_equal_pieces() {
        let flat: Vec<String> = (0..100_000).map(|n| format!("k{n:05}")).collect();
        let tree: Vec<String> = (0..100_000).map(|n| format!("photos/{:03}/img_{:04}.jpg", n / 100, n % 100)).collect();
        for keys in [flat, tree] {
            let left = rest(&keys, 0..3000, keys.last().map(String::as_str)).pages;
            assert!((90.0..105.0).contains(&left), "{left} pages are left");
            let counts = pieces(&keys, 16);
            assert!(counts.len() == 16 && counts.iter().all(|count| (4_000..8_000).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn names_without_an_order_of_their_own_are_cut_into_equal_pieces() {
        let mut hexadecimal: Vec<String> = (0..65_536u32).map(|n| format!("{:04x}-{n}", n.wrapping_mul(40_503) & 0xffff)).collect();
        let base64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let letter = |n: u32| char::from(base64[(n & 63) as usize]);
        let mut tokens: Vec<String> =
            (0..65_536u32).map(|n| n.wrapping_mul(2_654_435_761)).map(|n| [26, 20, 14, 8].map(|bits| letter(n >> bits)).iter().collect()).collect();
        for keys in [&mut hexadecimal, &mut tokens] {
            keys.sort();
            let counts = pieces(keys, 16);
            assert!(counts.len() >= 14 && counts.iter().all(|count| *count < 8_000), "{counts:?}");
        }
    }

    #[test]
    fn the_ends_of_folders_and_of_digits_are_boundaries() {
        let keys: Vec<String> = (0..3000).map(|n| format!("logs/2026/11/{n:07}")).collect();
        let above = |end, pieces| rest(&keys, 0..3000, end).above(pieces);
        let digits = ["01", "03", "05", "07", "1", "5"].map(|name| format!("logs/2026/11/{name}"));
        assert_eq!(above(None, 16), [&digits[..], &["logs/2026/12".into(), "logs/2026/2".into()]].concat());
        assert_eq!(above(Some("logs/2026/11/1"), 8), ["logs/2026/11/01", "logs/2026/11/05"]);
        let keys: Vec<String> = (0..3000).map(|n| format!("a/b/{n:05}")).collect();
        assert_eq!(rest(&keys, 0..3000, None).above(16), ["a/b0", "a0"]);
    }

    #[test]
    fn keys_beyond_ascii_are_cut_between_characters() {
        let keys: Vec<String> = ('一'..='龥').map(|c| format!("相册/{c}.jpg")).collect();
        assert!(rest(&keys, 0..3000, Some("相册/龥")).cut(4).iter().all(|cut| std::str::from_utf8(cut.as_bytes()).is_ok()));
    }

    #[test]
    fn what_no_boundary_may_split_is_not_cut() {
        let key = &b"a\xff"[..];
        assert!(Rest::of(&Seen { first: key, last: key, end: None, pages: 1 }, [key].into_iter()).is_none());
        let keys: Vec<String> = (0..3000).map(|n| format!("a\u{1}{n:04}")).collect();
        let seen = Seen { first: keys[0].as_bytes(), last: keys[2999].as_bytes(), end: Some(b"a\x019"), pages: 3 };
        let rest = Rest::of(&seen, keys.iter().map(String::as_bytes));
        assert_eq!(rest.map(|rest| rest.cut(8)).unwrap_or_default(), []);
    }

    #[test]
    fn a_range_that_is_nearly_listed_has_little_left() {
        let keys: Vec<String> = (0..10_000).map(|n| format!("k{n:04}")).collect();
        let rest = rest(&keys, 0..9_000, Some("k9999"));
        assert!((0.5..1.5).contains(&rest.pages), "{}", rest.pages);
    }

    proptest! {
        #[test]
        fn cuts_ascend_between_what_was_seen_and_the_end(
            keys in prop::collection::btree_set("[a-c0-1/ é\u{1}中]{0,5}", 1..12),
            end in prop::option::of("[a-c0-1/ é中]{0,5}"),
            pieces in 2..20_usize,
        ) {
            let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
            let (first, last) = (keys[0], keys[keys.len() - 1]);
            let end = end.as_deref().map(str::as_bytes).filter(|end| *end > last);
            if let Some(rest) = Rest::of(&Seen { first, last, end, pages: 3 }, keys.iter().copied()) {
                let cuts = rest.cut(pieces);
                prop_assert!(cuts.len() < pieces);
                prop_assert!(cuts.is_sorted_by(|a, b| a < b));
                prop_assert!(cuts.iter().all(|cut| cut.as_bytes() > last && end.is_none_or(|end| cut.as_bytes() < end)));
                prop_assert!(cuts.iter().all(|cut| !cut.as_str().expect("text").contains(char::is_control)));
            }
        }
    }
}
