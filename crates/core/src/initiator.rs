//! Decides who owns a multipart upload that no record names.

/// The owner of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This principal, under the same session name.
    Ours,
    /// Possibly another process of ours; only a person can tell.
    Unclear,
    /// Somebody else.
    Foreign,
}

/// Decides who owns an upload by comparing its initiator, as the service names it, with that of one of our own uploads.
///
/// | our initiator | the upload's initiator | owner |
/// |---|---|---|
/// | x | x | ours |
/// | a session of a role | another session of that role | unclear: Pod Identity and node roles choose session names freely |
/// | unknown, or any | unknown | unclear |
/// | unknown | any | unclear |
/// | x | y | foreign |
///
/// Source: `ListParts` in the S3 API reference, member `Initiator`; "IAM identifiers" in the IAM user guide, for
/// sessions.
pub fn owner(ours: Option<&str>, theirs: Option<&str>) -> Owner {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return Owner::Unclear };
    if ours == theirs {
        Owner::Ours
    } else if role(ours).is_some() && role(ours) == role(theirs) {
        Owner::Unclear
    } else {
        Owner::Foreign
    }
}

/// Returns the role of a session: `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION` without the session.
fn role(arn: &str) -> Option<&str> {
    let (role, _) = arn.rsplit_once('/')?;
    role.contains(":assumed-role/").then_some(role)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_whose_the_table_says() {
        let session = |role: &str, name: &str| format!("arn:aws:sts::123456789012:assumed-role/{role}/{name}");
        let (own, pod, node) = (session("mover", "s3-migration-u"), session("mover", "eks-pod"), session("other", "x"));
        let user = "arn:aws:iam::123456789012:user/mover";
        for (ours, theirs, expected) in [
            (Some(own.as_str()), Some(own.as_str()), Owner::Ours),
            (Some(&own), Some(&pod), Owner::Unclear),
            (Some(&own), Some(&node), Owner::Foreign),
            (Some(&own), None, Owner::Unclear),
            (None, Some(&own), Owner::Unclear),
            (None, None, Owner::Unclear),
            (Some(user), Some(user), Owner::Ours),
            (Some(user), Some("arn:aws:iam::123456789012:user/else"), Owner::Foreign),
            (Some("a/b"), Some("a/c"), Owner::Foreign),
        ] {
            assert_eq!(owner(ours, theirs), expected, "{ours:?} {theirs:?}");
        }
    }
}
