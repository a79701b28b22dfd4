//! From documents to what they mean: every default, every rejection, all complaints at once, and never a panic.

pub mod action;
mod analysis;
mod doc;
mod duration;
mod guard;
mod matching;
mod pace;
mod provider;
mod refused;
mod routing;
mod scaler;
mod service;
mod status;
mod template;
#[cfg(test)]
mod tests;
mod units;

use std::fmt;

use serde_json::Value;

use doc::{Complaints, Doc};

use crate::model::provider::{KUBERNETES, TRAEFIK};
use crate::model::{
    Canary, Finding, FindingSeverity, Key, Spec, Status, TargetKind, TargetRef, sentence,
};
use crate::names::OBJECT_MAX;

pub(crate) use duration::seconds;
pub use refused::{Effect, REFUSED, Refused, refused_markdown};
pub use template::{alert_provider, metric_template};

/// `apiVersion` of every document here.
const API_VERSION: &str = "flagger.app/v1beta1";

/// On the object while we have something to put back when it is deleted.
pub const FINALIZER: &str = "finalizer.flagger.app";

/// Ours, where Flagger would set none: it would never take its own away from there, and whoever goes back to it would keep
/// Canaries that nobody can delete.
pub const OWN_FINALIZER: &str = "serin.dev/finalizer";

/// The finalizer that belongs on a Canary that is given back when it is deleted.
pub fn finalizer(object: &Value) -> &'static str {
    match object.pointer("/spec/revertOnDeletion") {
        Some(Value::Bool(true)) => FINALIZER,
        Some(_) | None => OWN_FINALIZER,
    }
}
/// Kubernetes' own, while it collects what an object owns before the object itself.
const FOREGROUND: &str = "foregroundDeletion";

/// Flagger's shortest step clock, in seconds.
pub const INTERVAL_FLOOR_SECS: i64 = 10;

/// Flagger's default deadline for a workload to make progress, in seconds.
const PROGRESS_DEADLINE_SECS: i64 = 600;

/// What the controller was told about every canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Shorter `analysis.interval`s are raised to this.
    pub min_interval_secs: i64,
    /// Provider of canaries that name none.
    pub provider: String,
    /// Whether templates and alert providers of other namespaces may be used.
    pub cross_namespace: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_interval_secs: INTERVAL_FLOOR_SECS,
            provider: TRAEFIK.name.to_owned(),
            cross_namespace: true,
        }
    }
}

/// A Canary whose spec is invalid, and everything that could still be read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParseFailure {
    /// None when the object has no readable name.
    pub key: Option<Key>,
    pub uid: String,
    pub generation: i64,
    pub resource_version: String,
    pub deleting: bool,
    pub has_finalizer: bool,
    pub collected: bool,
    pub status: Box<Status>,
    /// What the spec asks for, where router, target and Service make sense and only the rest does not: enough to find the
    /// route, and who is to be told.
    pub known: Option<Box<Spec>>,
    /// Everything there is to say, what keeps it from being acted on first; never empty.
    pub findings: Vec<Finding>,
}

impl ParseFailure {
    /// What keeps the object from being acted on.
    pub fn obstacles(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity.is_obstacle())
    }

    /// Nothing is wrong with the spec: it only asks for what is not supported.
    pub fn is_unsupported_only(&self) -> bool {
        self.obstacles().all(|finding| finding.severity == FindingSeverity::Unsupported)
    }
}

impl fmt::Display for ParseFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let obstacles: Vec<Finding> = self.obstacles().cloned().collect();
        write!(f, "{}", sentence(&obstacles))
    }
}

impl std::error::Error for ParseFailure {}

