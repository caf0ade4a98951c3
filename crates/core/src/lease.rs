//! Decides how long a worker keeps a received message, and what to do with messages delivered repeatedly.

use std::time::Duration;

/// Visibility timeout set at receipt and at each renewal. A killed worker's message is delivered again after this time.
pub const LEASE: Duration = Duration::from_mins(1);
/// Interval between renewals.
pub const RENEW_EVERY: Duration = Duration::from_secs(20);
/// Time without progress after which work is considered hung and its message is returned.
pub const STALL: Duration = Duration::from_mins(5);
/// Age at which a message is re-sent, before SQS ends its visibility timeout 12 hours after receipt.
pub const LONGEST: Duration = Duration::from_hours(11);

/// What to do when a renewal is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// Renew.
    Extend,
    /// Stop the work and return the message.
    GiveBack,
    /// Stop the work and send the message again as a new one, since this one cannot be renewed much longer.
    SendAnew,
}

/// Decides what to do when a renewal is due.
///
/// | held for | side paused | without progress for | renewal |
/// |---|---|---|---|
/// | ≥ 11 h | any | any | send anew |
/// | less | yes | any | extend: waiting for a person is not the message's fault |
/// | less | no | < 5 min | extend |
/// | less | no | ≥ 5 min | give back |
pub fn renewal(held: Duration, without_progress: Duration, paused: bool) -> Renewal {
    if held >= LONGEST {
        Renewal::SendAnew
    } else if !paused && without_progress >= STALL {
        Renewal::GiveBack
    } else {
        Renewal::Extend
    }
}

/// The most messages of one receipt. Source: `ReceiveMessage` in the SQS API reference.
const MOST_AT_ONCE: u32 = 10;

/// Messages whose sizes are remembered: the sizes of fewer say little about the next one.
const REMEMBERED: usize = 10;

/// How many objects each of the messages had that were received last.
#[derive(Clone, Copy, Debug)]
pub struct MessageSizes {
    objects: [u32; REMEMBERED],
    next: usize,
}

/// Those of messages that are not known yet.
impl Default for MessageSizes {
    fn default() -> Self {
        Self { objects: [u32::MAX; REMEMBERED], next: 0 }
    }
}

impl MessageSizes {
    /// Notes a message of so many objects; [`u32::MAX`] for one with work that fills a worker.
    pub fn received(&mut self, objects: u32) {
        if let Some(place) = self.objects.get_mut(self.next) {
            *place = objects.max(1);
        }
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Returns how many messages to ask for with room for so many objects: as many as can begin at once if they are as
    /// large as the largest of the last ones, and one if that is not known. More would only wait with their leases
    /// running, while other workers have nothing to do.
    pub fn at_once(&self, room: u32) -> u32 {
        let most = self.objects.iter().copied().max().unwrap_or(u32::MAX);
        (room / most).clamp(1, MOST_AT_ONCE)
    }

    /// Returns true if the last messages were so small that several come at once where there is room for `room` objects.
    pub fn are_small(&self, room: u32) -> bool {
        self.at_once(room) > 1
    }
}

/// Decides which of the messages received at once begin, by their numbers of objects: the smaller ones first, each as
/// long as there is room for one object more. So one of them may have more objects than there is room for, as when it
/// is received alone.
pub fn begin_at_once(room: u32, objects: &[u32]) -> Vec<bool> {
    let mut by_size: Vec<usize> = (0..objects.len()).collect();
    by_size.sort_by_key(|place| objects.get(*place));
    let (mut begin, mut held) = (vec![false; objects.len()], 0_u32);
    for place in by_size {
        let (Some(begins), Some(number)) = (begin.get_mut(place), objects.get(place)) else { continue };
        *begins = held == 0 || held < room;
        held = held.saturating_add(if *begins { (*number).max(1) } else { 0 });
    }
    begin
}

/// Longest time for which a receipt is taken to last: one that lasts longer waited for messages.
const RECEIPT_MOST: Duration = Duration::from_millis(100);

/// Returns how many objects are likely to end while a receipt is under way. A worker that asks for messages so many
/// objects before it has nothing to begin does not stand idle meanwhile, and holds nothing for longer than a receipt
/// lasts. `ended` objects ended in the time `over` between the last two receipts, the last of which took `receipt`.
pub fn ending_meanwhile(ended: u64, over: Duration, receipt: Duration) -> u32 {
    let receipt = receipt.min(RECEIPT_MOST).min(over);
    let expected = u128::from(ended) * receipt.as_micros() / over.as_micros().max(1);
    u32::try_from(expected).unwrap_or(u32::MAX)
}

/// Number of deliveries after which a message is replaced; well below the 60 after which the queue moves it to the dead
/// letters.
pub const WORN_AFTER_RECEIVES: u32 = 20;

/// What to do with a message just received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Work on it.
    Work,
    /// Replace it: workers died or stalled at many deliveries. Send the same content as a new message that counts one
    /// more attempt, then remove this one. A crash in between leaves a duplicate, which is harmless.
    Renew,
    /// Its attempts are used up.
    GiveUp,
}

