//! The registry of served kinds, as data: built-in ones from a table, others from CustomResourceDefinitions.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::patch::ListKeys;
use crate::schema::{FieldError, Structural};

/// Group and plural name: the key under which objects of a kind are stored, whatever the version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId {
    pub group: String,
    pub plural: String,
}

impl ResourceId {
    /// The resource `plural` of `group`; the core group is empty.
    pub fn new(group: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), plural: plural.to_owned() }
    }

    /// A resource of the core group.
    pub fn core(plural: &str) -> Self {
        Self::new("", plural)
    }
}

/// One served kind.
#[derive(Debug)]
pub struct Resource {
    pub id: ResourceId,
    pub kind: String,
    pub singular: String,
    pub namespaced: bool,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    /// Served versions, the preferred one first.
    pub versions: Vec<Version>,
    /// Whether a CustomResourceDefinition defines it.
    pub custom: bool,
}

/// One served version of a kind.
#[derive(Debug)]
pub struct Version {
    pub name: String,
    pub status: bool,
    pub scale: Option<Scale>,
    pub columns: Vec<Column>,
    /// The parsed schema; only of custom resources.
    pub schema: Option<Arc<Structural>>,
    /// The OpenAPI schema as written; only of custom resources.
    pub raw_schema: Value,
    /// Fields that field selectors support, dotted; only of custom resources.
    pub selectable: Vec<String>,
    pub keys: ListKeys,
}

/// JSON paths of the scale subresource, dotted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub spec_replicas: String,
    pub status_replicas: String,
    pub selector: Option<String>,
}

/// A printer column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub path: String,
}

impl Resource {
    /// A served version by name.
    pub fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// The version that clients use by default.
    pub fn preferred(&self) -> Option<&Version> {
        self.versions.first()
    }

    /// The `apiVersion` of a version: `apps/v1`, or `v1` for the core group.
    pub fn api_version(&self, version: &str) -> String {
        if self.id.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.id.group)
        }
    }

    /// The verbs in discovery.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self.id.plural.as_str() {
            "selfsubjectaccessreviews"
            | "selfsubjectrulesreviews"
            | "subjectaccessreviews"
            | "tokenreviews"
            | "selfsubjectreviews" => &["create"],
            _ => {
                &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
            }
        }
    }
}

struct Builtin {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
    all: bool,
    status: bool,
    scale: bool,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    kind: &'static str,
) -> Builtin {
    Builtin {
        group,
        version,
        plural,
        kind,
        namespaced: true,
        short: &[],
        all: false,
        status: false,
        scale: false,
    }
}

impl Builtin {
    /// An older version to which objects are converted.
    fn older(&self) -> Option<&'static str> {
        (self.plural == "horizontalpodautoscalers").then_some("v1")
    }
    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short = names;
        self
    }
    const fn all(mut self) -> Self {
        self.all = true;
        self
    }
    const fn status(mut self) -> Self {
        self.status = true;
        self
    }
    const fn scale(mut self) -> Self {
        self.scale = true;
        self
    }
}