/// What a Canary means, or everything that is wrong with it.
#[allow(clippy::result_large_err, reason = "a Canary is larger still, and this is no hot path")]
pub fn canary(object: &Value, limits: &Limits) -> Result<Canary, ParseFailure> {
    let complaints = Complaints::default();
    let root = Doc::root(object, &complaints);
    root_kind(&root, "Canary");
    let meta = Meta::read(&root);
    let status = status::read(root.raw("status"));
    let spec = spec(&root, object, (meta.key.as_ref(), status.adopted), limits, &complaints);
    let (obstacles, warnings) = complaints.into_parts();
    let Meta {
        key,
        uid,
        generation,
        resource_version,
        deleting,
        has_finalizer,
        finalizers: (flaggers, ours),
        collected,
    } = meta;
    let other_finalizer = if finalizer(object) == FINALIZER { ours } else { flaggers };
    match (spec, key) {
        (Some(mut spec), Some(key)) if obstacles.is_empty() => {
            spec.findings = warnings;
            Ok(Canary {
                key,
                uid,
                generation,
                resource_version,
                deleting,
                has_finalizer,
                other_finalizer,
                collected,
                spec,
                status,
            })
        }
        (spec, key) => Err(ParseFailure {
            known: spec.filter(|_| !obstacles.iter().any(hides_the_route)).map(Box::new),
            key,
            uid,
            generation,
            resource_version,
            deleting,
            has_finalizer,
            collected,
            status: Box::new(status),
            findings: [obstacles, warnings].concat(),
        }),
    }
}

/// Whether a finding leaves open which objects are meant.
fn hides_the_route(finding: &Finding) -> bool {
    let leading = ["provider", "targetRef", "service"];
    let Some(field) = finding.field.strip_prefix("spec.") else { return true };
    let first = field.split(['.', '[']).next().unwrap_or_default();
    leading.contains(&first)
}

/// A document of another kind is a mistake of whoever handed it over; lists leave kind and version out.
fn root_kind(root: &Doc<'_>, kind: &str) {
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", kind)] {
        if let Some(found) = root.text(field).filter(|found| *found != expected) {
            root.error(field, format!("must be {expected}, not {found}"));
        }
    }
}

/// A duration as specs write it (`1m30s`), in milliseconds.
pub fn duration_millis(text: &str) -> Option<i64> {
    duration::millis(text)
}

struct Meta {
    key: Option<Key>,
    uid: String,
    generation: i64,
    resource_version: String,
    deleting: bool,
    has_finalizer: bool,
    /// Flagger's, and ours.
    finalizers: (bool, bool),
    collected: bool,
}

impl Meta {
    fn read(root: &Doc<'_>) -> Self {
        let meta = root.object_or_empty("metadata");
        let name = meta.required("name");
        let held_by = |finalizer| meta.texts("finalizers").iter().any(|name| name == finalizer);
        let namespace = meta.text("namespace").unwrap_or("default");
        Self {
            key: (!name.is_empty()).then(|| Key::new(namespace, name)),
            uid: meta.text("uid").unwrap_or_default().to_owned(),
            generation: meta.whole("generation").unwrap_or_default(),
            resource_version: meta.text("resourceVersion").unwrap_or_default().to_owned(),
            deleting: meta.raw("deletionTimestamp").is_some(),
            has_finalizer: held_by(FINALIZER) || held_by(OWN_FINALIZER),
            finalizers: (held_by(FINALIZER), held_by(OWN_FINALIZER)),
            collected: held_by(FOREGROUND),
        }
    }
}

