//! What a follower of the board has not been sent yet.

use sha2::{Digest, Sha256};

use crate::board::{Board, Seen};
use crate::view::JobName;

/// Follows the list of the jobs of a namespace, or of all.
pub fn jobs(board: Board, namespace: Option<String>) -> impl FnMut() -> Seen + Send + 'static {
    // A digest: lists are long, and each stream would keep one.
    let mut sent: Option<[u8; 32]> = None;
    move || {
        let list = board.list(namespace.as_deref());
        let digest: [u8; 32] = Sha256::digest(&list).into();
        if sent.replace(digest) == Some(digest) { Seen::Same } else { Seen::News(list) }
    }
}

/// Follows a job: first with its series, and so again when its next run begins one.
pub fn job(board: Board, name: JobName) -> impl FnMut() -> Seen + Send + 'static {
    let mut sent = None;
    move || board.news(&name, &mut sent)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::board::tests::view;
    use crate::view::{JobView, Phase};

    fn read(seen: &Seen) -> Value {
        let Seen::News(text) = seen else { panic!("{seen:?}") };
        serde_json::from_str(text).unwrap()
    }

    fn name() -> JobName {
        JobName { namespace: "n".into(), name: "j".into() }
    }

    #[test]
    fn a_follower_of_a_job_gets_what_it_lacks_and_nothing_twice() {
        let board = Board::new(0);
        board.set(vec![view("n", "j", 1)], 1_000);
        board.set(vec![view("n", "j", 2)], 2_000);
        let mut look = job(board.clone(), name());
        let first = read(&look());
        assert_eq!((&first["series"]["done"], &first["job"]["run"]), (&json!([1, 2]), &json!("r")));
        assert_eq!(look(), Seen::Same);
        board.set(vec![view("n", "j", 2)], 3_000);
        let still = read(&look());
        assert_eq!(
            (&still["point"]["at"], still.get("job")),
            (&json!([3_000]), None),
            "time goes on, and nothing else"
        );
        board.set(vec![view("n", "j", 3)], 4_000);
        let next = read(&look());
        assert_eq!((&next["point"]["done"], &next["job"]["numbers"]["done"]), (&json!([3]), &json!(3)));
        assert_eq!(next.get("series"), None, "it has it");
        let ended = || JobView { phase: Phase::Complete, ..view("n", "j", 3) };
        board.set(vec![ended()], 5_000);
        assert_eq!(read(&look())["job"]["phase"], "Complete");
        board.set(vec![ended(), view("n", "other", 1)], 6_000);
        assert_eq!(look(), Seen::Same, "another job has changed");
        board.set(vec![], 7_000);
        assert_eq!(look(), Seen::Gone);
    }

    #[test]
    fn the_next_run_and_the_next_process_begin_anew() {
        let board = Board::new(0);
        board.set(vec![view("n", "j", 1)], 1_000);
        let mut look = job(board.clone(), name());
        let first = read(&look());
        board.set(vec![JobView { run: Some("next".into()), ..view("n", "j", 0) }], 2_000);
        let next = read(&look());
        assert_eq!((&next["series"]["at"], &next["since"]), (&json!([2_000]), &json!(2_000)));
        assert_eq!(next["epoch"], first["epoch"]);
        let restarted = Board::new(0);
        restarted.set(vec![view("n", "j", 1)], 1_000);
        let after = read(&job(restarted, name())());
        assert_ne!(after["epoch"], first["epoch"], "numbers of another process are told apart, at the same time too");
    }

    #[test]
    fn a_follower_of_the_list_gets_it_when_it_has_changed() {
        let board = Board::new(0);
        let mut look = jobs(board.clone(), Some("n".into()));
        assert_eq!(read(&look())["isComplete"], false);
        board.set(vec![view("n", "j", 1)], 1_000);
        assert_eq!(read(&look())["jobs"][0]["name"], "j");
        board.set(vec![view("n", "j", 1), view("other", "j", 1)], 2_000);
        assert_eq!(look(), Seen::Same, "of another namespace");
    }
}
