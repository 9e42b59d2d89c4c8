//! The bytes of objects and parts, in memory or in files, and how they are written and read.
//!
//! A [`Content`] is immutable and cheap to clone: copies, completed uploads and open downloads share its extents. A file goes
//! away when neither the index nor a reader holds it, so a download outlives the deletion of its object, as on the real services.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt as _};

use super::digest::{Digester, Digests};

/// Bytes are gathered into, and read in, pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// Immutable bytes.
#[derive(Debug, Clone, Default)]
pub struct Content {
    extents: Arc<[Extent]>,
    len: u64,
}

#[derive(Debug, Clone)]
enum Extent {
    Memory(Bytes),
    File(FileSpan),
}

/// A part of a file, or all of it.
#[derive(Debug, Clone)]
pub(super) struct FileSpan {
    pub(super) file: Arc<BlobFile>,
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Extent {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(span) => span.len,
        }
    }

    /// The bytes from `start` to `end` of this extent.
    #[expect(clippy::cast_possible_truncation, reason = "a place within bytes held in memory")]
    fn slice(&self, range: Range<u64>) -> Self {
        match self {
            Self::Memory(bytes) => Self::Memory(bytes.slice(range.start as usize..range.end as usize)),
            Self::File(span) => Self::File(FileSpan { file: Arc::clone(&span.file), start: span.start + range.start, len: range.end - range.start }),
        }
    }
}

/// One file of bytes, removed with its last holder unless the index refers to it.
#[derive(Debug)]
pub(super) struct BlobFile {
    path: PathBuf,
    pub(super) id: String,
    references: AtomicU32,
}

impl BlobFile {
    /// A file of the blob directory `dir`. It is not yet referred to.
    pub(super) fn new(dir: &Path, id: String) -> Self {
        Self { path: dir.join(&id), id, references: AtomicU32::new(0) }
    }
}

