//! Listing a sorted map page by page, folding keys at a delimiter.
//!
//! A page costs what it shows: the map is entered at the marker, and a folded prefix is stepped over whole, however many keys
//! it hides.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::object::ObjectKey;

/// What to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct ListQuery<'a> {
    /// Only keys that begin with this.
    pub prefix: &'a str,
    /// Only names after this one: a key, or a common prefix of an earlier page, which is then passed over whole.
    pub after: &'a str,
    /// Fold keys at the first occurrence of this after the prefix; empty for none.
    pub delimiter: &'a str,
    /// Most entries a page, common prefixes included.
    pub limit: usize,
}

/// One page.
#[derive(Debug)]
pub struct Listing<T> {
    /// Entries in byte order.
    pub entries: Vec<ListEntry<T>>,
    /// There is more after the last entry.
    pub truncated: bool,
}

impl<T> Listing<T> {
    /// The name of the last entry, after which the next page begins.
    pub fn last(&self) -> Option<&str> {
        self.entries.last().map(ListEntry::name)
    }
}

/// One entry of a page.
#[derive(Debug, Clone)]
pub enum ListEntry<T> {
    /// A key and what stands there.
    Item(ObjectKey, T),
    /// A common prefix.
    Prefix(String),
}

impl<T> ListEntry<T> {
    /// The key, or the common prefix.
    pub fn name(&self) -> &str {
        match self {
            Self::Item(key, _) => key.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

pub(super) fn page<T: Clone>(map: &BTreeMap<ObjectKey, T>, query: &ListQuery<'_>) -> Listing<T> {
    let mut entries = Vec::new();
    let mut from = start(query);
    while let Some((key, item)) = from.as_ref().and_then(|from| map.range::<[u8], _>((as_slice(from), Bound::Unbounded)).next()) {
        let name = key.as_str();
        if !name.starts_with(query.prefix) {
            break;
        }
        if entries.len() == query.limit {
            return Listing { entries, truncated: true };
        }
        if let Some(folded) = folded(name, query) {
            from = past(folded);
            entries.push(ListEntry::Prefix(folded.to_owned()));
            continue;
        }
        entries.push(ListEntry::Item(key.clone(), item.clone()));
        // Walk on along the tree while nothing folds: entering it anew for each key would cost a logarithm more.
        for (key, item) in map.range::<[u8], _>((Bound::Excluded(name.as_bytes()), Bound::Unbounded)) {
            let next = key.as_str();
            if entries.len() >= query.limit || !next.starts_with(query.prefix) || folded_any(next, query) {
                break;
            }
            entries.push(ListEntry::Item(key.clone(), item.clone()));
        }
        from = entries.last().map(|entry| Bound::Excluded(entry.name().as_bytes().to_vec()));
    }
    Listing { entries, truncated: false }
}

fn folded_any(name: &str, query: &ListQuery<'_>) -> bool {
    folded(name, query).is_some()
}

/// The common prefix that hides `name`, which begins with the query's prefix.
fn folded<'n>(name: &'n str, query: &ListQuery<'_>) -> Option<&'n str> {
    if query.delimiter.is_empty() {
        return None;
    }
    let at = name[query.prefix.len()..].find(query.delimiter)?;
    Some(&name[..query.prefix.len() + at + query.delimiter.len()])
}

/// Where the page begins; `None` where nothing can follow.
fn start(query: &ListQuery<'_>) -> Option<Bound<Vec<u8>>> {
    if query.after < query.prefix {
        return Some(Bound::Included(query.prefix.as_bytes().to_vec()));
    }
    if query.after.starts_with(query.prefix) && folded(query.after, query) == Some(query.after) {
        return past(query.after);
    }
    Some(if query.after.is_empty() { Bound::Unbounded } else { Bound::Excluded(query.after.as_bytes().to_vec()) })
}

/// The first position after every key that begins with `prefix`.
fn past(prefix: &str) -> Option<Bound<Vec<u8>>> {
    let mut bytes = prefix.as_bytes().to_vec();
    // UTF-8 never holds 0xFF, so the last byte can always be raised.
    *bytes.last_mut()? += 1;
    Some(Bound::Included(bytes))
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(bytes) => Bound::Included(bytes),
        Bound::Excluded(bytes) => Bound::Excluded(bytes),
        Bound::Unbounded => Bound::Unbounded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(keys: &[&str], query: &ListQuery<'_>) -> (Vec<String>, bool) {
        let map: BTreeMap<ObjectKey, ()> = keys.iter().map(|key| (ObjectKey::from(*key), ())).collect();
        let listing = page(&map, query);
        (listing.entries.iter().map(|entry| entry.name().to_owned()).collect(), listing.truncated)
    }

    const KEYS: &[&str] = &["/x", "a", "a/", "a/../b", "a//b", "a/b", "a0", "b/c/d", "b/c/e", "中/文"];

    #[test]
    fn keys_come_in_byte_order_and_fold_at_the_delimiter() {
        let all = ListQuery { limit: 1000, ..ListQuery::default() };
        assert_eq!(names(KEYS, &all), (KEYS.iter().map(|k| (*k).to_owned()).collect(), false));
        let folded = ListQuery { delimiter: "/", ..all };
        assert_eq!(names(KEYS, &folded).0, ["/", "a", "a/", "a0", "b/", "中/"]);
        let under = ListQuery { prefix: "a/", delimiter: "/", ..all };
        assert_eq!(names(KEYS, &under).0, ["a/", "a/../", "a//", "a/b"]);
        let wide = ListQuery { delimiter: "中", ..all };
        assert_eq!(names(KEYS, &wide).0.last().map(String::as_str), Some("中"));
    }

    #[test]
    fn pages_of_any_size_make_the_whole() {
        for delimiter in ["", "/"] {
            let whole = names(KEYS, &ListQuery { delimiter, limit: 1000, ..ListQuery::default() }).0;
            for limit in 1..=KEYS.len() {
                let (mut paged, mut after) = (Vec::new(), String::new());
                loop {
                    let (page, truncated) = names(KEYS, &ListQuery { after: &after, delimiter, limit, ..ListQuery::default() });
                    paged.extend(page);
                    if !truncated {
                        break;
                    }
                    after = paged.last().cloned().expect("a truncated page is not empty");
                }
                assert_eq!(paged, whole, "delimiter '{delimiter}', pages of {limit}");
            }
        }
    }

    #[test]
    fn a_marker_within_a_folded_prefix_still_shows_what_follows_in_it() {
        let query = ListQuery { after: "a/../b", delimiter: "/", limit: 1, ..ListQuery::default() };
        assert_eq!(names(KEYS, &query), (vec!["a/".to_owned()], true));
        assert_eq!(names(KEYS, &ListQuery { after: "a/", ..query }).0, ["a0"]);
    }
}
