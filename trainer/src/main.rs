//! The `trainer` program; everything is in the library.

use mimalloc::MiMalloc;

/// Every step makes and drops the same large arrays; the system's allocator returns each to the kernel and asks for
/// it again.
#[global_allocator]
static MEMORY: MiMalloc = MiMalloc;

fn main() -> std::process::ExitCode {
    keep_freed_memory();
    trainer::cli::run()
}

/// Makes mimalloc keep freed pages instead of giving them back after 10 ms, for the next step wants them again and
/// the kernel would clear them anew (a fifth of a step's time). mimalloc reads its options from the environment
/// before `main`, so the program takes its own place once more, with the option set; a value that is set already stays.
#[cfg(unix)]
fn keep_freed_memory() {
    use std::os::unix::process::CommandExt as _;

    const OPTION: &str = "MIMALLOC_PURGE_DELAY";
    if std::env::var_os(OPTION).is_some() {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut arguments = std::env::args_os();
        let mut again = std::process::Command::new(program);
        if let Some(name) = arguments.next() {
            again.arg0(name);
        }
        // Comes back only when it fails, and then everything works as well, slower.
        let _ = again.args(arguments).env(OPTION, "-1").exec();
    }
}

#[cfg(not(unix))]
fn keep_freed_memory() {}
