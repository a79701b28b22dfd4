//! CustomResourceDefinitions, made from the types of `api`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::api;

mod bounds;
#[cfg(test)]
mod tests;

/// What makes one kind.
struct Kind {
    group: &'static str,
    version: &'static str,
    /// Whether `kubectl get all` shows it.
    listed: bool,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    columns: &'static [Column],
    schema: fn() -> Value,
    required: &'static [(&'static str, &'static [&'static str])],
    rules: &'static [Rule],
}

/// A column of `kubectl get`.
struct Column {
    name: &'static str,
    kind: &'static str,
    path: &'static str,
    /// Shown only with `-o wide`.
    wide: bool,
}

/// A rule in CEL at a place in the schema.
struct Rule {
    /// Keys from the root; `[]` stands for a list's elements, `{}` for a map's values.
    path: &'static str,
    rule: &'static str,
    message: &'static str,
}

/// A value that the API server fills in.
struct Filled {
    path: &'static str,
    field: &'static str,
    value: fn() -> Value,
}

const fn column(name: &'static str, kind: &'static str, path: &'static str) -> Column {
    Column { name, kind, path, wide: false }
}

const fn wide(name: &'static str, kind: &'static str, path: &'static str) -> Column {
    Column { name, kind, path, wide: true }
}

/// The first ten are Flagger's, in its order: scripts cut columns out of `kubectl get canaries`.
const CANARY_COLUMNS: &[Column] = &[
    column("Status", "string", ".status.phase"),
    column("Weight", "string", ".status.canaryWeight"),
    wide("Suspended", "boolean", ".spec.suspend"),
    wide("FailedChecks", "string", ".status.failedChecks"),
    wide("Interval", "string", ".spec.analysis.interval"),
    wide("Mirror", "boolean", ".spec.analysis.mirror"),
    wide("StepWeight", "string", ".spec.analysis.stepWeight"),
    wide("StepWeights", "string", ".spec.analysis.stepWeights"),
    wide("MaxWeight", "string", ".spec.analysis.maxWeight"),
    column("LastTransitionTime", "string", ".status.lastTransitionTime"),
    wide("Target", "string", ".spec.targetRef.name"),
    wide("Iterations", "string", ".status.iterations"),
    wide("Reason", "string", ".status.lastReason.code"),
    wide("Message", "string", ".status.lastReason.message"),
];

const CANARY_REQUIRED: &[(&str, &[&str])] = &[
    ("", &["spec"]),
    ("spec", &["analysis", "targetRef"]),
    ("spec.targetRef", &["apiVersion", "kind", "name"]),
    ("spec.autoscalerRef", &["apiVersion", "kind", "name"]),
    ("spec.ingressRef", &["apiVersion", "kind", "name"]),
    ("spec.routeRef", &["apiVersion", "kind", "name"]),
    ("spec.upstreamRef", &["apiVersion", "kind", "name"]),
    ("spec.service", &["port"]),
    ("spec.service.gatewayRefs.[]", &["name"]),
    ("spec.analysis.metrics.[]", &["name"]),
    ("spec.analysis.metrics.[].templateRef", &["name"]),
    ("spec.analysis.alerts.[]", &["name", "providerRef"]),
    ("spec.analysis.alerts.[].providerRef", &["name"]),
    ("spec.analysis.webhooks.[]", &["name", "url"]),
    ("spec.analysis.guard.errorRate", &["slo"]),
    ("spec.analysis.guard.latency.[]", &["slo", "threshold"]),
    ("spec.analysis.guard.soak", &["duration"]),
    ("spec.analysis.sessionAffinity", &["cookieName"]),
    ("status.conditions.[]", &["reason", "status", "type"]),
];