const BUILTINS: &[Builtin] = &[
    kind("", "v1", "namespaces", "Namespace").cluster().short(&["ns"]).status(),
    kind("", "v1", "pods", "Pod").short(&["po"]).all().status(),
    kind("", "v1", "services", "Service").short(&["svc"]).all().status(),
    kind("", "v1", "endpoints", "Endpoints").short(&["ep"]),
    kind("", "v1", "configmaps", "ConfigMap").short(&["cm"]),
    kind("", "v1", "secrets", "Secret"),
    kind("", "v1", "serviceaccounts", "ServiceAccount").short(&["sa"]),
    kind("", "v1", "events", "Event").short(&["ev"]),
    kind("", "v1", "nodes", "Node").cluster().short(&["no"]).status(),
    kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim").short(&["pvc"]).status(),
    kind("", "v1", "persistentvolumes", "PersistentVolume").cluster().short(&["pv"]).status(),
    kind("", "v1", "replicationcontrollers", "ReplicationController")
        .short(&["rc"])
        .all()
        .status()
        .scale(),
    kind("", "v1", "limitranges", "LimitRange").short(&["limits"]),
    kind("", "v1", "resourcequotas", "ResourceQuota").short(&["quota"]).status(),
    kind("apps", "v1", "deployments", "Deployment").short(&["deploy"]).all().status().scale(),
    kind("apps", "v1", "replicasets", "ReplicaSet").short(&["rs"]).all().status().scale(),
    kind("apps", "v1", "daemonsets", "DaemonSet").short(&["ds"]).all().status(),
    kind("apps", "v1", "statefulsets", "StatefulSet").short(&["sts"]).all().status().scale(),
    kind("apps", "v1", "controllerrevisions", "ControllerRevision"),
    kind("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
        .short(&["hpa"])
        .all()
        .status(),
    kind("batch", "v1", "jobs", "Job").all().status(),
    kind("batch", "v1", "cronjobs", "CronJob").short(&["cj"]).all().status(),
    kind("coordination.k8s.io", "v1", "leases", "Lease"),
    kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    kind("events.k8s.io", "v1", "events", "Event").short(&["ev"]),
    kind("networking.k8s.io", "v1", "ingresses", "Ingress").short(&["ing"]).status(),
    kind("networking.k8s.io", "v1", "ingressclasses", "IngressClass").cluster(),
    kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy").short(&["netpol"]),
    kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget").short(&["pdb"]).status(),
    kind("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    kind("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole").cluster(),
    kind("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding").cluster(),
    kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
        .cluster()
        .short(&["crd", "crds"])
        .status(),
    kind(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
    )
    .cluster()
    .status(),
    kind(
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
    )
    .cluster(),
    kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass").cluster().short(&["pc"]),
    kind("storage.k8s.io", "v1", "storageclasses", "StorageClass").cluster().short(&["sc"]),
    kind("authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview")
        .cluster(),
    kind("authorization.k8s.io", "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview")
        .cluster(),
    kind("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview").cluster(),
    kind("authentication.k8s.io", "v1", "tokenreviews", "TokenReview").cluster(),
    kind("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview").cluster(),
];

/// The built-in kinds.
pub(crate) fn builtins() -> Vec<Resource> {
    BUILTINS
        .iter()
        .map(|b| Resource {
            id: ResourceId::new(b.group, b.plural),
            kind: b.kind.to_owned(),
            singular: b.kind.to_lowercase(),
            namespaced: b.namespaced,
            short_names: b.short.iter().map(|s| (*s).to_owned()).collect(),
            categories: if b.all { vec!["all".to_owned()] } else { Vec::new() },
            versions: std::iter::once(b.version)
                .chain(b.older())
                .map(|version| Version {
                    name: version.to_owned(),
                    status: b.status,
                    scale: b.scale.then(|| Scale {
                        spec_replicas: "spec.replicas".to_owned(),
                        status_replicas: "status.replicas".to_owned(),
                        selector: None,
                    }),
                    columns: Vec::new(),
                    schema: None,
                    raw_schema: Value::Null,
                    selectable: Vec::new(),
                    keys: ListKeys::builtin(b.kind),
                })
                .collect(),
            custom: false,
        })
        .collect()
}

/// The kind that a CustomResourceDefinition defines, or its errors.
pub(crate) fn from_crd(crd: &Value) -> Result<Resource, Vec<FieldError>> {
    let text =
        |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |pointer: &str| {
        crd.pointer(pointer)
            .and_then(Value::as_array)
            .map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let mut errors = Vec::new();
    for (field, pointer) in [
        ("spec.group", "/spec/group"),
        ("spec.names.plural", "/spec/names/plural"),
        ("spec.names.kind", "/spec/names/kind"),
    ] {
        if text(pointer).is_empty() {
            errors.push(FieldError {
                field: field.to_owned(),
                reason: "FieldValueRequired",
                message: "Required value".to_owned(),
            });
        }
    }
    let mut versions = Vec::new();
    let declared =
        crd.pointer("/spec/versions").and_then(Value::as_array).cloned().unwrap_or_default();
    for (index, version) in declared.iter().enumerate() {
        if version.get("served").and_then(Value::as_bool) == Some(true) {
            match crd_version(version) {
                Ok(version) => versions.push(version),
                Err(found) => errors.extend(found.into_iter().map(|mut error| {
                    error.field = format!("spec.versions[{index}].schema.{}", error.field);
                    error
                })),
            }
        }
    }
    // Kubernetes prefers stable versions and newer ones: v1 before v1beta1.
    versions.sort_by_key(|version| rank(&version.name));
    errors.extend(check_versions(&declared));
    if !errors.is_empty() {
        return Err(errors);
    }
    let kind = text("/spec/names/kind");
    let singular = Some(text("/spec/names/singular")).filter(|s| !s.is_empty());
    Ok(Resource {
        id: ResourceId::new(&text("/spec/group"), &text("/spec/names/plural")),
        singular: singular.unwrap_or_else(|| kind.to_lowercase()),
        kind,
        namespaced: text("/spec/scope") != "Cluster",
        short_names: list("/spec/names/shortNames"),
        categories: list("/spec/names/categories"),
        versions,
        custom: true,
    })
}

/// Sorts versions as Kubernetes prefers them: stable before beta before alpha, and the newer first.
pub(crate) fn rank(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>, String) {
    use std::cmp::Reverse;
    let odd = (3, Reverse(0), Reverse(0), version.to_owned());
    let Some(rest) = version.strip_prefix('v') else { return odd };
    let (stage, major, minor) = if let Some((major, minor)) = rest.split_once("beta") {
        (1, major, minor)
    } else if let Some((major, minor)) = rest.split_once("alpha") {
        (2, major, minor)
    } else {
        (0, rest, "0")
    };
    match (major.parse(), minor.parse()) {
        (Ok(major), Ok(minor)) => (stage, Reverse(major), Reverse(minor), String::new()),
        _ => odd,
    }
}

/// Checks that version names are unique and exactly one is stored.
fn check_versions(declared: &[Value]) -> Option<FieldError> {
    let names: BTreeSet<&str> =
        declared.iter().filter_map(|version| version.get("name")?.as_str()).collect();
    let is = |version: &Value, flag: &str| version.get(flag).and_then(Value::as_bool) == Some(true);
    let why = if names.len() != declared.len() {
        "must have versions with different names"
    } else if declared.iter().filter(|version| is(version, "storage")).count() != 1 {
        "must have exactly one version marked as storage version"
    } else if !declared.iter().any(|version| is(version, "served")) {
        "must have at least one served version"
    } else {
        return None;
    };
    Some(FieldError {
        field: "spec.versions".to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {why}"),
    })
}

fn crd_version(version: &Value) -> Result<Version, Vec<FieldError>> {
    let raw = version.pointer("/schema/openAPIV3Schema").cloned().unwrap_or(Value::Null);
    if raw.is_null() {
        // The caller adds the version to the path.
        return Err(vec![FieldError::new(
            "openAPIV3Schema",
            "FieldValueRequired",
            "Required value",
        )]);
    }
    let schema = if raw.is_null() { None } else { Some(Structural::parse(&raw)?) };
    let path = |pointer: &str| {
        version
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(|path| path.trim_start_matches('.').to_owned())
            .filter(|path| !path.is_empty())
    };
    let scale = version.pointer("/subresources/scale").is_some().then(|| Scale {
        spec_replicas: path("/subresources/scale/specReplicasPath")
            .unwrap_or_else(|| "spec.replicas".to_owned()),
        status_replicas: path("/subresources/scale/statusReplicasPath")
            .unwrap_or_else(|| "status.replicas".to_owned()),
        selector: path("/subresources/scale/labelSelectorPath"),
    });
    Ok(Version {
        name: version.get("name").and_then(Value::as_str).unwrap_or_default().to_owned(),
        status: version.pointer("/subresources/status").is_some(),
        scale,
        columns: columns(version),
        keys: schema.as_ref().map(ListKeys::from_schema).unwrap_or_else(|| ListKeys::builtin("")),
        schema: schema.map(Arc::new),
        raw_schema: raw,
        selectable: selectable(version),
    })
}

fn selectable(version: &Value) -> Vec<String> {
    let list = version.get("selectableFields").and_then(Value::as_array);
    let path = |field: &Value| field.get("jsonPath").and_then(Value::as_str).map(str::to_owned);
    list.into_iter()
        .flatten()
        .filter_map(path)
        .map(|p| p.trim_start_matches('.').to_owned())
        .collect()
}

fn columns(version: &Value) -> Vec<Column> {
    let list = version.get("additionalPrinterColumns").and_then(Value::as_array);
    let text = |column: &Value, name: &str| {
        column.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    list.into_iter()
        .flatten()
        .map(|column| Column {
            name: text(column, "name"),
            kind: text(column, "type"),
            format: text(column, "format"),
            description: text(column, "description"),
            priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
            path: text(column, "jsonPath"),
        })
        .collect()
}
