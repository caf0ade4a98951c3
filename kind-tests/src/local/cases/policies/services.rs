//! The policies of queue, ledger and operator, enforced by the services.

use anyhow::ensure;
use futures::StreamExt as _;
use migration_core::permissions::Part;

use super::AT_ONCE;
use super::expected::SERVICES;
use super::judge::{Findings, compare, needing};
use crate::local::case::{Case, bucket, keys};
use crate::local::permissions::Grant;
use crate::tree::upload::put_all;
use crate::wire::services::{Kind, Server};
use operated::{FROM, Operated, objects};
use play::Stop;

mod operated;
mod play;

/// A job is operated, sent, worked off, edited and deleted by users that have exactly the policies that are printed for
/// operator, queue and ledger; each request is allowed, each action that is allowed was needed or has a reason, and
/// without any one action the job fails or has a reason not to.
pub async fn service_policies_are_enforced(case: &mut Case) -> anyhow::Result<()> {
    let server = case.server(Kind::CheckedMiniStack, "services").await?;
    bucket(&server, FROM).await?;
    put_all(&server.s3(), FROM, &objects()).await?;
    let mut found = Findings::default();
    let mut lacking = Vec::new();
    for grant in run_whole(case, &server, &mut found).await? {
        let name = format!("lacking-{}", lacking.len());
        lacking.push((operated::proxies(case, &server, &name).await?, name, grant));
    }
    let (whole_case, server) = (&*case, &server);
    let run = |(proxies, name, lacks): ([String; 2], String, (Part, Grant))| async move {
        Operated::start(whole_case, server, &name, proxies, Some(lacks)).await?.play_without().await
    };
    let ends: Vec<anyhow::Result<String>> = futures::stream::iter(lacking).map(run).buffered(AT_ONCE).collect().await;
    found.add(ends);
    found.report(case)
}

/// Plays a job with all actions, and compares the requests with the policies. Returns all that these allow.
async fn run_whole(case: &mut Case, server: &Server, found: &mut Findings) -> anyhow::Result<Vec<(Part, Grant)>> {
    let proxies = operated::proxies(case, server, "whole").await?;
    let whole = Operated::start(case, server, "whole", proxies, None).await?;
    match whole.play().await {
        Ok(()) => {}
        Err(Stop::Denied) => anyhow::bail!("a request was denied: {}", whole.told()),
        Err(Stop::Failed(error)) => return Err(error.context(whole.told())),
    }
    let copied = keys(server, &whole.to()).await?;
    ensure!(copied == ["large", "small"], "the copies are {copied:?}");
    let mut allowed = Vec::new();
    for of in SERVICES {
        let observed = [whole.observe(of).await?];
        found.notes.push(format!("{} requests with the policy {}", observed[0].events.len(), of.as_str()));
        found.wrong.extend(compare(of, &observed)?);
        allowed.extend(needing(of, &observed)?.into_keys().map(|grant| (of, grant)));
    }
    Ok(allowed)
}