/// Only what can never work is refused here. Weights mean nothing without a router or without an analysis, and an object
/// that names no provider gets the controller's, which the API server does not know; `parse` says the rest.
const CANARY_RULES: &[Rule] = &[
    Rule {
        path: "spec.analysis",
        rule: "(has(self.iterations) ? 1 : 0) + (has(self.stepWeight) ? 1 : 0) + (has(self.stepWeights) ? 1 : 0) == 1",
        message: "exactly one of iterations, stepWeight and stepWeights must be set",
    },
    Rule {
        path: "spec",
        rule: "!has(self.provider) || self.provider == 'kubernetes' || (has(self.skipAnalysis) && self.skipAnalysis) || !has(self.analysis.stepWeight) || self.analysis.stepWeight >= 1",
        message: "analysis.stepWeight must be at least 1: the release would never advance",
    },
    Rule {
        path: "spec",
        rule: "!has(self.provider) || self.provider == 'kubernetes' || (has(self.skipAnalysis) && self.skipAnalysis) || !has(self.analysis.iterations) || self.analysis.iterations >= 1",
        message: "analysis.iterations must be at least 1: the release would never end",
    },
    Rule {
        path: "spec",
        rule: "!has(self.provider) || self.provider == 'kubernetes' || (has(self.skipAnalysis) && self.skipAnalysis) || !has(self.analysis.stepWeights) || (size(self.analysis.stepWeights) > 0 && self.analysis.stepWeights.all(w, w >= 1))",
        message: "analysis.stepWeights must not be empty and each at least 1",
    },
    Rule {
        path: "spec",
        rule: "!has(self.provider) || self.provider == 'kubernetes' || (has(self.skipAnalysis) && self.skipAnalysis) || !has(self.analysis.stepWeights) || (self.analysis.stepWeights.isSorted() && self.analysis.stepWeights.all(w, self.analysis.stepWeights.exists_one(v, v == w)))",
        message: "analysis.stepWeights must rise",
    },
    Rule {
        path: "spec.analysis",
        rule: "!has(self.guard) || !has(self.guard.pace) || self.guard.pace != 'evidence' || !has(self.iterations)",
        message: "guard.pace evidence raises weights: it needs stepWeight or stepWeights",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.pace) || self.pace != 'evidence' || !has(self.mode) || self.mode == 'enforce'",
        message: "pace evidence lets the guard decide: it needs mode enforce",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "(has(self.pace) && self.pace == 'evidence') || !(has(self.blastRadius) || has(self.minDwell) || has(self.maxDuration))",
        message: "blastRadius, minDwell and maxDuration belong to pace evidence",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.mode) || self.mode != 'off' || !(has(self.minBake) || has(self.soak))",
        message: "minBake and soak have no effect with mode off",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.alpha) || (self.alpha > 0.0 && self.alpha <= 0.5)",
        message: "alpha must be more than 0 and at most 0.5",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.interval) || (duration(self.interval) >= duration('250ms') && duration(self.interval) <= duration('1m'))",
        message: "interval must be between 250ms and 1m",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.warmUp) || duration(self.warmUp) <= duration('10m')",
        message: "warmUp must be at most 10m",
    },
    Rule {
        path: "spec.analysis.guard",
        rule: "!has(self.minDwell) || !has(self.maxDuration) || duration(self.minDwell) <= duration(self.maxDuration)",
        message: "minDwell must not be more than maxDuration",
    },
    Rule {
        path: "spec.analysis.guard.errorRate",
        rule: "self.slo < 100.0",
        message: "slo must be less than 100 percent",
    },
    Rule {
        path: "spec.analysis.guard.latency.[]",
        rule: "self.slo < 100.0",
        message: "slo must be less than 100 percent",
    },
    Rule {
        path: "spec.analysis.guard.latency.[]",
        rule: "self.threshold > 0.0",
        message: "threshold must be more than 0 ms",
    },
    Rule {
        path: "spec.analysis.guard.soak",
        rule: "duration(self.duration) >= duration('10s') && duration(self.duration) <= duration('24h')",
        message: "duration must be between 10s and 24h",
    },
    Rule {
        path: "spec.analysis.sessionAffinity",
        rule: "!has(self.primaryCookieName) || self.primaryCookieName != self.cookieName",
        message: "cookieName and primaryCookieName must differ",
    },
    Rule {
        path: "spec.analysis.metrics.[].thresholdRange",
        rule: "!has(self.min) || !has(self.max) || self.min <= self.max",
        message: "min must not be more than max: nothing would pass",
    },
    Rule {
        path: "spec.autoscalerRef.primaryScalerReplicas",
        rule: "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
        message: "minReplicas must not be more than maxReplicas",
    },
];

const ACTION_RULES: &[Rule] = &[
    Rule {
        path: "spec",
        rule: "self == oldSelf",
        message: "an action is immutable: create another one",
    },
    Rule {
        path: "spec",
        rule: "has(self.weight) == (self.action == 'set-weight')",
        message: "weight is for set-weight, which needs it",
    },
    Rule {
        path: "spec",
        rule: "has(self.gate) == (self.action in ['approve', 'reject'])",
        message: "gate is for approve and reject, which need it",
    },
];

const ACTION_COLUMNS: &[Column] = &[
    column("Canary", "string", ".spec.canary"),
    column("Action", "string", ".spec.action"),
    column("State", "string", ".status.state"),
    column("Age", "date", ".metadata.creationTimestamp"),
    wide("User", "string", ".spec.user"),
    wide("Reason", "string", ".spec.reason"),
    wide("Message", "string", ".status.message"),
];

