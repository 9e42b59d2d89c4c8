//! The `dragon` command.

fn main() {}
