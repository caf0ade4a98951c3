//! Checks what the author of a resource asks for against the operator's policy: pure functions of both.

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource};
use kube::ResourceExt;
use migration_api::notify::{Notify, Webhook};
use migration_api::pods::PodSettings;
use migration_api::scaling::{AuthenticationKind, Keda};
use migration_api::services::CaBundle;
use migration_api::volumes::{Volume, VolumeObject};
use migration_api::{MigrationJob, MigrationJobSpec, Reason};
use migration_aws::is_amazon;
use migration_core::config::MountedFrom;

use crate::names::PREFIX;
use crate::policy::{Listed, Policy};
use crate::problem::Problem;

/// Returns what is not allowed: problems for which nothing is read, created or started.
pub fn refusals(job: &MigrationJob, policy: &Policy) -> Vec<Problem> {
    let mut found = of_services(&job.spec, policy);
    let check = Check { policy };
    let MigrationJobSpec { source, destination, worker, jobsender, scaling, .. } = &job.spec;
    for (side, endpoint, proxy) in
        [("source", &source.endpoint, &source.proxy), ("destination", &destination.endpoint, &destination.proxy)]
    {
        found.extend(check.endpoint(&format!("spec.{side}.endpoint"), endpoint.as_deref()));
        found.extend(check.endpoint(&format!("spec.{side}.proxy"), proxy.as_deref()));
    }
    for (side, credentials) in [("source", &source.credentials), ("destination", &destination.credentials)] {
        let role = credentials.as_ref().and_then(|credentials| credentials.assume_role.as_ref());
        let field = format!("spec.{side}.credentials.assumeRole.roleArn");
        found.extend(role.and_then(|role| check.listed(&field, &role.role_arn, Listed::RoleArns)));
    }
    let namespace = job.namespace().unwrap_or_default();
    found.extend(check.pods("spec.worker", &namespace, worker));
    found.extend(check.pods("spec.jobsender", &namespace, jobsender));
    found.extend(scaling.keda.as_ref().and_then(|keda| check.keda(keda)));
    found.extend(check.notify(&job.spec));
    found
}

/// Returns what is not allowed of queue and ledger, which the operator itself calls.
pub fn of_services(spec: &MigrationJobSpec, policy: &Policy) -> Vec<Problem> {
    let check = Check { policy };
    let MigrationJobSpec { queue, ledger, .. } = spec;
    let mut found = Vec::new();
    found.extend(check.endpoint("spec.queue.endpoint", queue.endpoint.as_deref()));
    found.extend(check.endpoint("spec.ledger.endpoint", ledger.endpoint.as_deref()));
    if let Some(url) = queue.url.as_deref().filter(|_| queue.credentials.is_none()) {
        let name = url.rsplit('/').next().unwrap_or_default();
        found.extend(check.own_identity("spec.queue.url", url, name, Listed::OwnIdentityQueues));
    }
    if let Some(name) = ledger.table_name.as_deref().filter(|_| ledger.credentials.is_none()) {
        found.extend(check.own_identity("spec.ledger.tableName", name, name, Listed::OwnIdentityTables));
    }
    found
}

struct Check<'a> {
    policy: &'a Policy,
}

