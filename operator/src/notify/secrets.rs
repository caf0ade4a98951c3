//! Reads what a receiver's settings name, by name and for each delivery: so keys are never kept, and a new one counts at
//! once.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, Resource, ResourceExt};
use migration_api::services::{CaBundle, SecretKey};
use migration_aws::StaticKeys;
use migration_core::config::{ACCESS_KEY_FILE, MountedFrom, SECRET_KEY_FILE, SESSION_TOKEN_FILE};
use serde::de::DeserializeOwned;

use super::failure::Failure;
use crate::policy::Policy;

/// The objects of a namespace that settings may name.
pub struct Named<'a> {
    /// The API server.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// What the policy asks of them.
    pub policy: &'a Policy,
}

impl Named<'_> {
    /// Returns the text under a key of a Secret, without white space around it.
    pub async fn value(&self, of: &SecretKey) -> Result<String, Failure> {
        let secret = self.object::<Secret>("Secret", &of.name).await?;
        text(&secret, &of.key).ok_or_else(|| missing("Secret", &of.name, &of.key))
    }

    /// Returns the credentials in a Secret.
    pub async fn credentials(&self, name: &str) -> Result<StaticKeys, Failure> {
        let secret = self.object::<Secret>("Secret", name).await?;
        let value = |key: &str| text(&secret, key).ok_or_else(|| missing("Secret", name, key));
        Ok(StaticKeys {
            access_key_id: value(ACCESS_KEY_FILE)?,
            secret_access_key: value(SECRET_KEY_FILE)?,
            session_token: text(&secret, SESSION_TOKEN_FILE),
        })
    }

    /// Returns the certificates of a bundle, in PEM.
    pub async fn certificates(&self, bundle: &CaBundle) -> Result<Option<Vec<u8>>, Failure> {
        match bundle.from() {
            None => Ok(None),
            Some(MountedFrom::Secret { name, key }) => {
                let mut data = self.object::<Secret>("Secret", &name).await?.data.unwrap_or_default();
                data.remove(&key).map(|bytes| Some(bytes.0)).ok_or_else(|| missing("Secret", &name, &key))
            }
            Some(MountedFrom::ConfigMap { name, key }) => {
                let mut data = self.object::<ConfigMap>("ConfigMap", &name).await?.data.unwrap_or_default();
                data.remove(&key).map(|text| Some(text.into_bytes())).ok_or_else(|| missing("ConfigMap", &name, &key))
            }
        }
    }

    async fn object<K>(&self, kind: &'static str, name: &str) -> Result<K, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), self.namespace);
        let found = api.get_opt(name).await.map_err(|error| not_read(&error, kind, name))?;
        let found =
            found.ok_or_else(|| Failure::NoValue { kind, name: name.to_owned(), key: "of this name".to_owned() })?;
        match self.policy.required_label() {
            Some((label, value)) if found.labels().get(label).is_none_or(|has| has != value) => {
                Err(Failure::Unlabelled { kind, name: name.to_owned(), label: format!("{label}={value}") })
            }
            _ => Ok(found),
        }
    }
}

fn not_read(error: &kube::Error, kind: &'static str, name: &str) -> Failure {
    let name = name.to_owned();
    match error {
        kube::Error::Api(refusal) => Failure::ReadRefused { kind, name, status: refusal.code },
        _ => Failure::NotRead { kind, name },
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    let text = std::str::from_utf8(&bytes.0).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn missing(kind: &'static str, name: &str, key: &str) -> Failure {
    Failure::NoValue { kind, name: name.to_owned(), key: key.to_owned() }
}
