//! The keys of synthetic buckets: computed from an object's number and back, so that ten million of them take no memory.

use super::content::Content;

/// How keys lie in a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// `dir-00042/0000004217.bin`: ten thousand directories at most, a hundred keys each or more.
    Tree,
    /// `0000004217.bin`: all under one prefix.
    Flat,
}

/// Directories of a tree at most.
const DIRECTORIES_MAX: u64 = 10_000;
/// Keys of a directory at least, where there are so many.
const DIRECTORY_KEYS_MIN: u64 = 100;

/// The objects of a synthetic bucket. Numbers ascend with keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Catalog {
    pub(super) shape: Shape,
    pub(super) objects: u64,
    /// Size of every object, in bytes.
    pub(super) size: u64,
}

impl Catalog {
    fn directory_keys(&self) -> u64 {
        self.objects.div_ceil(DIRECTORIES_MAX).max(DIRECTORY_KEYS_MIN)
    }

    /// Writes the key of an object.
    pub(super) fn write_key(&self, number: u64, key: &mut Vec<u8>) {
        key.clear();
        if self.shape == Shape::Tree {
            key.extend_from_slice(b"dir-");
            push_digits(number / self.directory_keys(), 5, key);
            key.push(b'/');
        }
        push_digits(number, 10, key);
        key.extend_from_slice(b".bin");
    }

    /// The number of the object of this key.
    pub(super) fn number(&self, key: &[u8]) -> Option<u64> {
        let digits = key.strip_suffix(b".bin")?;
        let digits = &digits[digits.len().checked_sub(10)?..];
        let number = std::str::from_utf8(digits).ok()?.parse().ok().filter(|number| *number < self.objects)?;
        let mut again = Vec::with_capacity(32);
        self.write_key(number, &mut again);
        (again == key).then_some(number)
    }

    /// The number of the first object whose key is `key` or behind it (behind it only, where not `inclusive`).
    pub(super) fn seek(&self, key: &[u8], inclusive: bool) -> u64 {
        let (mut low, mut high) = (0, self.objects);
        let mut middle_key = Vec::with_capacity(32);
        while low < high {
            let middle = low + (high - low) / 2;
            self.write_key(middle, &mut middle_key);
            if middle_key.as_slice() < key || !inclusive && middle_key == key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where in the noise this object begins.
    pub(super) fn start(number: u64) -> usize {
        Content::start(number)
    }
}

fn push_digits(mut number: u64, width: usize, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + width, b'0');
    for digit in out[from..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(catalog: &Catalog, number: u64) -> Vec<u8> {
        let mut key = Vec::new();
        catalog.write_key(number, &mut key);
        key
    }

    #[test]
    fn keys_ascend_with_numbers_and_lead_back_to_them() {
        for (shape, objects) in [(Shape::Tree, 1_000), (Shape::Tree, 3_000_000), (Shape::Flat, 10_000_000)] {
            let catalog = Catalog { shape, objects, size: 1 };
            for number in (0..objects - 1).step_by(objects as usize / 997) {
                let this = key(&catalog, number);
                assert!(this < key(&catalog, number + 1));
                assert_eq!(catalog.number(&this), Some(number));
                assert_eq!((catalog.seek(&this, true), catalog.seek(&this, false)), (number, number + 1));
            }
            assert_eq!(catalog.seek(b"zzz", true), objects);
            assert_eq!((catalog.number(b"other"), catalog.number(&key(&catalog, objects))), (None, None));
        }
    }
}
