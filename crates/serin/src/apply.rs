//! Carries actions out, in order, as the providers render them. Nothing is decided here.

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use serin_core::model::Canary;
use serin_core::plan::Action;
use serin_providers::change::{CANARY, FIELD_MANAGER};
use serin_providers::{Change, ObjectRef, RenderError, render};

use crate::controller::Context;
use crate::{observe, world};

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("cannot render {action}")]
    Render {
        action: String,
        #[source]
        source: Box<RenderError>,
    },
    #[error("cannot write {target}")]
    Write {
        target: ObjectRef,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("cannot encode {target}")]
    Encode {
        target: ObjectRef,
        #[source]
        source: serde_json::Error,
    },
}

/// Each action is rendered from what the ones before it left behind. The first error ends it; the next tick goes on.
pub async fn apply(
    context: &Context,
    canary: &Canary,
    canary_object: &DynamicObject,
    actions: &[Action],
) -> Result<(), ApplyError> {
    for action in actions {
        let wanted = observe::want(context, canary);
        let mut objects = observe::collect(context, &wanted);
        if let Some(own) = world::to_value(canary_object) {
            objects.put(
                serin_providers::references::canary_object(canary),
                serin_core::observed::Seen::Present(std::sync::Arc::new(own)),
            );
        }
        let changes =
            render(canary, action, &objects, &context.settings.providers).map_err(|source| {
                ApplyError::Render { action: format!("{action:?}"), source: Box::new(source) }
            })?;
        for change in changes {
            tracing::debug!(canary = %canary.key, target = %change.target(), ?action, "writing");
            write(context, change).await?;
        }
    }
    Ok(())
}

async fn write(context: &Context, change: Change) -> Result<(), ApplyError> {
    let target = change.target().clone();
    let api = context.world.api(&target.kind, &target.namespace);
    let failed = |source| ApplyError::Write { target: target.clone(), source: Box::new(source) };
    let ours =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    let post =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let written = match change {
        Change::Apply { target, object } => {
            api.patch(&target.name, &ours.force(), &Patch::Apply(&object)).await
        }
        Change::Create { target, object } => api.create(&post, &decode(&target, object)?).await,
        Change::Replace { target, object } => {
            api.replace(&target.name, &post, &decode(&target, object)?).await
        }
        Change::MergePatch { target, patch } => {
            api.patch(&target.name, &ours, &Patch::Merge(&patch)).await
        }
        Change::Scale { target, replicas } => {
            let patch = json!({"spec": {"replicas": replicas}});
            api.patch_scale(&target.name, &ours, &Patch::Merge(&patch)).await.map_err(failed)?;
            // What comes back is a Scale; the watch tells the rest of the workload.
            context.world.learn_replicas(&target, replicas);
            return Ok(());
        }
    };
    let written = written.map_err(failed)?;
    if target.kind != CANARY {
        context.world.learn(written);
    }
    Ok(())
}

fn decode(target: &ObjectRef, object: Value) -> Result<DynamicObject, ApplyError> {
    serde_json::from_value(object)
        .map_err(|source| ApplyError::Encode { target: target.clone(), source })
}
