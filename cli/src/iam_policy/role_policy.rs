//! The policies around roles: that of the identity which assumes them, and their trust policies.

use serde_json::{Value, json};

use super::error::PolicyError;
use super::input::{Input, Side};
use super::policy::LANGUAGE;

/// Name of the policy of the identity on the command line.
pub const ASSUME_ROLE: &str = "assume-role";
/// Names of the trust policies on the command line.
pub const SOURCE_TRUST: &str = "source-trust";
pub const DESTINATION_TRUST: &str = "destination-trust";

/// Returns the policy by which workers and jobsender assume the roles of both sides, or none if no side has one.
/// Source: "Grant a user permissions to switch roles" in the IAM user guide.
pub fn role_policy(input: &Input) -> Option<Value> {
    let roles = [&input.source, &input.destination].map(|side| side.role.as_ref().map(|role| role.role_arn.clone()));
    let mut roles: Vec<String> = roles.into_iter().flatten().collect();
    roles.dedup();
    (!roles.is_empty()).then(|| {
        json!({
            "Version": LANGUAGE,
            "Statement": [{ "Sid": "AssumeRoles", "Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": roles }],
        })
    })
}

/// Returns the trust policy of the role of a side, which is called `name`. `identity` is the ARN of who assumes it.
/// Source: "Access to AWS accounts owned by third parties" in the IAM user guide.
pub fn trust_policy(name: &'static str, side: &Side, identity: Option<&str>) -> Result<Value, PolicyError> {
    let missing = |missing| PolicyError::Missing { part: name, missing };
    let role =
        side.role.as_ref().ok_or_else(|| missing("the job names no role in credentials.assumeRole of that side"))?;
    let identity = identity.ok_or_else(|| missing("the identity of the pods is unknown; give --identity"))?;
    let mut statement = json!({
        "Sid": "MigrationMayAssume",
        "Effect": "Allow",
        "Principal": { "AWS": identity },
        "Action": "sts:AssumeRole",
    });
    if let Some(id) = &role.external_id {
        statement["Condition"] = json!({ "StringEquals": { "sts:ExternalId": id } });
    }
    Ok(json!({ "Version": LANGUAGE, "Statement": [statement] }))
}

/// Says which request needs the policies around roles.
pub fn explain(name: &str) -> String {
    format!(
        "{name}\n    sts:AssumeRole: for assume role: workers and jobsender call STS as the identity of their pods, and \
         both the policy of that identity and the trust policy of the role have to allow it\n"
    )
}
