//! Which changes of a watched object wake a resource. The operator's own writes of the status do not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};

use crate::job_controller::watched::WatchedJob;
use crate::names;

/// Returns the objects of a watch whose digest changed, and all that are deleted.
///
/// kube's own predicates filter deletions like changes, so that the deletion of an object that is otherwise the same
/// would be lost.
pub fn changes<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send,
    digest: fn(&K) -> u64,
) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Send,
{
    let mut seen = Seen { digest, known: HashMap::new(), listed: Vec::new() };
    events.filter_map(move |event| std::future::ready(event.map(|event| seen.changed(event)).transpose()))
}

/// The digests of the objects that a watch has shown, by UID.
struct Seen<K> {
    digest: fn(&K) -> u64,
    known: HashMap<String, u64>,
    /// The UIDs of the list that is being read.
    listed: Vec<String>,
}

impl<K: Resource<DynamicType = ()>> Seen<K> {
    fn changed(&mut self, event: Event<K>) -> Option<K> {
        match event {
            Event::Apply(object) => self.update(object),
            Event::InitApply(object) => {
                self.listed.extend(object.uid());
                self.update(object)
            }
            Event::Delete(object) => {
                self.known.remove(&object.uid().unwrap_or_default());
                Some(object)
            }
            Event::Init => {
                self.listed.clear();
                None
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let mut known = std::mem::take(&mut self.known);
                self.known = listed.into_iter().filter_map(|uid| known.remove_entry(&uid)).collect();
                None
            }
        }
    }

    fn update(&mut self, object: K) -> Option<K> {
        let digest = (self.digest)(&object);
        let before = self.known.insert(object.uid().unwrap_or_default(), digest);
        (before != Some(digest)).then_some(object)
    }
}

/// Returns a digest of what wakes a resource itself: its specification (`metadata.generation`), its deletion, its
/// finalizers, and the annotation by which a person has its queue looked at. The status is not part of it.
pub fn of_resource(job: &WatchedJob) -> u64 {
    let meta = job.meta();
    digest(&(
        meta.generation,
        meta.deletion_timestamp.as_ref().map(|time| time.0.as_millisecond()),
        job.finalizers(),
        job.annotations().get(names::LOOK_ANNOTATION),
    ))
}

/// Returns a digest of what wakes the resources that share a queue with this one: its specification, and the queue that
/// was created for it.
pub fn of_sharer(job: &WatchedJob) -> u64 {
    let made = || job.0.as_ref().ok()?.status.as_ref()?.resources.as_ref()?.queue_url.as_ref();
    digest(&(job.meta().generation, made()))
}

/// Returns a digest of the version of an object: every change wakes.
pub fn of_child<K: Resource>(child: &K) -> u64 {
    digest(&child.meta().resource_version)
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::tests::stored;
    use futures::stream;
    use serde_json::{Value, json};

    fn job(change: impl FnOnce(&mut Value)) -> WatchedJob {
        let mut job = stored(|_| ());
        change(&mut job);
        serde_json::from_value(job).unwrap()
    }

    async fn woken(events: Vec<Event<WatchedJob>>, digest: fn(&WatchedJob) -> u64) -> usize {
        changes(stream::iter(events.into_iter().map(Ok)), digest).count().await
    }

    #[tokio::test]
    async fn the_operators_own_write_of_the_status_does_not_wake_it() {
        let before = Event::Apply(job(|_| ()));
        let written = Event::Apply(job(|job| {
            job["status"] = json!({"phase": "Complete"});
            job["metadata"]["resourceVersion"] = json!("2");
        }));
        assert_eq!(woken(vec![before, written], of_resource).await, 1);
    }

    #[tokio::test]
    async fn what_a_person_or_kubernetes_changes_wakes() {
        for (name, change) in [
            ("specification", (|job| job["metadata"]["generation"] = json!(4)) as fn(&mut Value)),
            ("finalizer", |job| job["metadata"]["finalizers"] = json!([names::FINALIZER])),
            ("deletion", |job| job["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
            ("look", |job| job["metadata"]["annotations"] = json!({names::LOOK_ANNOTATION: "1"})),
            ("another resource of the name", |job| job["metadata"]["uid"] = json!("u-2")),
        ] {
            let events = vec![Event::Apply(job(|_| ())), Event::Apply(job(change))];
            assert_eq!(woken(events, of_resource).await, 2, "{name}");
        }
    }

    #[tokio::test]
    async fn a_deletion_wakes_whatever_was_seen_and_a_list_that_is_read_again_does_not() {
        let again = vec![
            Event::Init,
            Event::InitApply(job(|_| ())),
            Event::InitDone,
            Event::Init,
            Event::InitApply(job(|_| ())),
            Event::InitDone,
        ];
        assert_eq!(woken(again, of_resource).await, 1);
        assert_eq!(woken(vec![Event::Apply(job(|_| ())), Event::Delete(job(|_| ()))], of_sharer).await, 2);
        // It was deleted while nobody watched, and created again.
        let gone = vec![Event::Apply(job(|_| ())), Event::Init, Event::InitDone, Event::Apply(job(|_| ()))];
        assert_eq!(woken(gone, of_resource).await, 2);
    }

    #[tokio::test]
    async fn a_queue_that_was_created_wakes_those_who_name_it() {
        let made = Event::Apply(job(|job| job["status"] = json!({"resources": {"queueUrl": "http://q"}})));
        let busy = Event::Apply(job(|job| {
            job["status"] = json!({"resources": {"queueUrl": "http://q"}, "runsStarted": 2});
        }));
        assert_eq!(woken(vec![Event::Apply(job(|_| ())), made, busy], of_sharer).await, 2);
    }
}
