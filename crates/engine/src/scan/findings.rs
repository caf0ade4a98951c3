//! What a scan finds, in the order of keys. A finding may take requests, as verdicts by checksums or bytes do: many are
//! under way at once, and the findings after them wait, so that a checkpoint is a position in the range.

use std::collections::VecDeque;
use std::sync::Arc;

use migration_core::compare::Verdict;
use migration_core::object::ListedObject;
use migration_core::outcome::Failure;
use tokio_util::task::AbortOnDropHandle;

use super::ScanError;
use super::merge::Scanner;
use super::range::OpenRange;
use super::verdict::Memory;
use crate::Services;
use crate::log_context::inherit;

/// Verdicts that requests are under way for, of all ranges together: as many as rows of a work list are looked up at
/// once.
pub(super) const ASKED_AT_ONCE: usize = 64;
/// Findings of a range that wait for an earlier one, whose keys and attributes are in memory.
const MOST_WAITING: usize = 1_000;

/// A finding about the next keys of a range.
pub(super) enum Found {
    /// The comparison of an object with its copy.
    Compared { source: ListedObject, there: Option<ListedObject>, verdict: Verdict },
    /// The filters hide an object.
    Hidden(ListedObject),
    /// The destination has an object that the source does not have.
    Extra(ListedObject),
    /// An object cannot be transferred.
    Unmovable(ListedObject, Failure),
    /// A checkpoint is due after this key.
    Checkpoint(String),
}

/// A finding, or the requests that it takes.
enum Waiting {
    Known(Box<Found>),
    Asked(AbortOnDropHandle<Result<Found, ScanError>>),
}

/// Findings that wait to be acted on, in order.
#[derive(Default)]
pub(super) struct Findings {
    waiting: VecDeque<Waiting>,
    asked: usize,
    /// True if a checkpoint waits.
    has_checkpoint: bool,
}

impl Findings {
    /// Returns the finding if it can be acted on at once; else it waits for those before it.
    pub(super) fn known(&mut self, found: Found) -> Option<Found> {
        if self.waiting.is_empty() {
            return Some(found);
        }
        let is_checkpoint = matches!(found, Found::Checkpoint(_));
        // One is enough, wherever it is.
        if !(is_checkpoint && self.has_checkpoint) {
            self.has_checkpoint |= is_checkpoint;
            self.waiting.push_back(Waiting::Known(Box::new(found)));
        }
        None
    }

    /// Begins the requests for a verdict.
    pub(super) fn ask<P: Services>(
        &mut self,
        scanner: &Arc<Scanner<P>>,
        range: &Arc<OpenRange>,
        (source, there): (ListedObject, Option<ListedObject>),
        memory: Memory,
    ) {
        let (scanner, range) = (scanner.clone(), range.clone());
        let verdict = tokio::spawn(inherit(async move {
            // Never closed.
            let _place = scanner.asking.acquire().await;
            let verdict = scanner.judge(&range).verdict(&source, there.as_ref(), &memory).await?;
            Ok(Found::Compared { source, there, verdict })
        }));
        self.asked += 1;
        self.waiting.push_back(Waiting::Asked(AbortOnDropHandle::new(verdict)));
    }

    /// Returns true if the first finding has to be waited for before more are looked for.
    pub(super) fn is_full(&self) -> bool {
        self.asked >= ASKED_AT_ONCE || self.waiting.len() >= MOST_WAITING
    }

    /// Returns the first finding if it is known already.
    pub(super) async fn ready(&mut self) -> Result<Option<Found>, ScanError> {
        match self.waiting.front() {
            Some(Waiting::Asked(verdict)) if !verdict.is_finished() => Ok(None),
            _ => self.first().await,
        }
    }

    /// Waits for the first finding. Returns `None` if there is none.
    pub(super) async fn first(&mut self) -> Result<Option<Found>, ScanError> {
        let found = match self.waiting.pop_front() {
            None => return Ok(None),
            Some(Waiting::Known(found)) => *found,
            Some(Waiting::Asked(verdict)) => {
                self.asked -= 1;
                verdict.await.map_err(|error| ScanError::Broken(error.to_string()))??
            }
        };
        if matches!(found, Found::Checkpoint(_)) {
            self.has_checkpoint = false;
        }
        Ok(Some(found))
    }
}
