//! The long tests. `make e2e` starts their environment.

use kind_tests::case::run;
use kind_tests::cases::{
    admission, alerts, chart, checking, cluster_commands, congestion, crash_recovery, credentials, deletion, editing,
    events, history, kills, leader, limits, lists, migration, namespaces, neighbours, page, panels, pod_settings,
    policy, preflight, prerequisites, races, refusals, scaling, upgrade,
};
use kind_tests::tree::FULL;

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn a_main_job() -> anyhow::Result<()> {
    run("full tree, again, deleted", async |case| migration::main_job(case, FULL).await).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn b_new_objects() -> anyhow::Result<()> {
    run("new and changed objects", migration::third_run_moves_what_is_new).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn c_key_too_long() -> anyhow::Result<()> {
    run("key too long", migration::key_too_long).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn d_worker_killed() -> anyhow::Result<()> {
    run("worker killed", async |case| crash_recovery::worker_in_a_large_object(case, FULL).await).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn e_operator_killed() -> anyhow::Result<()> {
    run("operator killed", crash_recovery::operator).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn f_wrong_keys() -> anyhow::Result<()> {
    run("wrong keys from the start", credentials::wrong_from_the_start).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn g_keys_break() -> anyhow::Result<()> {
    run("keys break in the middle", credentials::broken_in_the_middle).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn h_bad_resources() -> anyhow::Result<()> {
    run("bad resources are refused", admission::refuses_bad_resources).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn h_pod_settings() -> anyhow::Result<()> {
    run("pods with settings of their own", pod_settings::run_with_settings).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn i_examples() -> anyhow::Result<()> {
    run("examples are accepted", admission::takes_the_examples).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn i_imported_configurations() -> anyhow::Result<()> {
    run("imported configurations are accepted", admission::takes_imported_configurations).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn j_no_bucket() -> anyhow::Result<()> {
    run("bucket missing", prerequisites::buckets).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn j_write_denied() -> anyhow::Result<()> {
    run("write denied", preflight::write_denied).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn k_no_secret() -> anyhow::Result<()> {
    run("secret missing", prerequisites::secrets).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn l_no_queue() -> anyhow::Result<()> {
    run("queue missing", prerequisites::queue).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn m_open_upload() -> anyhow::Result<()> {
    run("deleted with an open upload", crash_recovery::deleted_with_an_open_upload).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn n_retain() -> anyhow::Result<()> {
    run("deletion policy Retain", deletion::retains_queue_and_table).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn o_no_keys_left() -> anyhow::Result<()> {
    run("deleted without its Secret", deletion::ends_without_keys).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn p_verified_mirror() -> anyhow::Result<()> {
    run("mirrored and verified", checking::verified_mirror).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn q_reported_and_fed_back() -> anyhow::Result<()> {
    run("reported and fed back", lists::reported_and_fed_back).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn r_foreign_objects_stay() -> anyhow::Result<()> {
    run("foreign objects stay", neighbours::foreign_objects_stay).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn s_ways_out_of_a_taken_name() -> anyhow::Result<()> {
    run("ways out of a taken name", neighbours::ways_out).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn t_made_again() -> anyhow::Result<()> {
    run("made again at once", neighbours::made_again).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn u_between_look_and_write() -> anyhow::Result<()> {
    run("between look and write", races::between_look_and_write).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn v_no_service_account() -> anyhow::Result<()> {
    run("no service account", refusals::service_account).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn w_quotas() -> anyhow::Result<()> {
    run("quotas", refusals::quotas).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn x_scan_evicted() -> anyhow::Result<()> {
    run("scan evicted", refusals::scan_evicted).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn y_sides_edited_under_way() -> anyhow::Result<()> {
    run("sides edited under way", editing::sides_under_way).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn y_sides_mended_under_way() -> anyhow::Result<()> {
    run("sides mended under way", editing::mended_under_way).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_one_queue_two_jobs() -> anyhow::Result<()> {
    run("one queue, two jobs", editing::one_queue).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_steered_by_the_program() -> anyhow::Result<()> {
    run("steered by the program", cluster_commands::steered).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_limit_held() -> anyhow::Result<()> {
    run("limit held", limits::hold_whatever_happens).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_congestion_control() -> anyhow::Result<()> {
    run("congestion control refused and allowed", congestion::refused_and_allowed).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_operator_scales() -> anyhow::Result<()> {
    run("the operator scales", scaling::operator_scales).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zk_keda_scales() -> anyhow::Result<()> {
    run("KEDA scales", scaling::keda_scales).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zk_hpa_scales() -> anyhow::Result<()> {
    run("a HorizontalPodAutoscaler scales", scaling::hpa_scales).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zk_drivers_change() -> anyhow::Result<()> {
    run("drivers change twice under load", scaling::drivers_change).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zk_keda_gone() -> anyhow::Result<()> {
    run("KEDA is gone", scaling::keda_gone).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zl_leader_frozen() -> anyhow::Result<()> {
    run("leader killed and frozen", leader::takes_over).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_events_followed() -> anyhow::Result<()> {
    run("events followed", events::followed).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zz_thirty_kills() -> anyhow::Result<()> {
    run("30 kills and a drain", kills::random).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_chart_rendered() -> anyhow::Result<()> {
    run("the chart is rendered", chart::rendered).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn z_chart_tested() -> anyhow::Result<()> {
    run("helm test", chart::tested).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zm_upgrade_and_rollback() -> anyhow::Result<()> {
    run("upgraded and rolled back during a run", upgrade::upgraded_and_rolled_back).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zh_history_removed() -> anyhow::Result<()> {
    run("history removed", history::removed).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zh_namespace_deleted() -> anyhow::Result<()> {
    run("namespace deleted", namespaces::deleted).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zh_strict_policy() -> anyhow::Result<()> {
    run("strict policy", policy::strict).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zp_panels_have_data() -> anyhow::Result<()> {
    run("panels have data", panels::have_data).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zp_alerts_fire() -> anyhow::Result<()> {
    run("alerts fire", alerts::fire).await
}

#[tokio::test]
#[ignore = "needs the cluster of make e2e"]
async fn zp_page_shown() -> anyhow::Result<()> {
    run("page shown", page::shown).await
}
