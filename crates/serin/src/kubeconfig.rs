//! Which cluster a command speaks to: kubeconfig and context, and the namespace that follows from them.

use anyhow::Context as _;
use clap::Args;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// The flags that say so.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    pub kubeconfig: Option<String>,
    /// Context of the kubeconfig, instead of its current one.
    #[arg(long)]
    pub context: Option<String>,
}

impl ClusterArgs {
    /// What the kubeconfig says.
    pub async fn config(&self) -> anyhow::Result<Config> {
        let path = self.kubeconfig.as_deref().filter(|path| !path.is_empty());
        let options =
            KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        match (path, &self.context) {
            (Some(path), _) => {
                let file =
                    Kubeconfig::read_from(path).with_context(|| format!("cannot read {path}"))?;
                Config::from_custom_kubeconfig(file, &options)
                    .await
                    .with_context(|| format!("cannot use {path}"))
            }
            (None, Some(context)) => Config::from_kubeconfig(&options)
                .await
                .with_context(|| format!("cannot use the context {context}")),
            (None, None) => {
                Config::infer().await.context("no kubeconfig and no service account found")
            }
        }
    }

    /// A client, and the namespace of the context.
    pub async fn client(&self) -> anyhow::Result<(Client, String)> {
        let config = self.config().await?;
        let namespace = config.default_namespace.clone();
        Ok((Client::try_from(config).context("cannot set up the client")?, namespace))
    }
}