const KINDS: [Kind; 4] = [
    Kind {
        group: api::GROUP,
        version: api::VERSION,
        listed: true,
        kind: "Canary",
        plural: "canaries",
        singular: "canary",
        short: &["cn"],
        columns: CANARY_COLUMNS,
        schema: schema::<api::Canary>,
        required: CANARY_REQUIRED,
        rules: CANARY_RULES,
    },
    Kind {
        group: api::GROUP,
        version: api::VERSION,
        listed: true,
        kind: "MetricTemplate",
        plural: "metrictemplates",
        singular: "metrictemplate",
        short: &[],
        columns: &[column("Provider", "string", ".spec.provider.type")],
        schema: schema::<api::MetricTemplate>,
        required: &[
            ("", &["spec"]),
            ("spec", &["provider", "query"]),
            ("spec.provider", &["type"]),
            ("spec.provider.secretRef", &["name"]),
        ],
        rules: &[],
    },
    Kind {
        group: api::GROUP,
        version: api::VERSION,
        listed: true,
        kind: "AlertProvider",
        plural: "alertproviders",
        singular: "alertprovider",
        short: &[],
        columns: &[column("Type", "string", ".spec.type")],
        schema: schema::<api::AlertProvider>,
        required: &[("", &["spec"]), ("spec", &["type"]), ("spec.secretRef", &["name"])],
        rules: &[Rule {
            path: "spec",
            rule: "has(self.address) || has(self.secretRef)",
            message: "one of address and secretRef must be set",
        }],
    },
    Kind {
        group: api::action::GROUP,
        version: api::action::VERSION,
        listed: false,
        kind: "ReleaseAction",
        plural: "releaseactions",
        singular: "releaseaction",
        short: &["ra"],
        columns: ACTION_COLUMNS,
        schema: schema::<api::ReleaseAction>,
        required: &[("", &["spec"]), ("spec", &["action", "canary", "release"])],
        rules: ACTION_RULES,
    },
];

/// Values that the API server fills in, as with Flagger's definitions. Everything else is defaulted by `parse`, so that
/// stored objects stay as their owners wrote them.
const DEFAULTS: &[Filled] = &[
    Filled { path: "spec.analysis.sessionAffinity", field: "maxAge", value: || json!(86400) },
    Filled {
        path: "spec.service.gatewayRefs.[]",
        field: "group",
        value: || json!("gateway.networking.k8s.io"),
    },
    Filled { path: "spec.service.gatewayRefs.[]", field: "kind", value: || json!("Gateway") },
];

/// Enums of fields whose type is shared.
const ENUMS: &[(&str, &[&str])] = &[
    ("spec.targetRef.kind", &["DaemonSet", "Deployment", "Service"]),
    ("spec.ingressRef.kind", &["Ingress"]),
    ("spec.routeRef.kind", &["ApisixRoute", "HTTPRoute", "IngressRoute"]),
];

/// The definitions of all kinds, ready for an API server.
pub fn crds() -> Vec<Value> {
    KINDS.iter().map(crd).collect()
}

fn crd(kind: &Kind) -> Value {
    let group = kind.group;
    let mut names = json!({
        "kind": kind.kind,
        "listKind": format!("{}List", kind.kind),
        "plural": kind.plural,
        "singular": kind.singular,
    });
    if kind.listed {
        names["categories"] = json!(["all"]);
    }
    if !kind.short.is_empty() {
        names["shortNames"] = json!(kind.short);
    }
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{}.{group}", kind.plural),
            // Helm must not take every canary away with the chart.
            "annotations": {"helm.sh/resource-policy": "keep"},
        },
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{
                "name": kind.version,
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "additionalPrinterColumns": kind.columns.iter().map(printer).collect::<Vec<_>>(),
                "schema": {"openAPIV3Schema": complete(kind)},
            }],
        },
    })
}

fn printer(column: &Column) -> Value {
    let mut out = json!({"name": column.name, "type": column.kind, "jsonPath": column.path});
    if column.wide {
        out["priority"] = json!(1);
    }
    out
}

/// The schema of a kind's document, structural.
pub(crate) fn schemas() -> Vec<(&'static str, Value)> {
    KINDS.iter().map(|kind| (kind.kind, complete(kind))).collect()
}

