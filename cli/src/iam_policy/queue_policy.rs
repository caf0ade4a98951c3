//! The policy of a queue that S3 sends events to.

use serde_json::{Value, json};

use super::arn;
use super::error::PolicyError;
use super::input::Input;
use super::policy::{LANGUAGE, queue_arn};

/// Returns the policy. `owner` is the account of the source buckets.
/// Source: "Granting permissions to publish event notification messages to a destination" in the S3 user guide.
pub fn queue_policy(input: &Input, owner: Option<&str>) -> Result<Value, PolicyError> {
    let missing = |missing| PolicyError::Missing { part: "queue-policy", missing };
    let queue = input.queue.as_ref().ok_or_else(|| missing("the queue is unknown; give --file or --queue"))?;
    if queue.name.contains('*') {
        return Err(missing(
            "the queue's name ends in the job's UID, which the file does not have; pass the resource as the cluster \
             has it: kubectl get migrationjob NAME -o yaml | s3migrate iam-policy queue-policy --file -",
        ));
    }
    if input.source.ranges.is_empty() {
        return Err(missing("the source buckets are unknown; give --file or --source-bucket"));
    }
    if queue.region != input.source.region {
        let (queue, bucket) = (queue.region.clone(), input.source.region.clone());
        return Err(PolicyError::OtherRegion { queue, bucket });
    }
    let Some(account) = queue.account.as_deref().or(input.account.as_deref()) else {
        return Err(missing("the account of the queue is unknown; give --account"));
    };
    let partition = input.partition.as_deref().unwrap_or_else(|| arn::partition(&queue.region));
    let mut buckets: Vec<_> = input.source.ranges.iter().map(|range| arn::bucket(partition, &range.bucket)).collect();
    buckets.dedup();
    Ok(json!({
        "Version": LANGUAGE,
        "Statement": [{
            "Sid": "EventsOfSourceBuckets",
            "Effect": "Allow",
            "Principal": { "Service": "s3.amazonaws.com" },
            "Action": "sqs:SendMessage",
            "Resource": queue_arn(input, queue, &queue.name),
            "Condition": {
                "ArnEquals": { "aws:SourceArn": buckets },
                "StringEquals": { "aws:SourceAccount": owner.unwrap_or(account) },
            },
        }],
    }))
}
