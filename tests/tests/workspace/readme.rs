//! The README keeps its word.

use super::{programs, root};

#[test]
fn readme_is_short_and_its_links_lead_somewhere() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        text.lines().count() <= 150,
        "README.md has {} lines",
        text.lines().count()
    );
    let mut links = 0;
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        if !target.starts_with("http") {
            assert!(
                root().join(target).exists(),
                "README.md links to {target}, which is not there"
            );
            links += 1;
        }
    }
    assert!(links >= 4);
}

#[test]
fn every_command_of_the_readme_table_has_a_help_page() {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut checked = 0;
    for line in text.lines().filter(|l| l.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let program = cells[0].trim_matches('`');
        for command in cells[2].split_whitespace().map(|c| c.trim_matches('`')) {
            let output = std::process::Command::new(programs().join(program))
                .args([command, "--help"])
                .output();
            let output = output.unwrap_or_else(|e| panic!("{program} does not start: {e}"));
            assert!(output.status.success(), "`{program} {command} --help` failed");
            assert!(
                output.stdout.len() > 200,
                "`{program} {command} --help` teaches nothing"
            );
            checked += 1;
        }
    }
    assert!(checked >= 20, "only {checked} commands found in the table");
}
