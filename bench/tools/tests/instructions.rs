//! The page of counts of the bench `instructions`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

#[path = "../benches/instructions/page.rs"]
mod page;

use page::{Change, Count, compare, read, versions, write};

fn counts(rows: &[(&str, u64)]) -> Vec<Count> {
    let count = |(name, instructions): &(&str, u64)| Count {
        name: (*name).to_owned(),
        unit: "key".to_owned(),
        instructions: *instructions,
    };
    rows.iter().map(count).collect()
}

#[test]
fn a_rise_of_more_than_a_fifth_is_refused() {
    for (to, refused) in [(1_000, false), (1_200, false), (1_201, true), (1_210, true), (5_000, true), (1, false)] {
        let changes = compare(&counts(&[("compare", to)]), &counts(&[("compare", 1_000)]));
        assert_eq!(changes.iter().any(Change::is_refused), refused, "{to}: {changes:?}");
    }
    let risen = compare(&counts(&[("compare", 1_210)]), &counts(&[("compare", 1_000)]));
    assert_eq!(risen, [Change::Risen { name: "compare".into(), from: 1_000, to: 1_210 }]);
    assert_eq!(risen[0].to_string(), "compare: risen by 21 %, from 1000 to 1210");
}

#[test]
fn a_large_fall_is_reported_and_not_refused() {
    assert_eq!(compare(&counts(&[("compare", 800)]), &counts(&[("compare", 1_000)])), []);
    let fallen = compare(&counts(&[("compare", 799)]), &counts(&[("compare", 1_000)]));
    assert_eq!(fallen, [Change::Fallen { name: "compare".into(), from: 1_000, to: 799 }]);
    assert!(!fallen[0].is_refused() && fallen[0].to_string().contains("ACCEPT=1"), "{}", fallen[0]);
}

#[test]
fn cases_without_a_count_to_compare_with_are_refused() {
    let (counted, committed) = (counts(&[("a", 1), ("b", 1)]), counts(&[("b", 1), ("c", 1)]));
    let changes = compare(&counted, &committed);
    assert_eq!(changes, [Change::New { name: "a".into() }, Change::Gone { name: "c".into() }]);
    assert!(changes.iter().all(Change::is_refused));
    let other_unit = vec![Count { unit: "page".into(), ..counts(&[("b", 1)]).remove(0) }];
    assert_eq!(compare(&other_unit, &counts(&[("b", 1)])).len(), 2);
}

#[test]
fn what_is_written_is_read() {
    let counted = counts(&[("compare", 1), ("write a batch", 18_446_744_073_709_551_615)]);
    let page = write(&counted, "rustc 1, valgrind 2");
    assert_eq!(read(&page).unwrap(), counted);
    assert_eq!(versions(&page), "rustc 1, valgrind 2");
    assert!(read("# Nothing\n").is_err());
    assert!(read("| what | for each | instructions |\n|---|---|---|\n| a | key | many |\n").is_err());
}

#[test]
fn the_committed_page_is_as_it_is_written() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../INSTRUCTIONS.md")).unwrap();
    assert_eq!(write(&read(&page).unwrap(), versions(&page)), page);
}
