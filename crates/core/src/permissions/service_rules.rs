//! The rules for queue, ledger and topic.

use super::{Kind, Part, Request, Rule, When};
use crate::operation::Operation::{
    DeleteMessage, GetItem, MeasureQueue, QueryItems, ReceiveDeadLetters, ReceiveMessages, SendDeadLetter,
    SendMessages, SetVisibility, WriteItems,
};
use Request::{Admin, Port};

const fn always(
    part: Part,
    action: &'static str,
    kind: Kind,
    requests: &'static [Request],
    reason: &'static str,
) -> Rule {
    Rule { part, action, kind, when: When::Always, requests, reason }
}

const fn operator(
    action: &'static str,
    kind: Kind,
    when: When,
    requests: &'static [Request],
    reason: &'static str,
) -> Rule {
    Rule { part: Part::Operator, action, kind, when, requests, reason }
}

const CREATES_QUEUE: &str = "the queue is created for the job";
const CREATES_DEAD_LETTERS: &str = "the dead letter queue is created for the job";
const CREATES_TABLE: &str = "the table is created for the job";
const DELETES: &str = "what was created is deleted with the job, unless its deletionPolicy is Retain";
const RECORDS: &str = "ends of runs and dead letters are recorded; progress is read";

/// What jobsender, workers and operator need at queue, ledger and topic.
pub(super) const SERVICES: &[Rule] = &[
    always(
        Part::Queue,
        "sqs:SendMessage",
        Kind::Queue,
        &[Port(SendMessages)],
        "the jobsender sends batches, workers send what remains of them and ranges of large objects",
    ),
    always(Part::Queue, "sqs:ReceiveMessage", Kind::Queue, &[Port(ReceiveMessages)], "workers receive batches"),
    always(
        Part::Queue,
        "sqs:ChangeMessageVisibility",
        Kind::Queue,
        &[Port(SetVisibility)],
        "workers keep a message while they work on it, and give it back",
    ),
    always(Part::Queue, "sqs:DeleteMessage", Kind::Queue, &[Port(DeleteMessage)], "workers acknowledge what is done"),
    always(
        Part::Queue,
        "sqs:SendMessage",
        Kind::DeadLetters,
        &[Port(SendDeadLetter)],
        "workers send what can't be done there, with the reason",
    ),
    always(Part::Ledger, "dynamodb:GetItem", Kind::Table, &[Port(GetItem)], "records are read"),
    always(Part::Ledger, "dynamodb:Query", Kind::Table, &[Port(QueryItems)], "records of a kind are read in order"),
    always(
        Part::Ledger,
        "dynamodb:PutItem",
        Kind::Table,
        &[Port(WriteItems)],
        "records are written, also in transactions",
    ),
    always(
        Part::Ledger,
        "dynamodb:UpdateItem",
        Kind::Table,
        &[Port(WriteItems)],
        "counters are added to, in transactions",
    ),
    always(
        Part::Ledger,
        "dynamodb:DeleteItem",
        Kind::Table,
        &[Port(WriteItems)],
        "records of finished work are removed",
    ),
    operator(
        "sqs:GetQueueAttributes",
        Kind::Queue,
        When::Always,
        &[Port(MeasureQueue), Admin("get queue attributes")],
        "the number of workers follows the number of messages; the redrive policy names the dead letter queue",
    ),
    operator(
        "sqs:SendMessage",
        Kind::Queue,
        When::Always,
        &[Port(SendMessages)],
        "a worker is told to abort the upload of an object that went to the dead letters",
    ),
    operator("sqs:GetQueueUrl", Kind::Queue, When::OwnQueue, &[Admin("look up queue")], CREATES_QUEUE),
    operator("sqs:CreateQueue", Kind::Queue, When::OwnQueue, &[Admin("create queue")], CREATES_QUEUE),
    operator("sqs:SetQueueAttributes", Kind::Queue, When::OwnQueue, &[Admin("set queue attributes")], CREATES_QUEUE),
    operator("sqs:ListQueueTags", Kind::Queue, When::OwnQueue, &[Admin("list queue tags")], CREATES_QUEUE),
    operator("sqs:TagQueue", Kind::Queue, When::OwnQueue, &[Admin("tag queue"), Admin("create queue")], CREATES_QUEUE),
    operator("sqs:DeleteQueue", Kind::Queue, When::OwnQueueDeleted, &[Admin("delete queue")], DELETES),
    operator(
        "sqs:GetQueueAttributes",
        Kind::DeadLetters,
        When::Always,
        &[Port(MeasureQueue), Admin("get queue attributes")],
        "dead letters are counted; the queue's redrive policy is given their ARN",
    ),
    operator(
        "sqs:GetQueueUrl",
        Kind::DeadLetters,
        When::Always,
        &[Admin("look up dead letter queue")],
        "dead letters are read by its URL",
    ),
    operator(
        "sqs:ReceiveMessage",
        Kind::DeadLetters,
        When::Always,
        &[Port(ReceiveDeadLetters)],
        "dead letters are recorded as failures",
    ),
    operator("sqs:CreateQueue", Kind::DeadLetters, When::OwnQueue, &[Admin("create queue")], CREATES_DEAD_LETTERS),
    operator(
        "sqs:SetQueueAttributes",
        Kind::DeadLetters,
        When::OwnQueue,
        &[Admin("set queue attributes")],
        CREATES_DEAD_LETTERS,
    ),
    operator("sqs:ListQueueTags", Kind::DeadLetters, When::OwnQueue, &[Admin("list queue tags")], CREATES_DEAD_LETTERS),
    operator(
        "sqs:TagQueue",
        Kind::DeadLetters,
        When::OwnQueue,
        &[Admin("tag queue"), Admin("create queue")],
        CREATES_DEAD_LETTERS,
    ),
    operator("sqs:DeleteQueue", Kind::DeadLetters, When::OwnQueueDeleted, &[Admin("delete queue")], DELETES),
    operator("dynamodb:GetItem", Kind::Table, When::Always, &[Port(GetItem)], RECORDS),
    operator("dynamodb:Query", Kind::Table, When::Always, &[Port(QueryItems)], RECORDS),
    operator("dynamodb:PutItem", Kind::Table, When::Always, &[Port(WriteItems)], RECORDS),
    operator("dynamodb:UpdateItem", Kind::Table, When::Always, &[Port(WriteItems)], RECORDS),
    operator(
        "dynamodb:DescribeTable",
        Kind::Table,
        When::Always,
        &[Admin("describe table")],
        "the table's keys and status are checked",
    ),
    operator("dynamodb:CreateTable", Kind::Table, When::OwnTable, &[Admin("create table")], CREATES_TABLE),
    operator(
        "dynamodb:DescribeTimeToLive",
        Kind::Table,
        When::OwnTable,
        &[Admin("describe time to live of table")],
        CREATES_TABLE,
    ),
    operator(
        "dynamodb:UpdateTimeToLive",
        Kind::Table,
        When::OwnTable,
        &[Admin("set time to live of table")],
        CREATES_TABLE,
    ),
    operator("dynamodb:ListTagsOfResource", Kind::Table, When::OwnTable, &[Admin("list tags of table")], CREATES_TABLE),
    operator(
        "dynamodb:TagResource",
        Kind::Table,
        When::OwnTable,
        &[Admin("tag table"), Admin("create table")],
        CREATES_TABLE,
    ),
    operator("dynamodb:DeleteTable", Kind::Table, When::OwnTableDeleted, &[Admin("delete table")], DELETES),
    operator(
        "sns:Publish",
        Kind::Topic,
        When::Notifies,
        &[Admin("publish message")],
        "ends of runs and problems are announced to the topic",
    ),
];
