//! The `dragon` command.

/// A small object takes some hundred allocations, most of them of futures that are too large for glibc's fast lists.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dragon::cli::main()
}
