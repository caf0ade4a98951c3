//! Runs this program under callgrind.

use std::process::Command;

use anyhow::{Context as _, ensure};

/// What callgrind prints before the number of instructions.
const COLLECTED: &str = "Collected :";

/// Returns the instructions of a process that does rounds of a case's work.
pub fn instructions(case: &str, rounds: u32, port: u16) -> anyhow::Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["case", case, &rounds.to_string(), &port.to_string()])
        // The environment is on the stack, and the SDK reads it.
        .env_clear();
    let ended = command.output().context("failed to run valgrind; make setup names what is missing")?;
    let words = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "the case failed: {words}");
    collected(&words).with_context(|| format!("callgrind printed no number of instructions: {words}"))
}

fn collected(words: &str) -> Option<u64> {
    words.lines().rev().find_map(|line| line.split_once(COLLECTED)?.1.trim().parse().ok())
}

/// Returns the first line that a command prints.
pub fn output(command: &[&str; 2]) -> anyhow::Result<String> {
    let output = Command::new(command[0]).arg(command[1]).output();
    let output = output.with_context(|| format!("failed to run {}", command[0]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
