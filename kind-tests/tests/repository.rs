//! Rules for the repository as a whole; they need no cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use kind_tests::paths;
use serde::Deserialize;

/// Allowed dependencies between our crates. A crate that is not listed may use none.
const OWN: &[(&str, &[&str])] = &[
    ("migration-core", &[]),
    ("migration-api", &["migration-core"]),
    ("migration-ledger", &["migration-core"]),
    ("migration-engine", &["migration-core", "migration-ledger"]),
    ("migration-aws", &["migration-core"]),
    ("migration-sqs-dynamodb", &["migration-aws", "migration-core"]),
    ("migration-program", &["migration-core", "migration-engine", "migration-ledger"]),
    ("migration-local", &["migration-core"]),
    ("migration-s3-server", &["migration-core", "migration-local"]),
    ("migration-testkit", &["migration-core", "migration-local"]),
    ("migration-web", &["migration-core", "migration-ledger", "migration-program"]),
    (
        "s3migrate",
        &[
            "migration-api",
            "migration-aws",
            "migration-core",
            "migration-engine",
            "migration-ledger",
            "migration-local",
            "migration-program",
            "migration-s3-server",
            "migration-sqs-dynamodb",
            "migration-web",
        ],
    ),
    (
        "s3-migration-operator",
        &[
            "migration-api",
            "migration-aws",
            "migration-core",
            "migration-engine",
            "migration-ledger",
            "migration-program",
            "migration-sqs-dynamodb",
            "migration-web",
        ],
    ),
    (
        "s3-migration-worker",
        &[
            "migration-aws",
            "migration-core",
            "migration-engine",
            "migration-ledger",
            "migration-program",
            "migration-sqs-dynamodb",
        ],
    ),
    (
        "bench-tools",
        &["migration-aws", "migration-engine", "migration-local", "migration-s3-server", "migration-sqs-dynamodb"],
    ),
    (
        "kind-tests",
        &[
            "migration-api",
            "migration-aws",
            "migration-core",
            "migration-engine",
            "migration-ledger",
            "migration-local",
            "migration-s3-server",
            "migration-sqs-dynamodb",
            "migration-testkit",
        ],
    ),
];

/// Crates that may use a library directly, by the prefix of the library's name.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("aws-sdk-sqs", &["migration-sqs-dynamodb", "kind-tests"]),
    ("aws-sdk-dynamodb", &["migration-sqs-dynamodb", "kind-tests"]),
    ("aws-sdk-sns", &["migration-sqs-dynamodb"]),
    ("aws-sdk-s3", &["migration-aws", "kind-tests"]),
    ("aws-", &["migration-aws", "migration-sqs-dynamodb", "kind-tests"]),
    ("kube", &["migration-api", "s3-migration-operator", "s3migrate", "kind-tests"]),
    ("k8s-openapi", &["migration-api", "s3-migration-operator", "kind-tests"]),
    ("rusqlite", &["migration-local"]),
    ("s3s", &["migration-s3-server"]),
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

/// The fields of `cargo metadata` that are read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Returns all crates of the workspace.
fn packages() -> anyhow::Result<Vec<Package>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(paths::repository())
        .output()?;
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    ensure!(metadata.packages.len() >= 6, "cargo names only {} crates", metadata.packages.len());
    Ok(metadata.packages)
}

/// Returns the crates with their dependencies outside of tests.
fn crates() -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let used = |package: Package| {
        let dependencies = package.dependencies.into_iter().filter(|d| d.kind.is_none());
        (package.name, dependencies.map(|d| d.name).collect())
    };
    Ok(packages()?.into_iter().map(used).collect())
}

/// The features of each dependency, where these kinds of dependencies are followed.
fn features(kinds: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--offline", "--prefix", "none", "-f", "{p};{f}", "-e", kinds])
        .current_dir(paths::repository())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let lines = text.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once(';'));
    let features: BTreeMap<_, _> = lines.map(|(name, features)| (name.to_owned(), features.to_owned())).collect();
    ensure!(features.len() > 100, "cargo tree names only {} packages", features.len());
    Ok(features)
}

