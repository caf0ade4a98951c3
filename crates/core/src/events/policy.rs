//! The policy of a queue that S3 sends events to: one statement is ours, all others stay.

use serde_json::{Map, Value, json};

/// The version of the policy language that a new policy is written in.
const LANGUAGE: &str = "2012-10-17";

/// Who may send events to a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// Source buckets.
    pub buckets: Vec<String>,
    /// The account that owns them, if it is known. A bucket that is deleted and created again by another account may
    /// then not send.
    pub account: Option<String>,
}

/// The policy of one job's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueuePolicy<'a> {
    /// UID of the job, which the id of the statement carries.
    pub job: &'a str,
    /// ARN of the queue.
    pub queue_arn: &'a str,
    /// Who may send; `None` removes the statement.
    pub senders: Option<&'a Senders>,
}

/// A policy that is not changed, since what it says is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the queue's policy: {0}; correct or remove it, so that it can be merged")]
pub struct PolicyError(String);

impl QueuePolicy<'_> {
    /// Returns the id of the statement: letters and digits, as the policy language requires.
    fn sid(&self) -> String {
        let uid = self.job.chars().filter(char::is_ascii_alphanumeric);
        format!("S3MigrationEvents{}", uid.collect::<String>())
    }

    /// Returns the least statement that lets S3 send the events of the buckets.
    /// Source: "Granting permissions to publish event notification messages to a destination" in the S3 user guide.
    fn statement(&self, senders: &Senders) -> Value {
        let partition = arn_partition(self.queue_arn);
        let mut buckets: Vec<_> = senders.buckets.iter().map(|bucket| bucket_arn(partition, bucket)).collect();
        buckets.sort();
        buckets.dedup();
        let mut condition = json!({ "ArnEquals": { "aws:SourceArn": buckets } });
        if let Some(account) = &senders.account {
            condition["StringEquals"] = json!({ "aws:SourceAccount": account });
        }
        json!({
            "Sid": self.sid(),
            "Effect": "Allow",
            "Principal": { "Service": "s3.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": self.queue_arn,
            "Condition": condition,
        })
    }

    /// Returns the policy with our statement as it should be and all others as they are, or `None` if it is so already.
    /// `current` is the policy of the queue; none or empty if it has none. An empty result removes the policy.
    pub fn merge(&self, current: Option<&str>) -> Result<Option<String>, PolicyError> {
        let current = current.map(str::trim).filter(|text| !text.is_empty());
        let mut policy = match current.map(serde_json::from_str::<Value>) {
            None => Map::from_iter([("Version".to_owned(), LANGUAGE.into())]),
            Some(Ok(Value::Object(policy))) => policy,
            Some(Ok(_)) => return Err(PolicyError("it is no JSON object".to_owned())),
            Some(Err(error)) => return Err(PolicyError(error.to_string())),
        };
        let statements = match policy.remove("Statement") {
            None => Vec::new(),
            Some(Value::Array(statements)) => statements,
            Some(statement @ Value::Object(_)) => vec![statement],
            Some(_) => return Err(PolicyError("its Statement is neither an object nor a list".to_owned())),
        };
        let (own, others): (Vec<_>, Vec<_>) =
            statements.into_iter().partition(|statement| statement["Sid"] == self.sid().as_str());
        let wanted: Vec<_> = self.senders.map(|senders| self.statement(senders)).into_iter().collect();
        if own.iter().map(normal).eq(wanted.iter().map(normal)) {
            return Ok(None);
        }
        let statements: Vec<_> = others.into_iter().chain(wanted).collect();
        if statements.is_empty() {
            return Ok(Some(String::new()));
        }
        policy.insert("Statement".to_owned(), statements.into());
        Ok(Some(Value::Object(policy).to_string()))
    }
}

/// Returns a statement in a form in which equal ones are equal: a list of one value means the value, and the order in a
/// list means nothing.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(values) if values.len() == 1 => values.first().map(normal).unwrap_or_default(),
        Value::Array(values) => {
            let mut values: Vec<_> = values.iter().map(normal).collect();
            values.sort_by_key(Value::to_string);
            Value::Array(values)
        }
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), normal(value))).collect(),
        value => value.clone(),
    }
}

/// Returns the partition of a region. Source: "Managed AWS Regions and partitions" in the IAM user guide.
pub fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

/// Returns the partition in an ARN, or `aws` if it has none.
pub fn arn_partition(arn: &str) -> &str {
    arn.split(':').nth(1).filter(|partition| !partition.is_empty()).unwrap_or("aws")
}

