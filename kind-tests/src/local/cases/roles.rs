//! Roles of both sides, on a service that checks their trust and their policies.

use std::ffi::OsStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::local::case::{Case, Ended, Place, bucket};
use crate::local::job::{Side, manifest};
use crate::local::objects;
use crate::local::permissions::ACCOUNT;
use crate::services::{create_role_at, create_user_at};
use crate::tree::upload::put_all;
use crate::wire::services::{Kind, Server};

const LIMIT: Duration = Duration::from_mins(2);
/// Name of the job, and of its file.
const JOB: (&str, &str) = ("roles", "roles.yaml");
/// User who may assume the roles, and nothing else.
const IDENTITY: &str = "workers";
/// The external ID that both roles ask for.
const EXTERNAL_ID: &str = "media-copy";
const ROLES: [&str; 2] = ["reader", "writer"];
const FROM: &str = "media";
const TO: &str = "media-copy";

/// A user that may do nothing but assume two roles copies a bucket; roles, trust and user have exactly the policies that
/// are printed. Without the external ID the run ends with the words of STS.
pub async fn roles_are_assumed(case: &mut Case) -> anyhow::Result<()> {
    let service = case.server(Kind::CheckedMiniStack, "service").await?;
    bucket(&service, FROM).await?;
    bucket(&service, TO).await?;
    put_all(&service.s3(), FROM, &objects::plain()).await?;
    write(case, &service, Some(EXTERNAL_ID))?;
    let may_assume = print(case, &["assume-role"]).await?;
    let key = create_user_at(&service.endpoint(), IDENTITY, &may_assume)?;
    let identity = format!("arn:aws:iam::{ACCOUNT}:user/{IDENTITY}");
    for (side, role) in ["source", "destination"].into_iter().zip(ROLES) {
        let trust = print(case, &[&format!("{side}-trust"), "--identity", &identity]).await?;
        let policy = print(case, &[side]).await?;
        create_role_at(&service.endpoint(), role, &trust, &policy)?;
    }
    let endpoint = service.endpoint();
    let variables = [
        ("AWS_ACCESS_KEY_ID", OsStr::new(&key.id)),
        ("AWS_SECRET_ACCESS_KEY", OsStr::new(&key.secret)),
        ("AWS_ENDPOINT_URL_STS", OsStr::new(&endpoint)),
    ];
    write(case, &service, None)?;
    let refused = run(case, &variables, "3s").await?;
    let (told, role) = (refused.stdout + &refused.stderr, format!("arn:aws:iam::{ACCOUNT}:role/reader"));
    ensure!(refused.code != Some(0), "the run does not need the external ID");
    for words in ["sts:AssumeRole", "is not authorized", "trust policy", &role] {
        ensure!(told.contains(words), "the refusal lacks {words}: {told}");
    }
    write(case, &service, Some(EXTERNAL_ID))?;
    run(case, &variables, "20s").await?.expect(0)?;
    let checked = case.check("roles", Place::new(&service, FROM), Place::new(&service, TO), &[])?;
    case.note(format!("{checked}; without the external ID: exit {:?}", refused.code));
    Ok(())
}

/// Writes the job. It names no keys: the program takes the user's from the environment.
fn write(case: &Case, service: &Server, external_id: Option<&str>) -> anyhow::Result<()> {
    let endpoint = service.endpoint();
    let side = |name| Side::new(&endpoint, ("none", "none"), name);
    let role = |name: &str| {
        let mut role = json!({"roleArn": format!("arn:aws:iam::{ACCOUNT}:role/{name}")});
        if let Some(id) = external_id {
            role["externalId"] = json!(id);
        }
        json!({"credentials": {"assumeRole": role}})
    };
    let fields = json!({"source": role(ROLES[0]), "destination": role(ROLES[1])});
    case.write(JOB.1, &manifest(JOB.0, &side(FROM), &side(TO), fields)?).map(drop)
}

async fn run(case: &Case, variables: &[(&str, &OsStr)], patience: &str) -> anyhow::Result<Ended> {
    case.s3migrate_with(&["run", JOB.1, "--json", "--patience", patience], variables, LIMIT).await
}

/// Returns a policy that `s3migrate iam-policy` prints.
async fn print(case: &Case, arguments: &[&str]) -> anyhow::Result<Value> {
    let printed = case.s3migrate(&[&["iam-policy", "--file", JOB.1], arguments].concat(), LIMIT).await?;
    printed.expect(0)?;
    serde_json::from_str(&printed.stdout).with_context(|| format!("failed to read the policy {}", arguments[0]))
}
