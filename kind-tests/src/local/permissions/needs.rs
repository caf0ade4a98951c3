//! The IAM actions that recorded requests need.

use std::collections::BTreeSet;

use anyhow::bail;

use crate::proxy::classify::{KMS_KEY, Request};
use crate::proxy::log::Event;
use crate::services::REGION;

/// Account of all users of `MiniStack`.
pub const ACCOUNT: &str = "000000000000";
/// Status of an absent object. Without the right to list, S3 answers 403 instead.
const ABSENT: u16 = 404;

/// An action on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// Name of the action.
    pub action: String,
    /// ARN of the resource.
    pub resource: String,
}

/// What becomes of headers that S3 shows only to those who have another right too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The reader copies what they say.
    Used,
    /// Nothing depends on them.
    Unused,
}

fn need(action: &str, resource: &str) -> Need {
    Need { action: action.to_owned(), resource: resource.to_owned() }
}

/// Returns what a request needs.
pub fn needs(event: &Event, shown: Shown) -> anyhow::Result<Vec<Need>> {
    if event.request.resource.is_empty() { of_objects(event, shown) } else { of_services(&event.request) }
}

/// Source: "Required permissions for Amazon S3 API operations" in the S3 user guide.
fn of_objects(event: &Event, shown: Shown) -> anyhow::Result<Vec<Need>> {
    let request = &event.request;
    let bucket = format!("arn:aws:s3:::{}", request.bucket);
    let object = format!("{bucket}/{}", request.key);
    let versioned = |verb: &str, what: &str, of_version: bool| {
        format!("s3:{verb}Object{}{what}", if of_version { "Version" } else { "" })
    };
    let mut needs = vec![match request.operation.as_str() {
        "ListObjectsV2" | "ListObjects" | "HeadBucket" => need("s3:ListBucket", &bucket),
        "ListObjectVersions" => need("s3:ListBucketVersions", &bucket),
        "ListMultipartUploads" => need("s3:ListBucketMultipartUploads", &bucket),
        "GetObject" | "HeadObject" => need(&versioned("Get", "", request.of_version), &object),
        "GetObjectTagging" => need(&versioned("Get", "Tagging", request.of_version), &object),
        "PutObjectTagging" => need(&versioned("Put", "Tagging", request.of_version), &object),
        "DeleteObject" => need(&versioned("Delete", "", request.of_version), &object),
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => need("s3:PutObject", &object),
        "ListParts" => need("s3:ListMultipartUploadParts", &object),
        "AbortMultipartUpload" => need("s3:AbortMultipartUpload", &object),
        other => bail!("no action is known for {other}"),
    }];
    needs.extend(written(request, &object));
    needs.extend(read(event, shown, &object));
    if let Some(source) = &request.copied_from {
        let from = format!("arn:aws:s3:::{}", source.object);
        needs.push(need(&versioned("Get", "", source.of_version), &from));
        if request.operation == "CopyObject" && !request.headers.contains_key("x-amz-tagging") {
            needs.push(need(&versioned("Get", "Tagging", source.of_version), &from));
        }
    }
    if event.status == Some(ABSENT) && !request.key.is_empty() {
        needs.push(need("s3:ListBucket", &bucket));
    }
    Ok(needs)
}

/// Returns what the headers need with which an object is written.
/// Source: also "Required permissions" of `CreateMultipartUpload` in the S3 API reference, for KMS.
fn written(request: &Request, object: &str) -> Vec<Need> {
    let mut needs: Vec<Need> = [
        ("x-amz-tagging", "s3:PutObjectTagging"),
        ("x-amz-acl", "s3:PutObjectAcl"),
        ("x-amz-object-lock-mode", "s3:PutObjectRetention"),
        ("x-amz-object-lock-legal-hold", "s3:PutObjectLegalHold"),
    ]
    .into_iter()
    .filter(|(header, _)| request.headers.contains_key(*header))
    .map(|(_, action)| need(action, object))
    .collect();
    if let Some(key) = request.headers.get(KMS_KEY) {
        needs.push(need("kms:GenerateDataKey", &kms_key(key)));
        if request.operation == "CreateMultipartUpload" {
            needs.push(need("kms:Decrypt", &kms_key(key)));
        }
    }
    needs
}

