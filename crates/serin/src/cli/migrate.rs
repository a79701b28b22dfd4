//! `serin migrate`: what must not be left behind when another controller takes over.

use anyhow::{Context as _, ensure};
use clap::Args;
use futures::TryStreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use serde_json::json;
use serin_core::parse::OWN_FINALIZER;
use serin_providers::change::{CANARY, FIELD_MANAGER};

use crate::cache::resource;
use crate::http_client::chain;

/// A finalizer that another client changes at the same time is looked at once more.
const TRIES: u32 = 5;

/// What is to be done.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    /// Take Serin's finalizer off every Canary, so that they can be deleted without it. Stop the operator first.
    #[arg(long, required_unless_present = "helm_values", conflicts_with = "helm_values")]
    leave: bool,
    /// Tell the values of Flagger's Helm chart in those of Serin's, and refuse by name what has no place there: a file as
    /// `helm get values flagger -o yaml` prints it; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    helm_values: Option<String>,
    /// Only in this namespace.
    #[arg(short, long, env = "SERIN_NAMESPACE")]
    namespace: Option<String>,
    /// Kubeconfig file; without it KUBECONFIG, ~/.kube/config or the Pod's service account.
    #[arg(long, env = "SERIN_KUBECONFIG")]
    kubeconfig: Option<String>,
}

impl MigrateArgs {
    pub fn helm_values(&self) -> Option<&str> {
        self.helm_values.as_deref()
    }

    pub fn kubeconfig(&self) -> Option<&str> {
        self.kubeconfig.as_deref()
    }
}

type Meta = PartialObjectMeta<DynamicObject>;

/// Takes the finalizer off every Canary that has it, and says of each what was done.
pub async fn run(client: &Client, args: &MigrateArgs) -> anyhow::Result<String> {
    ensure!(args.leave, "there is nothing else to migrate than --leave");
    let kind = resource(&CANARY);
    let all: Api<Meta> = match &args.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let mut text = String::new();
    let mut failed = 0;
    for canary in list(all).await? {
        let name = canary.metadata.name.clone().unwrap_or_default();
        let namespace = canary.metadata.namespace.clone().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind);
        let done = match free(&api, &name).await {
            Ok(true) => "has no finalizer of Serin any more".to_owned(),
            Ok(false) => "had none".to_owned(),
            Err(error) => {
                failed += 1;
                format!("still has it: {}", chain(&error))
            }
        };
        text.push_str(&format!("canary {namespace}/{name} {done}\n"));
    }
    ensure!(failed == 0, "{text}{failed} canaries keep the finalizer");
    Ok(if text.is_empty() { "there are no canaries\n".to_owned() } else { text })
}

/// All canaries, page by page, as the first list of a watch brings them.
async fn list(api: Api<Meta>) -> anyhow::Result<Vec<Meta>> {
    let mut all = Vec::new();
    let events = watcher(api, watcher::Config::default());
    futures::pin_mut!(events);
    while let Some(event) = events.try_next().await.context("cannot list canaries")? {
        match event {
            watcher::Event::InitApply(canary) => all.push(canary),
            watcher::Event::Init => all.clear(),
            watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_) => {
                break;
            }
        }
    }
    Ok(all)
}

/// Takes the finalizer off one. Says whether it was there.
async fn free(api: &Api<DynamicObject>, name: &str) -> kube::Result<bool> {
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let mut tries = 0;
    loop {
        let Some(canary) = api.get_metadata_opt(name).await? else { return Ok(false) };
        let before = canary.metadata.finalizers.unwrap_or_default();
        let after: Vec<&String> = before.iter().filter(|other| *other != OWN_FINALIZER).collect();
        if after.len() == before.len() {
            return Ok(false);
        }
        let version = canary.metadata.resource_version;
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": after}});
        match api.patch_metadata(name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => return Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 && tries < TRIES => tries += 1,
            Err(error) => return Err(error),
        }
    }
}
