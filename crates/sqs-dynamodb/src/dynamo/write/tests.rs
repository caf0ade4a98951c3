use super::*;
use serde_json::json;

fn item(attributes: serde_json::Value, expires_at: Option<i64>) -> Item {
    let serde_json::Value::Object(attributes) = attributes else { panic!("not an object") };
    Item { key: LedgerKey::new("p", "s"), attributes, expires_at }
}

fn number(n: i64) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

fn names<const N: usize>(names: [(&str, &str); N]) -> HashMap<String, String> {
    names.map(|(place, name)| (place.to_owned(), name.to_owned())).into()
}

#[test]
fn an_item_holds_its_key_and_expiry_as_attributes() {
    let all = attributes(&item(json!({"size": 3}), Some(9))).unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let expected = [("pk", text("p")), ("sk", text("s")), ("ttl", number(9)), ("size", number(3))];
    assert_eq!(all, expected.map(|(name, value)| (name.to_owned(), value)).into());
    assert!(!attributes(&item(json!({}), None)).unwrap().contains_key("ttl"));
}

#[test]
fn a_record_can_not_overwrite_the_tables_own_attributes() {
    for name in ["pk", "sk", "ttl"] {
        let error = attributes(&item(json!({ name: 1 }), None)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Refused, "{name}");
    }
}

#[test]
fn conditions_name_attributes_by_alias() {
    assert_eq!(expression(&Condition::Always), Expression::default());
    let absent = expression(&Condition::Absent);
    assert_eq!(absent.text.as_deref(), Some("attribute_not_exists(#0)"));
    assert_eq!((absent.names, absent.values), (Some(names([("#0", "pk")])), None));
    let revision = expression(&Condition::Revision(7));
    assert_eq!(revision.text.as_deref(), Some("#0 = :0"));
    assert_eq!(revision.names, Some(names([("#0", "revision")])));
    assert_eq!(revision.values, Some(HashMap::from([(":0".to_owned(), number(7))])));
}

#[test]
fn additions_are_one_update() {
    let deltas = [("b".to_owned(), 1), ("a".to_owned(), -2), ("b".to_owned(), 4)];
    let update = addition(&deltas, Some(9)).unwrap();
    assert_eq!(update.text.as_deref(), Some("ADD #0 :0, #1 :1 SET #2 = :2"));
    assert_eq!(update.names, Some(names([("#0", "a"), ("#1", "b"), ("#2", "ttl")])));
    let values = [(":0", -2), (":1", 5), (":2", 9)].map(|(place, n)| (place.to_owned(), number(n)));
    assert_eq!(update.values, Some(values.into()));
    assert_eq!(addition(&[], Some(9)).unwrap().text.as_deref(), Some("SET #0 = :0"));
    assert_eq!(addition(&[], None), None);
}

#[test]
fn a_cancelled_transaction_is_judged_by_its_reasons() {
    let reasons = |codes: &[&str]| -> Vec<CancellationReason> {
        codes.iter().map(|code| CancellationReason::builder().code(*code).message("m").build()).collect()
    };
    let told = || ServiceError::new(ErrorClass::Refused, WRITE, "TransactionCanceledException", "…");
    let class = |codes: &[&str]| match judge(&reasons(codes), told()) {
        WriteError::Condition(_) => ErrorClass::PreconditionFailed,
        WriteError::Service(error) => error.class,
    };
    for (codes, expected) in [
        (&["None", "ConditionalCheckFailed"][..], ErrorClass::PreconditionFailed),
        (&["TransactionConflict", "ConditionalCheckFailed"], ErrorClass::PreconditionFailed),
        (&["ThrottlingError", "ConditionalCheckFailed", "ValidationError"], ErrorClass::PreconditionFailed),
        (&["TransactionConflict", "None"], ErrorClass::Transient),
        (&["ThrottlingError", "TransactionConflict"], ErrorClass::Throttled),
        (&["ProvisionedThroughputExceeded"], ErrorClass::Throttled),
        (&["ThrottlingError", "ValidationError"], ErrorClass::Refused),
        (&["ItemCollectionSizeLimitExceeded"], ErrorClass::Refused),
        (&["None", "None"], ErrorClass::Transient),
    ] {
        assert_eq!(class(codes), expected, "{codes:?}");
    }
    let WriteError::Condition(places) =
        judge(&reasons(&["None", "ConditionalCheckFailed", "TransactionConflict", "ConditionalCheckFailed"]), told())
    else {
        panic!("conditions failed")
    };
    assert_eq!(places, [1, 3]);
}
