//! The connection to a cluster, found as kubectl finds it.

use std::io;
use std::path::PathBuf;

use clap::Args;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// Options of the connection.
#[derive(Args, Clone, Debug, Default)]
pub struct ConnectionArgs {
    /// Kubeconfig to use. By default the files of $KUBECONFIG, ~/.kube/config, or the service account of the pod.
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig. By default its current one.
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Namespace of the job. By default that of the context.
    #[arg(long, short, value_name = "NAME", global = true)]
    pub namespace: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Neither a kubeconfig nor a service account.
    #[error(
        "failed to find a kubeconfig: set KUBECONFIG, pass --kubeconfig FILE, or write ~/.kube/config ({kubeconfig}; {pod})"
    )]
    NoKubeconfig {
        /// What is wrong with the kubeconfig.
        kubeconfig: Box<KubeconfigError>,
        /// Why this is no pod with a service account.
        pod: Box<InClusterError>,
    },
    /// No current context.
    #[error("failed to choose a cluster: the kubeconfig has no current context; pass --context NAME")]
    NoCurrentContext,
    /// The context is not in the kubeconfig.
    #[error("failed to find context {0:?} in the kubeconfig; `kubectl config get-contexts` lists those that it has")]
    NoContext(String),
    /// The kubeconfig can't be used.
    #[error("failed to use kubeconfig: {0}")]
    Kubeconfig(Box<KubeconfigError>),
    /// The client can't be created.
    #[error("failed to prepare the connection to the cluster: {0}")]
    Client(Box<kube::Error>),
}

/// A client, and the namespace that applies unless all are meant.
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace of the option, the context or the pod.
    pub namespace: String,
}

impl ConnectionArgs {
    /// Finds the cluster. Sends no request.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let config = self.config().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
        Ok(Connection { client, namespace })
    }

    async fn config(&self) -> Result<Config, ConnectError> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let loaded = match &self.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
                Err(error) => Err(error),
            },
            None => Config::from_kubeconfig(&options).await,
        };
        let is_explicit = self.kubeconfig.is_some() || self.context.is_some();
        match loaded {
            Ok(config) => Ok(config),
            Err(error) if is_absent(&error) && !is_explicit => Config::incluster()
                .map_err(|pod| ConnectError::NoKubeconfig { kubeconfig: Box::new(error), pod: Box::new(pod) }),
            Err(KubeconfigError::CurrentContextNotSet) => Err(ConnectError::NoCurrentContext),
            Err(KubeconfigError::LoadContext(name)) => Err(ConnectError::NoContext(name)),
            Err(error) => Err(ConnectError::Kubeconfig(Box::new(error))),
        }
    }
}

/// Returns true if there is no kubeconfig, or one that names no cluster.
fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(source, _) => source.kind() == io::ErrorKind::NotFound,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "apiVersion: v1\nkind: Config\ncurrent-context: one\n\
        clusters:\n- {name: c, cluster: {server: 'https://one.example:6443'}}\n\
        - {name: d, cluster: {server: 'https://two.example:6443'}}\n\
        users:\n- {name: u, user: {token: t}}\n\
        contexts:\n- {name: one, context: {cluster: c, user: u, namespace: media}}\n\
        - {name: two, context: {cluster: d, user: u}}\n";

    fn args(text: &str, context: Option<&str>, directory: &tempfile::TempDir) -> ConnectionArgs {
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        ConnectionArgs { kubeconfig: Some(path), context: context.map(Into::into), namespace: None }
    }

    #[tokio::test]
    async fn the_context_chooses_cluster_and_namespace() {
        let directory = tempfile::tempdir().unwrap();
        for (context, server, namespace) in
            [(None, "https://one.example:6443/", "media"), (Some("two"), "https://two.example:6443/", "default")]
        {
            let config = args(KUBECONFIG, context, &directory).config().await.unwrap();
            assert_eq!(
                (config.cluster_url.to_string().as_str(), config.default_namespace.as_str()),
                (server, namespace)
            );
        }
        let mut args = args(KUBECONFIG, None, &directory);
        args.namespace = Some("other".into());
        assert_eq!(args.connect().await.unwrap().namespace, "other");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_be_used_is_explained() {
        let directory = tempfile::tempdir().unwrap();
        let no_current = KUBECONFIG.replace("current-context: one\n", "");
        for (text, context, expected) in [
            (KUBECONFIG, Some("three"), "failed to find context \"three\""),
            (no_current.as_str(), None, "has no current context; pass --context"),
            ("clusters: 7", None, "failed to use kubeconfig: "),
        ] {
            let error = args(text, context, &directory).connect().await.err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let absent = ConnectionArgs { kubeconfig: Some(directory.path().join("absent")), ..ConnectionArgs::default() };
        let error = absent.connect().await.err().unwrap().to_string();
        assert!(error.starts_with("failed to use kubeconfig: ") && error.contains("absent"), "{error}");
    }
}
