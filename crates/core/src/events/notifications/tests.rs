use proptest::prelude::*;

use super::*;

const ARN: &str = "arn:aws:sqs:r:1:s3-migration-photos-u-1";

fn wanted<'a>(prefixes: &'a [&'a str]) -> WantedEntries<'a> {
    WantedEntries { job: "u-1", queue_arn: ARN, prefixes, types: EventTypes::Created }
}

fn entry(target: NotificationTarget, id: &str, events: &[&str], filter: &[(&str, &str)]) -> NotificationEntry {
    NotificationEntry {
        target,
        id: Some(id.to_owned()).filter(|id| !id.is_empty()),
        arn: "arn:aws:x:r:1:foreign".to_owned(),
        events: events.iter().map(|name| (*name).to_owned()).collect(),
        filter: filter
            .iter()
            .map(|(name, value)| FilterRule { name: (*name).into(), value: (*value).into() })
            .collect(),
    }
}

fn prefixes_of(config: &NotificationConfig) -> Vec<&str> {
    let own = config.entries.iter().filter(|entry| wanted(&[]).is_own(entry));
    own.map(|entry| entry.filter.first().map_or("", |rule| rule.value.as_str())).collect()
}

#[test]
fn each_widest_prefix_gets_an_entry_with_the_uid_in_its_id() {
    for (prefixes, expected) in [
        (vec![""], vec![""]),
        (vec!["a/", "a/b", "c"], vec!["a/", "c"]),
        (vec!["", "x"], vec![""]),
        // What a service may compare with encoded keys is left to workers.
        (vec!["photos 2026/", "photos/"], vec!["photos"]),
        (vec!["año/", "b+c/", "d%/"], vec!["a", "b", "d"]),
        (vec!["é"], vec![""]),
    ] {
        let merged = merge(&NotificationConfig::default(), &wanted(&prefixes)).unwrap();
        assert_eq!(prefixes_of(&merged), expected, "{prefixes:?}");
        assert_eq!(merge(&merged, &wanted(&prefixes)), None, "{prefixes:?}: a second time changes nothing");
    }
    let merged = merge(&NotificationConfig::default(), &wanted(&["p/"])).unwrap();
    let expected = NotificationEntry {
        target: NotificationTarget::Queue,
        id: Some("s3-migration-u-1-1".into()),
        arn: ARN.into(),
        events: vec!["s3:ObjectCreated:*".into()],
        filter: vec![FilterRule { name: "prefix".into(), value: "p/".into() }],
    };
    assert_eq!(merged.entries, [expected]);
}

#[test]
fn a_service_may_write_an_entry_differently() {
    let types = EventTypes::CreatedAndRemoved;
    let mut merged = merge(&NotificationConfig::default(), &WantedEntries { types, ..wanted(&["p/"]) }).unwrap();
    let own = &mut merged.entries[0];
    own.events.reverse();
    own.filter[0].name = "Prefix".into();
    own.filter.push(FilterRule { name: "Suffix".into(), value: String::new() });
    assert_eq!(merge(&merged, &WantedEntries { types, ..wanted(&["p/"]) }), None);
}

type Change = fn(&mut NotificationConfig);

#[test]
fn what_differs_is_corrected_and_what_is_not_wanted_removed() {
    let base = merge(&NotificationConfig::default(), &wanted(&["a", "b"])).unwrap();
    let changes: [(&str, Change); 5] = [
        ("another queue", |config| config.entries[0].arn = "arn:aws:sqs:r:1:old".into()),
        ("another prefix", |config| config.entries[0].filter[0].value = "z".into()),
        ("another type", |config| config.entries[1].events = vec!["s3:ObjectCreated:Put".into()]),
        ("one too many", |config| {
            let more = NotificationEntry { id: Some("s3-migration-u-1-3".into()), ..config.entries[0].clone() };
            config.entries.push(more);
        }),
        ("one twice", |config| config.entries.push(config.entries[0].clone())),
    ];
    for (what, change) in changes {
        let mut config = base.clone();
        change(&mut config);
        assert_eq!(merge(&config, &wanted(&["a", "b"])), Some(base.clone()), "{what}");
    }
    let gone = merge(&base, &wanted(&[])).unwrap();
    assert_eq!(gone, NotificationConfig::default());
}

#[test]
fn entries_with_ids_that_only_look_similar_are_not_the_jobs() {
    for id in ["s3-migration-u-1-", "s3-migration-u-1-x", "s3-migration-u-12-1", "S3-migration-u-1-1", "my-u-1-1", ""] {
        assert!(!wanted(&[]).is_own(&entry(NotificationTarget::Queue, id, &[], &[])), "{id}");
    }
}

#[test]
fn entries_overlap_where_a_type_and_a_key_can_match_both() {
    let created = ["s3:ObjectCreated:*"];
    for (events, filter, overlaps) in [
        (&created[..], vec![], true),
        (&["s3:ObjectCreated:Put"], vec![("Prefix", "p/x")], true),
        (&["s3:ObjectRemoved:*"], vec![], false),
        (&created, vec![("prefix", "q/")], false),
        (&created, vec![("suffix", ".jpg")], true),
        (&created, vec![("prefix", "q/"), ("suffix", ".jpg")], false),
    ] {
        let foreign = entry(NotificationTarget::Function, "mine", events, &filter);
        let config = NotificationConfig { entries: vec![foreign], event_bridge: false };
        assert_eq!(overlapping(&config, &wanted(&["p/"])).len(), usize::from(overlaps), "{events:?} {filter:?}");
    }
}

fn any_entry() -> impl Strategy<Value = NotificationEntry> {
    let target = prop_oneof![
        Just(NotificationTarget::Queue),
        Just(NotificationTarget::Topic),
        Just(NotificationTarget::Function)
    ];
    let id = prop_oneof![
        Just(String::new()),
        "[a-z0-9-]{1,12}",
        "s3-migration-u-[12]-[0-9]{1,2}",
        "s3-migration-u-1-[a-z]{0,2}",
    ];
    let filter = prop::collection::vec((prop_oneof!["prefix", "Suffix"], "[a-c/]{0,3}"), 0..3);
    (target, id, prop::collection::vec("s3:Object(Created|Removed):[*a-z]", 1..3), filter).prop_map(
        |(target, id, events, filter)| {
            let events: Vec<_> = events.iter().map(String::as_str).collect();
            let filter: Vec<_> = filter.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            entry(target, &id, &events, &filter)
        },
    )
}

fn any_config() -> impl Strategy<Value = NotificationConfig> {
    let entries = prop::collection::vec(any_entry(), 0..6);
    (entries, any::<bool>()).prop_map(|(entries, event_bridge)| NotificationConfig { entries, event_bridge })
}

fn foreign(config: &NotificationConfig) -> Vec<NotificationEntry> {
    config.entries.iter().filter(|entry| !wanted(&[]).is_own(entry)).cloned().collect()
}

proptest! {
    #[test]
    fn what_others_put_there_stays_and_a_second_merge_changes_nothing(
        config in any_config(),
        prefixes in prop::collection::vec("[ab/ é]{0,3}", 0..4),
    ) {
        let prefixes: Vec<_> = prefixes.iter().map(String::as_str).collect();
        let merged = merge(&config, &wanted(&prefixes)).unwrap_or_else(|| config.clone());
        prop_assert_eq!(foreign(&merged), foreign(&config));
        prop_assert_eq!(merged.event_bridge, config.event_bridge);
        prop_assert_eq!(merge(&merged, &wanted(&prefixes)), None);
        // Every key of a pair is let through by exactly one entry.
        for prefix in &prefixes {
            let key = format!("{prefix}k");
            let matching = prefixes_of(&merged).into_iter().filter(|own| key.starts_with(own)).count();
            prop_assert_eq!(matching, 1, "{}", key);
        }
    }

    #[test]
    fn jobs_that_come_and_go_leave_a_bucket_as_it_was(config in any_config()) {
        let other = WantedEntries { job: "u-2", ..wanted(&["x"]) };
        let clean = |config: &NotificationConfig, wanted: &WantedEntries<'_>| {
            merge(config, wanted).unwrap_or_else(|| config.clone())
        };
        let none = WantedEntries { prefixes: &[], ..other };
        let before = clean(&clean(&config, &wanted(&[])), &none);
        let during = clean(&clean(&before, &wanted(&["a"])), &other);
        prop_assert_eq!(clean(&clean(&during, &wanted(&[])), &none), before);
    }
}