/// Otherwise the dependencies would be compiled once for the programs, and once more for the tests.
#[test]
fn tests_give_dependencies_no_other_features_than_programs() -> anyhow::Result<()> {
    let (programs, tests) = (features("normal,build")?, features("normal,build,dev")?);
    let differs = |(name, features): &(String, String)| tests.get(name) != Some(features);
    let other: Vec<_> = programs.into_iter().filter(differs).collect();
    assert!(other.is_empty(), "with other features in tests: {other:#?}");
    Ok(())
}

/// Libraries that the first build is without, since `s3migrate` needs them for its cluster commands only.
const NOT_FOR_THE_DEMO: &[&str] = &["aws-sdk-sqs", "aws-sdk-dynamodb", "aws-sdk-sns", "kube-client", "kube-runtime"];

#[test]
fn the_demo_compiles_no_clients_of_a_cluster() -> anyhow::Result<()> {
    let used = |more: &[&str]| -> anyhow::Result<Vec<&'static str>> {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "-p", "s3migrate", "--locked", "--offline", "--prefix", "none", "-e", "normal,build"])
            .args(more)
            .current_dir(paths::repository())
            .output()?;
        let text = String::from_utf8(output.stdout)?;
        let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        Ok(NOT_FOR_THE_DEMO.iter().copied().filter(|library| names.contains(library)).collect())
    };
    let (with, without) = (used(&["--features", "cluster"])?, used(&[])?);
    assert_eq!(with, NOT_FOR_THE_DEMO);
    assert!(without.is_empty(), "s3migrate compiles {without:?} without its cluster commands");
    Ok(())
}

/// Folders whose modules import each other in one direction too, by their path in the crate.
const LAYERED: &[(&str, &str)] = &[("s3-migration-operator", "job_controller")];

/// Returns the modules that each module of a folder imports outside of tests, by its text. `path` is the path of the
/// folder's modules, as in `crate::`. A folder in it counts as one module.
fn imports(folder: &Path, path: &str) -> anyhow::Result<BTreeMap<String, BTreeSet<String>>> {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(&inner)? {
            let file = entry?.path();
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            let inside = file.strip_prefix(folder)?.with_extension("");
            let mut names = inside.iter().filter_map(|name| name.to_str());
            let is_test = names.clone().any(|name| name == "tests");
            let Some(module) = names.next().filter(|name| !is_test && !["lib", "main", "bin"].contains(name)) else {
                continue;
            };
            let text = std::fs::read_to_string(&file)?;
            let lines = without_tests(&text).lines().map(|line| line.split("//").next().unwrap_or_default());
            let code: String = lines.flat_map(|line| [line, " "]).collect();
            let imported = imports.entry(module.to_owned()).or_default();
            for rest in code.split(path).skip(1) {
                imported.extend(first_names(rest).into_iter().filter(|name| name != module));
            }
        }
    }
    let modules: BTreeSet<String> = imports.keys().cloned().collect();
    for imported in imports.values_mut() {
        imported.retain(|name| modules.contains(name));
    }
    Ok(imports)
}

/// Returns a source file up to its test module, which comes last.
fn without_tests(text: &str) -> &str {
    const TEST: &str = "\n#[cfg(test)]\n";
    let is_module = |rest: &str| rest.lines().next().is_some_and(|line| line.contains("mod ") && line.ends_with('{'));
    let found = text.match_indices(TEST).find(|(place, _)| is_module(&text[place + TEST.len()..]));
    found.map_or(text, |(place, _)| &text[..place])
}

/// Returns the first names after `crate::`: one, or those of a group in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut depth, mut names, mut begins) = (0, Vec::new(), 0);
    for (place, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(name(&group[begins..place]));
                begins = place + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names
}

/// Returns the modules reachable from a module; itself only if a circle leads back to it.
fn reached<'a>(imports: &'a BTreeMap<String, BTreeSet<String>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        for imported in imports.get(module).into_iter().flatten() {
            if seen.insert(imported.as_str()) {
                next.push(imported);
            }
        }
    }
    seen
}

