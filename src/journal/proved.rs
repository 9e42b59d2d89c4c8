//! What was proved of one key.

use jiff::Timestamp;

use crate::storage::ETag;
use crate::storage::checksum::{Checksums, Proof};

/// What one end held when the copy was proved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// Its ETag; empty where the store gives none.
    pub etag: ETag,
    /// Its version, where the bucket has versions and the store told.
    pub version: Option<String>,
    /// Its last modification, where it was known: a PUT's answer does not say it.
    pub modified: Option<Timestamp>,
    /// Its storage class in its store's words; empty where it was not told.
    pub storage_class: String,
}

/// One proved key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// Length in bytes.
    pub size: u64,
    /// What this run's source held.
    pub source: End,
    /// What this run's destination held.
    pub destination: End,
    /// The copy was made the other way: this run's source is its copy.
    pub reversed: bool,
    /// CRC-64/XZ of the bytes, where it was computed or stated.
    pub crc64xz: Option<u64>,
    /// CRC-64/NVME of the bytes, where it was computed or stated.
    pub crc64nvme: Option<u64>,
    /// What proved the bytes to be those of the original's end.
    pub source_proof: Proof,
    /// What proved the bytes to be at the copy's end.
    pub destination_proof: Proof,
    /// The destination took bytes that differ, and what is there is not known to be right: never a reason to skip.
    pub suspect: bool,
    /// When, to the second.
    pub when: Timestamp,
    /// The run that proved it, by its number in this journal; 0 is the run that writes.
    pub run: u32,
}

impl Proved {
    /// What this run shows now of `size` bytes that have `known` checksums: what `proofs` says of the source and of the destination.
    pub fn new(size: u64, (source, destination): (End, End), known: &Checksums, proofs: (Proof, Proof), when: Timestamp) -> Self {
        let (crc64xz, crc64nvme) = (known.crc64xz, known.crc64nvme);
        let (source_proof, destination_proof) = proofs;
        Self { size, source, destination, reversed: false, crc64xz, crc64nvme, source_proof, destination_proof, suspect: false, when, run: 0 }
    }

    /// The weaker of the two proofs.
    pub fn verified(&self) -> Proof {
        self.source_proof.min(self.destination_proof)
    }

    /// What is known of the bytes.
    pub fn checksums(&self) -> Checksums {
        Checksums { crc64xz: self.crc64xz, crc64nvme: self.crc64nvme, ..Checksums::default() }
    }
}
