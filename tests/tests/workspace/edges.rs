//! The one-way edges between crates that `docs/architecture.md` states.

use std::collections::BTreeSet;

use super::root;

const EDGES: &[(&str, &[&str])] = &[
    ("dataset", &[]),
    ("ingest", &["dataset"]),
    ("trainer", &["dataset"]),
    ("eval", &["dataset", "trainer"]),
    ("data-cards", &["dataset"]),
    ("tests", &["dataset", "ingest", "trainer", "eval", "data-cards"]),
];

#[test]
fn crates_use_only_the_crates_below_them() {
    let members: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    for (name, allowed) in EDGES {
        let path = root().join(name).join("Cargo.toml");
        let manifest: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let used: BTreeSet<&str> = manifest["dependencies"]
            .as_table()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|k| members.contains(k))
            .collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(
            used.is_subset(&allowed),
            "{name} uses {used:?}, allowed are {allowed:?}"
        );
    }
}

#[test]
fn every_member_is_listed_and_takes_the_workspace_lints() {
    let manifest: toml::Table = std::fs::read_to_string(root().join("Cargo.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let members: BTreeSet<&str> = manifest["workspace"]["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_str().unwrap())
        .collect();
    let listed: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, listed);
    for member in members {
        let manifest: toml::Table = std::fs::read_to_string(root().join(member).join("Cargo.toml"))
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            manifest["lints"]["workspace"].as_bool(),
            Some(true),
            "{member} does not take the workspace lints"
        );
    }
}
