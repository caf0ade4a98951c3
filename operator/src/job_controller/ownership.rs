//! Which objects belong to a resource.
//!
//! The names of children are predictable, so somebody else may have used them first. An object that the resource's own UID
//! does not control is never written, scaled, adopted or deleted. An object is controlled by the owner reference with
//! `controller: true`, of which Kubernetes allows one.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use migration_api::{MigrationJob, Reason};

use crate::names;
use crate::problem::Problem;

/// The resource that owns children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    /// Its UID: a resource that is deleted and created again under its name is another owner.
    pub uid: String,
}

impl Owner {
    /// Returns the resource as an owner.
    pub fn of(job: &MigrationJob) -> Self {
        Self { name: job.name_any(), uid: job.uid().unwrap_or_default() }
    }
}

/// Whose an object is, for a resource that needs its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The resource controls it.
    Ours,
    /// Nobody controls it, and its annotation names the resource's UID: it may be adopted.
    Adoptable,
    /// It is being deleted, whoever it belongs to.
    Terminating,
    /// An earlier resource of the same name controls it: Kubernetes' garbage collector deletes it.
    Earlier,
    /// It belongs to somebody else, or to nobody.
    Foreign,
}

/// Returns whose an object is.
///
/// | being deleted | controlled by | annotation names the UID | ownership |
/// |---|---|---|---|
/// | yes | anybody | | terminating |
/// | no | this UID | | ours |
/// | no | a `MigrationJob` of this name with another UID | | earlier |
/// | no | somebody else | | foreign |
/// | no | nobody | yes | adoptable |
/// | no | nobody | no | foreign |
pub fn ownership(meta: &ObjectMeta, owner: &Owner) -> Ownership {
    if meta.deletion_timestamp.is_some() {
        return Ownership::Terminating;
    }
    match controller(meta) {
        Some(found) if found.uid == owner.uid => Ownership::Ours,
        Some(found) if is_migration_job(found) && found.name == owner.name => Ownership::Earlier,
        None if names_uid(meta, &owner.uid) => Ownership::Adoptable,
        Some(_) | None => Ownership::Foreign,
    }
}

/// Returns true if a UID controls an object, also while the object is being deleted.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    !uid.is_empty() && controller(meta).is_some_and(|found| found.uid == uid)
}

/// Returns true if a Job belongs to a resource: the resource controls it, or the resource's `CronJob`, whose UID is
/// `cron_job`, created it. Older releases of `kubectl create job --from` name the `CronJob` as owner without making it the
/// controller.
pub fn is_job_of(meta: &ObjectMeta, owner: &Owner, cron_job: Option<&str>) -> bool {
    let of_cron_job = |uid: &str| {
        let named = || meta.owner_references.iter().flatten().any(|found| found.uid == uid);
        is_controlled_by(meta, uid) || (controller(meta).is_none() && named())
    };
    is_controlled_by(meta, &owner.uid) || cron_job.is_some_and(of_cron_job)
}

/// Returns the owner that controls an object.
fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|found| found.controller == Some(true))
}

fn is_migration_job(found: &OwnerReference) -> bool {
    // Any version of the group.
    let group = found.api_version.split('/').next().unwrap_or_default();
    group == MigrationJob::group(&()) && found.kind == MigrationJob::kind(&())
}

fn names_uid(meta: &ObjectMeta, uid: &str) -> bool {
    let value = meta.annotations.as_ref().and_then(|annotations| annotations.get(names::ADOPTION_ANNOTATION));
    !uid.is_empty() && value.is_some_and(|value| value == uid)
}

/// An object that has the name of a child and must be left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameConflict {
    kind: String,
    name: String,
    ownership: Ownership,
    /// Kind and name of its controller.
    controller: Option<String>,
    finalizers: Vec<String>,
    /// UID of the resource that needs its name.
    uid: String,
}

