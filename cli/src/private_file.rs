//! Files that only this user can read.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a text to a file that only this user can read. The file is replaced as a whole: another process may be reading
/// it.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = PathBuf::from(format!("{}.{}", file.display(), std::process::id()));
    let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    written?.write_all(text.as_bytes())?;
    std::fs::rename(new, file)
}
