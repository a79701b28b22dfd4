//! HorizontalPodAutoscalers: what the target's says, and the primary's copy of it.

use serde_json::{Value, json};
use serin_core::model::{Canary, Running, ScalerRef};
use serin_core::observed::{Scaler, ScalerCopy, Seen};

use crate::change::{Change, HORIZONTAL_POD_AUTOSCALER, ObjectRef, Objects};
use crate::error::RenderError;
use crate::json::{canonical, child, int, is_toolkit, set, sha256_hex, strings};
use crate::ownership::owner;
use crate::ownership::{self, Owner};
use crate::workload::drift;
use crate::workload::names;
use crate::workload::primary::require;

fn of_target(canary: &Canary, scaler: &ScalerRef) -> ObjectRef {
    HORIZONTAL_POD_AUTOSCALER.named(&canary.key.namespace, &scaler.name)
}

fn of_primary(canary: &Canary, scaler: &ScalerRef) -> ObjectRef {
    HORIZONTAL_POD_AUTOSCALER.named(&canary.key.namespace, scaler.primary_name())
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
                held: primary.present().and_then(|copy| held(copy)),
                copy: primary
                    .present()
                    .map_or(ScalerCopy::AsMade, |copy| compare(canary, scaler, live, copy)),
            }),
        },
        Seen::Absent => Seen::Absent,
        Seen::Unreadable(why) => Seen::Unreadable(why),
    }
}

/// On the primary's autoscaler: a checksum of what it was made from, which tells whether that has changed since, or the
/// copy itself.
const MADE_FROM: &str = "serin.dev/made-from";

/// What the primary's autoscaler has by itself, without what a release holds it to.
fn own_spec(canary: &Canary, scaler: &ScalerRef, source: &Value) -> Value {
    let mut spec = source.get("spec").cloned().unwrap_or_else(|| json!({}));
    if let Some(reference) = child(&mut spec, "scaleTargetRef") {
        reference.insert("name".into(), canary.spec.target.primary_name().into());
    }
    if let Some(min) = scaler.min_replicas {
        set(&mut spec, "minReplicas", min.into());
    }
    if let Some(max) = scaler.max_replicas {
        set(&mut spec, "maxReplicas", max.into());
    }
    spec
}

fn sum(spec: &Value) -> String {
    sha256_hex(&canonical(spec), 8)
}

fn compare(canary: &Canary, scaler: &ScalerRef, source: &Value, copy: &Value) -> ScalerCopy {
    let wanted = own_spec(canary, scaler, source);
    let annotations = strings(copy, "/metadata/annotations");
    let mut live = copy.get("spec").cloned().unwrap_or_else(|| json!({}));
    if let Some(own) = annotations.get(OWN_MIN).and_then(|own| own.parse::<u32>().ok()) {
        set(&mut live, "minReplicas", own.into());
    }
    let made_from = annotations.get(MADE_FROM);
    match drift::difference("spec", &wanted, &live) {
        None => ScalerCopy::AsMade,
        Some(_) if made_from.is_some_and(|sum| *sum != self::sum(&wanted)) => ScalerCopy::Behind,
        Some(field) => ScalerCopy::Edited { object: of_primary(canary, scaler).to_string(), field },
    }
}

/// On the primary's autoscaler while a release runs: the `minReplicas` that it has by itself.
const OWN_MIN: &str = "serin.dev/own-min-replicas";

fn min_replicas(scaler: &Value) -> u32 {
    int(scaler, "/spec/minReplicas").and_then(|min| min.try_into().ok()).unwrap_or(1)
}

/// What a release holds the primary's autoscaler to.
fn held(copy: &Value) -> Option<u32> {
    strings(copy, "/metadata/annotations").contains_key(OWN_MIN).then(|| min_replicas(copy))
}

/// Raises `minReplicas` of the primary's autoscaler for a release, as far as its `maxReplicas` allow, or gives back what
/// it had.
pub(crate) fn hold(
    canary: &Canary,
    replicas: Option<u32>,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let Some(scaler) = &canary.spec.scaler else { return hold_unscaled(canary, replicas, objects) };
    let target = of_primary(canary, scaler);
    let live = match objects.get(&target) {
        Seen::Present(live) => live,
        Seen::Absent => return Ok(Vec::new()),
        Seen::Unreadable(why) => return Err(RenderError::Unreadable { object: target, why }),
    };
    if let Owner::Other(owner) = ownership::of(live, canary) {
        return Err(RenderError::NotOurs { object: target, owner });
    }
    let own = strings(live, "/metadata/annotations").remove(OWN_MIN);
    let max = int(live, "/spec/maxReplicas").and_then(|max| u32::try_from(max).ok());
    let now = min_replicas(live);
    let (min, note) = match (replicas, own) {
        (Some(replicas), own) => {
            let wanted = replicas.min(max.unwrap_or(u32::MAX)).max(now);
            let noted = own.unwrap_or_else(|| now.to_string());
            if wanted == now && held(live).is_some() {
                return Ok(Vec::new());
            }
            (wanted, json!(noted))
        }
        (None, Some(own)) => (own.parse().unwrap_or(now), Value::Null),
        (None, None) => return Ok(Vec::new()),
    };
    let patch = json!({
        "metadata": {
            "annotations": {OWN_MIN: note},
            "resourceVersion": crate::json::resource_version(live),
        },
        "spec": {"minReplicas": min},
    });
    Ok(vec![Change::MergePatch { target, patch }])
}

/// Without an autoscaler of the Canary's the primary itself gets its size back.
fn hold_unscaled(
    canary: &Canary,
    replicas: Option<u32>,
    objects: &Objects,
) -> Result<Vec<Change>, RenderError> {
    let Some(replicas) = replicas else { return Ok(Vec::new()) };
    let target = names::primary(canary);
    let live = require(objects, &target)?;
    if let Owner::Other(owner) = ownership::of(live, canary) {
        return Err(RenderError::NotOurs { object: target, owner });
    }
    let kind = super::of(canary);
    if !kind.running(live).is_below(replicas) {
        return Ok(Vec::new());
    }
    let version = crate::json::resource_version(live).map(str::to_owned);
    Ok(vec![kind.run(target, Running::On(Some(replicas)), version)])
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
    let mut spec = own_spec(canary, scaler, source);
    let mut annotations =
        live.map(|live| strings(live, "/metadata/annotations")).unwrap_or_default();
    annotations.insert(MADE_FROM.to_owned(), sum(&spec));
    // A release holds it: what it would have by itself is noted, and what it is held to stays.
    if let Some(held) = live.and_then(held) {
        let own = spec.get("minReplicas").and_then(Value::as_u64).unwrap_or(1);
        set(&mut spec, "minReplicas", u64::from(held).max(own).into());
        annotations.insert(OWN_MIN.to_owned(), own.to_string());
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
    set(&mut object, "spec", spec);
    if let Some(metadata) = child(&mut object, "metadata") {
        metadata.insert("annotations".into(), json!(annotations));
        if !labels.is_empty() {
            metadata.insert("labels".into(), json!(labels));
        }
    }
    object
}
