//! HorizontalPodAutoscalers: what the target's says, and the primary's copy of it.

use serde_json::{Value, json};
use serin_core::model::{Canary, ScalerRef};
use serin_core::observed::{Scaler, Seen};

use crate::change::{Change, HORIZONTAL_POD_AUTOSCALER, ObjectRef, Objects};
use crate::json::{canonical, int, is_toolkit, owner, strings};
use crate::ownership::{self, Owner};
use crate::render::RenderError;

fn of_target(canary: &Canary, scaler: &ScalerRef) -> ObjectRef {
    HORIZONTAL_POD_AUTOSCALER.named(&canary.key.namespace, &scaler.name)
}

fn of_primary(canary: &Canary, scaler: &ScalerRef) -> ObjectRef {
    HORIZONTAL_POD_AUTOSCALER.named(&canary.key.namespace, format!("{}-primary", scaler.name))
}

pub(crate) fn observe(canary: &Canary, objects: &Objects) -> Seen<Scaler> {
    let Some(scaler) = &canary.spec.scaler else { return Seen::Absent };
    match objects.get(&of_target(canary, scaler)) {
        Seen::Present(live) => match objects.get(&of_primary(canary, scaler)) {
            Seen::Unreadable(why) => Seen::Unreadable(why),
            Seen::Present(copy) if ownership::of(copy, canary) != Owner::Ours => {
                Seen::Unreadable(format!("{} is not ours", of_primary(canary, scaler)))
            }
            primary @ (Seen::Present(_) | Seen::Absent) => Seen::Present(Scaler {
                min_replicas: int(live, "/spec/minReplicas").and_then(|min| min.try_into().ok()),
                primary_exists: primary.present().is_some(),
            }),
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

/// The primary's autoscaler made or brought up to date.
pub(crate) fn render(canary: &Canary, objects: &Objects) -> Result<Vec<Change>, RenderError> {
    let Some(scaler) = &canary.spec.scaler else { return Ok(Vec::new()) };
    let source_ref = of_target(canary, scaler);
    let source = match objects.get(&source_ref) {
        Seen::Present(source) => source,
        Seen::Absent => return Err(RenderError::Missing(source_ref)),
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: source_ref, why }),
    };
    let target = of_primary(canary, scaler);
    match objects.get(&target) {
        Seen::Absent => {
            let object = copy(canary, scaler, source, None, &target);
            Ok(vec![Change::Create { target, object }])
        }
        Seen::Present(live) => {
            if let Owner::Other(owner) = ownership::of(live, canary) {
                return Err(RenderError::NotOurs { object: target, owner });
            }
            let object = copy(canary, scaler, source, Some(live), &target);
            if canonical(&object) == canonical(live) {
                return Ok(Vec::new());
            }
            Ok(vec![Change::Replace { target, object }])
        }
        Seen::Unreadable(why) => Err(RenderError::Unreadable { object: target, why }),
    }
}

fn copy(
    canary: &Canary,
    scaler: &ScalerRef,
    source: &Value,
    live: Option<&Value>,
    target: &ObjectRef,
) -> Value {
    let mut spec = source.get("spec").cloned().unwrap_or_else(|| json!({}));
    if let Some(reference) = crate::json::child(&mut spec, "scaleTargetRef") {
        reference.insert("name".into(), canary.spec.target.primary_name().into());
    }
    if let Some(min) = scaler.min_replicas {
        crate::json::set(&mut spec, "minReplicas", min.into());
    }
    if let Some(max) = scaler.max_replicas {
        crate::json::set(&mut spec, "maxReplicas", max.into());
    }
    let mut labels = live.map(|live| strings(live, "/metadata/labels")).unwrap_or_default();
    labels.extend(
        strings(source, "/metadata/labels").into_iter().filter(|(key, _)| !is_toolkit(key)),
    );
    let mut object = live.cloned().unwrap_or_else(|| {
        json!({
            "apiVersion": target.kind.api_version(),
            "kind": target.kind.kind,
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "ownerReferences": [owner(canary)],
            },
        })
    });
    crate::json::set(&mut object, "spec", spec);
    if let Some(metadata) = crate::json::child(&mut object, "metadata")
        && !labels.is_empty()
    {
        metadata.insert("labels".into(), json!(labels));
    }
    object
}
