//! Paths in the repository, and in the cache directory that outlives a checkout.

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