impl Check<'_> {
    fn pods(&self, field: &str, namespace: &str, settings: &PodSettings) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some(image) = &settings.image {
            found.extend(self.listed(&format!("{field}.image"), image, Listed::Images));
        }
        if let Some(account) = &settings.service_account_name {
            let account = format!("{namespace}/{account}");
            found.extend(self.listed(&format!("{field}.serviceAccountName"), &account, Listed::ServiceAccounts));
        }
        found.extend(settings.env.iter().filter_map(|variable| self.variable(field, variable)));
        found.extend(settings.volumes.iter().filter_map(|volume| self.volume(field, volume)));
        found
    }

    /// Checks a volume: its files may be a configuration of the SDK, which names endpoints and roles.
    fn volume(&self, field: &str, volume: &Volume) -> Option<Problem> {
        let place = format!("{field}.volumes {}", volume.name);
        if let Some(refused) = volume.csi.as_ref().and_then(|csi| self.listed(&place, &csi.driver, Listed::CsiDrivers))
        {
            return Some(refused);
        }
        let restricting = self.list_that_files_evade()?;
        let instead = if volume.csi.is_some() && !self.policy.restricts(Listed::CsiDrivers) {
            "have its driver added to policy.csiDrivers"
        } else if !volume.objects().is_empty() && self.policy.required_label().is_none() {
            "have policy.requiredLabel set, so that labels vouch for its content"
        } else {
            return None;
        };
        let name = restricting.name();
        Some(not_allowed(&format!("{place} holds files that {name} cannot check, and that may name others: {instead}")))
    }

    /// Returns a list that files in the pod would evade: libraries are programs, and the SDK's configuration names
    /// endpoints and roles.
    fn list_that_files_evade(&self) -> Option<Listed> {
        [Listed::Images, Listed::Endpoints, Listed::RoleArns].into_iter().find(|list| self.policy.restricts(*list))
    }

    /// Checks a variable by which the SDK takes an endpoint, a proxy or a role, or by which a file becomes a program or a
    /// configuration, whatever the specification says.
    fn variable(&self, field: &str, variable: &EnvVar) -> Option<Problem> {
        let place = format!("{field}.env {}", variable.name);
        if names_files(&variable.name) {
            let listed = self.list_that_files_evade().filter(|_| self.policy.required_label().is_none())?;
            let name = listed.name();
            return Some(not_allowed(&format!("{place} names files that {name} cannot check: remove it")));
        }
        let listed = controls(&variable.name)?;
        match &variable.value {
            Some(value) if listed == Listed::Endpoints => self.endpoint(&place, Some(value)),
            Some(value) => self.listed(&place, value, listed),
            None if variable.value_from.as_ref().is_none_or(|from| self.is_vouched_for(from)) => None,
            None if !self.policy.restricts(listed) => None,
            None => Some(not_allowed(&format!(
                "{place} takes its value from elsewhere, which {} cannot check: write the value",
                listed.name()
            ))),
        }
    }

    /// Returns true if the label of a Secret or `ConfigMap` vouches for a value. Annotations and files are the author's own.
    fn is_vouched_for(&self, from: &EnvVarSource) -> bool {
        let is_labelled = from.secret_key_ref.is_some() || from.config_map_key_ref.is_some();
        is_labelled && self.policy.required_label().is_some()
    }

    /// Checks as whom KEDA reads the queue.
    fn keda(&self, keda: &Keda) -> Option<Problem> {
        if let Some(role) = &keda.role_arn {
            return self.listed("spec.scaling.keda.roleArn", role, Listed::RoleArns);
        }
        let given = keda.authentication_ref.as_ref()?;
        if given.kind != AuthenticationKind::ClusterTriggerAuthentication {
            return None;
        }
        let name = format!("{}/{}", given.kind.as_str(), given.name);
        self.listed("spec.scaling.keda.authenticationRef", &name, Listed::RoleArns)
    }

    /// Checks the receivers of notifications. What is in Secrets is checked when they are read.
    fn notify(&self, spec: &MigrationJobSpec) -> Vec<Problem> {
        let Some(Notify { webhook, sns, .. }) = &spec.notify else { return Vec::new() };
        let host = webhook.as_ref().and_then(|hook| hook.url.as_deref()).and_then(Webhook::host);
        let host = host.and_then(|host| self.listed("spec.notify.webhook.url", &host, Listed::WebhookHosts));
        let Some(topic) = sns else { return host.into_iter().collect() };
        let endpoint = topic.endpoint.as_deref().and_then(|endpoint| self.listed_endpoint(endpoint));
        let has_keys = topic.credentials.is_some() || spec.queue.credentials.is_some();
        let is_ours = has_keys || self.policy.allows(Listed::OwnIdentityTopics, &topic.topic_arn);
        let identity = (!is_ours).then(|| {
            not_allowed(&format!(
                "spec.notify.sns.topicArn {}: the operator does not use its own identity on it; name a Secret in \
                 spec.notify.sns.credentials, or have it added to {}",
                topic.topic_arn,
                Listed::OwnIdentityTopics.name()
            ))
        });
        host.into_iter().chain(endpoint).chain(identity).collect()
    }

    fn endpoint(&self, field: &str, endpoint: Option<&str>) -> Option<Problem> {
        let endpoint = endpoint.filter(|endpoint| needs_entry(endpoint))?;
        self.listed(field, endpoint.trim_end_matches('/'), Listed::Endpoints)
    }

    /// Checks the endpoint of a topic. It needs an entry also where no list restricts: whatever it is, the operator sends
    /// there, as to a webhook.
    fn listed_endpoint(&self, endpoint: &str) -> Option<Problem> {
        let (text, listed) = (endpoint.trim_end_matches('/'), Listed::Endpoints);
        let is_refused = needs_entry(endpoint) && !self.policy.lists(listed, text);
        is_refused.then(|| self.not_listed("spec.notify.sns.endpoint", text, listed))
    }

    fn listed(&self, field: &str, text: &str, listed: Listed) -> Option<Problem> {
        (!self.policy.allows(listed, text)).then(|| self.not_listed(field, text, listed))
    }

    fn not_listed(&self, field: &str, text: &str, listed: Listed) -> Problem {
        not_allowed(&format!("{field} {text} is not among those that {} allows{}", listed.name(), self.list(listed)))
    }

    /// Checks a queue or table that is not created for the job and is called with the operator's own identity.
    fn own_identity(&self, field: &str, text: &str, name: &str, listed: Listed) -> Option<Problem> {
        if name.starts_with(PREFIX) || self.policy.allows(listed, text) {
            return None;
        }
        let service = if listed == Listed::OwnIdentityQueues { "queue" } else { "ledger" };
        Some(not_allowed(&format!(
            "{field} {text}: the operator does not use its own identity on what it did not create; name a Secret in \
             spec.{service}.credentials, or have it added to {}",
            listed.name()
        )))
    }

    fn list(&self, listed: Listed) -> String {
        match self.policy.entries(listed) {
            Some(entries) if !entries.is_empty() => format!(" ({})", entries.join(", ")),
            _ => String::new(),
        }
    }
}

