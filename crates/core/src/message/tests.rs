use super::*;
use proptest::prelude::*;

pub(crate) fn pair() -> BucketPair {
    BucketPair {
        source_bucket: "a".into(),
        source_prefix: String::new(),
        destination_bucket: "b".into(),
        destination_prefix: "p/".into(),
        prefix_mode: crate::pair::PrefixMode::Append,
    }
}

pub(crate) fn batch(objects: Vec<Entry>) -> Batch {
    Batch {
        version: MESSAGE_VERSION,
        job: "u-1".into(),
        run: "r-1".into(),
        id: BatchId::new(0, 1, 2),
        scanned: 5,
        pair: pair(),
        attempts: 0,
        objects,
    }
}

pub(crate) fn entry(key: &str, size: u64) -> Entry {
    Entry {
        key: key.into(),
        size,
        etag: Some(ETag::new("e")),
        version_id: None,
        destination: None,
        unlisted: false,
        tried: Tried::default(),
    }
}

#[test]
fn the_form_on_the_wire_is_fixed() {
    let body = r#"{"v":1,"job":"u-1","run":"r-1","id":"000000/0001/0000000002","scanned":5,"pair":{"sourceBucket":"a","destinationBucket":"b","destinationPrefix":"p/","prefixMode":"Append"},"objects":[{"key":"k \"","size":7,"etag":"e"}]}"#;
    let batch = batch(vec![entry("k \"", 7)]);
    assert_eq!(batch.body(), body);
    assert_eq!(Message::parse(body), Ok(Message::Batch(batch)));
    let page = include_str!("../../../../docs/contracts.md");
    assert!(page.contains(body), "docs/contracts.md shows another form");
}

#[test]
fn what_is_not_ours_is_named() {
    for (body, expected) in [
        ("nonsense", "not JSON"),
        ("{}", "none of the members"),
        ("[]", "none of the members"),
        (r#"{"v":2}"#, "version 2"),
        (r#"{"v":1}"#, "missing field"),
        (r#"{"v":1,"kind":"x"}"#, "kind is"),
        (r#"{"Event":"s3:Other"}"#, "s3:Other"),
        (r#"{"Src_bucket":"a"}"#, "missing field"),
        (r#"{"Records":7}"#, "Records"),
    ] {
        let error = Message::parse(body).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[test]
fn an_unknown_member_is_ignored() {
    let mut value = serde_json::to_value(batch(vec![])).unwrap();
    value["later"] = true.into();
    assert!(Message::parse(&value.to_string()).is_ok());
}

#[test]
fn a_batch_outside_its_run_is_refused() {
    let batch = batch(vec![]);
    assert_eq!(batch.check("u-1", &[pair()]), Ok(()));
    assert!(matches!(batch.check("u-2", &[pair()]), Err(MessageError::OtherJob { .. })));
    assert!(matches!(batch.check("u-1", &[]), Err(MessageError::OtherPair { .. })));
    let nameless = super::tests::batch(vec![entry("a", 1), entry("", 1)]);
    assert!(matches!(nameless.check("u-1", &[pair()]), Err(MessageError::NoKey { .. })));
}

#[test]
fn a_remainder_has_an_id_of_its_own_under_its_range_and_epoch() {
    let whole = batch(vec![entry("a", 1), entry("b", 2), entry("c", 4)]);
    let rest = whole.remainder(&[0, 2], &[]);
    assert_eq!((rest.bytes(), rest.attempts), (5, 1));
    assert!(rest.id.as_str().starts_with(&BatchId::prefix(0, 1)));
    assert_ne!(rest.id, whole.id);
    assert_eq!((whole.id.place(), rest.id.place()), (Some((0, 1)), Some((0, 1))));
    assert_eq!(BatchId::of_event("00/01").place(), None);
    let origins = [BatchId::of_event("00/01"), BatchId::of_job("7"), rest.id.clone()].map(|id| id.origin());
    assert_eq!(origins, [BatchOrigin::Event, BatchOrigin::Job, BatchOrigin::Scan { range: 0, epoch: 1 }]);
    assert_ne!(rest.remainder(&[0], &[]).id, rest.id);
}

#[test]
fn ids_of_remainders_stay_short_and_different() {
    let mut ids = vec![BatchId::new(0, 1, 7)];
    for _ in 0..3_000 {
        ids.push(ids.last().unwrap().remainder());
    }
    assert_eq!(ids[2].as_str(), "000000/0001/0000000007/r/r");
    assert!(ids.iter().all(|id| id.as_str().len() < 64 && id.as_str().starts_with(&BatchId::prefix(0, 1))));
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
}

#[test]
fn a_remainder_keeps_the_tries_of_each_entry() {
    let whole = Batch { attempts: 2, ..batch(vec![entry("a", 1), entry("b", 2)]) };
    let tried = Tried { tries: Some(0), since: None, parts: 9 };
    let rest = whole.remainder(&[0, 1], &[tried]);
    assert_eq!(rest.objects.iter().map(|entry| rest.tries(entry)).collect::<Vec<_>>(), [0, 3]);
    assert_eq!((rest.objects[0].tried.parts, rest.most_tries()), (9, 3));
    let again = rest.tried_once_more();
    assert_eq!(again.objects.iter().map(|entry| again.tries(entry)).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(Message::parse(&again.body()), Ok(Message::Batch(again)));
}

#[test]
fn the_queue_takes_every_key() {
    let key = "a\u{0}\u{fffe}\u{ffff}\u{1f600}";
    let batch = batch(vec![entry(key, 1)]);
    // The characters that SQS accepts.
    let is_allowed = |c: char| matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..);
    assert!(batch.body().chars().all(is_allowed), "{}", batch.body());
    assert_eq!(Message::parse(&batch.body()), Ok(Message::Batch(batch)));
}

proptest! {
    #[test]
    fn any_key_survives_the_wire(key in any::<String>(), size in any::<u32>()) {
        let batch = batch(vec![entry(&key, size.into())]);
        prop_assert_eq!(Message::parse(&batch.body()), Ok(Message::Batch(batch)));
    }
}
