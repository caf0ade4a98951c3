//! The table of all messages and dead letters. All times are in milliseconds since 1970.
//!
//! | state | `dead` | `visible_at` | `receives` |
//! |---|---|---|---|
//! | delayed | 0 | later | 0 |
//! | visible | 0 | now or earlier | any |
//! | in flight | 0 | later | ≥ 1 |
//! | dead letter | 1 | any | any |
//!
//! A receipt consists of the message's ID and the number of the delivery.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use migration_core::error::ServiceError;
use migration_core::ports::{DeadLetter, Depth, Operation, OutgoingMessage, ReceivedMessage};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::bounds::{MAX_VISIBILITY, millis, refused, unknown_receipt};
use crate::state::{WorkError, message_checksum};

/// Dead letters that are read at once when they are redriven.
const PAGE: usize = 100;

const VISIBLE: &str = "
    SELECT id, receives, sent_at, body, reason, checksum FROM messages
    WHERE queue = ?1 AND dead = ?2 AND visible_at <= ?3 ORDER BY visible_at, receives, sent_at, id LIMIT ?4";

const NEXT: &str = "SELECT min(visible_at) FROM messages WHERE queue = ?1 AND dead = ?2 AND visible_at > ?3";

const COUNT: &str = "
    SELECT count(*) FILTER (WHERE visible_at <= ?3),
           count(*) FILTER (WHERE visible_at > ?3 AND receives > 0),
           count(*) FILTER (WHERE visible_at > ?3 AND receives = 0)
    FROM messages WHERE queue = ?1 AND dead = ?2 AND sent_at > ?4";

type Worked<T> = Result<T, WorkError<ServiceError>>;

/// Messages or dead letters of a queue.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) queue: Arc<str>,
    pub(super) kind: Kind,
    /// Age at which a message is removed; dead letters are kept.
    pub(super) retention: i64,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message of the queue.
    Messages,
    /// A message of its dead-letter queue.
    DeadLetters,
}

impl Kind {
    fn is_dead(self) -> bool {
        self == Self::DeadLetters
    }
}

impl Place {
    /// Returns the time before which messages were sent that are removed by now.
    fn oldest(&self, now: i64) -> i64 {
        if self.kind.is_dead() { i64::MIN } else { now.saturating_sub(self.retention) }
    }
}

/// Names a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    id: i64,
    delivery: u32,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.id, self.delivery)
    }
}

impl FromStr for Receipt {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, delivery) = text.split_once('-').ok_or(())?;
        Ok(Self { id: id.parse().map_err(|_| ())?, delivery: delivery.parse().map_err(|_| ())? })
    }
}

pub(super) fn send(connection: &Connection, place: &Place, messages: &[OutgoingMessage], now: i64) -> Worked<()> {
    for message in messages {
        insert(connection, place, &message.body, None, now, now.saturating_add(millis(message.delay)))?;
    }
    Ok(())
}

/// Adds a message that was never received.
pub(super) fn insert(
    connection: &Connection,
    place: &Place,
    body: &str,
    reason: Option<&str>,
    sent_at: i64,
    visible_at: i64,
) -> Worked<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO messages (queue, dead, visible_at, receives, sent_at, reason, checksum, body)
         VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)",
    )?;
    let checksum = message_checksum(&place.queue, body, reason);
    statement.execute(params![place.queue, place.kind.is_dead(), visible_at, sent_at, reason, checksum, body])?;
    Ok(())
}

/// A receive.
#[derive(Clone, Debug)]
pub(super) struct Take {
    pub(super) place: Place,
    pub(super) max: usize,
    pub(super) visibility: i64,
    pub(super) max_receives: u32,
}

/// Messages that were received.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) messages: Vec<DeadLetter>,
    /// Messages moved to the dead letters.
    pub(super) buried: usize,
    /// When the next message becomes visible, if none was received.
    pub(super) next: Option<i64>,
}

/// A message that may be received.
struct Candidate {
    id: i64,
    receives: u32,
    sent_at: i64,
    body: String,
    reason: Option<String>,
}