/// Decides what to do with a message just received. `attempts` counts the earlier attempts for its objects.
///
/// | received | attempts left | receipt |
/// |---|---|---|
/// | < 20 times | any | work |
/// | ≥ 20 times | yes | renew: the work of a killed worker is kept |
/// | ≥ 20 times | no | give up |
pub fn receipt(receives: u32, attempts: u32, max_attempts: u32) -> Receipt {
    match (receives >= WORN_AFTER_RECEIVES, attempts + 1 < max_attempts) {
        (false, _) => Receipt::Work,
        (true, true) => Receipt::Renew,
        (true, false) => Receipt::GiveUp,
    }
}

/// Visibility timeout of a message left to other workers, after its first delivery to a worker that may not process it.
const LEFT_FIRST: Duration = Duration::from_secs(10);
/// Upper bound of that timeout.
const LEFT_MOST: Duration = Duration::from_mins(15);

/// Returns the visibility timeout of a message that is left to other workers: 10 s, 20 s … 15 min, so that workers that
/// may not process it use up neither its deliveries nor requests. Returns `None` once all 19 deliveries, over more than
/// two hours, went to such workers.
pub fn left_to_others(receives: u32) -> Option<Duration> {
    if receives >= WORN_AFTER_RECEIVES {
        return None;
    }
    let factor = 1_u32.checked_shl(receives.saturating_sub(1)).unwrap_or(u32::MAX);
    Some(LEFT_FIRST.saturating_mul(factor).min(LEFT_MOST))
}

/// Upper bound of the visibility timeout of a message that waits for a place.
const WAIT_MOST: Duration = Duration::from_mins(5);

/// What to do with a message for which its worker has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitForPlace {
    /// Make it visible again after this time.
    GiveBack(Duration),
    /// Replace it by a new message with this delay: waiting must not use up its deliveries.
    SendAnew(Duration),
}