#[test]
fn modules_import_each_other_one_way() -> anyhow::Result<()> {
    let mut circles = Vec::new();
    for package in packages()? {
        let source = package.manifest_path.parent().context("a manifest has no folder")?.join("src");
        let layered = LAYERED.iter().filter(|(name, _)| *name == package.name);
        let layered = layered.map(|(_, folder)| (source.join(folder), format!("crate::{folder}::")));
        let folders: Vec<_> = [(source.clone(), "crate::".to_owned())].into_iter().chain(layered).collect();
        for (folder, path) in folders {
            let imports = imports(&folder, &path)?;
            ensure!(!imports.is_empty(), "{} has no modules", folder.display());
            let is_in_circle = |module: &&String| reached(&imports, module).contains(module.as_str());
            let in_circle: Vec<_> = imports.keys().filter(is_in_circle).collect();
            if !in_circle.is_empty() {
                circles.push(format!("{}, {path}: {in_circle:?}", package.name));
            }
        }
    }
    assert!(circles.is_empty(), "{circles:#?}");
    Ok(())
}

#[test]
fn circles_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        graph
    };
    assert!(reached(&graph(&[("a", "b"), ("b", "c"), ("c", "a")]), "a").contains("a"));
    assert!(!reached(&graph(&[("a", "b"), ("a", "c"), ("b", "c")]), "a").contains("a"));
    assert_eq!(first_names("{a::{b, c}, self, d}; crate"), ["a", "self", "d"]);
    assert_eq!(first_names("gate::Gate"), ["gate"]);
}

#[test]
fn the_chart_has_the_resource_as_it_is() -> anyhow::Result<()> {
    let root = paths::repository();
    let crd = std::fs::read_to_string(root.join("crds/migrationjobs.yaml"))?;
    let copy = std::fs::read_to_string(root.join("charts/s3-migration/files/migrationjobs.yaml"))?;
    assert!(crd == copy, "charts/s3-migration/files/migrationjobs.yaml differs: run make generate");
    Ok(())
}

/// Documents that name tests, as `path/of/file.rs::name`.
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

/// Folders by which `docs/architecture.md` names files in short.
const SHORT: &[(&str, &str)] = &[
    ("", ""),
    ("engine/", "crates/engine/src/"),
    ("", "crates/engine/src/"),
    ("core/", "crates/core/src/"),
    ("", "crates/core/src/"),
    ("", "operator/src/job_controller/"),
];

#[test]
fn architecture_names_files_that_exist() -> anyhow::Result<()> {
    let root = paths::repository();
    let text = std::fs::read_to_string(root.join("docs/architecture.md"))?;
    let quoted = text.split('`').skip(1).step_by(2);
    let files: Vec<&str> =
        quoted.filter(|text| Path::new(text).extension().is_some_and(|ending| ending == "rs")).collect();
    ensure!(files.len() > 50, "only {} files are named", files.len());
    let exists = |file: &str| {
        SHORT.iter().any(|(short, folder)| {
            file.strip_prefix(short).is_some_and(|file| root.join(format!("{folder}{file}")).is_file())
        })
    };
    let gone: Vec<_> = files.into_iter().filter(|file| !exists(file)).collect();
    assert!(gone.is_empty(), "docs/architecture.md names files that do not exist: {gone:?}");
    Ok(())
}

/// Returns the texts in quotes of a part of a source file, which begins and ends with these.
fn quoted<'a>(text: &'a str, begin: &str, end: &str) -> Option<Vec<&'a str>> {
    let part = text.split_once(begin)?.1.split_once(end)?.0;
    Some(part.split('"').skip(1).step_by(2).collect())
}

#[test]
fn every_reason_of_a_condition_is_documented() -> anyhow::Result<()> {
    let root = paths::repository();
    let source = std::fs::read_to_string(root.join("crates/api/src/conditions.rs"))?;
    let reasons = quoted(&source, "impl fmt::Display for Reason", "Self::Pod(").context("there are no reasons")?;
    let faults = quoted(&source, "const fn fault_name", "\n}").context("there are no faults of services")?;
    ensure!(reasons.len() > 40 && faults.len() > 8, "{} reasons and {} faults", reasons.len(), faults.len());
    let documented = std::fs::read_to_string(root.join("docs/conditions.md"))?;
    let named: BTreeSet<&str> = documented.split('`').skip(1).step_by(2).collect();
    let missing: Vec<_> = reasons.iter().chain(&faults).filter(|reason| !named.contains(**reason)).collect();
    assert!(missing.is_empty(), "docs/conditions.md does not have {missing:?}");
    Ok(())
}
