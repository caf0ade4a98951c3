//! Paths in the repository, and in the cache directory that outlives a checkout.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Returns the repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Returns the path of a file of this crate.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Returns the project's cache directory: `$XDG_CACHE_HOME/s3-migration-operator`, otherwise under `~/.cache`.
pub fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(base.context("failed to find the cache directory: set HOME or XDG_CACHE_HOME")?.join("s3-migration-operator"))
}

/// Creates and returns the directory of the local services' process ids, logs and addresses.
pub fn state() -> anyhow::Result<PathBuf> {
    let directory = cache()?.join("services");
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    Ok(directory)
}

/// Creates and returns the directory of test results and of the logs of failed tests.
pub fn results() -> anyhow::Result<PathBuf> {
    let directory = cache()?.join("results");
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    Ok(directory)
}

/// Returns the name of a case as that of a file or directory.
pub fn file_name(case: &str) -> String {
    case.replace(['/', ':', ' '], "_")
}

/// Copies the files of a directory, such as logs and configurations, but not what is in directories below it, such as the
/// data of servers.
pub fn keep_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("failed to make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("failed to read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).context("failed to keep a file")?;
        }
    }
    Ok(())
}
