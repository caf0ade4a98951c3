//! CEL rules of several services.

/// CEL rule: region and endpoint are unchanged.
pub(super) const SAME_SERVICE_AS_BEFORE: &str = "self.region == oldSelf.region && has(self.endpoint) == has(oldSelf.endpoint) && \
     (!has(self.endpoint) || self.endpoint == oldSelf.endpoint)";

pub(super) fn region() -> kube_core::Rule {
    kube_core::Rule::new("self.matches('^[a-z0-9][a-z0-9-]*$')").message(
        "not a region: write its name in lower-case letters, digits and hyphens, such as eu-central-1; services \
         without regions take us-east-1",
    )
}

/// With an endpoint, the service is not known to be that of the region.
pub(super) fn role_is_of_the_partition() -> kube_core::Rule {
    kube_core::Rule::new(
        "!has(self.credentials) || !has(self.credentials.assumeRole) || has(self.endpoint) || \
         self.region.startsWith('cn-') == self.credentials.assumeRole.roleArn.startsWith('arn:aws-cn:') && \
         self.region.startsWith('us-gov-') == self.credentials.assumeRole.roleArn.startsWith('arn:aws-us-gov:')",
    )
    .message(
        "credentials.assumeRole.roleArn is in another partition than region, and no role is valid in two of them: name a \
         role of the partition that has the buckets (arn:aws, arn:aws-cn for cn- regions, arn:aws-us-gov for us-gov- regions)",
    )
}

pub(super) fn proxy() -> kube_core::Rule {
    kube_core::Rule::new("self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?/?$')").message(
        "not the URL of a proxy: write http:// or https://, host and port, such as http://proxy.example.com:3128; user and \
         password belong in a Secret that worker.env and jobsender.env take HTTPS_PROXY from",
    )
}

pub(crate) fn endpoint() -> kube_core::Rule {
    kube_core::Rule::new(r"self.matches('^https?://[A-Za-z0-9._-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$')").message(
        "not an endpoint: write http:// or https://, host and, if needed, port and path, without bucket, \
         user and password, such as https://minio.example.com:9000",
    )
}
