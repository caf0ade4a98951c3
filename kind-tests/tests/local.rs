//! The program `s3migrate` by itself on real services. `make local` installs their servers.

use kind_tests::local::case::run;
use kind_tests::local::cases::{
    examples, figures, imported, killed, policies, prefixes, processes, reach, roles, services,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn killed_50_times() -> anyhow::Result<()> {
    run("killed_50_times", killed::killed_50_times).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn copies_between_services() -> anyhow::Result<()> {
    run("copies_between_services", services::copies_between_services).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn buckets_in_host_names() -> anyhow::Result<()> {
    run("buckets_in_host_names", reach::buckets_in_host_names).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn own_authority() -> anyhow::Result<()> {
    run("own_authority", reach::own_authority).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn anonymous_source() -> anyhow::Result<()> {
    run("anonymous_source", reach::anonymous_source).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn prefixes_as_aws_s3_sync() -> anyhow::Result<()> {
    run("prefixes_as_aws_s3_sync", prefixes::prefixes_as_aws_s3_sync).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn prefixes_as_strings() -> anyhow::Result<()> {
    run("prefixes_as_strings", prefixes::prefixes_as_strings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn examples_run_unchanged() -> anyhow::Result<()> {
    run("examples_run_unchanged", examples::examples_run_unchanged).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn two_processes() -> anyhow::Result<()> {
    run("two_processes", processes::two_processes).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn memory_of_a_run() -> anyhow::Result<()> {
    run("memory_of_a_run", figures::memory_of_a_run).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn memory_of_a_plan() -> anyhow::Result<()> {
    run("memory_of_a_plan", figures::memory_of_a_plan).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn size_of_the_state() -> anyhow::Result<()> {
    run("size_of_the_state", figures::size_of_the_state).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn time_of_help() -> anyhow::Result<()> {
    run("time_of_help", figures::time_of_help).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn policies_are_enforced() -> anyhow::Result<()> {
    run("policies_are_enforced", policies::policies_are_enforced).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn service_policies_are_enforced() -> anyhow::Result<()> {
    run("service_policies_are_enforced", policies::services::service_policies_are_enforced).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn imported_configurations_run() -> anyhow::Result<()> {
    run("imported_configurations_run", imported::imported_configurations_run).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the servers of make local"]
async fn roles_are_assumed() -> anyhow::Result<()> {
    run("roles_are_assumed", roles::roles_are_assumed).await
}