/// Receives the messages that have been visible for longest. Removes those past their retention that it meets, and
/// moves those received too often to the dead letters.
pub(super) fn take(connection: &Connection, take: &Take, now: i64) -> Worked<Taken> {
    let (place, mut taken, mut seen) = (&take.place, Taken::default(), Vec::new());
    loop {
        let found = visible(connection, place, take.max, now)?;
        let is_last = found.len() < take.max;
        // With a visibility of zero, what was taken is found again.
        let new: Vec<_> = found.into_iter().filter(|candidate| !seen.contains(&candidate.id)).collect();
        let is_last = is_last || new.is_empty();
        for candidate in new {
            if taken.messages.len() == take.max {
                break;
            }
            if candidate.sent_at <= place.oldest(now) {
                remove(connection, candidate.id)?;
            } else if !place.kind.is_dead() && candidate.receives >= take.max_receives {
                connection.prepare_cached("UPDATE messages SET dead = 1 WHERE id = ?1")?.execute([candidate.id])?;
                taken.buried += 1;
            } else {
                seen.push(candidate.id);
                taken.messages.push(deliver(connection, candidate, now, take.visibility)?);
            }
        }
        if is_last || taken.messages.len() == take.max {
            break;
        }
    }
    if taken.messages.is_empty() {
        taken.next = next_visible(connection, place, now)?;
    }
    Ok(taken)
}

/// Reads up to `max` visible messages, in the order of the index.
fn visible(connection: &Connection, place: &Place, max: usize, now: i64) -> Worked<Vec<Candidate>> {
    let mut statement = connection.prepare_cached(VISIBLE)?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![place.queue, place.kind.is_dead(), now, max])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(candidate(&place.queue, row)?);
    }
    Ok(found)
}

fn candidate(queue: &str, row: &Row<'_>) -> Worked<Candidate> {
    let candidate = Candidate {
        id: row.get(0)?,
        receives: row.get(1)?,
        sent_at: row.get(2)?,
        body: row.get(3)?,
        reason: row.get(4)?,
    };
    if message_checksum(queue, &candidate.body, candidate.reason.as_deref()) == row.get::<_, i64>(5)? {
        return Ok(candidate);
    }
    Err(WorkError::Damaged(format!("message {} of the queue {queue} is not as it was sent", candidate.id)))
}

fn deliver(connection: &Connection, candidate: Candidate, now: i64, visibility: i64) -> Worked<DeadLetter> {
    let Candidate { id, receives, body, reason, .. } = candidate;
    let delivery = receives.saturating_add(1);
    let mut statement = connection
        .prepare_cached("UPDATE messages SET receives = ?2, received_at = ?3, visible_at = ?4 WHERE id = ?1")?;
    statement.execute(params![id, delivery, now, now.saturating_add(visibility)])?;
    let receipt = Receipt { id, delivery }.to_string();
    let message = ReceivedMessage { id: id.to_string(), receipt, body, receives: delivery };
    Ok(DeadLetter { message, reason })
}

fn next_visible(connection: &Connection, place: &Place, now: i64) -> Worked<Option<i64>> {
    let mut statement = connection.prepare_cached(NEXT)?;
    Ok(statement.query_row(params![place.queue, place.kind.is_dead(), now], |row| row.get(0))?)
}

fn remove(connection: &Connection, id: i64) -> Worked<()> {
    connection.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// The message of a receipt, as it is now.
struct Delivered {
    receives: u32,
    visible_at: i64,
    sent_at: i64,
    received_at: Option<i64>,
}

/// Returns the message that has this receipt; `None` if it is gone, a dead letter, or was received again. A receipt
/// that no delivery ever had is an error.
fn delivered(
    connection: &Connection,
    operation: Operation,
    place: &Place,
    receipt: Receipt,
) -> Worked<Option<Delivered>> {
    let mut statement = connection
        .prepare_cached("SELECT receives, visible_at, sent_at, received_at, queue, dead FROM messages WHERE id = ?1")?;
    let found = statement.query_row([receipt.id], |row| {
        let delivered = Delivered {
            receives: row.get(0)?,
            visible_at: row.get(1)?,
            sent_at: row.get(2)?,
            received_at: row.get(3)?,
        };
        Ok((delivered, row.get::<_, String>(4)? == *place.queue, row.get::<_, bool>(5)?))
    });
    let unknown = || Err(WorkError::Answer(unknown_receipt(operation)));
    match found.optional()? {
        _ if receipt.delivery == 0 => unknown(),
        None if receipt.id > last_id(connection)? => unknown(),
        None => Ok(None),
        Some((message, is_own, _)) if !is_own || receipt.delivery > message.receives => unknown(),
        Some((message, _, is_dead)) => {
            let is_current = !is_dead && receipt.delivery == message.receives;
            Ok(is_current.then_some(message))
        }
    }
}

/// Returns the highest ID that a message ever had.
fn last_id(connection: &Connection) -> Worked<i64> {
    let mut statement = connection.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?.unwrap_or_default())
}

