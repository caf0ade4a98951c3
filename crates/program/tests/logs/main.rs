//! The log of jobsender and worker over whole runs, with services in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot continue fails")]

mod filters;
mod levels;
mod lines;
mod world;

/// A key of the most bytes, all of which are escaped.
const LONGEST: &str = {
    const BYTES: [u8; 1_024] = [0x1b; 1_024];
    match std::str::from_utf8(&BYTES) {
        Ok(key) => key,
        Err(_) => "",
    }
};

/// Keys that would do harm where they are shown as they are.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "forged\n2026-01-31T08:00:00Z ERROR worker: object failed object=another\r\n",
    "\u{202e}gpj.exe\u{2066}\u{200b}",
    "\u{9b}31m\u{7f}\u{85}",
    "=HYPERLINK(\"http://example.com\"),'+cmd|' /C calc'!A0",
    "{\"level\":\"ERROR\"}, \"--->Complete 7",
    LONGEST,
];
