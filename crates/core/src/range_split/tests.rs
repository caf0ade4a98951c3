use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn halves_as_the_table_says() {
    for (after, until, expected) in [
        ("", None, Some("O")),
        ("a", None, Some("p")),
        ("a", Some("z"), Some("n")),
        ("data/1", Some("data/9"), Some("data/5")),
        ("data/1", Some("data/2"), Some("data/1O")),
        ("data/1", Some("data/2/x"), Some("data/2")),
        ("data/", Some("data/9"), Some("data/,")),
        ("a~~", Some("b"), Some("a\u{8803f}")),
        ("a", Some("a "), None),
        ("a", Some("a\u{1}"), None),
        ("a", Some("a!"), Some("a ")),
        ("a", Some("a"), None),
        ("b", Some("a"), None),
        ("ab", Some("a"), None),
        ("é", Some("ü"), Some("ó")),
        ("\u{10ffff}", None, Some("\u{10ffff}O")),
    ] {
        assert_eq!(Alphabet::default().midpoint(after, until).as_deref(), expected, "{after:?} {until:?}");
    }
}

#[test]
fn halves_fall_among_the_characters_that_were_seen() {
    let mut alphabet = Alphabet::default();
    alphabet.see("0123456789abcdef/");
    for (after, until, expected) in [
        ("0", Some("f"), "8"),
        ("9", Some("f"), "b"),
        ("0", None, "9"),
        ("9", None, "c"),
        ("k/3", Some("k/4"), "k/38"),
        ("k/39", Some("k/4"), "k/3c"),
        ("k/3~", Some("k/4"), "k/3\u{8803f}"),
    ] {
        assert_eq!(alphabet.midpoint(after, until).as_deref(), Some(expected), "{after:?} {until:?}");
    }
}

#[test]
fn the_rest_is_estimated_by_the_last_page() {
    for (before, now, last, expected) in [
        ("a", "b", Some("d"), 2.0),
        ("k/0100", "k/0200", Some("k/0900"), 7.0),
        ("k/0", "k/1", None, f64::INFINITY),
        ("a/12345678901234567890", "a/12345678901234567891", Some("z"), f64::INFINITY),
    ] {
        let found = pages_left(before, now, last);
        let same = if expected.is_finite() { (found - expected).abs() < 0.01 } else { found.is_infinite() };
        assert!(same, "{before} {now} {last:?}: {found}");
    }
}

/// Runs a search over a set of keys. Returns the split and the number of probes.
fn search(keys: &BTreeSet<String>, low: &str, until: Option<&str>, beyond: Option<&str>) -> (Option<Cut>, u32) {
    search_parts(keys, low, until, beyond, 2)
}

/// Returns the alphabet after listing the first 100 keys.
fn seen(keys: &BTreeSet<String>) -> Alphabet {
    let mut alphabet = Alphabet::default();
    keys.iter().take(100).for_each(|key| alphabet.see(key));
    alphabet
}

fn search_parts(
    keys: &BTreeSet<String>,
    low: &str,
    until: Option<&str>,
    beyond: Option<&str>,
    parts: usize,
) -> (Option<Cut>, u32) {
    let mut search = CutSearch::new(&Rest { low, high: until, prefix: 0, beyond }, seen(keys), parts);
    let (mut step, mut probes) = (search.begin(), 0);
    loop {
        match step {
            CutStep::Probe(at) => {
                assert!(at.as_str() > low && until.is_none_or(|until| at.as_str() < until), "{at:?}");
                probes += 1;
                let found =
                    keys.range::<String, _>((std::ops::Bound::Excluded(&at), std::ops::Bound::Unbounded)).next();
                let found = found.filter(|key| until.is_none_or(|until| key.as_str() <= until));
                step = search.answered(found.map(String::as_str));
            }
            CutStep::Cut(cut) => return (Some(cut), probes),
            CutStep::Nothing => return (None, probes),
        }
    }
}

fn behind_cut(keys: &BTreeSet<String>, low: &str, cut: &Cut) -> (usize, usize) {
    let left = keys.iter().filter(|key| key.as_str() > low).count();
    (left, keys.iter().filter(|key| **key > cut.at[0]).count())
}

fn numbered(prefix: &str, count: u64) -> BTreeSet<String> {
    (0..count).map(|n| format!("{prefix}{n:012}")).collect()
}

#[test]
fn a_long_shared_text_costs_few_probes_and_halves_fall_well() {
    let prefix = "warehouse/events/region=eu-central-1/table=clicks_by_session/".repeat(3);
    for keys in [numbered("", 100_000), numbered(&prefix, 100_000)] {
        let low = keys.iter().nth(3_000).unwrap();
        let (cut, probes) = search(&keys, low, None, None);
        let (left, right) = behind_cut(&keys, low, &cut.clone().unwrap());
        assert!(probes <= 20, "{probes} probes");
        assert!(right * 5 > left && right * 5 < left * 4, "{right} of {left}");
        // The bounds learned make the next search cheaper: in the right part by `top`, in the left part by its end.
        let cut = cut.unwrap();
        let low_right = keys.range(cut.at[0].clone()..).nth(1_000).unwrap();
        let (again, probes) = search(&keys, low_right, cut.top.as_deref(), cut.beyond.as_deref());
        assert!(again.is_some() && probes <= 6, "{probes} probes");
        let (again, probes) = search(&keys, low, Some(&cut.at[0]), None);
        assert!(again.is_some() && probes <= 8, "{probes} probes");
    }
}