/// Returns the region in an ARN, if it has one.
pub fn region_of_arn(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

/// Returns the ARN of a bucket.
pub fn bucket_arn(partition: &str, bucket: &str) -> String {
    format!("arn:{partition}:s3:::{bucket}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARN: &str = "arn:aws-cn:sqs:cn-north-1:1:q";

    fn senders() -> Senders {
        Senders { buckets: vec!["b".into(), "a".into(), "a".into()], account: Some("123456789012".into()) }
    }

    fn policy(senders: Option<&Senders>) -> QueuePolicy<'_> {
        QueuePolicy { job: "8f-3c", queue_arn: ARN, senders }
    }

    #[test]
    fn a_queue_without_a_policy_gets_the_least_one() {
        let senders = senders();
        for none in [None, Some(""), Some(" ")] {
            let made = policy(Some(&senders)).merge(none).unwrap().unwrap();
            let expected = json!({
                "Version": "2012-10-17",
                "Statement": [{
                    "Sid": "S3MigrationEvents8f3c",
                    "Effect": "Allow",
                    "Principal": { "Service": "s3.amazonaws.com" },
                    "Action": "sqs:SendMessage",
                    "Resource": ARN,
                    "Condition": {
                        "ArnEquals": { "aws:SourceArn": ["arn:aws-cn:s3:::a", "arn:aws-cn:s3:::b"] },
                        "StringEquals": { "aws:SourceAccount": "123456789012" },
                    },
                }],
            });
            assert_eq!(serde_json::from_str::<Value>(&made).unwrap(), expected);
            assert_eq!(policy(Some(&senders)).merge(Some(&made)), Ok(None), "a second time changes nothing");
            assert_eq!(policy(None).merge(Some(&made)), Ok(Some(String::new())), "an empty policy is removed");
        }
        assert_eq!(policy(None).merge(None), Ok(None));
    }

    #[test]
    fn a_service_may_write_a_list_of_one_as_a_value() {
        let one = Senders { buckets: vec!["a".into()], account: None };
        let made = policy(Some(&one)).merge(None).unwrap().unwrap();
        let rewritten = made.replace(r#"["arn:aws-cn:s3:::a"]"#, r#""arn:aws-cn:s3:::a""#);
        assert_ne!(made, rewritten);
        assert_eq!(policy(Some(&one)).merge(Some(&rewritten)), Ok(None));
        assert!(policy(Some(&senders())).merge(Some(&rewritten)).unwrap().is_some(), "another bucket is added");
    }

    #[test]
    fn a_policy_that_can_not_be_read_is_left_alone() {
        for text in ["{", "[]", r#"{"Statement": 5}"#] {
            let error = policy(Some(&senders())).merge(Some(text)).unwrap_err();
            assert!(error.to_string().starts_with("failed to read the queue's policy: "), "{error}");
        }
    }

    #[test]
    fn arns_tell_partition_and_region() {
        assert_eq!((arn_partition(ARN), region_of_arn(ARN)), ("aws-cn", Some("cn-north-1")));
        assert_eq!((arn_partition("x"), region_of_arn("arn:aws:s3:::b")), ("aws", None));
        assert_eq!(["cn-north-1", "us-gov-east-1", "eu-central-1"].map(partition), ["aws-cn", "aws-us-gov", "aws"]);
    }

    fn any_statement() -> impl Strategy<Value = Value> {
        let sid =
            prop_oneof![Just(Value::Null), "[A-Za-z0-9 ]{1,8}".prop_map(Value::from), Just(policy(None).sid().into())];
        (sid, "[a-z]{1,4}").prop_map(|(sid, action)| match sid {
            Value::Null => json!({ "Effect": "Deny", "Action": action }),
            sid => json!({ "Sid": sid, "Effect": "Allow", "Action": [action] }),
        })
    }

    fn others(policy_text: &str) -> Vec<Value> {
        let value: Value = serde_json::from_str(policy_text).unwrap();
        let all = value["Statement"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|statement| statement["Sid"] != policy(None).sid().as_str()).collect()
    }

    proptest! {
        #[test]
        fn what_others_allowed_stays(statements in prop::collection::vec(any_statement(), 0..5), wants in any::<bool>()) {
            let before = json!({ "Version": "2008-10-17", "Id": "theirs", "Statement": statements }).to_string();
            let senders = senders();
            let policy = policy(Some(&senders).filter(|_| wants));
            let merged = policy.merge(Some(&before)).unwrap().unwrap_or_else(|| before.clone());
            prop_assert_eq!(policy.merge(Some(&merged)), Ok(None));
            if merged.is_empty() {
                prop_assert!(others(&before).is_empty() && !wants);
            } else {
                prop_assert_eq!(others(&merged), others(&before));
                let value: Value = serde_json::from_str(&merged).unwrap();
                prop_assert_eq!((&value["Id"], &value["Version"]), (&"theirs".into(), &"2008-10-17".into()));
            }
        }
    }
}