fn complete(kind: &Kind) -> Value {
    let mut root = (kind.schema)();
    // An API server refuses a definition that says more of metadata, be it a description.
    root["properties"]["metadata"] = json!({"type": "object"});
    for (path, names) in kind.required {
        if let Some(node) = node(&mut root, path) {
            node.insert("required".into(), json!(names));
        }
    }
    for Filled { path, field, value } in DEFAULTS {
        if let Some(node) = node(&mut root, &format!("{path}.{field}")) {
            node.insert("default".into(), value());
        }
    }
    for (path, values) in ENUMS {
        if let Some(node) = node(&mut root, path) {
            node.insert("enum".into(), json!(values));
        }
    }
    for Rule { path, rule, message } in kind.rules {
        if let Some(node) = node(&mut root, path) {
            let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
            if let Some(rules) = rules.as_array_mut() {
                rules.push(json!({"rule": rule, "message": message}));
            }
        }
    }
    exactly_one(&mut root);
    bounds::strings(&mut root);
    root
}

/// Header conditions of A/B testing: exactly one field, as in Flagger's schema.
fn exactly_one(root: &mut Value) {
    if let Some(node) = node(root, "spec.analysis.match.[].headers.{}") {
        let one = |field: &str| json!({"required": [field]});
        let branches = ["exact", "prefix", "suffix", "regex"].map(one);
        node.insert("oneOf".into(), json!(branches));
    }
}

fn node<'a>(root: &'a mut Value, path: &str) -> Option<&'a mut Map<String, Value>> {
    let mut node = root;
    for key in path.split('.').filter(|key| !key.is_empty()) {
        node = match key {
            "[]" => node.get_mut("items")?,
            "{}" => node.get_mut("additionalProperties")?,
            key => node.get_mut("properties")?.get_mut(key)?,
        };
    }
    node.as_object_mut()
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    structural(&mut schema);
    schema
}

/// Makes a JSON Schema one that an API server takes: one type per node, no null, no references, known formats only.
fn structural(node: &mut Value) {
    if node == &json!(true) {
        *node = json!({"x-kubernetes-preserve-unknown-fields": true});
    }
    let Some(map) = node.as_object_mut() else { return };
    for noise in ["$schema", "title", "default", "additionalProperties"] {
        // A map's values are kept; `additionalProperties: false` and titles say nothing to an API server.
        if !map.get(noise).is_some_and(|value| noise == "additionalProperties" && value.is_object())
        {
            map.remove(noise);
        }
    }
    without_null(map);
    constants(map);
    formats(map);
    if let Some(Value::String(text)) = map.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            structural(inner);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(structural);
    }
    let says = ["type", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"];
    if !says.iter().any(|key| map.contains_key(*key)) {
        map.insert("x-kubernetes-preserve-unknown-fields".into(), json!(true));
    }
}

/// `["string", "null"]` and `anyOf: [X, null]` are how an optional field looks; absent is enough.
fn without_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = map.get("type")
        && let Some(first) = types.iter().find(|name| *name != "null").cloned()
    {
        map.insert("type".into(), first);
    }
    let null = json!({"type": "null"});
    if let Some(Value::Array(branches)) = map.get("anyOf")
        && let Some(Value::Object(inner)) = branches.iter().find(|branch| **branch != null).cloned()
    {
        map.remove("anyOf");
        for (key, value) in inner {
            map.entry(key).or_insert(value);
        }
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
}

/// An enum whose variants have docs comes as one `const` per branch.
fn constants(map: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = map.get("oneOf") else { return };
    let values: Vec<Value> = branches
        .iter()
        .flat_map(|branch| match (branch.get("const"), branch.get("enum")) {
            (Some(value), _) => vec![value.clone()],
            (None, Some(Value::Array(values))) => values.clone(),
            (None, _) => Vec::new(),
        })
        .collect();
    if values.is_empty() {
        return;
    }
    map.remove("oneOf");
    map.insert("type".into(), json!("string"));
    // Flagger's controller writes an empty phase.
    let empty = std::iter::once(json!(""));
    map.insert("enum".into(), empty.chain(values).collect());
}

/// Kubernetes knows signed integers of two sizes.
fn formats(map: &mut Map<String, Value>) {
    let Some(format) = map.get("format").and_then(Value::as_str) else { return };
    let known = match format {
        "int8" | "uint8" | "int16" | "uint16" | "int32" => "int32",
        "int64" | "uint32" | "uint64" | "int" | "uint" => "int64",
        "double" | "float" | "date-time" => format,
        _ => "",
    };
    match known.to_owned() {
        known if known.is_empty() => map.remove("format"),
        known => map.insert("format".into(), json!(known)),
    };
}
