//! What is summed up of a job's or a prefix's usage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Month, Rows};

macro_rules! sums {
    ($($(#[doc = $help:literal])+ $field:ident;)+) => {
        /// Sums of what was used.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct Sums {
            $($(#[doc = $help])+ pub $field: u64,)+
        }

        impl Sums {
            /// The names of the sums, which are the columns of a file.
            pub const NAMES: &[&str] = &[$(stringify!($field)),+];

            /// The sums, in the order of their names.
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$field),+].into_iter()
            }

            /// The sum of that name.
            pub(super) fn named(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($field) => Some(&mut self.$field),)+
                    _ => None,
                }
            }

            /// Adds other sums to these.
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)+
            }
        }
    };
}

sums! {
    /// Objects copied and proved.
    objects_copied;
    /// Bytes of them.
    bytes_copied;
    /// Objects deleted at the destination.
    objects_deleted;
    /// Bytes of bodies read at the source, each attempt counted.
    bytes_read_source;
    /// Bytes of bodies read at the destination: what it takes to prove a copy, or to keep what is overwritten.
    bytes_read_destination;
    /// Bytes of bodies handed to the destination, each attempt counted.
    bytes_written_destination;
    /// Requests to the source, each attempt counted.
    requests_source;
    /// Of these, pages of listings.
    requests_source_list;
    /// Of these, what reads an object or what is known of it.
    requests_source_read;
    /// Of these, what changes something, such as having an archive restore an object.
    requests_source_write;
    /// Requests to the destination, each attempt counted.
    requests_destination;
    /// Of these, pages of listings.
    requests_destination_list;
    /// Of these, what reads an object or what is known of it.
    requests_destination_read;
    /// Of these, what writes an object, or a part or the whole of an upload.
    requests_destination_write;
    /// Of these, deletes, each object counted though services take many in one request, and uploads thrown away.
    requests_destination_delete;
}

/// What was used in a month.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonthlyUsage {
    /// The month, in UTC, such as `2026-11`.
    pub month: String,
    /// What each job used, by job and prefix.
    pub rows: Vec<UsageRow>,
}

/// What a job used, or the keys of it under one prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRow {
    /// The job.
    pub job: String,
    /// The first path segments of the keys, relative to the job's source and with control characters escaped. Empty: what lies under none,
    /// and listings; all of the job where it does not tell prefixes apart. `(other)`: those beyond the first thousand.
    pub prefix: String,
    /// What was used.
    #[serde(flatten)]
    pub sums: Sums,
}

impl MonthlyUsage {
    pub(super) fn new(month: Month, rows: &Rows) -> Self {
        let rows =
            rows.iter().flat_map(|(job, prefixes)| prefixes.iter().map(|(prefix, sums)| UsageRow { job: job.clone(), prefix: prefix.clone(), sums: *sums }));
        Self { month: month.to_string(), rows: rows.collect() }
    }

    /// All of it as the file has it: CSV (RFC 4180), with a line of names.
    pub fn csv(&self) -> String {
        super::csv::lines(&self.month, self.rows.iter().map(|row| (row.job.as_str(), row.prefix.as_str(), &row.sums)))
    }
}
