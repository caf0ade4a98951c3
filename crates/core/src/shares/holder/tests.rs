use super::*;
use crate::records::WHOLE;

mod simulation;
mod table;

use table::Table;

const JOB: &str = "u";

fn at(seconds: u64) -> Moment {
    Moment { monotonic: Duration::from_secs(seconds), wall: 0 }
}

/// Looks, plans and writes once, and returns what the process may use then.
fn round(holder: &mut Holder, table: &mut Table, now: Moment, need: Portions) -> Portions {
    let look = table.look();
    holder.look(now.monotonic, &look);
    if let Some(plan) = holder.plan(now, Some(&look), need) {
        let outcome = if table.apply(&plan.writes) { Outcome::Written } else { Outcome::Lost };
        holder.ended(&plan, now, outcome);
    }
    holder.usable().0
}

fn bytes(parts: u32) -> Portions {
    Portions { bytes: parts, requests: 0 }
}

#[test]
fn the_first_process_has_the_whole_limit_and_a_newcomer_none_until_that_gives_some() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    assert_eq!((a.usable().0, a.has_record()), (Portions::default(), false));
    assert_eq!(round(&mut a, &mut table, at(0), bytes(WHOLE)), bytes(WHOLE));
    assert_eq!(round(&mut b, &mut table, at(1), bytes(WHOLE)), bytes(0));
    assert!(b.has_record() && b.wait(at(1).monotonic, Some(Outcome::Written), bytes(WHOLE), 0.5) < RENEW_EVERY / 2);
    assert_eq!(round(&mut b, &mut table, at(2), bytes(WHOLE)), bytes(0));
    assert_eq!(round(&mut a, &mut table, at(6), bytes(WHOLE)), bytes(WHOLE / 2));
    assert_eq!(a.wait(at(6).monotonic, Some(Outcome::Written), bytes(WHOLE), 0.5), RENEW_EVERY / 2 * 2);
    assert_eq!(round(&mut b, &mut table, at(7), bytes(WHOLE)), bytes(WHOLE / 2));
    assert_eq!(table.sum(), Portions::WHOLE);
}

#[test]
fn who_leaves_returns_its_share_and_may_come_back() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    assert_eq!(round(&mut a, &mut table, at(3), bytes(0)), bytes(0));
    assert!(!a.has_record() && table.shares() == 0);
    assert_eq!(round(&mut b, &mut table, at(4), bytes(WHOLE)), bytes(WHOLE));
    assert_eq!(round(&mut a, &mut table, at(5), bytes(WHOLE)), bytes(0));
    assert!(a.has_record() && table.sum() == Portions::WHOLE);
}

#[test]
fn a_dead_process_is_relieved_of_its_share_after_a_lease_and_not_before() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    for now in 5..16 {
        assert_eq!(round(&mut b, &mut table, at(now), bytes(WHOLE)), bytes(0), "{now}");
    }
    let wait = b.wait(at(15).monotonic, Some(Outcome::Written), bytes(WHOLE), 0.5);
    assert_eq!(wait, Duration::from_secs(1), "as soon as it counts as dead");
    assert_eq!(round(&mut b, &mut table, at(16), bytes(WHOLE)), bytes(WHOLE));
    // It was only frozen: its late renewal has no effect, and it comes back as another one.
    let late = a.plan(at(16), None, bytes(WHOLE)).unwrap();
    assert!(!table.apply(&late.writes));
    a.ended(&late, at(5), Outcome::Lost);
    assert_eq!(round(&mut a, &mut table, at(17), bytes(WHOLE)), bytes(0));
    assert_eq!((table.shares(), table.sum()), (2, Portions::WHOLE));
}

#[test]
fn a_write_without_an_answer_counts_for_the_lower_share_and_gives_no_time() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    round(&mut b, &mut table, at(1), bytes(WHOLE));
    let look = table.look();
    a.look(at(6).monotonic, &look);
    let plan = a.plan(at(6), Some(&look), bytes(WHOLE)).unwrap();
    assert_eq!(a.usable(), (bytes(WHOLE / 2), Validity::Leased(at(0))));
    assert_eq!(a.plan(at(7), None, bytes(WHOLE)), None, "nothing is known");
    a.ended(&plan, at(6), Outcome::Unknown);
    assert!(table.apply(&plan.writes), "it arrives late");
    a.look(at(8).monotonic, &table.look());
    assert_eq!(a.usable(), (bytes(WHOLE / 2), Validity::Leased(at(0))));
    // With the ledger's answers missing, what is known to be its own is renewed.
    let renewal = a.plan(at(8), None, bytes(WHOLE)).unwrap();
    assert_eq!(renewal.writes.len(), 1);
    assert!(table.apply(&renewal.writes));
    a.ended(&renewal, at(8), Outcome::Written);
    assert_eq!(a.usable(), (bytes(WHOLE / 2), Validity::Leased(at(8))));
}