impl NameConflict {
    /// Describes an object that is not the resource's.
    pub fn new<K: Resource<DynamicType = ()>>(found: &K, ownership: Ownership, owner: &Owner) -> Self {
        Self {
            kind: K::kind(&()).into_owned(),
            name: found.name_any(),
            ownership,
            controller: controller(found.meta()).map(|found| format!("{} {}", found.kind, found.name)),
            finalizers: found.finalizers().to_vec(),
            uid: owner.uid.clone(),
        }
    }

    /// Returns true if the object is deleted without anybody's doing.
    pub fn is_going(&self) -> bool {
        matches!(self.ownership, Ownership::Terminating | Ownership::Earlier)
    }

    /// Returns the problem to report.
    pub fn problem(&self) -> Problem {
        let reason = if self.is_going() { Reason::NameNotFreeYet } else { Reason::NameTaken };
        Problem::new(reason, self.to_string())
    }
}

impl fmt::Display for NameConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, ownership, controller, finalizers, uid } = self;
        match ownership {
            Ownership::Terminating if finalizers.is_empty() => {
                write!(f, "{kind} {name} is being deleted; the job continues by itself when it is gone")
            }
            Ownership::Terminating => write!(
                f,
                "{kind} {name} is being deleted and held by its finalizers ({}); the job continues by itself when it is gone",
                finalizers.join(", ")
            ),
            Ownership::Earlier => write!(
                f,
                "{kind} {name} belongs to an earlier MigrationJob of this name and is removed by Kubernetes; the job \
                 continues by itself when it is gone"
            ),
            Ownership::Ours | Ownership::Adoptable | Ownership::Foreign => {
                let (whose, first) = match controller {
                    Some(controller) => (format!("{controller} controls it"), "remove that owner reference and "),
                    None => ("nothing controls it".to_owned(), ""),
                };
                write!(
                    f,
                    "{kind} {name} exists and does not belong to this MigrationJob ({whose}): it is left unchanged. Delete or \
                     rename it; or, to let this MigrationJob adopt it, as after a restore, {first}annotate it with {}={uid}",
                    names::ADOPTION_ANNOTATION
                )
            }
        }
    }
}

/// The object that has the name of a child.
#[derive(Clone, Debug, Default)]
pub enum Child<K> {
    /// Nothing.
    #[default]
    Absent,
    /// The child.
    Ours(K),
    /// An object that a person released to the resource, which does not control it yet.
    Adoptable(K),
    /// An object that must be left alone.
    Conflict(NameConflict),
}

impl<K: Resource<DynamicType = ()>> Child<K> {
    /// Classifies the object that was found under the name.
    pub fn of(found: Option<K>, owner: &Owner) -> Self {
        let Some(found) = found else { return Self::Absent };
        match ownership(found.meta(), owner) {
            Ownership::Ours => Self::Ours(found),
            Ownership::Adoptable => Self::Adoptable(found),
            ownership @ (Ownership::Terminating | Ownership::Earlier | Ownership::Foreign) => {
                Self::Conflict(NameConflict::new(&found, ownership, owner))
            }
        }
    }

