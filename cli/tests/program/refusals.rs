//! What can't be done is told at once, with the side and the reason.

use std::time::Duration;

use crate::support::{FROM, TO, World};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_and_names_are_told_at_once() {
    let world = World::start(Duration::ZERO).await;
    world.put("k", b"bytes".to_vec()).await;
    let right = world.manifest(FROM, TO);
    for (manifest, expected) in [
        (right.replace("SOURCE-secret", "wrong"), ["source", "SignatureDoesNotMatch"]),
        (right.replace("DEST,", "NOBODY,"), ["destination", "InvalidAccessKeyId"]),
        (world.manifest(FROM, "nowhere"), ["destination", "NoSuchBucket"]),
        (world.manifest("nowhere", TO), ["source", "NoSuchBucket"]),
    ] {
        world.write_manifest("wrong.yaml", &manifest);
        let end = world.run(&["run", "wrong.yaml"]).await;
        assert_eq!(end.code, Some(1), "{end:?}");
        assert!(expected.iter().all(|word| end.err.contains(word)), "{expected:?} in {}", end.err);
        assert!(!end.err.contains("secret"), "no key is shown: {}", end.err);
    }
    let end = world.run(&["run", "job.yaml"]).await;
    assert_eq!(end.code, Some(0), "{end:?}");
    world.assert_whole();
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_and_arguments_that_can_not_be_used_are_usage_errors() {
    let world = World::start(Duration::ZERO).await;
    let right = world.manifest(FROM, TO);
    world.write_manifest("suspended.yaml", &right.replace("spec:\n", "spec:\n  suspend: true\n"));
    world.write_manifest("unknown.yaml", &right.replace("spec:\n", "spec:\n  bukkets: 1\n"));
    for (arguments, expected) in [
        (&["run", "none.yaml"][..], "none.yaml"),
        (&["run", "suspended.yaml"], "suspend"),
        (&["run", "unknown.yaml"], "bukkets"),
        (&["copy", "./photos", "s3://to"], "local directories are not supported"),
        (&["failures"], "there are none"),
    ] {
        let end = world.run(arguments).await;
        assert_eq!(end.code, Some(2), "{arguments:?}: {end:?}");
        assert!(end.err.contains(expected), "{arguments:?}: {}", end.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_not_continued_with_other_sides() {
    let world = World::start(Duration::from_millis(20)).await;
    for number in 0..200 {
        world.put(&format!("{number:03}"), vec![1; 10]).await;
    }
    let mut run = world.program(&["run", "job.yaml"]);
    assert!(world.reaches(1, &mut run).await);
    run.kill().await.unwrap();
    world.write_manifest("moved.yaml", &world.manifest(FROM, TO).replacen("us-east-1", "us-west-2", 1));
    let end = world.run(&["run", "moved.yaml"]).await;
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(end.err.contains("another source or destination"), "{}", end.err);
    assert_eq!(world.run(&["run", "job.yaml"]).await.code, Some(0));
    world.assert_whole();
}