pub(super) fn set_visibility(
    connection: &Connection,
    place: &Place,
    receipt: Receipt,
    visibility: i64,
    now: i64,
) -> Worked<()> {
    const SET: Operation = Operation::SetVisibility;
    let refuse = |code, message| Err(WorkError::Answer(refused(SET, code, message)));
    let message = delivered(connection, SET, place, receipt)?.filter(|message| message.sent_at > place.oldest(now));
    let Some(message) = message else { return Err(WorkError::Answer(unknown_receipt(SET))) };
    if message.visible_at <= now {
        return refuse("MessageNotInflight", "the message referred to is not in flight");
    }
    let until = now.saturating_add(visibility);
    if message.received_at.is_some_and(|at| until > at.saturating_add(millis(MAX_VISIBILITY))) {
        let message = "total visibility timeout for the message is beyond the limit of 12 hours";
        return refuse("InvalidParameterValue", message);
    }
    let mut statement = connection.prepare_cached("UPDATE messages SET visible_at = ?2 WHERE id = ?1")?;
    statement.execute(params![receipt.id, until])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, place: &Place, receipt: Receipt) -> Worked<()> {
    match delivered(connection, Operation::DeleteMessage, place, receipt)? {
        Some(_) => remove(connection, receipt.id),
        None => Ok(()),
    }
}

/// Counts messages from the index alone.
pub(super) fn depth(connection: &Connection, place: &Place, now: i64) -> Worked<Depth> {
    let mut statement = connection.prepare_cached(COUNT)?;
    let counted = params![place.queue, place.kind.is_dead(), now, place.oldest(now)];
    let read = |row: &Row<'_>| {
        let number = |index| row.get::<_, i64>(index).map(|number| u64::try_from(number).unwrap_or_default());
        Ok(Depth { visible: number(0)?, in_flight: number(1)?, delayed: number(2)? })
    };
    Ok(statement.query_row(counted, read)?)
}

/// Replaces all dead letters by new messages. They get new IDs, so that no earlier receipt names them.
pub(super) fn redrive(connection: &Connection, place: &Place, now: i64) -> Worked<u64> {
    let dead = Place { kind: Kind::DeadLetters, ..place.clone() };
    let mut moved = 0;
    loop {
        let letters = visible(connection, &dead, PAGE, i64::MAX)?;
        if letters.is_empty() {
            return Ok(moved);
        }
        for letter in letters {
            insert(connection, place, &letter.body, None, now, now)?;
            remove(connection, letter.id)?;
            moved += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::in_memory;

    fn plan(sql: &str) -> String {
        let connection = in_memory().unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        for index in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(index, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>("detail").unwrap());
        }
        plan.join("; ")
    }

    /// Otherwise a receive would take time for each message that waits.
    #[test]
    fn receives_read_what_they_take_and_counts_read_the_index() {
        let bounds = "queue=? AND dead=? AND visible_at";
        assert_eq!(plan(VISIBLE), format!("SEARCH messages USING INDEX by_visibility ({bounds}<?)"));
        assert_eq!(plan(NEXT), format!("SEARCH messages USING COVERING INDEX by_visibility ({bounds}>?)"));
        assert_eq!(plan(COUNT), "SEARCH messages USING COVERING INDEX by_visibility (queue=? AND dead=?)");
    }

    #[test]
    fn only_receipts_are_receipts() {
        assert_eq!("17-2".parse(), Ok(Receipt { id: 17, delivery: 2 }));
        assert_eq!(Receipt { id: 17, delivery: 2 }.to_string(), "17-2");
        for text in ["", "-", "17", "17-", "17-2-", "17--2", "a-2", "99999999999999999999-1"] {
            assert_eq!(text.parse::<Receipt>(), Err(()), "{text}");
        }
    }
}
