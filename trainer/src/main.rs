//! The `trainer` program; everything is in the library.

use mimalloc::MiMalloc;

/// Every step makes and drops the same large arrays; the system's allocator returns each to the kernel and asks for
/// it again.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    trainer::cli::run()
}
