//! Counts the instructions of what is done for every key, message, body and request, and compares them with the
//! committed counts, `bench/INSTRUCTIONS.md`. `make instructions` does so.
//!
//! | arguments | what it does |
//! |---|---|
//! | none | prints the page of counts |
//! | `check PAGE` | fails if a count is more than 20 % above the page's |
//! | `accept PAGE` | writes the page |
//! | `case NAME ROUNDS PORT` | does a case's work, for callgrind; services are at the port |
//!
//! A case is a process under callgrind. It runs twice, with one round of the work and with more: the difference is the
//! work alone, without start, preparation and what is initialized at first use. Instructions don't depend on the
//! machine's load. Nor on its processor, as long as it has AVX2: valgrind 3.19 then shows programs one and the same.

#![allow(clippy::unwrap_used, reason = "a count that can't be taken fails")]

mod callgrind;
mod canned;
mod cases;
mod page;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use self::cases::{CASES, Case};
use self::page::Count;

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => println!("{}", page::write(&count_all()?, &versions()?)),
        ["case", name, rounds, port] => {
            let case = CASES.iter().find(|case| case.name == *name).context("there is no such case")?;
            (case.work)(rounds.parse()?, port.parse()?);
        }
        ["check", _] if !is_comparable() => {
            println!("instructions: not compared: the counts are those of x86-64 with AVX2");
        }
        ["check", path] => return check(path),
        ["accept", path] => {
            let counts = count_all()?;
            std::fs::write(path, page::write(&counts, &versions()?))
                .with_context(|| format!("failed to write {path}"))?;
        }
        _ => bail!("failed to read the arguments {words:?}: write check PAGE, accept PAGE, or nothing"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns true if this processor's counts are those of the committed page.
fn is_comparable() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Counts all cases and compares them with the page.
fn check(path: &str) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?;
    let committed = page::read(&text).with_context(|| format!("failed to read the counts in {path}"))?;
    let counted = count_all()?;
    let changes = page::compare(&counted, &committed);
    for change in &changes {
        println!("instructions: {change}");
    }
    if !changes.iter().any(page::Change::is_refused) {
        println!("instructions: {} counts, none more than {} % above {path}", counted.len(), page::TOLERANCE);
        return Ok(ExitCode::SUCCESS);
    }
    let (theirs, ours) = (page::versions(&text), versions()?);
    if theirs != ours {
        println!("instructions: not compared, since {path} was counted with {theirs}; here are {ours}");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "instructions: failed; make the code cheaper, or run make instructions ACCEPT=1 and commit the new counts"
    );
    Ok(ExitCode::FAILURE)
}

fn count_all() -> anyhow::Result<Vec<Count>> {
    let port = canned::serve().context("failed to start the services")?;
    CASES.iter().map(|case| count(case, port).with_context(|| format!("failed to count {}", case.name))).collect()
}

/// Counts one unit of a case's work.
fn count(case: &Case, port: u16) -> anyhow::Result<Count> {
    let first = callgrind::instructions(case.name, 1, port)?;
    let all = callgrind::instructions(case.name, 1 + case.rounds, port)?;
    let units = u64::from(case.rounds) * u64::from(case.units);
    let more = all.checked_sub(first).context("more rounds took fewer instructions")?;
    Ok(Count { name: case.name.to_owned(), unit: case.unit.to_owned(), instructions: (more + units / 2) / units })
}

/// Returns the versions that counts depend on.
fn versions() -> anyhow::Result<String> {
    let mut text = String::new();
    for command in [["rustc", "--version"], ["valgrind", "--version"], ["getconf", "GNU_LIBC_VERSION"]] {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{}", callgrind::output(&command)?)?;
    }
    Ok(text)
}
