//! The programs by themselves on real services and with broken connections. `make wire` starts their environment.

use kind_tests::wire::case::run;
use kind_tests::wire::cases::{bad_wire, event_rate, large, overwritten, plan, quirks, requests};
use kind_tests::wire::services::Kind::{MiniStack, Minio, VersityGw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn requests_counted() -> anyhow::Result<()> {
    run("requests_counted", (Minio, VersityGw), requests::requests_counted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn plan_is_what_the_run_does() -> anyhow::Result<()> {
    run("plan_is_what_the_run_does", (MiniStack, MiniStack), plan::plan_is_what_the_run_does).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn source_overwritten_under_way() -> anyhow::Result<()> {
    let body = overwritten::source_overwritten_under_way;
    run("source_overwritten_under_way", (VersityGw, VersityGw), body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn large_object_in_little_memory() -> anyhow::Result<()> {
    run("large_object_in_little_memory", (Minio, VersityGw), large::large_object_in_little_memory).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn huge_object_by_four_workers() -> anyhow::Result<()> {
    run("huge_object_by_four_workers", (Minio, VersityGw), large::huge_object_by_four_workers).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn bad_wire() -> anyhow::Result<()> {
    run("bad_wire", (MiniStack, MiniStack), bad_wire::bad_wire).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn services_and_proxies_with_quirks() -> anyhow::Result<()> {
    quirks::run_all().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make wire"]
async fn event_rate() -> anyhow::Result<()> {
    event_rate::run_all().await
}
