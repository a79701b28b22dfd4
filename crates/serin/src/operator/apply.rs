//! Carries actions out, in order, as the providers render them. Nothing is decided here.

use std::sync::Arc;

use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use serin_core::model::{Canary, Exposure, Key};
use serin_core::observed::Seen;
use serin_core::plan::Action;
use serin_providers::change::{CANARY, FIELD_MANAGER};
use serin_providers::render::released;
use serin_providers::{Change, ObjectRef, Objects, references, render};

use crate::cache;
use crate::operator::context::Context;
use crate::operator::error::ApplyError;
use crate::operator::record::Recorded;
use crate::operator::write_timeout::bounded;

/// The objects that a plan was decided about, as its own writes leave them behind. What others change meanwhile is not in
/// here: a write that depends on it is to conflict, not to be carried out on a world that nobody looked at.
pub struct Stage<'a> {
    pub context: &'a Context,
    pub objects: Objects,
}

impl Stage<'_> {
    /// The Canary as it was read, or as our own write left it.
    pub fn put_canary(&mut self, canary: &Canary, object: &DynamicObject) {
        if let Some(own) = cache::to_value(object) {
            self.objects.put(references::canary_object(canary), Seen::Present(Arc::new(own)));
        }
    }

    /// The route gets less. Law 1: this waits for no record.
    pub async fn lower(&mut self, canary: &Canary, exposure: Exposure) -> Result<(), ApplyError> {
        self.carry_out(canary, &Action::Route(exposure)).await
    }

    /// What the status says by now. Law 2: it may raise, so it takes the proof that the status was written.
    pub async fn act(
        &mut self,
        _: &Recorded,
        canary: &Canary,
        action: &Action,
    ) -> Result<(), ApplyError> {
        self.carry_out(canary, action).await
    }

    /// Renders an action and writes what comes of it.
    async fn carry_out(&mut self, canary: &Canary, action: &Action) -> Result<(), ApplyError> {
        let changes = render(canary, action, &self.objects, &self.context.settings.providers)
            .map_err(|source| ApplyError::Render {
                action: format!("{action:?}"),
                source: Box::new(source),
            })?;
        for change in changes {
            let target = change.target().clone();
            tracing::debug!(canary = %canary.key, %target, ?action, "writing");
            let written = self.write(&canary.key, change).await;
            if written.as_ref().is_err_and(ApplyError::is_conflict) && target.kind != CANARY {
                self.context.cache.read_again(&target).await;
            }
            written?;
        }
        Ok(())
    }

    /// Takes our finalizer off a Canary whose spec is invalid.
    pub async fn release(&mut self, key: &Key, object: &DynamicObject) -> Result<(), ApplyError> {
        let target = CANARY.named(&key.namespace, &key.name);
        let change = cache::to_value(object).and_then(|live| released(target, &live));
        match change {
            Some(change) => self.write(key, change).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, key: &Key, change: Change) -> Result<(), ApplyError> {
        let target = change.target().clone();
        let sent = bounded(self.context, key, self.send(change)).await;
        let sent = sent.unwrap_or_else(|source| {
            Err(ApplyError::Write { target: target.clone(), source: Box::new(source) })
        });
        let Some(written) = sent? else { return Ok(()) };
        if let Some(value) = cache::to_value(&written) {
            self.objects.put(target.clone(), Seen::Present(Arc::new(value)));
        }
        if target.kind != CANARY {
            self.context.cache.learn(written);
        }
        Ok(())
    }

    /// What the API server makes of a change; none of a scale, whose answer is not the workload.
    async fn send(&self, change: Change) -> Result<Option<DynamicObject>, ApplyError> {
        let target = change.target().clone();
        let api = self.context.cache.api(&target.kind, &target.namespace);
        let ours =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let post =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let written = match change {
            Change::Apply { target, object } => {
                api.patch(&target.name, &ours.force(), &Patch::Apply(&object)).await.map(Some)
            }
            Change::Create { target, object } => {
                api.create(&post, &decode(&target, object)?).await.map(Some)
            }
            Change::Replace { target, object } => {
                api.replace(&target.name, &post, &decode(&target, object)?).await.map(Some)
            }
            Change::MergePatch { target, patch } => {
                api.patch(&target.name, &ours, &Patch::Merge(&patch)).await.map(Some)
            }
            Change::Scale { target, replicas, version } => {
                let mut patch = json!({"spec": {"replicas": replicas}});
                if let Some(version) = version {
                    patch["metadata"] = json!({"resourceVersion": version});
                }
                let scaled = api.patch_scale(&target.name, &ours, &Patch::Merge(&patch)).await;
                if scaled.is_ok() {
                    // The watch tells the rest of the workload.
                    self.context.cache.learn_replicas(&target, replicas);
                }
                scaled.map(|_| None)
            }
        };
        written.map_err(|source| ApplyError::Write { target, source: Box::new(source) })
    }
}

/// Without managed fields, which the API server keeps by itself: of those of the cache only a part is left.
fn decode(target: &ObjectRef, object: Value) -> Result<DynamicObject, ApplyError> {
    let mut object: DynamicObject = serde_json::from_value(object)
        .map_err(|source| ApplyError::Encode { target: target.clone(), source })?;
    object.metadata.managed_fields = None;
    Ok(object)
}