/// Returns what a GET needs to show what it showed.
/// Source: `GetObject` in the S3 API reference.
fn read(event: &Event, shown: Shown, object: &str) -> Vec<Need> {
    if event.request.operation != "GetObject" {
        return Vec::new();
    }
    let is_used = |(header, _): &(&str, &str)| shown == Shown::Used && event.shown.contains_key(*header);
    let hidden = [
        ("x-amz-tagging-count", "s3:GetObjectTagging"),
        ("x-amz-object-lock-mode", "s3:GetObjectRetention"),
        ("x-amz-object-lock-legal-hold", "s3:GetObjectLegalHold"),
    ];
    let hidden = hidden.into_iter().filter(is_used).map(|(_, action)| need(action, object));
    let encrypted = event.shown.get(KMS_KEY).map(|key| need("kms:Decrypt", &kms_key(key)));
    hidden.chain(encrypted).collect()
}

fn kms_key(key: &str) -> String {
    if key.starts_with("arn:") { key.to_owned() } else { format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}") }
}

/// Source: "Amazon SQS API permissions" in the SQS developer guide, and "`DynamoDB` API permissions" and "Using IAM with
/// transactions" in that of `DynamoDB`.
fn of_services(request: &Request) -> anyhow::Result<Vec<Need>> {
    let queue = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", request.resource);
    let table = format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{}", request.resource);
    let of_queue = |action: &str| need(&format!("sqs:{action}"), &queue);
    let of_table = |action: &str| need(&format!("dynamodb:{action}"), &table);
    let has_tags = request.members.contains("Tags");
    let kinds = |members: &BTreeSet<String>| members.iter().filter(|m| *m != "Tags").cloned().collect::<Vec<_>>();
    Ok(match request.operation.as_str() {
        "SendMessageBatch" => vec![of_queue("SendMessage")],
        "CreateQueue" if has_tags => vec![of_queue("CreateQueue"), of_queue("TagQueue")],
        action @ ("SendMessage"
        | "ReceiveMessage"
        | "ChangeMessageVisibility"
        | "DeleteMessage"
        | "GetQueueUrl"
        | "GetQueueAttributes"
        | "SetQueueAttributes"
        | "ListQueueTags"
        | "TagQueue"
        | "CreateQueue"
        | "DeleteQueue") => vec![of_queue(action)],
        "TransactWriteItems" => kinds(&request.members)
            .iter()
            .map(|kind| {
                of_table(&if kind == "ConditionCheck" { "ConditionCheckItem".into() } else { format!("{kind}Item") })
            })
            .collect(),
        "CreateTable" if has_tags => vec![of_table("CreateTable"), of_table("TagResource")],
        action @ ("GetItem" | "Query" | "PutItem" | "UpdateItem" | "DeleteItem" | "DescribeTable" | "CreateTable"
        | "DescribeTimeToLive" | "UpdateTimeToLive" | "ListTagsOfResource" | "TagResource"
        | "DeleteTable") => {
            vec![of_table(action)]
        }
        other => bail!("no action is known for {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::classify::CopySource;
    use std::net::{IpAddr, Ipv4Addr};

    fn event(operation: &str, change: impl FnOnce(&mut Event)) -> Event {
        let (bucket, key) = ("b".into(), "k".into());
        let request = Request { operation: operation.into(), bucket, key, ..Request::default() };
        let mut event = Event::new(0, "source", IpAddr::V4(Ipv4Addr::LOCALHOST), request, 0);
        change(&mut event);
        event
    }

    fn needed(event: &Event, shown: Shown) -> Vec<String> {
        needs(event, shown).unwrap().iter().map(|need| format!("{} {}", need.action, need.resource)).collect()
    }

    #[test]
    fn requests_to_s3_need_what_the_guide_says() {
        type Change = fn(&mut Event);
        const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/i";
        let with = |event: &mut Event, header: &str, value: &str| {
            event.request.headers.insert(header.into(), value.into());
        };
        let (decrypt, encrypt) = (format!("kms:Decrypt {KEY}"), format!("kms:GenerateDataKey {KEY}"));
        let copied = |of_version| CopySource { object: "c/k".into(), of_version };
        let cases: [(Event, &[&str]); 8] = [
            (event("HeadObject", (|_| ()) as Change), &["s3:GetObject arn:aws:s3:::b/k"]),
            (
                event("HeadObject", |e| e.status = Some(404)),
                &["s3:GetObject arn:aws:s3:::b/k", "s3:ListBucket arn:aws:s3:::b"],
            ),
            (event("GetObject", |e| e.request.of_version = true), &["s3:GetObjectVersion arn:aws:s3:::b/k"]),
            (
                event("GetObjectTagging", |e| e.request.of_version = true),
                &["s3:GetObjectVersionTagging arn:aws:s3:::b/k"],
            ),
            (
                event("PutObject", |e| with(e, "x-amz-acl", "private")),
                &["s3:PutObject arn:aws:s3:::b/k", "s3:PutObjectAcl arn:aws:s3:::b/k"],
            ),
            (
                event("CreateMultipartUpload", |e| with(e, KMS_KEY, "i")),
                &["s3:PutObject arn:aws:s3:::b/k", &encrypt, &decrypt],
            ),
            (
                event("UploadPartCopy", |e| e.request.copied_from = Some(copied(true))),
                &["s3:PutObject arn:aws:s3:::b/k", "s3:GetObjectVersion arn:aws:s3:::c/k"],
            ),
            (
                event("CopyObject", |e| e.request.copied_from = Some(copied(false))),
                &[
                    "s3:PutObject arn:aws:s3:::b/k",
                    "s3:GetObject arn:aws:s3:::c/k",
                    "s3:GetObjectTagging arn:aws:s3:::c/k",
                ],
            ),
        ];
        for (event, expected) in cases {
            assert_eq!(needed(&event, Shown::Used), expected, "{}", event.request.operation);
        }
        assert!(needs(&event("PATCH object", |_| ()), Shown::Used).is_err());
    }

    #[test]
    fn what_only_some_are_shown_needs_its_own_action_if_it_is_used() {
        let event = event("GetObject", |e| {
            e.shown = [("x-amz-tagging-count", "1"), (KMS_KEY, "i")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        });
        let decrypt = "kms:Decrypt arn:aws:kms:us-east-1:000000000000:key/i";
        let get = "s3:GetObject arn:aws:s3:::b/k";
        assert_eq!(needed(&event, Shown::Used), [get, "s3:GetObjectTagging arn:aws:s3:::b/k", decrypt]);
        assert_eq!(needed(&event, Shown::Unused), [get, decrypt]);
    }

    #[test]
    fn requests_to_queue_and_table_need_what_the_guides_say() {
        let (queue, table) =
            ("arn:aws:sqs:us-east-1:000000000000:n", "arn:aws:dynamodb:us-east-1:000000000000:table/n");
        for (operation, members, expected) in [
            ("SendMessageBatch", &[][..], vec![format!("sqs:SendMessage {queue}")]),
            ("CreateQueue", &["Tags"], vec![format!("sqs:CreateQueue {queue}"), format!("sqs:TagQueue {queue}")]),
            ("Query", &[], vec![format!("dynamodb:Query {table}")]),
            (
                "TransactWriteItems",
                &["Put", "Update", "ConditionCheck"],
                ["ConditionCheckItem", "PutItem", "UpdateItem"].map(|a| format!("dynamodb:{a} {table}")).to_vec(),
            ),
        ] {
            let mut event = event(operation, |e| e.request.resource = "n".into());
            event.request.members = members.iter().map(|member| (*member).to_owned()).collect();
            assert_eq!(needed(&event, Shown::Unused), expected, "{operation}");
        }
        assert!(needs(&event("PurgeQueue", |e| e.request.resource = "n".into()), Shown::Unused).is_err());
    }
}