    /// Returns the child, if it exists and is the resource's.
    pub fn ours(&self) -> Option<&K> {
        match self {
            Self::Ours(child) => Some(child),
            Self::Absent | Self::Adoptable(_) | Self::Conflict(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;

    pub(crate) fn owner() -> Owner {
        Owner { name: "photos".into(), uid: "u-1".into() }
    }

    fn meta(yaml: &str) -> ObjectMeta {
        serde_yaml::from_str(yaml).unwrap()
    }

    fn controlled(kind: &str, name: &str, uid: &str) -> String {
        let version = if kind == "MigrationJob" { "s3migration.dev/v1alpha1" } else { "apps/v1" };
        format!(
            "ownerReferences: [{{apiVersion: {version}, kind: {kind}, name: {name}, uid: {uid}, controller: true}}]"
        )
    }

    #[test]
    fn an_object_belongs_as_the_table_says() {
        let given = "annotations: {s3migration.dev/adoptable-by: u-1}";
        let going = "deletionTimestamp: '2026-01-01T00:00:00Z'";
        let named =
            "ownerReferences: [{apiVersion: s3migration.dev/v1alpha1, kind: MigrationJob, name: photos, uid: u-1}]";
        let ours = controlled("MigrationJob", "photos", "u-1");
        let earlier = controlled("MigrationJob", "photos", "u-0");
        let other = controlled("MigrationJob", "films", "u-2");
        let set = controlled("ReplicaSet", "photos", "u-3");
        for (yaml, expected) in [
            ("{}".to_owned(), Ownership::Foreign),
            (ours.clone(), Ownership::Ours),
            (earlier.clone(), Ownership::Earlier),
            (other, Ownership::Foreign),
            (set.clone(), Ownership::Foreign),
            (named.to_owned(), Ownership::Foreign),
            (given.to_owned(), Ownership::Adoptable),
            (given.replace("u-1", "u-0"), Ownership::Foreign),
            (format!("{set}\n{given}"), Ownership::Foreign),
            (format!("{earlier}\n{given}"), Ownership::Earlier),
            (format!("{ours}\n{going}"), Ownership::Terminating),
            (format!("{given}\n{going}"), Ownership::Terminating),
            // Labels are for finding, and anybody can write them.
            ("labels: {s3migration.dev/job: photos}".to_owned(), Ownership::Foreign),
        ] {
            assert_eq!(ownership(&meta(&yaml), &owner()), expected, "{yaml}");
        }
        let nobody = Owner { name: "photos".into(), uid: String::new() };
        assert_eq!(ownership(&meta("annotations: {s3migration.dev/adoptable-by: ''}"), &nobody), Ownership::Foreign);
    }

    #[test]
    fn jobs_of_the_schedule_and_by_hand_belong_to_the_resource() {
        let is = |yaml: &str| is_job_of(&meta(yaml), &owner(), Some("c-1"));
        assert!(is(&controlled("MigrationJob", "photos", "u-1")));
        assert!(is(&controlled("CronJob", "photos-jobsender", "c-1")));
        assert!(is(&controlled("CronJob", "photos-jobsender", "c-1").replace(", controller: true", "")));
        assert!(!is(&controlled("CronJob", "photos-jobsender", "c-2")));
        assert!(!is("labels: {s3migration.dev/job: photos}"));
        let of_another = "ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: x, controller: true}, {apiVersion: \
                          batch/v1, kind: CronJob, name: photos-jobsender, uid: c-1}]";
        assert!(!is(of_another));
        assert!(!is_job_of(&meta("{}"), &owner(), None));
    }

    #[test]
    fn the_condition_names_the_object_and_the_ways_out() {
        let problem_of = |yaml: &str| {
            let found = Deployment { metadata: meta(&format!("name: photos-worker\n{yaml}")), ..Deployment::default() };
            match Child::of(Some(found), &owner()) {
                Child::Conflict(conflict) => conflict.problem(),
                other => panic!("{other:?}"),
            }
        };
        let problem = problem_of("");
        assert_eq!(problem.reason, Reason::NameTaken);
        for part in
            ["Deployment photos-worker", "nothing controls it", "Delete or rename", "s3migration.dev/adoptable-by=u-1"]
        {
            assert!(problem.message.contains(part), "{part:?} is not in {}", problem.message);
        }
        let problem = problem_of(&controlled("Rollout", "films", "x"));
        assert!(problem.message.contains("Rollout films controls it"), "{}", problem.message);
        assert!(problem.message.contains("remove that owner reference and annotate"), "{}", problem.message);
        let problem = problem_of("deletionTimestamp: '2026-01-01T00:00:00Z'\nfinalizers: [a/b]");
        assert_eq!(problem.reason, Reason::NameNotFreeYet);
        assert!(problem.message.contains("held by its finalizers (a/b)"), "{}", problem.message);
        assert_eq!(problem_of(&controlled("MigrationJob", "photos", "u-0")).reason, Reason::NameNotFreeYet);
    }
}