impl Drop for BlobFile {
    fn drop(&mut self) {
        if self.references.load(Ordering::Acquire) == 0
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a blob file; it is swept at the next start");
        }
    }
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Contents one after the other, without copying.
    pub fn concat<'a>(contents: impl IntoIterator<Item = &'a Self>) -> Self {
        Self::from_extents(contents.into_iter().flat_map(|content| content.extents.iter().cloned()).collect())
    }

    /// The bytes of `range`, which must lie within the content, without copying.
    #[must_use]
    pub fn slice(&self, range: Range<u64>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len, "the range {range:?} lies outside {} bytes", self.len);
        let mut extents = Vec::new();
        let mut start = 0;
        for extent in self.extents.iter() {
            let end = start + extent.len();
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                extents.push(extent.slice(from - start..to - start));
            }
            start = end;
        }
        Self::from_extents(extents.into())
    }

    /// The bytes of `range`, which must lie within the content, as they are read.
    pub fn read(&self, range: Range<u64>) -> BoxStream<'static, io::Result<Bytes>> {
        let extents = self.slice(range).extents;
        if let [Extent::Memory(bytes)] = extents.as_ref() {
            return stream::iter([Ok(bytes.clone())]).boxed();
        }
        stream::iter(extents.to_vec()).flat_map(read_extent).boxed()
    }

    /// Digests of all bytes, read through.
    pub async fn digests(&self) -> io::Result<Digests> {
        let (mut stream, mut digester) = (self.read(0..self.len), Digester::default());
        while let Some(piece) = stream.next().await {
            digester.update(&piece?);
        }
        Ok(digester.finish())
    }

    /// All bytes in one piece: for small contents.
    pub async fn read_all(&self) -> io::Result<Bytes> {
        let mut stream = self.read(0..self.len);
        let mut all = BytesMut::new();
        while let Some(piece) = stream.next().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all.freeze())
    }

    fn from_extents(extents: Arc<[Extent]>) -> Self {
        let len = extents.iter().map(Extent::len).sum();
        Self { extents, len }
    }

    pub(super) fn from_files(spans: Vec<FileSpan>) -> Self {
        Self::from_extents(spans.into_iter().map(Extent::File).collect())
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &FileSpan> {
        self.extents.iter().filter_map(|extent| match extent {
            Extent::File(span) => Some(span),
            Extent::Memory(_) => None,
        })
    }

    /// The index refers to these files now.
    pub(super) fn retain(&self) {
        self.files().for_each(|span| {
            span.file.references.fetch_add(1, Ordering::AcqRel);
        });
    }

    /// The index refers to these files no longer.
    pub(super) fn release(&self) {
        self.files().for_each(|span| {
            span.file.references.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        let len = bytes.len() as u64;
        let extents = if bytes.is_empty() { Arc::new([]) } else { Arc::new([Extent::Memory(bytes)]) as Arc<[Extent]> };
        Self { extents, len }
    }
}

fn read_extent(extent: Extent) -> BoxStream<'static, io::Result<Bytes>> {
    match extent {
        Extent::Memory(bytes) => stream::iter([Ok(bytes)]).boxed(),
        Extent::File(span) => stream::try_unfold((span.file, None, span.start..span.start + span.len), |(blob, file, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            // The blob travels along so that its file is not removed under the reader.
            let (piece, blob, file, range) = blocking(move || {
                let file: File = match file {
                    Some(file) => file,
                    None => File::open(&blob.path)?,
                };
                let mut piece = vec![0; usize::try_from(range.end - range.start).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
                file.read_exact_at(&mut piece, range.start)?;
                let rest = range.start + piece.len() as u64..range.end;
                Ok((piece, blob, file, rest))
            })
            .await?;
            Ok(Some((Bytes::from(piece), (blob, Some(file), range))))
        })
        .boxed(),
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Takes a body as it arrives. Dropped before [`Self::finish`], it leaves nothing behind.
pub struct ContentWriter {
    buffer: BytesMut,
    len: u64,
    digester: Digester,
    target: Target,
}

enum Target {
    Memory(Vec<Extent>),
    File { dir: Arc<Path>, id: String, open: Option<(File, BlobFile)> },
}

impl ContentWriter {
    pub(super) fn in_memory() -> Self {
        Self { buffer: BytesMut::new(), len: 0, digester: Digester::default(), target: Target::Memory(Vec::new()) }
    }

    pub(super) fn in_file(dir: Arc<Path>, id: String) -> Self {
        Self { buffer: BytesMut::new(), len: 0, digester: Digester::default(), target: Target::File { dir, id, open: None } }
    }

    /// Takes further bytes.
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        while self.buffer.len() + bytes.len() >= PIECE_BYTES {
            let (now, later) = bytes.split_at(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
            self.flush().await?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the content.
    pub async fn finish(mut self) -> io::Result<(Content, Digests)> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        let content = match self.target {
            Target::Memory(extents) => Content::from_extents(extents.into()),
            Target::File { open: None, .. } => Content::default(),
            Target::File { open: Some((_, blob)), .. } => Content::from_files(vec![FileSpan { file: Arc::new(blob), start: 0, len: self.len }]),
        };
        Ok((content, self.digester.finish()))
    }

    async fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Memory(extents) => {
                self.digester.update(&self.buffer);
                // An exact copy: a small object must not hold a large buffer.
                extents.push(Extent::Memory(Bytes::copy_from_slice(&self.buffer)));
                self.buffer.clear();
            }
            Target::File { dir, id, open } => {
                let (mut digester, piece) = (std::mem::take(&mut self.digester), std::mem::take(&mut self.buffer));
                let (blob_dir, blob_id, opened) = (Arc::clone(dir), id.clone(), open.take());
                let (file, blob, digester, piece) = blocking(move || {
                    let (mut file, blob) = match opened {
                        Some(open) => open,
                        None => {
                            let blob = BlobFile::new(&blob_dir, blob_id);
                            (File::create_new(&blob.path)?, blob)
                        }
                    };
                    digester.update(&piece);
                    file.write_all(&piece)?;
                    Ok((file, blob, digester, piece))
                })
                .await?;
                *open = Some((file, blob));
                self.digester = digester;
                self.buffer = piece;
                self.buffer.clear();
            }
        }
        Ok(())
    }
}