/// Decides how a message waits that no worker has had a place for: 10 s, 20 s … 5 min. Another worker, or this one, may
/// have a place then.
pub fn wait_for_place(receives: u32) -> WaitForPlace {
    let factor = 1_u32.checked_shl(receives.saturating_sub(1)).unwrap_or(u32::MAX);
    let after = LEFT_FIRST.saturating_mul(factor).min(WAIT_MOST);
    if receives + 1 < WORN_AFTER_RECEIVES { WaitForPlace::GiveBack(after) } else { WaitForPlace::SendAnew(after) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_messages_are_asked_for_as_can_begin() {
        let mut sizes = MessageSizes::default();
        (0..9).for_each(|_| sizes.received(1));
        assert_eq!(sizes.at_once(100), 1, "too few are known");
        for (objects, room, expected) in
            [(1, 16, 10), (1, 3, 3), (0, 3, 3), (1, 0, 1), (50, 256, 5), (50, 40, 1), (250, 256, 1), (u32::MAX, 256, 1)]
        {
            // The largest of the last ten counts.
            sizes.received(objects);
            (0..9).for_each(|_| sizes.received(1));
            assert_eq!(sizes.at_once(room), expected, "{objects} {room}");
        }
        sizes.received(1);
        assert_eq!(sizes.at_once(256), 10, "the large one is forgotten");
    }

    #[test]
    fn messages_begin_while_there_is_room_for_an_object() {
        for (room, objects, expected) in [
            (16, &[1, 1, 1][..], &[true, true, true][..]),
            (16, &[250, 1, 250, 1], &[true, true, false, true]),
            (100, &[50, 50, 50], &[true, true, false]),
            (2, &[1, 1, 1], &[true, true, false]),
            (0, &[7], &[true]),
            (16, &[u32::MAX, u32::MAX], &[true, false]),
            (16, &[], &[]),
        ] {
            assert_eq!(begin_at_once(room, objects), expected, "{room} {objects:?}");
        }
    }

    #[test]
    fn messages_are_asked_for_as_early_as_a_receipt_takes() {
        let ms = Duration::from_millis;
        for (ended, over, receipt, expected) in [
            (250, ms(50), ms(10), 50),
            (250, ms(1_000), ms(10), 2),
            (16, ms(1_000), ms(10), 0),
            // It waited for messages: what ended meanwhile tells little.
            (250, ms(5_000), ms(5_000), 5),
            (250, ms(5), ms(10), 250),
            (250, Duration::ZERO, ms(10), 0),
            (0, ms(50), ms(10), 0),
            (u64::MAX, ms(1), ms(1), u32::MAX),
        ] {
            assert_eq!(ending_meanwhile(ended, over, receipt), expected, "{ended} {over:?} {receipt:?}");
        }
    }

    #[test]
    fn a_worn_message_is_renewed_until_its_tries_are_used_up() {
        for (receives, attempts, expected) in [
            (1, 0, Receipt::Work),
            (19, 7, Receipt::Work),
            (20, 0, Receipt::Renew),
            (20, 6, Receipt::Renew),
            (20, 7, Receipt::GiveUp),
        ] {
            assert_eq!(receipt(receives, attempts, 8), expected, "{receives} {attempts}");
        }
    }

    #[test]
    fn what_is_left_to_others_comes_back_ever_more_rarely() {
        let seconds = |receives| left_to_others(receives).map(|time| time.as_secs());
        assert_eq!([0, 1, 2, 3, 7, 8, 19].map(seconds), [10, 10, 20, 40, 640, 900, 900].map(Some));
        assert_eq!([20, 60].map(seconds), [None, None]);
        let all: u64 = (1..WORN_AFTER_RECEIVES).filter_map(seconds).sum();
        assert!(all > 2 * 3600, "{all}");
    }

    #[test]
    fn waiting_for_a_place_never_wears_a_message_out() {
        let seconds = |seconds| Duration::from_secs(seconds);
        for (receives, expected) in [
            (0, WaitForPlace::GiveBack(seconds(10))),
            (1, WaitForPlace::GiveBack(seconds(10))),
            (2, WaitForPlace::GiveBack(seconds(20))),
            (6, WaitForPlace::GiveBack(seconds(300))),
            (18, WaitForPlace::GiveBack(seconds(300))),
            (19, WaitForPlace::SendAnew(seconds(300))),
            (40, WaitForPlace::SendAnew(seconds(300))),
        ] {
            assert_eq!(wait_for_place(receives), expected, "{receives}");
        }
        assert_eq!(receipt(WORN_AFTER_RECEIVES - 1, 0, 8), Receipt::Work, "it comes here before it is renewed");
    }

    #[test]
    fn renews_as_the_table_says() {
        let minute = Duration::from_mins(1);
        for (held, idle, paused, expected) in [
            (LONGEST, minute, true, Renewal::SendAnew),
            (minute, LONGEST, true, Renewal::Extend),
            (minute, minute, false, Renewal::Extend),
            (STALL, STALL, false, Renewal::GiveBack),
        ] {
            assert_eq!(renewal(held, idle, paused), expected, "{held:?} {idle:?} {paused}");
        }
        assert!(RENEW_EVERY * 2 < LEASE, "one renewal may be lost");
    }
}
