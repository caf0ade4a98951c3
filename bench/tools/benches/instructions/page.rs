//! The page of committed counts, and how new counts differ from it.

use std::fmt::{self, Write as _};

use anyhow::{Context as _, ensure};

/// The rise that is still accepted, in percent. A fall by more is reported.
pub const TOLERANCE: u64 = 20;

/// Begins the line that names the versions.
const COUNTED_WITH: &str = "Counted with ";

/// Instructions for one unit of a case's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// What is done.
    pub name: String,
    /// What it is done for.
    pub unit: String,
    /// Instructions for one.
    pub instructions: u64,
}

/// What differs between a count and the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The count is more than [`TOLERANCE`] above the page's.
    Risen { name: String, from: u64, to: u64 },
    /// The count is more than [`TOLERANCE`] below the page's.
    Fallen { name: String, from: u64, to: u64 },
    /// The page does not have the case, or has it with another unit.
    New { name: String },
    /// Only the page has the case.
    Gone { name: String },
}

impl Change {
    /// Returns true if the page has to be written anew before the counts agree with it.
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::Fallen { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Risen { name, from, to } => {
                write!(f, "{name}: risen by {} %, from {from} to {to}", (to - from).saturating_mul(100) / from.max(&1))
            }
            Self::Fallen { name, from, to } => {
                write!(f, "{name}: fallen by {} %, from {from} to {to}: ", (from - to).saturating_mul(100) / from)?;
                f.write_str("run make instructions ACCEPT=1, so that it can't rise again unseen")
            }
            Self::New { name } => write!(f, "{name}: not on the page"),
            Self::Gone { name } => write!(f, "{name}: on the page, but not counted any more"),
        }
    }
}

/// Compares counts with those of the page, in the order of the counts; then come those that only the page has.
pub fn compare(counted: &[Count], committed: &[Count]) -> Vec<Change> {
    let same = |a: &Count, b: &Count| a.name == b.name && a.unit == b.unit;
    let changed = counted.iter().filter_map(|count| match committed.iter().find(|before| same(before, count)) {
        Some(before) => change(count, before.instructions),
        None => Some(Change::New { name: count.name.clone() }),
    });
    let gone = committed.iter().filter(|before| !counted.iter().any(|count| same(before, count)));
    changed.chain(gone.map(|before| Change::Gone { name: before.name.clone() })).collect()
}

fn change(count: &Count, from: u64) -> Option<Change> {
    let (name, to) = (count.name.clone(), count.instructions);
    let percent = |n: u64, percent: u64| n.saturating_mul(percent);
    if percent(to, 100) > percent(from, 100 + TOLERANCE) {
        return Some(Change::Risen { name, from, to });
    }
    (percent(to, 100) < percent(from, 100 - TOLERANCE)).then_some(Change::Fallen { name, from, to })
}

/// Returns the page.
pub fn write(counts: &[Count], versions: &str) -> String {
    let mut page = format!(
        "# What hot paths cost\n\n\
         Instructions, counted by callgrind, of what is done for every key, message, body and request. They are the\n\
         same on a busy machine, and on all processors of x86-64 with AVX2. `make instructions`, a part of `make test`,\n\
         fails if one has risen by more than {TOLERANCE} %; with `ACCEPT=1` it writes this page.\n\n\
         {COUNTED_WITH}{versions}.\n\n\
         | what | for each | instructions |\n|---|---|---|\n"
    );
    for Count { name, unit, instructions } in counts {
        let _ = writeln!(page, "| {name} | {unit} | {instructions} |");
    }
    page
}

/// Reads the counts of a page.
pub fn read(page: &str) -> anyhow::Result<Vec<Count>> {
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let counts: Vec<Count> =
        rows.map(|row| read_row(row).with_context(|| format!("failed to read {row:?}"))).collect::<Result<_, _>>()?;
    ensure!(!counts.is_empty(), "the page has no counts");
    Ok(counts)
}

fn read_row(row: &str) -> anyhow::Result<Count> {
    let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
    ensure!(cells.len() == 3, "the row has not three cells");
    Ok(Count { name: cells[0].to_owned(), unit: cells[1].to_owned(), instructions: cells[2].parse()? })
}

/// Returns the versions that a page names.
pub fn versions(page: &str) -> &str {
    page.lines().find_map(|line| line.strip_prefix(COUNTED_WITH)).unwrap_or("unknown versions").trim_end_matches('.')
}
