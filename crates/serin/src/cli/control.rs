//! `serin abort`, `promote` and their like: a ReleaseAction is created, and what came of it is waited for.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::{Value, json};
use serin_core::words::line;
use serin_providers::change::{CANARY, Kind};

use crate::cache::{RELEASE_ACTION, resource};
use crate::kubeconfig::ClusterArgs;

/// Who runs the command, as the API server knows them.
const SELF_SUBJECT_REVIEW: Kind = Kind {
    group: "authentication.k8s.io",
    version: "v1",
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
};

/// What is repeated of the cluster's words.
const LINE_MAX: usize = 1024;

/// What can be asked of a release.
#[derive(Clone, Debug, Subcommand)]
pub enum ControlCommand {
    /// Give the primary all traffic at once and reject the revision.
    Abort(ControlArgs),
    /// Promote the revision without the rest of its analysis.
    Promote(ControlArgs),
    /// Begin the next stage without the rest of this one.
    Advance(ControlArgs),
    /// Raise nothing until the release is resumed; checks and the guard go on.
    Pause(ControlArgs),
    /// End a pause.
    Resume(ControlArgs),
    /// Analyse a revision again that was rejected.
    Retry(ControlArgs),
    /// Begin the analysis again.
    Restart(ControlArgs),
    /// Give the primary back what it ran before its last promotion.
    Undo(ControlArgs),
    /// Set the canary's share and pause there.
    SetWeight(WeightArgs),
    /// Approve in the place of a hook that confirms, for this revision.
    Approve(GateArgs),
    /// Refuse in the place of a hook that confirms, for this revision.
    Reject(GateArgs),
}

/// Which canary, and why.
#[derive(Clone, Debug, Args)]
pub struct ControlArgs {
    /// The canary: NAME, or NAMESPACE/NAME.
    canary: String,
    /// Namespace of the canary; without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Why, for Events, alerts and the history.
    #[arg(long, default_value = "")]
    reason: String,
    /// How long it may be carried out, such as 10m; at most 24h.
    #[arg(long, default_value = "10m")]
    expires_after: String,
    /// Seconds to wait for what comes of it; 0 waits for nothing.
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Clone, Debug, Args)]
pub struct WeightArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Percent of the traffic.
    #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
    weight: u8,
}

#[derive(Clone, Debug, Args)]
pub struct GateArgs {
    #[command(flatten)]
    control: ControlArgs,
    /// Name of the hook in spec.analysis.webhooks.
    gate: String,
}

impl ControlCommand {
    fn parts(&self) -> (&'static str, &ControlArgs, Value) {
        let none = || json!({});
        match self {
            Self::Abort(args) => ("abort", args, none()),
            Self::Promote(args) => ("promote", args, none()),
            Self::Advance(args) => ("advance", args, none()),
            Self::Pause(args) => ("pause", args, none()),
            Self::Resume(args) => ("resume", args, none()),
            Self::Retry(args) => ("retry", args, none()),
            Self::Restart(args) => ("restart", args, none()),
            Self::Undo(args) => ("undo", args, none()),
            Self::SetWeight(args) => ("set-weight", &args.control, json!({"weight": args.weight})),
            Self::Approve(args) => ("approve", &args.control, json!({"gate": args.gate})),
            Self::Reject(args) => ("reject", &args.control, json!({"gate": args.gate})),
        }
    }
}

