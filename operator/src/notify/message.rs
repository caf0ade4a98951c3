//! What receivers are sent: pure functions of an event.

use jiff::Timestamp;
use migration_api::GROUP;
use migration_api::notify::NotifyEvent;
use migration_api::status::{PendingEvent, RunSummary};
use migration_core::printable::is_hidden;
use migration_core::size::human;
use serde_json::{Value, json};

/// The job that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
}

/// How long after its end the cost of a run may still grow, in milliseconds: processes record what they sent last up to
/// some seconds later.
pub const COST_SETTLES_MS: i64 = 30_000;
/// The longest subject of a mail, in characters. Source: `Publish` in the SNS API reference.
const SUBJECT: usize = 100;
/// The longest message of an event, in characters.
const MESSAGE: usize = 1_000;

/// Returns a text without what could steer a terminal or a mail program, and not too long.
pub fn plain(text: &str) -> String {
    let shown = |c: char| if is_hidden(c) { ' ' } else { c };
    text.chars().map(shown).take(MESSAGE).collect()
}

/// Returns the event as a `CloudEvent` in JSON, structured mode. Source: `CloudEvents` 1.0.2, "JSON Event Format".
pub fn cloud_event(about: &About, event: &PendingEvent) -> Vec<u8> {
    let About { namespace, name, uid } = about;
    let body = json!({
        "specversion": "1.0",
        "id": event.id,
        "source": format!("/apis/{GROUP}/v1alpha1/namespaces/{namespace}/migrationjobs/{name}"),
        "type": format!("{}.{}", "dev.s3migration.migrationjob", event.event.as_str().to_ascii_lowercase()),
        "time": time(event.time.0),
        "datacontenttype": "application/json",
        "data": {
            "namespace": namespace,
            "name": name,
            "uid": uid,
            "event": event.event,
            "reason": event.reason,
            "message": event.message,
            "run": event.run.as_ref().map(|of| run(of, event.time.0)),
        },
    });
    body.to_string().into_bytes()
}

/// Returns a run as it was at the time of its event. Its cost is `cost` if that is final, else `costSoFar`.
fn run(run: &RunSummary, at: Timestamp) -> Value {
    let RunSummary { id, started_at, ended_at, result, objects, bytes, failed, cost } = run;
    let (so_far, whole) = if is_settled(run, at) { (None, cost.as_ref()) } else { (cost.as_ref(), None) };
    json!({
        "id": id, "startedAt": time(started_at.0), "endedAt": time(ended_at.0), "result": result,
        "objects": objects, "bytes": bytes, "failed": failed, "cost": whole, "costSoFar": so_far,
    })
}

/// Returns true if the cost of a run was final at a time.
fn is_settled(run: &RunSummary, at: Timestamp) -> bool {
    at.as_millisecond() - run.ended_at.0.as_millisecond() >= COST_SETTLES_MS
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Returns the subject of a mail: characters that SNS takes, of which there are not too many.
pub fn subject(about: &About, event: &PendingEvent) -> String {
    let text = format!("MigrationJob {}/{}: {}", about.namespace, about.name, words(event.event));
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(SUBJECT).collect()
}

const fn words(event: NotifyEvent) -> &'static str {
    match event {
        NotifyEvent::Complete => "complete",
        NotifyEvent::PartiallyFailed => "ended with failures",
        NotifyEvent::Failed => "failed",
        NotifyEvent::Degraded => "degraded",
        NotifyEvent::Recovered => "recovered",
    }
}

