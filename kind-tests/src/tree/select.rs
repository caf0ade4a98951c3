//! Selection of files of the machine, always the same on one machine.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Amount, Content, Headers, Object, edge_case_keys};

/// Largest file used as one object, in bytes. Larger files are part of the large object.
const LARGEST_FILE: u64 = 64 << 20;

/// Builds a tree: files, the large object, objects to be ignored, and awkward keys.
pub fn tree(amount: Amount) -> anyhow::Result<Vec<Object>> {
    let roots = roots()?;
    let mut found = Vec::new();
    for (root, name) in &roots {
        walk(root, name, &mut found);
    }
    found.sort();
    let mut objects = vec![large(&found, amount.large)?];
    objects.extend(choose(&found, amount));
    objects.extend(edge_case_keys::objects());
    for n in 0..5 {
        objects.push(Object::of_bytes(format!("ignored/{n}.txt"), format!("left out {n}")));
        objects.push(Object::of_bytes(format!("scratch/{n}.tmp"), format!("left out {n}")));
    }
    Ok(objects)
}

/// Returns patterns for the objects of [`tree`] that are to be ignored.
pub fn ignore_patterns(bucket: &str) -> Vec<String> {
    vec![format!("{bucket}/ignored/*"), "*.tmp".to_owned()]
}

/// Returns true if [`ignore_patterns`] match a key of [`tree`].
pub fn ignored(key: &str) -> bool {
    key.starts_with("ignored/") || key.rsplit_once('.').is_some_and(|(_, e)| e == "tmp")
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    key: String,
    path: PathBuf,
    size: u64,
}

/// The toolchain, its documentation, and the machine's documentation.
fn roots() -> anyhow::Result<Vec<(PathBuf, &'static str)>> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().context("failed to run rustc")?;
    ensure!(output.status.success(), "failed to find the Rust toolchain: rustc ended with {}", output.status);
    let toolchain = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let machine = ["/usr/share", "/usr/include", "/usr/lib/python3"].map(PathBuf::from);
    let [share, include, python] = machine;
    Ok(vec![(toolchain, "toolchain"), (share, "share"), (include, "include"), (python, "python")])
}

fn walk(directory: &Path, name: &str, found: &mut Vec<Found>) {
    // Unreadable directories are skipped.
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Keys are UTF-8, so names must be too.
        let Ok(file) = entry.file_name().into_string() else { continue };
        let Ok(kind) = entry.file_type() else { continue };
        let key = format!("{name}/{file}");
        if kind.is_dir() && key.len() < 900 {
            walk(&entry.path(), &key, found);
        } else if kind.is_file() && key.len() <= 1_024 && !ignored(&key) {
            let Ok(metadata) = entry.metadata() else { continue };
            found.push(Found { key, path: entry.path(), size: metadata.len() });
        }
    }
}

/// Takes every n-th file as a sample, then the largest others until the size suffices.
fn choose(found: &[Found], amount: Amount) -> Vec<Object> {
    let fit: Vec<&Found> = found.iter().filter(|f| f.size <= LARGEST_FILE).collect();
    let step = (fit.len() / amount.files.max(1)).max(1);
    let (mut taken, mut rest) = (Vec::new(), Vec::new());
    for (n, file) in fit.into_iter().enumerate() {
        if n.is_multiple_of(step) && taken.len() < amount.files { taken.push(file) } else { rest.push(file) }
    }
    rest.sort_by_key(|f| std::cmp::Reverse(f.size));
    let mut bytes: u64 = taken.iter().map(|f| f.size).sum();
    for file in rest {
        if bytes >= amount.bytes {
            break;
        }
        bytes += file.size;
        taken.push(file);
    }
    taken.into_iter().enumerate().filter_map(|(n, file)| object(n, file)).collect()
}

fn object(n: usize, file: &Found) -> Option<Object> {
    let metadata = fs::metadata(&file.path).ok()?;
    let mut object = Object {
        key: file.key.clone(),
        content: Content::Files(vec![file.path.clone()]),
        size: metadata.len(),
        headers: headers(&file.key),
        metadata: user_metadata(&metadata),
        tags: Vec::new(),
    };
    if n.is_multiple_of(10) {
        object.tags = vec![("origin".into(), "machine image".into()), ("batch".into(), (n / 10).to_string())];
    }
    Some(object)
}

fn user_metadata(metadata: &Metadata) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("mtime".to_owned(), format!("{}.{:09}", metadata.mtime(), metadata.mtime_nsec())),
        ("mode".to_owned(), format!("{:o}", metadata.mode() & 0o7777)),
    ])
}

/// Concatenates the largest files until the size suffices.
fn large(found: &[Found], bytes: u64) -> anyhow::Result<Object> {
    let mut files: Vec<&Found> = found.iter().collect();
    files.sort_by_key(|f| (std::cmp::Reverse(f.size), &f.key));
    let mut taken = Vec::new();
    let mut size = 0;
    for file in files {
        if size >= bytes {
            break;
        }
        size += file.size;
        taken.push(file.path.clone());
    }
    ensure!(size >= bytes, "failed to make an object of {bytes} bytes: the machine's files have {size}");
    let mut object = Object::of_bytes("large/toolchain.bin", Vec::new());
    object.content = Content::Files(taken);
    object.size = size;
    object.metadata.insert("made-of".into(), "the largest files, one after the other".into());
    object.tags.push(("kind".into(), "large".into()));
    Ok(object)
}

fn headers(key: &str) -> Headers {
    let extension = key.rsplit_once('.').map_or("", |(_, e)| e);
    let content_type = match extension {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "json" => "application/json",
        "md" => "text/markdown; charset=utf-8",
        "txt" | "rs" | "h" | "py" | "c" => "text/plain; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "pdf" => "application/pdf",
        "woff2" => "font/woff2",
        "xml" => "application/xml",
        "gz" => "application/gzip",
        _ => "application/octet-stream",
    };
    let encoding = (extension == "gz").then(|| "gzip".to_owned());
    Headers { content_type: content_type.to_owned(), content_encoding: encoding, ..Headers::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_are_chosen_again_and_they_are_enough() {
        let tree = tree(super::super::SMALL).unwrap();
        assert_eq!(tree, super::tree(super::super::SMALL).unwrap());
        assert!(tree.len() >= 1_200, "{}", tree.len());
        assert!(tree.iter().any(|o| o.size >= 96 << 20));
        assert!(tree.iter().any(|o| o.size == 0));
        assert_eq!(tree.iter().filter(|o| ignored(&o.key)).count(), 10);
    }
}
