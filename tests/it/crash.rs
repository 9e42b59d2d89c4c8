//! Crashes: whatever instant a run dies at, the next one ends it. What was proved stays proved, nothing is half there, and nothing
//! that the service bills for is left behind.
//!
//! [`steps`] stops a run in this process at each of its steps in turn; [`kill`] kills the real binary at random instants.

mod fuse;
mod kill;
mod steps;
