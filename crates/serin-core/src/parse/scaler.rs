//! `spec.autoscalerRef`: which HorizontalPodAutoscaler scales the target.

use super::doc::Doc;
use super::saturating_u32;
use crate::model::{Finding, FindingCode, ScalerRef, TargetKind};

/// What is read and written, whatever the reference says.
const API_VERSION: &str = "autoscaling/v2";
const KIND: &str = "HorizontalPodAutoscaler";
/// Another kind, refused by the catalogue.
const KEDA: &str = "ScaledObject";

/// Flagger goes by the kind alone: it never reads the version, and passes over a reference of a kind that it does not know.
pub(super) fn read(spec: &Doc<'_>, target: TargetKind) -> Option<ScalerRef> {
    let doc = spec.object("autoscalerRef")?;
    if !target.has_replicas() {
        let message = format!("has no effect: nothing scales a {}", target.name());
        let finding = Finding::warning(FindingCode::NoEffect, spec.at("autoscalerRef"), message);
        spec.add(finding.way_out("remove it"));
        return None;
    }
    let known = kind(&doc);
    let version = doc.text("apiVersion");
    if known && doc.text("kind") != Some(KEDA) && version != Some(API_VERSION) {
        let message = match version {
            Some(version) => format!("{version} is read as {API_VERSION}"),
            None => format!("is missing, {API_VERSION} is read"),
        };
        let finding = Finding::warning(FindingCode::TakenAs, doc.at("apiVersion"), message);
        doc.add(finding.way_out(format!("write {API_VERSION}")));
    }
    let replicas = doc.object_or_empty("primaryScalerReplicas");
    let count = |field| replicas.within(field, 1, i64::from(i32::MAX)).map(saturating_u32);
    let (min_replicas, max_replicas) = (count("minReplicas"), count("maxReplicas"));
    if let (Some(min), Some(max)) = (min_replicas, max_replicas)
        && min > max
    {
        replicas.error("minReplicas", format!("{min} is more than maxReplicas {max}"));
    }
    known.then(|| ScalerRef { name: doc.required("name").to_owned(), min_replicas, max_replicas })
}

/// Whether the reference is to something that scales.
fn kind(doc: &Doc<'_>) -> bool {
    let Some(kind) = doc.text("kind") else {
        let finding = Finding::warning(
            FindingCode::TakenAs,
            doc.at("kind"),
            format!("is missing, {KIND} is taken"),
        );
        doc.add(finding.way_out(format!("write {KIND}")));
        return true;
    };
    if [KIND, KEDA].contains(&kind) {
        return true;
    }
    let meant = kind.eq_ignore_ascii_case(KIND) || kind.eq_ignore_ascii_case("hpa");
    let (code, message) = match meant {
        true => (FindingCode::TakenAs, format!("{kind:?} is read as {KIND}")),
        false => (
            FindingCode::NoEffect,
            format!(
                "{kind:?} is no kind of autoscaler that is known, so the reference has no effect"
            ),
        ),
    };
    let finding = Finding::warning(code, doc.at("kind"), message);
    doc.add(finding.way_out(format!("write {KIND}, or remove the reference")));
    meant
}