/// Exit code 0: done; 1: refused or expired; 2: nothing came of it in time.
pub async fn run(command: &ControlCommand) -> anyhow::Result<(String, ExitCode)> {
    let (action, args, more) = command.parts();
    let (client, own) = args.cluster.client().await?;
    let (namespace, name) = match args.canary.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name),
        None => (args.namespace.clone().unwrap_or(own), args.canary.as_str()),
    };
    let canaries: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &namespace, &resource(&CANARY));
    let found = canaries.get_opt(name).await.context("cannot read the canary")?;
    let Some(canary) = found else {
        bail!("there is no canary {name} in the namespace {namespace}");
    };
    let release = canary.data.pointer("/status/release").and_then(Value::as_str);
    let Some(release) = release else {
        bail!(
            "{namespace}/{name} has no status.release: its controller has not looked at it yet, or does not know actions"
        );
    };
    let mut spec = json!({
        "canary": name, "action": action, "release": release, "expiresAfter": args.expires_after,
    });
    for (field, value) in [("reason", args.reason.clone()), ("user", user(&client).await)] {
        if !value.is_empty() {
            spec[field] = value.into();
        }
    }
    if let (Some(spec), Some(more)) = (spec.as_object_mut(), more.as_object()) {
        spec.extend(more.clone());
    }
    let made = create(&client, &canary, &namespace, action, spec).await?;
    if args.timeout == 0 {
        return Ok((format!("releaseaction.serin.dev/{made} created\n"), ExitCode::SUCCESS));
    }
    outcome(&client, &namespace, &made, Duration::from_secs(args.timeout)).await
}

fn actions(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &resource(&RELEASE_ACTION))
}

/// Returns the name that it got. It goes with its Canary.
async fn create(
    client: &Client,
    canary: &DynamicObject,
    namespace: &str,
    action: &str,
    spec: Value,
) -> anyhow::Result<String> {
    let name = canary.metadata.name.clone().unwrap_or_default();
    let object = json!({
        "apiVersion": RELEASE_ACTION.api_version(), "kind": RELEASE_ACTION.kind,
        "metadata": {
            // The API server cuts what is too long.
            "generateName": format!("{name}-{action}-"),
            "namespace": namespace,
            "ownerReferences": [{
                "apiVersion": CANARY.api_version(), "kind": CANARY.kind,
                "name": name, "uid": canary.metadata.uid,
            }],
        },
        "spec": spec,
    });
    let object: DynamicObject = serde_json::from_value(object).context("cannot encode")?;
    match actions(client, namespace).create(&PostParams::default(), &object).await {
        Ok(made) => Ok(made.metadata.name.unwrap_or_default()),
        Err(kube::Error::Api(status)) if status.code == 404 => bail!(
            "the cluster has no ReleaseActions: install the definition with `serin crds | kubectl apply --server-side -f -`"
        ),
        Err(error) => Err(error).context("cannot create the ReleaseAction"),
    }
}

async fn outcome(
    client: &Client,
    namespace: &str,
    name: &str,
    patience: Duration,
) -> anyhow::Result<(String, ExitCode)> {
    let settled = |action: Option<&DynamicObject>| {
        action.is_none_or(|action| action.data.pointer("/status/state").is_some())
    };
    let waited = await_condition(actions(client, namespace), name, settled);
    let Ok(found) = tokio::time::timeout(patience, waited).await else {
        let text = format!(
            "releaseaction.serin.dev/{name}: nothing has come of it after {} s; is the operator running? It is carried out until it expires.\n",
            patience.as_secs()
        );
        return Ok((text, ExitCode::from(2)));
    };
    let Some(action) = found.context("cannot watch the ReleaseAction")? else {
        bail!("the ReleaseAction {name} was deleted before anything came of it");
    };
    let text = |pointer: &str| {
        let text = action.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        line(text, LINE_MAX)
    };
    let (state, message) = (text("/status/state"), text("/status/message"));
    let code = if state == "Done" { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    Ok((format!("{}: {message}\n", state.to_lowercase()), code))
}

/// Empty where the API server does not say.
async fn user(client: &Client) -> String {
    let kind: ApiResource = resource(&SELF_SUBJECT_REVIEW);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let review = DynamicObject::new("", &kind);
    match api.create(&PostParams::default(), &review).await {
        Ok(review) => {
            let name = review.data.pointer("/status/userInfo/username").and_then(Value::as_str);
            line(name.unwrap_or_default(), LINE_MAX)
        }
        Err(_) => String::new(),
    }
}
