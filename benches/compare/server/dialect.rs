//! In what the two clouds' protocols differ, as far as a benchmark meets it.

use super::content::Crcs;

/// Which cloud a port speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    S3,
    Oss,
}

impl Dialect {
    /// How an ETag is spelled: OSS uses capitals.
    pub(super) fn etag(self, etag: &str) -> String {
        match self {
            Self::S3 => etag.to_owned(),
            Self::Oss => etag.to_ascii_uppercase(),
        }
    }

    /// The header line that states an object's checksum.
    pub(super) fn checksum(self, crcs: Crcs) -> String {
        match self {
            Self::S3 => format!("x-amz-checksum-crc64nvme: {}\r\nx-amz-checksum-type: FULL_OBJECT\r\n", base64(crcs.nvme)),
            Self::Oss => format!("x-oss-hash-crc64ecma: {}\r\n", crcs.xz),
        }
    }

    /// The prefix of the cloud's own headers.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::S3 => "x-amz-",
            Self::Oss => "x-oss-",
        }
    }

    /// Keys of a page where the client does not say.
    pub(super) fn page_keys(self) -> usize {
        match self {
            Self::S3 => 1000,
            Self::Oss => 100,
        }
    }

    /// The code of "slow down".
    pub(super) fn throttled(self) -> &'static str {
        match self {
            Self::S3 => "SlowDown",
            Self::Oss => "TotalQpsLimitExceeded",
        }
    }
}

pub(super) fn base64(crc: u64) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(crc.to_be_bytes())
}
