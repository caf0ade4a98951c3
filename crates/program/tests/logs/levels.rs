//! Which crates the levels of a log are about.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use migration_program::LogLevel;
use tracing::Level;
use tracing_subscriber::filter::Targets;

/// Members of the workspace that no program is made of: they test and measure.
const NO_PROGRAMS: [&str; 2] = ["kind-tests", "bench/tools"];

/// Returns the folders of the workspace's members that programs are made of.
fn members() -> BTreeSet<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split_once("\nmembers = [").unwrap().1.split_once(']').unwrap().0;
    let named = members.split('"').skip(1).step_by(2).filter(|member| !NO_PROGRAMS.contains(member));
    let folders = named.flat_map(|member| match member.strip_suffix("/*") {
        Some(folder) => std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect(),
        None => vec![root.join(member)],
    });
    folders.filter(|folder| folder.join("Cargo.toml").is_file()).collect()
}

/// Returns the names of what is compiled of a member, as targets of records begin: its library, and its programs.
fn targets(folder: &Path) -> BTreeSet<String> {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let (mut section, mut names) = ("", BTreeSet::new());
    let is_library = folder.join("src/lib.rs").is_file();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if let Some(name) = line.strip_prefix("name = ")
            && (["[lib]", "[[bin]]"].contains(&section) || (section == "[package]" && is_library))
        {
            names.insert(name.trim_matches('"').replace('-', "_"));
        }
    }
    names
}

#[test]
fn debug_is_of_all_crates_of_this_project_and_of_no_others() {
    let names: BTreeSet<String> = members().iter().flat_map(|folder| targets(folder)).collect();
    for known in ["operator", "s3_migration_worker", "s3migrate", "migration_engine", "migration_web"] {
        assert!(names.contains(known), "{names:?}");
    }
    let filter: Targets = LogLevel::Debug.filter().parse().unwrap();
    let silent: Vec<_> = names.iter().filter(|name| !filter.would_enable(name, &Level::DEBUG)).collect();
    assert!(silent.is_empty(), "the level debug is not of {silent:?}");
    for other in ["hyper", "kube_client", "aws_config", "h2"] {
        assert!(!filter.would_enable(other, &Level::DEBUG) && filter.would_enable(other, &Level::INFO), "{other}");
    }
}