/// Returns true unless an endpoint is one of AWS, with TLS.
fn needs_entry(endpoint: &str) -> bool {
    !(is_amazon(Some(endpoint)) && endpoint.starts_with("https://"))
}

fn not_allowed(text: &str) -> Problem {
    Problem::new(Reason::NotAllowed, format!("{text}; the person who installed the operator decides what is allowed"))
}

/// Returns which list a variable is checked against, if it decides over an endpoint, a proxy or a role.
/// Source: "AWS SDKs and Tools Reference Guide", environment variables.
fn controls(name: &str) -> Option<Listed> {
    let upper = name.to_ascii_uppercase();
    let is_proxy = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].contains(&upper.as_str());
    let is_url = name.starts_with("AWS_ENDPOINT_URL")
        || ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT"].contains(&name);
    // Workers send names of objects and texts of errors there. Source: "OpenTelemetry Protocol Exporter" in the
    // specification of OpenTelemetry.
    let is_collector = name.starts_with("OTEL_EXPORTER_OTLP_") && name.ends_with("ENDPOINT");
    match name {
        "AWS_ROLE_ARN" => Some(Listed::RoleArns),
        _ if is_proxy || is_url || is_collector => Some(Listed::Endpoints),
        _ => None,
    }
}

/// Returns true if a variable names files that become part of the program, or configure the SDK. A Secret of credentials
/// may hold such files too. Sources: ld.so(8); "AWS SDKs and Tools Reference Guide", shared files.
fn names_files(name: &str) -> bool {
    name.starts_with("LD_") || ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"].contains(&name)
}

/// A Secret or ConfigMap that a specification names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// It is a Secret.
    pub is_secret: bool,
    /// Its name.
    pub name: String,
    /// The field that names it.
    pub field: String,
}

