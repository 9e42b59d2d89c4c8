//! Buffers for bodies, used again: fresh memory costs a page fault for every 4 KiB, which is as much as the copy itself (performance.md 1a).

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// The size of a large buffer, in bytes: each read fills as much of it as there is.
pub(crate) const SLAB_BYTES: usize = 512 << 10;
/// Unused buffers that are kept: 2 MiB. What one part leaves behind beyond that, the allocator gives to the next.
const KEPT_MAX: usize = 4;

/// A bounded stock of unused buffers. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Slabs(Arc<Mutex<Vec<Vec<u8>>>>);

impl Slabs {
    /// An empty buffer with room for so many bytes, or for [`SLAB_BYTES`] where they are more.
    pub(crate) fn take(&self, bytes: usize) -> Slab {
        if bytes < SLAB_BYTES {
            return Slab { bytes: Vec::with_capacity(bytes.max(1)), home: None };
        }
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Slab { bytes: kept.unwrap_or_else(|| Vec::with_capacity(SLAB_BYTES)), home: Some(self.clone()) }
    }
}

/// A buffer that returns to its stock when nobody reads it any more.
pub(crate) struct Slab {
    bytes: Vec<u8>,
    home: Option<Slabs>,
}

impl Slab {
    /// What it holds, to be added to up to its capacity.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// What it holds, for many readers.
    pub(crate) fn freeze(mut self) -> Bytes {
        match self.home {
            // The end of a body: what is less than half is worth a copy, so that a large buffer is not held for it.
            Some(_) if self.bytes.len() < SLAB_BYTES / 2 => Bytes::copy_from_slice(&self.bytes),
            Some(_) => Bytes::from_owner(self),
            None => Bytes::from(std::mem::take(&mut self.bytes)),
        }
    }
}

impl AsRef<[u8]> for Slab {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        if let Some(Slabs(kept)) = &self.home {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.clear();
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() < KEPT_MAX {
                kept.push(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_comes_back_when_the_last_reader_is_gone() {
        let slabs = Slabs::default();
        let mut slab = slabs.take(usize::MAX);
        slab.bytes().resize(SLAB_BYTES, 7);
        let at = slab.bytes().as_ptr();
        let bytes = slab.freeze();
        let reader = bytes.slice(5..9);
        drop(bytes);
        assert_ne!(slabs.take(SLAB_BYTES).bytes().as_ptr(), at, "it is still read");
        drop(reader);
        let mut again = slabs.take(SLAB_BYTES);
        assert_eq!((again.bytes().as_ptr(), again.as_ref().is_empty(), again.bytes().capacity()), (at, true, SLAB_BYTES));
    }

    #[test]
    fn a_small_rest_holds_no_large_buffer() {
        let slabs = Slabs::default();
        let mut slab = slabs.take(SLAB_BYTES);
        slab.bytes().extend_from_slice(b"rest");
        let at = slab.bytes().as_ptr();
        assert_eq!(slab.freeze(), "rest");
        assert_eq!(slabs.take(SLAB_BYTES).bytes().as_ptr(), at);
        assert_eq!(slabs.take(10).bytes().capacity(), 10);
    }
}
