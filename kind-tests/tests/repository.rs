//! What holds for the repository as a whole, and needs no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use kind_tests::paths;
use serde_json::Value;

/// Which of our crates each of them may use. What is not named may use none.
const OWN: &[(&str, &[&str])] = &[
    ("migration-core", &[]),
    ("migration-api", &["migration-core"]),
    ("migration-engine", &["migration-core"]),
    ("migration-aws", &["migration-core"]),
    ("migration-testkit", &["migration-core"]),
    ("s3-migration-operator", &["migration-api", "migration-aws", "migration-core"]),
    ("s3-migration-worker", &["migration-aws", "migration-core", "migration-engine"]),
    ("kind-tests", &["migration-api", "migration-core"]),
];

/// Which of our crates may use a library directly.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("aws-", &["migration-aws", "kind-tests"]),
    ("kube", &["migration-api", "s3-migration-operator", "kind-tests"]),
    ("k8s-openapi", &["migration-api", "s3-migration-operator", "kind-tests"]),
];

#[test]
fn dependencies_point_one_way() {
    let mut wrong = Vec::new();
    for (name, dependencies) in crates() {
        let allowed = OWN.iter().find(|(n, _)| *n == name).map(|(_, allowed)| *allowed);
        let Some(allowed) = allowed else {
            wrong.push(format!("{name} is not in the table of this test"));
            continue;
        };
        for used in &dependencies {
            if OWN.iter().any(|(n, _)| n == used) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}"));
            }
            for (library, users) in LIBRARIES {
                if used.starts_with(library) && !users.contains(&name.as_str()) {
                    wrong.push(format!("{name} uses {used}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The crates and what each uses outside of its tests.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(paths::repository())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() >= 6, "cargo names only {} crates", packages.len());
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let used = dependencies.filter(|d| d["kind"].is_null()).map(|d| d["name"].as_str().unwrap().to_owned());
            (package["name"].as_str().unwrap().to_owned(), used.collect())
        })
        .collect()
}

#[test]
fn the_chart_has_the_resource_as_it_is() {
    let root = paths::repository();
    let crd = std::fs::read_to_string(root.join("crds/migrationjobs.yaml")).unwrap();
    let copy = std::fs::read_to_string(root.join("charts/s3-migration/files/migrationjobs.yaml")).unwrap();
    assert!(crd == copy, "charts/s3-migration/files/migrationjobs.yaml differs: run make generate");
}
