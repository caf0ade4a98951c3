//! The short tests: a whole job with one tree, and resources that the API server rejects. They need the cluster, the
//! services and the chart that `make test` starts, and run only on request.

use kind_tests::case::run;
use kind_tests::cases::{admission, chart, checking, credentials, lists, migration, neighbours};
use kind_tests::tree::SMALL;

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn bad_resources_are_refused() -> anyhow::Result<()> {
    run("bad resources are refused", admission::refuses_bad_resources).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn examples_are_accepted() -> anyhow::Result<()> {
    run("examples are accepted", admission::takes_the_examples).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn small_tree() -> anyhow::Result<()> {
    run("small tree, again, deleted", async |case| migration::main_job(case, SMALL).await).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn wrong_keys() -> anyhow::Result<()> {
    run("wrong keys from the start", credentials::wrong_from_the_start).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn verified_mirror() -> anyhow::Result<()> {
    run("mirrored and verified", checking::verified_mirror).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn reported_and_fed_back() -> anyhow::Result<()> {
    run("reported and fed back", lists::reported_and_fed_back).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn foreign_objects_stay() -> anyhow::Result<()> {
    run("foreign objects stay", neighbours::foreign_objects_stay).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn chart_rendered() -> anyhow::Result<()> {
    run("the chart is rendered", chart::rendered).await
}

#[tokio::test]
#[ignore = "needs the cluster of make test"]
async fn chart_tested() -> anyhow::Result<()> {
    run("helm test", chart::tested).await
}
