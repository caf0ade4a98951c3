//! What policies, and requests of those who have them, say about each other.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use migration_core::permissions::Part;
use serde_json::Value;

use super::expected::{NOT_SEEN, SPARED, Without};
use crate::local::case::Case;
use crate::local::permissions::{Grant, Policy, Shown};
use crate::proxy::log::Event;

/// Status of a denied request.
const FORBIDDEN: u16 = 403;

/// A policy, and the requests of those who have it.
pub struct Observed {
    /// The document.
    pub policy: Value,
    /// The requests.
    pub events: Vec<Event>,
    /// Why the policy has each action, as `--explain` prints it.
    pub explained: String,
}

/// What the runs of a case have shown.
#[derive(Default)]
pub struct Findings {
    /// What is not as it should be.
    pub wrong: Vec<String>,
    /// What was seen.
    pub notes: Vec<String>,
}

/// The end of a job that lacks an action.
pub struct Ending {
    /// It failed.
    pub has_failed: bool,
    /// Its requests.
    pub events: Vec<Event>,
    /// What it said.
    pub told: String,
    /// How it ended, in a word or two.
    pub how: String,
}

impl Findings {
    /// Adds how jobs ended that lack an action.
    pub fn add(&mut self, ends: impl IntoIterator<Item = anyhow::Result<String>>) {
        for end in ends {
            match end {
                Ok(note) => self.notes.push(note),
                Err(error) => self.wrong.push(format!("{error:#}")),
            }
        }
    }

    /// Adds the notes to the case's, or fails with what is wrong.
    pub fn report(self, case: &mut Case) -> anyhow::Result<()> {
        ensure!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        self.notes.into_iter().for_each(|note| case.note(note));
        Ok(())
    }
}

/// The source's objects are copied with what its answers show.
const fn shown(of: Part) -> Shown {
    match of {
        Part::Source => Shown::Used,
        _ => Shown::Unused,
    }
}

/// Returns what is wrong: what was needed and is not allowed, and what is allowed and has neither been needed nor a
/// reason.
pub fn compare(of: Part, all: &[Observed]) -> anyhow::Result<Vec<String>> {
    let (mut wrong, mut used, mut unused) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let name = of.as_str();
    for Observed { policy, events, .. } in all {
        let found = Policy::read(policy)?.compare(events, shown(of))?;
        let denied = found.denied.iter();
        wrong.extend(denied.map(|need| format!("{name}: {} on {} is not allowed", need.action, need.resource)));
        used.extend(found.used.into_keys());
        unused.extend(found.unused);
    }
    unused.retain(|grant| !used.contains(grant));
    let is_row = |(at, sid, action, _): &(Part, &str, &str, &str), grant: &Grant| {
        (*at, *sid, *action) == (of, &*grant.sid, &*grant.action)
    };
    for grant in &unused {
        let row = NOT_SEEN.iter().find(|row| is_row(row, grant));
        let has_words = row.is_some_and(|(.., action, words)| {
            let mut lines = all.iter().flat_map(|observed| observed.explained.lines());
            lines.any(|line| line.contains(action) && line.contains(words))
        });
        if !has_words {
            wrong.push(format!("{name}: {} of {} was not needed", grant.action, grant.sid));
        }
    }
    let stale = NOT_SEEN.iter().filter(|row| row.0 == of && !unused.iter().any(|grant| is_row(row, grant)));
    wrong.extend(stale.map(|(_, sid, action, _)| format!("{name}: {action} of {sid} was needed after all")));
    Ok(wrong)
}

/// Returns all that is allowed, with the place of the first policy whose owners needed it; of the first one that allows it
/// if nobody did.
pub fn needing(of: Part, all: &[Observed]) -> anyhow::Result<BTreeMap<Grant, usize>> {
    let (mut needed, mut allowed) = (BTreeMap::new(), BTreeMap::new());
    for (place, Observed { policy, events, .. }) in all.iter().enumerate() {
        let found = Policy::read(policy)?.compare(events, shown(of))?;
        for grant in found.used.into_keys() {
            needed.entry(grant).or_insert(place);
        }
        for grant in found.unused {
            allowed.entry(grant).or_insert(place);
        }
    }
    allowed.extend(needed);
    Ok(allowed)
}

/// Returns what is expected without an action.
pub fn expected(of: Part, grant: &Grant) -> Without {
    let is_it = |at: Part, sid: &str, action: &str| (at, sid, action) == (of, &*grant.sid, &*grant.action);
    if NOT_SEEN.iter().any(|(at, sid, action, _)| is_it(*at, sid, action)) {
        return Without::NotNeeded;
    }
    SPARED.iter().find(|(at, sid, action, _)| is_it(*at, sid, action)).map_or(Without::Fails, |row| row.3)
}

/// Returns the requests that were denied.
pub fn denied(events: &[Event]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| event.status == Some(FORBIDDEN))
}

/// Returns how a job without an action ended, or fails if that is not as expected. `policy` is the one without it.
pub fn judge((of, grant): &(Part, Grant), policy: &Value, ending: &Ending) -> anyhow::Result<String> {
    let Ending { has_failed, events, told, how } = ending;
    let expected = expected(*of, grant);
    let refused = Policy::read(policy)?.compare(denied(events), shown(*of))?.denied;
    let refused: BTreeSet<&str> = refused.iter().map(|need| need.action.as_str()).collect();
    // A HEAD is not told why it is refused. The bucket is then listed, which may not be allowed either.
    let is_its = |action: &str| action == grant.action || action == "s3:ListBucket";
    let is_refused = refused.contains(grant.action.as_str()) && refused.iter().all(|action| is_its(action));
    let is_right = match expected {
        Without::Fails => *has_failed && is_refused && told.contains(&grant.action),
        Without::EndsWell(_) => !has_failed && is_refused,
        Without::NotNeeded | Without::NotEnforced(_) => !has_failed && refused.is_empty(),
    };
    let what = format!("{} without {} of {}", of.as_str(), grant.action, grant.sid);
    ensure!(is_right, "{what} ended with {how}, refused were {refused:?}: {told}");
    Ok(match expected {
        Without::Fails => format!("{what}: {how}"),
        Without::NotNeeded => format!("{what}: not needed"),
        Without::EndsWell(reason) | Without::NotEnforced(reason) => format!("{what}: {how}, {reason}"),
    })
}
