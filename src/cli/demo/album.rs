//! What the demo moves: an album like a real bucket, the same each time.

use bytes::Bytes;

use crate::storage::{Attributes, Key};

/// Names that tools trip over. All of them are different objects on both clouds.
pub(super) const AWKWARD_KEYS: [&str; 8] = [
    "2026/a b/with spaces.jpg",
    "2026/1+1=2 & 100%/sure?.txt",
    "2026/a//b/two-slashes.txt",
    "2026/a/../b/not-the-parent.txt",
    "2026/%2e%2e/already-encoded.txt",
    "2026/照片/春节.jpg",
    "2026/🐉/dragon.png",
    "2026/\"quotes\" <and> 'tags'.html",
];

/// The object whose bytes are damaged on the way.
pub(super) const DAMAGED_KEY: &str = "damaged.jpg";

/// Objects of a few KiB, of which a bucket has most.
const SMALL: usize = 3000;
/// Objects that go as one request but are not small.
const MIDDLING: usize = 40;
/// Objects that go in parts, in bytes.
const LARGE_BYTES: [usize; 3] = [17 << 20, 24 << 20, 40 << 20];
/// How many objects are changed, added and deleted.
const CHANGED: usize = 25;
const ADDED: usize = 10;
const DELETED: usize = 15;

/// One object of the album.
pub(super) struct Object {
    pub(super) key: Key,
    pub(super) bytes: Bytes,
    pub(super) attributes: Attributes,
}

/// What happens to the album after it was mirrored.
pub(super) struct Changes {
    pub(super) written: Vec<(Key, Bytes)>,
    pub(super) deleted: Vec<Key>,
}

/// The album. Every object's bytes are cut from one run of noise, so that it costs little memory to hold.
pub(super) fn objects() -> impl Iterator<Item = Object> {
    let noise = noise(LARGE_BYTES[LARGE_BYTES.len() - 1] + SMALL, 2026);
    let small = (0..SMALL).map(|n| (small_key(n), 500 + n * 37 % 16_000));
    let awkward = AWKWARD_KEYS.iter().enumerate().map(|(n, key)| ((*key).to_owned(), 1000 + n));
    let empty = [("2026/empty.txt".to_owned(), 0)];
    let middling = (0..MIDDLING).map(|n| (format!("2026/panorama/{n:03}.tif"), (256 << 10) + n * 10_007));
    let large = LARGE_BYTES.iter().enumerate().map(|(n, len)| (format!("video/{n}.mp4"), *len));
    small.chain(awkward).chain(empty).chain(middling).chain(large).enumerate().map(move |(n, (key, len))| {
        let start = n % SMALL;
        Object { attributes: attributes(&key), key: key.into(), bytes: noise.slice(start..start + len) }
    })
}

/// Some objects of the album changed, some added, some deleted.
pub(super) fn changes() -> Changes {
    let noise = noise(100_000, 2027);
    let changed = (0..CHANGED).map(|n| small_key(n * 101));
    let added = (0..ADDED).map(|n| format!("2027/new year {n}.jpg"));
    let written = changed.chain(added).enumerate().map(|(n, key)| (Key::from(key), noise.slice(n..n + 3000 + n * 11))).collect();
    Changes { written, deleted: (0..DELETED).map(|n| Key::from(small_key(n * 101 + 50))).collect() }
}

fn small_key(n: usize) -> String {
    format!("2026/{:02}/IMG_{n:05}.jpg", n % 12 + 1)
}

fn attributes(key: &str) -> Attributes {
    let content_type = match key.rsplit('.').next() {
        Some("jpg") => "image/jpeg",
        Some("png") => "image/png",
        Some("tif") => "image/tiff",
        Some("mp4") => "video/mp4",
        Some("html") => "text/html; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    Attributes {
        content_type: Some(content_type.into()),
        cache_control: Some("max-age=3600".into()),
        user: [("camera".to_owned(), "Dragon D1".to_owned()), ("place".to_owned(), "杭州".to_owned())].into(),
        ..Attributes::default()
    }
}

fn noise(len: usize, seed: u64) -> Bytes {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes.into()
}
