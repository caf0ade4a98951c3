//! Manifests in temporary files.

use std::path::{Path, PathBuf};

use s3migrate::manifest::{Documents, ManifestError, load};
use tempfile::TempDir;

/// A directory for files, removed on drop.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Loads one text, as a file.
pub fn load_text(text: &str) -> Result<Documents, ManifestError> {
    let files = Files::new();
    load(&[files.write("job.yaml", text)], &mut std::io::empty())
}

/// Loads one text that must be readable.
pub fn documents(text: &str) -> Documents {
    load_text(text).unwrap()
}

/// Returns the path of a file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// A small job; `more` are further fields of its specification, in YAML's flow style and with a comma at the end.
pub fn job(more: &str) -> String {
    format!(
        "apiVersion: s3migration.dev/v1alpha1
kind: MigrationJob
metadata: {{name: photos}}
spec: {{{more} buckets: [{{sourceBucket: photos, destinationBucket: copy}}], queue: {{region: us-east-1}},
  ledger: {{region: us-east-1}}, source: {{region: us-east-1}}, destination: {{region: cn-north-1}}}}
"
    )
}
