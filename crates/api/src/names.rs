//! Names that programs share: of the queue and the table that the operator creates for a job, and of an annotation.

/// The longest name of an SQS queue. Source: `CreateQueue` in the SQS API reference.
const QUEUE_NAME: usize = 80;
/// Length of the UIDs that an API server gives.
const UID: usize = 36;
/// The annotation of a resource by which a person has its queue looked at, though nothing else says that there are
/// messages: any other value than before does.
pub const LOOK_ANNOTATION: &str = "s3migration.dev/look";
/// What the names of all queues and tables begin with that are created for jobs.
pub const PREFIX: &str = "s3-migration-";
/// The suffix of the dead letter queue's name after the queue's name.
pub const DEAD_LETTERS: &str = "-dlq";

/// Returns the name of queue and table. The UID makes it unique; the job's name is for people, and is cut if it is too long.
pub fn queue_and_table(job: &str, uid: &str) -> String {
    format!("{}{uid}", before_uid(job, uid.len().min(UID)))
}

/// Returns what stands before the UID in the name of queue and table, whatever the UID is.
pub fn queue_and_table_prefix(job: &str) -> String {
    before_uid(job, UID)
}

fn before_uid(job: &str, uid: usize) -> String {
    let room = QUEUE_NAME - DEAD_LETTERS.len() - "s3-migration--".len() - uid;
    let end = (0..=job.len().min(room)).rev().find(|end| job.is_char_boundary(*end)).unwrap_or_default();
    let (name, _) = job.split_at(end);
    format!("{PREFIX}{}-", name.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_queue_and_table_fit_whatever_the_job_is_called() {
        let uid = "0c7e4c4e-5d5e-4a3c-9d0a-3f2f1e0d9c8b";
        assert_eq!(queue_and_table("photos", uid), format!("s3-migration-photos-{uid}"));
        let long = queue_and_table(&"a".repeat(40), uid);
        assert!(long.len() + DEAD_LETTERS.len() <= QUEUE_NAME && long.ends_with(uid));
        assert!(!queue_and_table(&format!("{}-b", "a".repeat(25)), uid).contains("a--"));
    }

    #[test]
    fn the_name_before_the_uid_is_that_of_any_uid() {
        let uid = "0c7e4c4e-5d5e-4a3c-9d0a-3f2f1e0d9c8b";
        for job in ["photos".to_owned(), "a".repeat(40), format!("{}-b", "a".repeat(25))] {
            assert_eq!(format!("{}{uid}", queue_and_table_prefix(&job)), queue_and_table(&job, uid));
        }
    }
}
