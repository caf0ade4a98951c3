//! Writes Amazon Resource Names.

pub use migration_core::events::{bucket_arn as bucket, partition};

/// Returns the ARN of something in an account and region.
pub fn of(service: &str, partition: &str, region: &str, account: Option<&str>, resource: &str) -> String {
    format!("arn:{partition}:{service}:{region}:{}:{resource}", account.unwrap_or("*"))
}

/// Returns the ARN of the objects whose keys begin with a prefix.
pub fn objects(partition: &str, bucket: &str, prefix: &str) -> String {
    format!("arn:{partition}:s3:::{bucket}/{}*", literal(prefix))
}

/// Returns the ARN of a KMS key, given by its ID, its ARN, or an alias, which stands for any key.
pub fn key(partition: &str, region: &str, account: Option<&str>, key: &str) -> String {
    match (alias(key), key.strip_prefix("arn:")) {
        (Some(_), Some(arn)) => {
            // partition:kms:region:account:alias/name
            let place: Vec<_> = arn.split(':').take(4).collect();
            format!("arn:{}:key/*", place.join(":"))
        }
        (Some(_), None) => of("kms", partition, region, account, "key/*"),
        (None, Some(_)) => key.to_owned(),
        (None, None) => of("kms", partition, region, account, &format!("key/{key}")),
    }
}

/// Returns the alias that a KMS key is given by.
pub fn alias(key: &str) -> Option<&str> {
    let name = key.rsplit(':').next()?;
    name.starts_with("alias/").then_some(name)
}

/// Escapes what has a meaning in the resource of a policy.
/// Source: "IAM policy elements: Variables and tags", section on special characters, in the IAM user guide.
fn literal(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut literal, c| {
        match c {
            '*' | '?' | '$' => literal.extend(['$', '{', c, '}']),
            c => literal.push(c),
        }
        literal
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_tell_their_partition() {
        for (region, expected) in
            [("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-east-1", "aws")]
        {
            assert_eq!(partition(region), expected);
        }
    }

    #[test]
    fn prefixes_mean_themselves() {
        assert_eq!(objects("aws", "b", "a*b?${c}/"), "arn:aws:s3:::b/a${*}b${?}${$}{c}/*");
        assert_eq!(objects("aws-cn", "b", ""), "arn:aws-cn:s3:::b/*");
    }

    #[test]
    fn keys_are_given_in_each_form() {
        for (given, expected, named) in [
            ("k-1", "arn:aws:kms:r:1:key/k-1", None),
            ("arn:aws:kms:q:2:key/k-1", "arn:aws:kms:q:2:key/k-1", None),
            ("alias/a", "arn:aws:kms:r:1:key/*", Some("alias/a")),
            ("arn:aws:kms:q:2:alias/a", "arn:aws:kms:q:2:key/*", Some("alias/a")),
        ] {
            assert_eq!((key("aws", "r", Some("1"), given).as_str(), alias(given)), (expected, named));
        }
    }
}
