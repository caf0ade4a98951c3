//! Where things are: in the repository, and in the cache directory that outlives a checkout.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The repository's root.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// A file of this crate.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The project's cache directory: `$XDG_CACHE_HOME/s3-migration-operator`, else under `~/.cache`.
pub fn cache() -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(base.context("failed to find the cache directory: set HOME or XDG_CACHE_HOME")?.join("s3-migration-operator"))
}

/// Where the local services keep their process ids, logs and addresses.
pub fn state() -> anyhow::Result<PathBuf> {
    let directory = cache()?.join("services");
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    Ok(directory)
}

/// Where a run of the tests keeps its results and, for tests that failed, the logs of all parts.
pub fn results() -> anyhow::Result<PathBuf> {
    let directory = cache()?.join("results");
    std::fs::create_dir_all(&directory).with_context(|| format!("failed to make {}", directory.display()))?;
    Ok(directory)
}
