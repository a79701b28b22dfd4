//! Values of Flagger's Helm chart, told in those of Serin's: each is understood, or refused by its name.

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

/// Values files are small; a larger one is something else.
const FILE_MAX: u64 = 1 << 20;

/// What becomes of a value.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It has this place in Serin's chart.
    To(&'static str),
    /// The same, but a text with commas becomes a list.
    ListTo(&'static str),
    /// A name becomes a list of one.
    OneTo(&'static str),
    PullSecret,
    Router,
    /// `{enabled, context}` becomes the context alone.
    Context,
    /// It has no meaning here, and nothing is lost.
    Dropped,
    /// Whoever set it would miss something; harmless when it is empty or off.
    Refused(&'static str),
}

const CHAT: &str =
    "there is no chat for all canaries: make an AlertProvider and name it in spec.analysis.alerts";
const CONTROL_PLANE: &str = "canaries and their routes must be in one cluster";

/// Values of Flagger's chart 1.44; the first that fits counts.
const FATES: &[(&str, Fate)] = &[
    ("image.repository", Fate::Dropped),
    ("image.tag", Fate::Dropped),
    ("image.pullPolicy", Fate::To("image.pullPolicy")),
    ("image.pullSecret", Fate::PullSecret),
    ("logLevel", Fate::To("logLevel")),
    ("annotations", Fate::To("annotations")),
    ("podAnnotations", Fate::To("podAnnotations")),
    ("podLabels", Fate::To("podLabels")),
    ("metricsServer", Fate::To("metricsServer")),
    ("meshProvider", Fate::Router),
    ("namespace", Fate::OneTo("watch.namespaces")),
    ("selectorLabels", Fate::ListTo("selectorLabels")),
    ("includeLabelPrefix", Fate::ListTo("includeLabelPrefix")),
    ("configTracking.enabled", Fate::To("configTracking.enabled")),
    ("noCrossNamespaceRefs", Fate::To("noCrossNamespaceRefs")),
    ("eventWebhook", Fate::To("eventWebhook.url")),
    ("clusterName", Fate::To("clusterName")),
    ("threadiness", Fate::To("threadiness")),
    ("leaderElection.enabled", Fate::To("leaderElection.enabled")),
    ("leaderElection.replicaCount", Fate::To("replicas")),
    ("serviceAccount.create", Fate::To("serviceAccount.create")),
    ("serviceAccount.name", Fate::To("serviceAccount.name")),
    ("serviceAccount.annotations", Fate::To("serviceAccount.annotations")),
    ("rbac.create", Fate::To("rbac.create")),
    ("rbac.pspEnabled", Fate::Refused("Kubernetes has no PodSecurityPolicies since 1.25")),
    ("crd.create", Fate::To("crds.install")),
    ("nameOverride", Fate::To("nameOverride")),
    ("fullnameOverride", Fate::To("fullnameOverride")),
    ("resources", Fate::To("resources")),
    ("nodeSelector", Fate::To("nodeSelector")),
    ("tolerations", Fate::To("tolerations")),
    ("affinity", Fate::To("affinity")),
    ("env", Fate::To("env")),
    ("podPriorityClassName", Fate::To("priorityClassName")),
    ("podDisruptionBudget.enabled", Fate::To("podDisruptionBudget.enabled")),
    (
        "podDisruptionBudget.minAvailable",
        Fate::Refused("say podDisruptionBudget.maxUnavailable instead; 1 is the default"),
    ),
    ("podMonitor.enabled", Fate::To("podMonitor.enabled")),
    ("podMonitor.namespace", Fate::To("podMonitor.namespace")),
    ("podMonitor.interval", Fate::To("podMonitor.interval")),
    ("podMonitor.additionalLabels", Fate::To("podMonitor.labels")),
    ("podMonitor.honorLabels", Fate::Dropped),
    ("podSecurityContext", Fate::Context),
    ("securityContext", Fate::Context),
    ("slack", Fate::Refused(CHAT)),
    ("msteams", Fate::Refused(CHAT)),
    ("prometheus", Fate::Refused("the chart installs no Prometheus: say metricsServer")),
    ("ingressAnnotationsPrefix", Fate::Refused("no router that uses Ingresses is supported yet")),
    ("ingressClass", Fate::Refused("no router that uses Ingresses is supported yet")),
    ("kubeconfigQPS", Fate::Dropped),
    ("kubeconfigBurst", Fate::Dropped),
    ("istio.kubeconfig", Fate::Refused(CONTROL_PLANE)),
    ("controlplane.kubeconfig", Fate::Refused(CONTROL_PLANE)),
    ("linkerdAuthPolicy", Fate::Refused("Linkerd is not supported yet")),
];

/// Serin's values, and what was refused, each by its name.
#[derive(Debug, Default, PartialEq)]
pub struct Migrated {
    pub values: Value,
    pub refused: Vec<String>,
}

/// Nothing, or off: whoever left it so misses nothing.
fn idle(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.values().all(idle),
    }
}

fn put(values: &mut Value, path: &str, value: Value) {
    let mut place = values;
    for part in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn list(value: &Value) -> Value {
    match value.as_str() {
        Some(text) => text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect(),
        None => value.clone(),
    }
}

impl Migrated {
    fn refuse(&mut self, path: &str, why: &str) {
        self.refused.push(format!("{path}: {why}"));
    }

    fn router(&mut self, path: &str, value: &Value) {
        match value.as_str() {
            Some(router @ ("traefik" | "kubernetes")) => {
                put(&mut self.values, "meshProvider", json!(router));
                put(&mut self.values, "routers", json!([router]));
            }
            _ => self.refuse(path, &format!("the router {value} is not supported yet")),
        }
    }

    fn take(&mut self, path: &str, fate: Fate, value: &Value) {
        if value.is_null() || value.as_str() == Some("") {
            return;
        }
        match fate {
            Fate::Refused(why) if !idle(value) => self.refuse(path, why),
            Fate::Dropped | Fate::Refused(_) => {}
            Fate::To(place) => put(&mut self.values, place, value.clone()),
            Fate::ListTo(place) => put(&mut self.values, place, list(value)),
            Fate::OneTo(place) => put(&mut self.values, place, json!([value])),
            Fate::PullSecret => put(&mut self.values, "imagePullSecrets", json!([{"name": value}])),
            Fate::Router => self.router(path, value),
            Fate::Context if value["enabled"] == false => {}
            Fate::Context => put(&mut self.values, path, value["context"].clone()),
        }
    }

    fn walk(&mut self, path: &str, value: &Value) {
        if let Some((_, fate)) = FATES.iter().find(|(known, _)| *known == path) {
            return self.take(path, *fate, value);
        }
        let folder = FATES.iter().any(|(known, _)| {
            path.is_empty() || known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        });
        match value.as_object().filter(|_| folder) {
            Some(fields) => {
                for (name, value) in fields {
                    let inner =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.walk(&inner, value);
                }
            }
            None if idle(value) => {}
            None => self.refuse(path, "is not a value of Flagger's chart that Serin knows"),
        }
    }
}

/// Tells the values of Flagger's chart in those of Serin's.
pub fn migrate(values: &Value) -> Migrated {
    let mut migrated = Migrated { values: json!({}), refused: Vec::new() };
    migrated.walk("", values);
    migrated
}

fn read(path: &str) -> anyhow::Result<String> {
    use std::io::Read as _;
    let source: Box<dyn std::io::Read> = match path {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot read {path}"))?),
    };
    let mut text = String::new();
    source
        .take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {path}"))?;
    if text.len() as u64 > FILE_MAX {
        bail!("{path} is larger than {FILE_MAX} bytes");
    }
    Ok(text)
}

/// Serin's values as YAML, and one line for each value that was refused.
pub fn run(file: &str) -> anyhow::Result<(String, Vec<String>)> {
    let text = read(file)?;
    let values: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{file} is no YAML"))?;
    if !(values.is_object() || values.is_null()) {
        bail!("{file} holds no values");
    }
    let Migrated { values, refused } = migrate(&values);
    let refused = refused.iter().map(|line| line.replace(char::is_control, " ")).collect();
    Ok((serde_saphyr::to_string(&values).context("cannot render the values")?, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_understood_has_its_place() {
        let migrated = migrate(&json!({
            "image": {"repository": "ghcr.io/fluxcd/flagger", "tag": "1.44.0", "pullSecret": "registry"},
            "meshProvider": "traefik", "namespace": "develop", "metricsServer": "http://prometheus:9090",
            "selectorLabels": "app, name", "leaderElection": {"enabled": true, "replicaCount": 2},
            "crd": {"create": true}, "podMonitor": {"enabled": true, "additionalLabels": {"release": "p"}},
            "securityContext": {"enabled": true, "context": {"readOnlyRootFilesystem": true}},
            "podSecurityContext": {"enabled": false, "context": {"fsGroup": 1}},
            "slack": {"user": "", "url": null}, "prometheus": {"install": false},
        }));
        assert_eq!(migrated.refused, Vec::<String>::new());
        assert_eq!(
            migrated.values,
            json!({
                "imagePullSecrets": [{"name": "registry"}], "meshProvider": "traefik", "routers": ["traefik"],
                "watch": {"namespaces": ["develop"]}, "metricsServer": "http://prometheus:9090",
                "selectorLabels": ["app", "name"], "leaderElection": {"enabled": true}, "replicas": 2,
                "crds": {"install": true}, "podMonitor": {"enabled": true, "labels": {"release": "p"}},
                "securityContext": {"readOnlyRootFilesystem": true},
            })
        );
    }

    #[test]
    fn what_is_not_is_refused_by_its_name() {
        let migrated = migrate(&json!({
            "meshProvider": "istio", "slack": {"url": "https://hooks"}, "prometheus": {"install": true},
            "image": {"flavour": "x"}, "mystery": {"a": 1}, "quiet": {"a": ""},
        }));
        assert_eq!(migrated.values, json!({}));
        let names: Vec<_> =
            migrated.refused.iter().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(names, ["image.flavour", "meshProvider", "mystery", "prometheus", "slack"]);
    }
}