/// None only together with a complaint.
fn spec(
    root: &Doc<'_>,
    object: &Value,
    (key, adopted): (Option<&Key>, bool),
    limits: &Limits,
    complaints: &Complaints,
) -> Option<Spec> {
    if root.raw("spec").is_none() {
        root.is_required("spec");
        return None;
    }
    let doc = root.object("spec")?;
    let provider = provider::read(&doc, &limits.provider);
    let skip_analysis = doc.flag("skipAnalysis");
    refused::check(object, provider, skip_analysis, complaints);
    let target = target(&doc);
    let namespace = key.map_or("default", |key| key.namespace.as_str());
    let scope = analysis::Scope { namespace, limits, provider, skip: skip_analysis, adopted };
    if let Some(provider) = provider {
        routing::check(&doc, provider);
    }
    let spec = Spec {
        provider: provider.unwrap_or(&KUBERNETES),
        metrics_server: address(&doc, "metricsServer"),
        scaler: scaler::read(&doc, target.kind),
        service: service::read(&doc, &target.name, provider),
        target,
        analysis: analysis::read(&doc, &scope),
        progress_deadline_secs: doc
            .within("progressDeadlineSeconds", 0, i64::from(i32::MAX))
            .unwrap_or(PROGRESS_DEADLINE_SECS),
        skip_analysis,
        // Flagger's default is false, which leaves users without pods once the primary is collected.
        revert_on_deletion: doc.flag_or("revertOnDeletion", true),
        suspend: doc.flag("suspend"),
        ingress: reference(&doc, "ingressRef"),
        route: reference(&doc, "routeRef"),
        users_route: provider.and_then(|provider| routing::users_route(&doc, provider)),
        findings: Vec::new(),
    };
    provider.map(|_| spec)
}

fn target(spec: &Doc<'_>) -> TargetRef {
    if spec.raw("targetRef").is_none() {
        spec.is_required("targetRef");
    }
    let doc = match spec.raw("targetRef") {
        Some(_) => spec.object("targetRef"),
        None => None,
    };
    let Some(doc) = doc else {
        return TargetRef {
            api_version: String::new(),
            kind: TargetKind::Deployment,
            name: String::new(),
        };
    };
    let kind = doc.required("kind");
    let known = TargetKind::named(kind);
    // The catalogue speaks for the kinds that Flagger has.
    if known.is_none() && !["", "Service"].contains(&kind) {
        doc.error_use("kind", format!("unknown kind {kind:?}"), "use Deployment or DaemonSet");
    }
    let api_version = doc.required("apiVersion");
    if known.is_some() && !["", "apps/v1"].contains(&api_version) {
        doc.taken_as("apiVersion", format!("{api_version} is read as apps/v1"));
    }
    let name = doc.required("name");
    if !name.is_empty() {
        object_name(&doc, "name", name);
    }
    TargetRef {
        api_version: api_version.to_owned(),
        kind: known.unwrap_or(TargetKind::Deployment),
        name: name.to_owned(),
    }
}

/// A DNS subdomain.
fn object_name(doc: &Doc<'_>, field: &str, name: &str) {
    let label = |label: &str| {
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        !label.is_empty()
            && label.bytes().all(inside)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > OBJECT_MAX {
        doc.error(field, format!("must have at most {OBJECT_MAX} characters"));
    } else if !name.split('.').all(label) {
        doc.error(
            field,
            format!("{name:?} is no object name: lower-case letters, digits, '-' and '.'"),
        );
    }
}

/// `{name}` of an optional reference.
fn reference(doc: &Doc<'_>, field: &str) -> Option<String> {
    let reference = doc.object(field)?;
    Some(reference.required("name").to_owned())
}

/// An optional HTTP URL.
fn address(doc: &Doc<'_>, field: &str) -> Option<String> {
    let address = doc.text(field)?;
    if !is_http(address) {
        doc.error(field, format!("{address:?} is no http or https URL"));
    }
    Some(address.to_owned())
}

/// Something a client can be pointed at; the client says the rest.
fn is_http(address: &str) -> bool {
    let lower = address.get(..8).unwrap_or(address).to_ascii_lowercase();
    let host = if lower.starts_with("https://") {
        address.get(8..)
    } else if lower.starts_with("http://") {
        address.get(7..)
    } else {
        None
    };
    let clean = !address.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control());
    clean && host.is_some_and(|host| !host.is_empty() && !host.starts_with(['/', '?', '#']))
}

fn saturating_u32(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}