/// Returns the text of a mail.
pub fn text(about: &About, event: &PendingEvent) -> String {
    let About { namespace, name, .. } = about;
    let mut lines = vec![
        format!("MigrationJob {name} in namespace {namespace}: {}", words(event.event)),
        String::new(),
        event.message.clone(),
        String::new(),
        format!("Time: {}", time(event.time.0)),
    ];
    lines.extend(event.reason.as_ref().map(|reason| format!("Reason: {reason}")));
    if let Some(run) = &event.run {
        lines.push(format!("Run: {}, from {} to {}", run.id, time(run.started_at.0), time(run.ended_at.0)));
        lines.push(format!("Copied: {} objects, {}; failed: {}", run.objects, human(run.bytes), run.failed));
        let label = if is_settled(run, event.time.0) { "Cost" } else { "Cost so far" };
        lines.extend(run.cost.as_ref().map(|cost| format!("{label}: {} {}", cost.total, cost.currency)));
    }
    lines.push(format!("Event: {}", event.id));
    lines.push(format!("Details: kubectl describe migrationjob {name} -n {namespace}"));
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use migration_api::status::{RunCost, RunResult};

    fn about() -> About {
        About { namespace: "media".into(), name: "photos".into(), uid: "u-1".into() }
    }

    fn event(message: &str) -> PendingEvent {
        let at = |second| Time(Timestamp::from_second(second).unwrap());
        PendingEvent {
            id: "e1".into(),
            event: NotifyEvent::PartiallyFailed,
            time: at(120),
            reason: None,
            message: plain(message),
            run: Some(RunSummary {
                id: "r1".into(),
                started_at: at(0),
                ended_at: at(120),
                result: RunResult::PartiallyFailed,
                objects: 9,
                bytes: 2 << 30,
                failed: 1,
                cost: Some(RunCost { total: "12.50".parse().unwrap(), currency: "USD".into() }),
            }),
            deliveries: Vec::new(),
        }
    }

    #[test]
    fn a_cloud_event_says_what_happened_to_what() {
        let found: Value = serde_json::from_slice(&cloud_event(&about(), &event("m"))).unwrap();
        let expected = json!({
            "specversion": "1.0", "id": "e1", "type": "dev.s3migration.migrationjob.partiallyfailed",
            "source": "/apis/s3migration.dev/v1alpha1/namespaces/media/migrationjobs/photos",
            "time": "1970-01-01T00:02:00Z", "datacontenttype": "application/json",
            "data": {
                "namespace": "media", "name": "photos", "uid": "u-1", "event": "PartiallyFailed", "reason": null,
                "message": "m",
                "run": {
                    "id": "r1", "startedAt": "1970-01-01T00:00:00Z", "endedAt": "1970-01-01T00:02:00Z",
                    "result": "PartiallyFailed", "objects": 9, "bytes": 2_147_483_648_u64, "failed": 1,
                    "cost": null, "costSoFar": {"total": "12.50", "currency": "USD"},
                },
            },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_cost_that_may_still_grow_is_called_so() {
        let ended = event("m").run.unwrap().ended_at.0.as_second();
        for (after, expected) in [(0, ["Cost so far: 12.50 USD", "costSoFar"]), (30, ["Cost: 12.50 USD", "cost"])] {
            let event = PendingEvent { time: Time(Timestamp::from_second(ended + after).unwrap()), ..event("m") };
            let text = text(&about(), &event);
            assert!(text.lines().any(|line| line == expected[0]), "{text}");
            let found: Value = serde_json::from_slice(&cloud_event(&about(), &event)).unwrap();
            let named = ["cost", "costSoFar"].into_iter().filter(|name| !found["data"]["run"][*name].is_null());
            assert_eq!(named.collect::<Vec<_>>(), [expected[1]]);
        }
    }

    #[test]
    fn a_hostile_key_is_shown_and_steers_nothing() {
        let key = format!("<b>\u{1b}[31m\r\n.\r\nSubject: x\0\u{202e}\u{2028}{}", "é".repeat(2_000));
        let hostile = event(&format!("failed to copy {key}"));
        let steers = |c: char| is_hidden(c) && c != '\n';
        for text in [text(&about(), &hostile), subject(&about(), &hostile)] {
            assert!(!text.chars().any(steers), "{text:?}");
        }
        assert!(text(&about(), &hostile).contains("failed to copy <b> [31m  .  Subject: x"));
        assert_eq!(hostile.message.chars().count(), MESSAGE);
        let body = cloud_event(&about(), &hostile);
        assert!(body.len() < 4_096 && !body.iter().any(u8::is_ascii_control));
    }

    #[test]
    fn a_subject_is_what_sns_takes() {
        let long = About { namespace: "n".repeat(63), name: "ü\n".to_owned() + &"j".repeat(40), uid: String::new() };
        let subject = subject(&long, &event(""));
        assert_eq!(subject.len(), SUBJECT);
        assert!(subject.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{subject}");
        assert_eq!(super::subject(&about(), &event("")), "MigrationJob media/photos: ended with failures");
    }
}
