//! Freed memory stays with the process.

use crate::drawn::trainer;

#[cfg(unix)]
#[test]
fn freed_memory_is_kept_unless_the_environment_says_otherwise() {
    let place = tempfile::tempdir().unwrap();
    for (said, expected) in [(None, "-1"), (Some("7"), "7")] {
        let mut command = trainer(place.path());
        // The allocator then prints the options it works with.
        command
            .arg("--version")
            .env("MIMALLOC_VERBOSE", "1")
            .env_remove("MIMALLOC_PURGE_DELAY");
        if let Some(value) = said {
            command.env("MIMALLOC_PURGE_DELAY", value);
        }
        let output = command.assert().success().get_output().stderr.clone();
        let output = String::from_utf8_lossy(&output);
        let last = output.lines().rfind(|line| line.contains("'purge_delay'")).unwrap();
        assert!(
            last.trim_end().ends_with(&format!("'purge_delay': {expected}")),
            "{last}"
        );
    }
}