#[test]
fn parts_in_no_record_are_found_again_once_the_pool_stood_still() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    round(&mut b, &mut table, at(1), bytes(WHOLE));
    table.remove("share/a.0");
    assert_eq!(round(&mut b, &mut table, at(2), bytes(WHOLE)), bytes(WHOLE));
    assert_eq!(table.sum(), Portions::WHOLE);
    // So is what stands in two records.
    table.remove("pool");
    assert_eq!(round(&mut b, &mut table, at(3), bytes(WHOLE)), bytes(WHOLE));
    assert_eq!(table.sum(), Portions::WHOLE);
    // Not while a record can't be read: nobody knows what it holds.
    table.spoil("share/x.0", 1);
    table.remove("share/b.0");
    let mut c = Holder::new(JOB, "c");
    for now in 4..9 {
        assert_eq!(round(&mut c, &mut table, at(now), bytes(WHOLE)), bytes(0), "{now}");
    }
}

#[test]
fn a_pool_that_can_not_be_read_is_left_alone_at_first() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    table.spoil("pool", 3);
    for now in 1..5 {
        assert_eq!(round(&mut a, &mut table, at(now), bytes(WHOLE)), bytes(WHOLE), "{now}");
        assert_eq!(a.usable().1, Validity::Leased(at(now)));
        assert_eq!(round(&mut b, &mut table, at(now), bytes(WHOLE)), bytes(0), "{now}");
        assert!(b.has_record());
    }
    // Nor while it changes, or what can be told apart of it does not.
    table.spoil("pool", 4);
    for now in 5..16 {
        assert_eq!(round(&mut b, &mut table, at(now), bytes(WHOLE)), bytes(0), "{now}");
        round(&mut a, &mut table, at(now), bytes(WHOLE));
    }
    assert_eq!(table.look().unreadable().iter().map(|error| error.key.sort.as_str()).collect::<Vec<_>>(), ["pool"]);
    // Then it is replaced, and the next one to renew gives some of its share.
    round(&mut b, &mut table, at(16), bytes(WHOLE));
    assert_eq!(round(&mut a, &mut table, at(17), bytes(WHOLE)), bytes(WHOLE / 2));
    assert_eq!(round(&mut b, &mut table, at(18), bytes(WHOLE)), bytes(WHOLE / 2));
    assert_eq!((table.look().unreadable(), table.sum()), (&[][..], Portions::WHOLE));
}

#[test]
fn who_leaves_late_leaves_all_the_same() {
    let (mut table, mut a) = (Table::default(), Holder::new(JOB, "a"));
    round(&mut a, &mut table, at(0), bytes(WHOLE));
    a.look(at(6).monotonic, &table.look());
    let lost = a.plan(at(6), Some(&table.look()), bytes(WHOLE)).unwrap();
    a.ended(&lost, at(6), Outcome::Lost);
    round(&mut a, &mut table, at(9), Portions::default());
    assert_eq!((a.has_record(), table.shares()), (false, 0));
}

#[test]
fn who_needs_little_leaves_the_rest_to_others() {
    let (mut table, mut a, mut b) = (Table::default(), Holder::new(JOB, "a"), Holder::new(JOB, "b"));
    let both = |bytes: u32, requests: u32| Portions { bytes, requests };
    round(&mut a, &mut table, at(0), both(WHOLE / 8, WHOLE));
    round(&mut b, &mut table, at(1), both(WHOLE, 0));
    assert_eq!(round(&mut a, &mut table, at(6), both(WHOLE / 8, WHOLE)), both(WHOLE / 8, WHOLE));
    assert_eq!(round(&mut b, &mut table, at(7), both(WHOLE, 0)), both(WHOLE / 8 * 7, 0));
    // What nobody lacks is not moved.
    assert_eq!(round(&mut b, &mut table, at(13), both(WHOLE / 8, 0)), both(WHOLE / 8 * 7, 0));
}
