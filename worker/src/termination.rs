//! The last words of a program, which Kubernetes keeps in the pod's status.

use serde::Serialize;
use tracing::warn;

/// Where Kubernetes reads them.
const PATH: &str = "/dev/termination-log";
/// Kubernetes keeps 4,096 bytes.
const LONGEST: usize = 3_000;

#[derive(Serialize)]
struct Words<'a> {
    reason: &'a str,
    message: &'a str,
}

/// Writes one line of JSON. Outside a pod there is nowhere to write to, and nothing happens.
pub fn write(reason: &str, message: &str) {
    let line = line(reason, message);
    if let Err(error) = std::fs::OpenOptions::new()
        .write(true)
        .open(PATH)
        .and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!(%error, "failed to write {PATH}");
    }
}

fn line(reason: &str, message: &str) -> String {
    let end = (0..=message.len().min(LONGEST)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    // Two strings: this can't fail.
    serde_json::to_string(&Words { reason, message: &message[..end] }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_cut_between_characters() {
        let line = line("X", &"é".repeat(2_000));
        assert!(line.len() < 4_096);
        let words: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(words["message"].as_str().map(str::len), Some(3_000));
    }
}
