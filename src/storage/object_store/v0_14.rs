//! Dragon stores as object_store 0.14 stores.

use ::object_store as os;

#[path = "adapter.rs"]
mod adapter;

pub use adapter::Adapter;

// The result types of the crate's versions differ in a field: each version makes its own.

fn put_result(e_tag: Option<String>, version: Option<String>) -> os::PutResult {
    os::PutResult { e_tag, version, extensions: os::Extensions::default() }
}

fn list_result(objects: Vec<os::ObjectMeta>, common_prefixes: Vec<os::path::Path>) -> os::ListResult {
    os::ListResult { objects, common_prefixes, extensions: os::Extensions::default() }
}

fn get_result(payload: os::GetResultPayload, meta: os::ObjectMeta, range: std::ops::Range<u64>, attributes: os::Attributes) -> os::GetResult {
    os::GetResult { payload, meta, range, attributes, extensions: os::Extensions::default() }
}
