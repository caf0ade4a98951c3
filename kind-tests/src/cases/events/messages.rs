//! Messages about events as services send them, put into the job's queue by hand.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{EVERY, LIMIT, counted, policy, sqs};
use crate::case::{Case, JOB};
use crate::services::{self, Service};
use crate::wait;

/// What S3 sends when a queue is configured. Source: "Event message structure" in the S3 user guide.
const TEST_EVENT: &str = r#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"BUCKET","RequestId":"5582815E1AEA5ADF","HostId":"8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxPzzPbB9wrR+YstdA6Knx4Ip8EXAMPLE"}"#;

/// The test event of S3, as itself and through SNS, and an event of `EventBridge` of another kind are dropped: they count
/// nowhere and leave no dead letter. An object that `EventBridge` reports is copied and counts once.
pub async fn dropped(case: &mut Case, job: &Value) -> anyhow::Result<()> {
    let (queue, _) = policy(job).await?;
    let test = TEST_EVENT.replace("BUCKET", &case.source);
    let through_sns = json!({
        "Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "Message": test,
        "TopicArn": "arn:aws:sns:us-east-1:111122223333:events", "Timestamp": "2014-10-13T15:57:02.089Z",
    });
    let tagged = bridged(&case.source, "Object Tags Added", "in/before");
    for body in [test, through_sns.to_string(), tagged.to_string()] {
        send(&queue, body).await?;
    }
    empty(&queue).await.context("after messages that are no objects")?;
    let counts = work(case).await?;
    ensure!(counts.is_null(), "messages that are no objects count as {counts}");
    let client = services::s3(Service::Destination);
    let removed = client.delete_object().bucket(&case.destination).key("in/before").send().await;
    removed.context("failed to delete a copy")?;
    send(&queue, bridged(&case.source, "Object Created", "in/before").to_string()).await?;
    wait::until("the object of an event of EventBridge", LIMIT, EVERY, async || {
        Ok(client.head_object().bucket(&case.destination).key("in/before").send().await.is_ok().then_some(()))
    })
    .await?;
    counted(case, 1).await?;
    empty(&queue).await?;
    let counts = work(case).await?;
    ensure!(counts["objects"] == json!({"done": 1, "failed": 0, "skipped": 0}), "one object counts as {counts}");
    case.note("s3:TestEvent, as itself and through SNS, and other events of EventBridge dropped and counted nowhere");
    Ok(())
}

/// Returns an event as `EventBridge` sends it. Source: "`EventBridge` event message structure" in the S3 user guide.
fn bridged(bucket: &str, kind: &str, key: &str) -> Value {
    json!({
        "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": kind, "source": "aws.s3",
        "account": "111122223333", "time": "2021-11-12T00:00:00Z", "region": services::REGION,
        "resources": [format!("arn:aws:s3:::{bucket}")],
        "detail": {
            "version": "0", "bucket": {"name": bucket},
            "object": {"key": key, "size": 6, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "617f08299329d189"},
            "request-id": "N4N7GDK58NMJ12R", "requester": "111122223333", "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    })
}

async fn send(queue: &str, body: String) -> anyhow::Result<()> {
    sqs().send_message().queue_url(queue).message_body(body).send().await.map(drop).context("failed to send a message")
}

/// Returns what the status says about objects that events brought.
async fn work(case: &Case) -> anyhow::Result<Value> {
    Ok(case.cluster.jobs(&case.namespace).get(JOB).await?.data["status"]["events"].clone())
}

/// Waits until the queue has no message, visible, delayed or in flight; its dead letters have none either.
async fn empty(queue: &str) -> anyhow::Result<()> {
    wait::until("the queue to be empty", LIMIT, EVERY, async || {
        Ok((services::messages(&sqs(), queue).await? == 0).then_some(()))
    })
    .await?;
    let dead = format!("{queue}-dlq");
    let number = services::messages(&sqs(), &dead).await?;
    ensure!(number == 0, "there are {number} dead letters");
    Ok(())
}