/// Returns the Secrets and `ConfigMaps` that a specification names, each once.
pub fn references(spec: &MigrationJobSpec) -> Vec<Reference> {
    let MigrationJobSpec { source, destination, queue, ledger, filters, worker, jobsender, .. } = spec;
    let reference = |is_secret: bool, name: &str, field: String| Reference { is_secret, name: name.to_owned(), field };
    let mut found = Vec::new();
    for (side, credentials, bundle) in [
        ("source", &source.credentials, &source.ca_bundle),
        ("destination", &destination.credentials, &destination.ca_bundle),
    ] {
        let secret = credentials.as_ref().and_then(|credentials| credentials.secret_ref.as_ref());
        found.extend(secret.map(|secret| reference(true, &secret.name, format!("spec.{side}.credentials"))));
        found.extend(bundle.as_ref().and_then(CaBundle::from).map(|from| match from {
            MountedFrom::Secret { name, .. } => reference(true, &name, format!("spec.{side}.caBundle")),
            MountedFrom::ConfigMap { name, .. } => reference(false, &name, format!("spec.{side}.caBundle")),
        }));
    }
    for (service, credentials) in [("queue", &queue.credentials), ("ledger", &ledger.credentials)] {
        let secret = credentials.as_ref().map(|credentials| &credentials.secret_ref);
        found.extend(secret.map(|secret| reference(true, &secret.name, format!("spec.{service}.credentials"))));
    }
    for (is_secret, name, field) in spec.notify.iter().flat_map(Notify::objects) {
        found.push(reference(is_secret, name, format!("spec.notify.{field}")));
    }
    let list = filters.ignore_from.as_ref().map(|from| &from.config_map_key_ref.name);
    found.extend(list.map(|name| reference(false, name, "spec.filters.ignoreFrom".to_owned())));
    for (program, settings) in [("worker", worker), ("jobsender", jobsender)] {
        let pulling =
            settings.pull_secrets().map(|name| reference(true, name, format!("spec.{program}.imagePullSecrets")));
        found.extend(pulling);
        for object in settings.volumes.iter().flat_map(Volume::objects) {
            let field = format!("spec.{program}.volumes");
            found.push(match object {
                VolumeObject::Secret(name) => reference(true, name, field),
                VolumeObject::ConfigMap(name) => reference(false, name, field),
            });
        }
        let field = format!("spec.{program}.env");
        for from in settings.env.iter().filter_map(|variable| variable.value_from.as_ref()) {
            let secret = from.secret_key_ref.as_ref().map(|key| reference(true, &key.name, field.clone()));
            let map = from.config_map_key_ref.as_ref().map(|key| reference(false, &key.name, field.clone()));
            found.extend(secret.into_iter().chain(map));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Returns why an object without the required label is not used.
pub fn unlabelled(reference: &Reference, label: (&str, &str)) -> Problem {
    let Reference { is_secret, name, field } = reference;
    let kind = if *is_secret { "Secret" } else { "ConfigMap" };
    not_allowed(&format!("{kind} {name} of {field} lacks the label {}={}", label.0, label.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_controller::validate::tests::resource;
    use serde::Deserialize;
    use serde_json::Value;

    /// A row of `not-allowed.yaml`.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Row {
        name: String,
        policy: Value,
        spec: Value,
        /// Part of the message; none if it is allowed.
        message: Option<String>,
    }

    fn merge(target: &mut Value, members: &Value) {
        match (target, members) {
            (Value::Object(target), Value::Object(members)) => {
                for (name, value) in members {
                    if value.is_null() {
                        target.remove(name);
                    } else {
                        merge(target.entry(name).or_insert(Value::Null), value);
                    }
                }
            }
            (target, value) => *target = value.clone(),
        }
    }

    #[test]
    fn what_is_allowed_is_as_the_table_says() {
        let rows: Vec<Row> = serde_yaml::from_str(include_str!("../../../kind-tests/not-allowed.yaml")).unwrap();
        for row in rows {
            let policy: Policy = serde_json::from_value(row.policy).unwrap();
            let mut job = serde_json::to_value(resource()).unwrap();
            merge(&mut job["spec"], &row.spec);
            let found = refusals(&serde_json::from_value(job).unwrap(), &policy);
            assert_eq!(found.is_empty(), row.message.is_none(), "{}: {found:?}", row.name);
            let Some(message) = row.message else { continue };
            assert!(found.iter().any(|problem| problem.message.contains(&message)), "{}: {found:?}", row.name);
            assert!(found.iter().all(|problem| problem.reason == Reason::NotAllowed), "{}", row.name);
        }
    }

    #[test]
    fn every_secret_and_config_map_that_is_named_is_found() {
        let mut job = resource();
        job.spec.worker = serde_yaml::from_str(
            "{env: [{name: A, valueFrom: {secretKeyRef: {name: env, key: k}}}, {name: B, valueFrom: {configMapKeyRef: \
             {name: map, key: k}}}], imagePullSecrets: [{name: pull}], volumes: [{name: v, secret: {secretName: mounted}}, {name: w, \
             projected: {sources: [{configMap: {name: shown}}]}}]}",
        )
        .unwrap();
        job.spec.source.ca_bundle = serde_yaml::from_str("{secretKeyRef: {name: ca, key: k}}").unwrap();
        job.spec.filters = serde_yaml::from_str("{ignoreFrom: {configMapKeyRef: {name: list, key: k}}}").unwrap();
        let found = references(&job.spec);
        let names: Vec<_> = found.iter().map(|found| (found.is_secret, found.name.as_str())).collect();
        let expected = [
            (false, "list"),
            (false, "map"),
            (false, "shown"),
            (true, "ca"),
            (true, "env"),
            (true, "from"),
            (true, "mounted"),
            (true, "pull"),
            (true, "queue"),
            (true, "to"),
        ];
        assert_eq!(names, expected);
        let problem = unlabelled(&found[4], ("team", "media"));
        assert!(problem.message.starts_with("Secret env of spec.worker.env lacks the label team=media"), "{problem:?}");
    }
}
