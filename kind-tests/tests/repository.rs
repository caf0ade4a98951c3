//! What holds for the repository as a whole, and needs no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::ensure;
use kind_tests::paths;
use serde::Deserialize;

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
fn dependencies_point_one_way() -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    for (name, dependencies) in crates()? {
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
    Ok(())
}

/// What of `cargo metadata` is looked at.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// The crates and what each uses outside of its tests.
fn crates() -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(paths::repository())
        .output()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    ensure!(metadata.packages.len() >= 6, "cargo names only {} crates", metadata.packages.len());
    let used = |package: Package| {
        let dependencies = package.dependencies.into_iter().filter(|d| d.kind.is_none());
        (package.name, dependencies.map(|d| d.name).collect())
    };
    Ok(metadata.packages.into_iter().map(used).collect())
}

#[test]
fn the_chart_has_the_resource_as_it_is() -> anyhow::Result<()> {
    let root = paths::repository();
    let crd = std::fs::read_to_string(root.join("crds/migrationjobs.yaml"))?;
    let copy = std::fs::read_to_string(root.join("charts/s3-migration/files/migrationjobs.yaml"))?;
    assert!(crd == copy, "charts/s3-migration/files/migrationjobs.yaml differs: run make generate");
    Ok(())
}

/// The names of tests in the documents, as `path/of/file.rs::name`.
const NAMED_TESTS: &[&str] = &["docs/robustness.md"];

#[test]
fn tests_that_documents_name_exist() -> anyhow::Result<()> {
    let root = paths::repository();
    let mut missing = Vec::new();
    for document in NAMED_TESTS {
        let text = std::fs::read_to_string(root.join(document))?;
        let names: Vec<_> = text.split('`').filter_map(|quoted| quoted.split_once(".rs::")).collect();
        ensure!(!names.is_empty(), "{document} names no test");
        for (file, test) in names {
            let source = std::fs::read_to_string(root.join(format!("{file}.rs"))).unwrap_or_default();
            if !source.contains(&format!("fn {test}(")) && !source.contains(&format!("\"{test}\"")) {
                missing.push(format!("{document}: {file}.rs::{test}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    Ok(())
}