#[test]
fn many_parts_of_even_keys_are_about_even() {
    let hashes: BTreeSet<String> =
        (0..40_000_u64).map(|n| format!("{:08x}", u32::try_from(n * 107_374).unwrap())).collect();
    for keys in [numbered("data/", 40_000), hashes] {
        let low = keys.iter().nth(400).unwrap();
        let (cut, probes) = search_parts(&keys, low, None, None, 16);
        let cuts = cut.unwrap().at;
        let part = |key: &str| cuts.iter().filter(|cut| key > cut.as_str()).count();
        let mut parts = vec![0; cuts.len() + 1];
        for key in &keys {
            parts[part(key)] += 1;
        }
        assert!(parts.iter().all(|keys| *keys < 12_000), "{parts:?} {cuts:?}");
        assert!(parts.iter().filter(|keys| **keys > 400).count() >= 10, "{parts:?} {cuts:?}");
        assert!(probes <= 14, "{probes} probes");
    }
}

#[test]
fn keys_that_crowd_are_reached_by_cutting_again() {
    let mut keys = numbered("m/crowd/", 99_000);
    keys.extend((0..500).map(|n| format!("a/{n:04}")));
    keys.extend((0..500).map(|n| format!("z/{n:04}")));
    // The larger part is split again each time.
    let (mut low, mut until) = (keys.iter().nth(100).unwrap().clone(), None::<String>);
    for cuts in 1.. {
        let inside = |after: &str, until: Option<&str>| {
            keys.iter().filter(|key| key.as_str() > after && until.is_none_or(|until| key.as_str() <= until)).count()
        };
        let (cut, _) = search(&keys, &low, until.as_deref(), None);
        let at = cut.unwrap().at.swap_remove(0);
        let (left, right) = (inside(&low, Some(&at)), inside(&at, until.as_deref()));
        if left.min(right) * 4 > 99_000 {
            assert!(cuts <= 6, "{cuts} cuts");
            return;
        }
        if left > right {
            until = Some(at);
        } else {
            low = keys.range(at..).next().unwrap().clone();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_midpoint_is_strictly_between(a in "[a-c /~é\u{1}\u{1f600}]{0,5}", b in "[a-c /~é\u{1}\u{1f600}]{0,5}", shown in "[a-c0-9]{0,3}") {
        let mut alphabet = Alphabet::default();
        alphabet.see(&shown);
        let (a, b) = (a.clone().min(b.clone()), a.max(b));
        if let Some(middle) = alphabet.midpoint(&a, Some(&b)) {
            prop_assert!(a.as_bytes() < middle.as_bytes() && middle.as_bytes() < b.as_bytes(), "{a:?} {middle:?} {b:?}");
            prop_assert!(middle.len() <= a.len().max(b.len()) + 4);
        } else {
            // Only control characters would fit.
            prop_assert!(a == b || b.starts_with(&a), "{a:?} {b:?}");
        }
        let behind = alphabet.midpoint(&a, None).unwrap();
        prop_assert!(behind.as_bytes() > a.as_bytes());
    }

    #[test]
    fn a_search_ends_at_a_cut_that_has_keys_behind_it(
        keys in prop::collection::btree_set("[a-c/é]{0,6}", 1..60),
        low in 0_usize..60,
        until in prop::option::of("[a-c/é]{0,6}"),
        beyond in any::<bool>(),
        parts in 2_usize..17,
    ) {
        let low = keys.iter().nth(low % keys.len()).unwrap().clone();
        let until = until.filter(|until| *until > low);
        let last = keys.iter().rfind(|key| until.as_ref().is_none_or(|until| *key <= until)).cloned();
        let beyond = last.clone().filter(|last| beyond && *last > low).and_then(|last| Alphabet::default().midpoint(&low, Some(&last)));
        let (cut, probes) = search_parts(&keys, &low, until.as_deref(), beyond.as_deref(), parts);
        prop_assert!(probes <= MOST_PROBES + REFINEMENTS);
        if let Some(cut) = cut {
            prop_assert!(cut.at.is_sorted_by(|a, b| a < b) && !cut.at.is_empty() && cut.at.len() < parts.max(2));
            prop_assert!(cut.at[0] > low && last.as_ref().is_some_and(|last| *last > cut.at[0]));
            prop_assert!(until.as_ref().is_none_or(|until| cut.at.last().unwrap() < until));
            prop_assert!(cut.beyond.is_none_or(|beyond| last.as_ref().is_some_and(|last| *last > beyond)));
            prop_assert!(cut.top.is_none_or(|top| last.is_some_and(|last| last <= top)));
        }
    }
}
