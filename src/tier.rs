//! Objects move to colder classes as they age, and go when nobody needs them any more.
//!
//! A [rule](rule) of a job says which objects of which place, and what becomes of them. Two carry rules out: the cloud, by its own
//! lifecycle configuration, and Dragon, which [looks through](sweep) the place, for what no cloud can express: ages that only the
//! job's journal knows, and [rolling backups](retention).

pub mod retention;
pub mod rule;
pub mod snapshot;
pub mod sweep;
