//! The merge rules of lists (keyed, set, atomic) and maps, for strategic merge patch and server-side apply.

use std::collections::BTreeMap;

use serde_json::Value;

/// The merge rules of one kind, as a tree along the object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListKeys {
    pub(crate) root: Shape,
}

/// How a list is merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum ListType {
    #[default]
    Atomic,
    Set,
    /// Items are identified by these fields; a missing key has its default, if there is one.
    Map {
        keys: Vec<String>,
        defaults: BTreeMap<String, Value>,
    },
}

/// The merge rules of one field. Without rules, maps are granular and lists atomic.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    pub(crate) fields: BTreeMap<String, Shape>,
    /// The rules for the values of a map with free keys.
    pub(crate) rest: Option<Box<Shape>>,
    pub(crate) items: Option<Box<Shape>>,
    pub(crate) list: ListType,
    /// Whether a map is owned and replaced as a whole.
    pub(crate) atomic: bool,
}

static UNKNOWN: Shape = Shape {
    fields: BTreeMap::new(),
    rest: None,
    items: None,
    list: ListType::Atomic,
    atomic: false,
};

impl Shape {
    pub(crate) fn field(&self, name: &str) -> &Shape {
        self.fields.get(name).or(self.rest.as_deref()).unwrap_or(&UNKNOWN)
    }

    pub(crate) fn item(&self) -> &Shape {
        self.items.as_deref().unwrap_or(&UNKNOWN)
    }

    /// Adds one rule of a table below; `path` is like `spec.containers[].env`.
    fn add(&mut self, path: &str, rule: &str) {
        let mut at = self;
        for part in path.split('.') {
            let name = part.trim_end_matches("[]");
            at = at.fields.entry(name.to_owned()).or_default();
            if part.ends_with("[]") {
                at = at.items.get_or_insert_default();
            }
        }
        match rule {
            "set" => at.list = ListType::Set,
            // Items that are identified by uid and owned as a whole.
            "uid" => {
                at.list = keyed("uid");
                at.items.get_or_insert_default().atomic = true;
            }
            "{}" => at.atomic = true,
            keys => at.list = keyed(keys),
        }
    }

    fn add_all(&mut self, prefix: &str, rules: &[(&str, &str)]) {
        for (path, rule) in rules {
            self.add(&format!("{prefix}{path}"), rule);
        }
    }
}

fn keyed(keys: &str) -> ListType {
    let keys: Vec<String> = keys.split(',').map(str::to_owned).collect();
    let mut defaults = BTreeMap::new();
    for key in &keys {
        // In built-in kinds, a missing key has Go's zero value.
        let value = match key.as_str() {
            "protocol" => Value::from("TCP"),
            "port" | "containerPort" => Value::from(0),
            _ => Value::from(""),
        };
        defaults.insert(key.clone(), value);
    }
    ListType::Map { keys, defaults }
}

const METADATA: &[(&str, &str)] =
    &[("metadata.ownerReferences", "uid"), ("metadata.finalizers", "set")];

/// Below a pod spec. The first key alone is the strategic merge key.
const POD_SPEC: &[(&str, &str)] = &[
    ("volumes", "name"),
    ("imagePullSecrets", "name"),
    ("hostAliases", "ip"),
    ("topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
    ("topologySpreadConstraints[].labelSelector", "{}"),
    ("resourceClaims", "name"),
    ("schedulingGates", "name"),
    ("nodeSelector", "{}"),
    ("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution", "{}"),
];

/// Below each of a pod's containers, init containers and ephemeral containers.
const CONTAINER: &[(&str, &str)] = &[
    ("env", "name"),
    ("env[].valueFrom.configMapKeyRef", "{}"),
    ("env[].valueFrom.secretKeyRef", "{}"),
    ("env[].valueFrom.fieldRef", "{}"),
    ("env[].valueFrom.resourceFieldRef", "{}"),
    ("ports", "containerPort,protocol"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
    ("resources.claims", "name"),
];

/// Kinds with a pod template, and its path.
const POD_AT: &[(&str, &str)] = &[
    ("Pod", ""),
    ("PodTemplate", "template."),
    ("ReplicationController", "spec.template."),
    ("ReplicaSet", "spec.template."),
    ("Deployment", "spec.template."),
    ("StatefulSet", "spec.template."),
    ("DaemonSet", "spec.template."),
    ("Job", "spec.template."),
    ("CronJob", "spec.jobTemplate.spec.template."),
];

const KINDS: &[(&str, &[(&str, &str)])] = &[
    (
        "Pod",
        &[
            ("status.conditions", "type"),
            ("status.podIPs", "ip"),
            ("status.resourceClaimStatuses", "name"),
        ],
    ),
    ("ReplicationController", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("ReplicaSet", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("Deployment", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("StatefulSet", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("DaemonSet", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("Job", &[("spec.selector", "{}")]),
    (
        "Service",
        &[("spec.ports", "port,protocol"), ("spec.selector", "{}"), ("status.conditions", "type")],
    ),
    ("ServiceAccount", &[("secrets", "name"), ("imagePullSecrets", "name")]),
    ("Namespace", &[("status.conditions", "type")]),
    ("Event", &[("involvedObject", "{}"), ("related", "{}")]),
    (
        "Node",
        &[("status.conditions", "type"), ("status.addresses", "type"), ("spec.podCIDRs", "set")],
    ),
    ("PersistentVolumeClaim", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("HorizontalPodAutoscaler", &[("status.conditions", "type")]),
    ("PodDisruptionBudget", &[("status.conditions", "type"), ("spec.selector", "{}")]),
    ("NetworkPolicy", &[("spec.podSelector", "{}"), ("status.conditions", "type")]),
    ("CustomResourceDefinition", &[("status.conditions", "type")]),
    (
        "ValidatingAdmissionPolicy",
        &[("status.conditions", "type"), ("spec.matchConditions", "name")],
    ),
    ("EndpointSlice", &[("endpoints[].addresses", "set"), ("endpoints[].targetRef", "{}")]),
    ("Ingress", &[("spec.defaultBackend.resource", "{}")]),
    ("ClusterRoleBinding", &[("roleRef", "{}")]),
    ("RoleBinding", &[("roleRef", "{}")]),
];

impl ListKeys {
    /// The rules of a built-in kind; only those of metadata if the kind has none of its own.
    pub fn builtin(kind: &str) -> ListKeys {
        let mut root = Shape::default();
        root.add_all("", METADATA);
        for (_, at) in POD_AT.iter().filter(|(name, _)| *name == kind) {
            root.add_all(at, METADATA);
            root.add_all(&format!("{at}spec."), POD_SPEC);
            for containers in ["containers", "initContainers", "ephemeralContainers"] {
                root.add(&format!("{at}spec.{containers}"), "name");
                root.add_all(&format!("{at}spec.{containers}[]."), CONTAINER);
            }
        }
        for (_, rules) in KINDS.iter().filter(|(name, _)| *name == kind) {
            root.add_all("", rules);
        }
        ListKeys { root }
    }

    /// The rules of a custom resource; those of its metadata are added.
    pub(crate) fn custom(mut root: Shape) -> ListKeys {
        root.add_all("", METADATA);
        ListKeys { root }
    }
}
