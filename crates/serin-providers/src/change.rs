//! Names of objects, what was found under them, and the changes that are to be made to them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use serin_core::observed::Seen;

/// The field manager of every write of ours.
pub const FIELD_MANAGER: &str = "serin";

/// A kind of object that Serin reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
}

impl Kind {
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Its objects have no namespace; their references have an empty one.
    pub fn is_cluster_scoped(&self) -> bool {
        *self == GATEWAY_CLASS
    }

    pub fn named(self, namespace: impl Into<String>, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind: self, namespace: namespace.into(), name: name.into() }
    }
}

pub const CANARY: Kind =
    Kind { group: "flagger.app", version: "v1beta1", kind: "Canary", plural: "canaries" };
pub const CONFIG_MAP: Kind =
    Kind { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps" };
pub const DAEMON_SET: Kind =
    Kind { group: "apps", version: "v1", kind: "DaemonSet", plural: "daemonsets" };
pub const DEPLOYMENT: Kind =
    Kind { group: "apps", version: "v1", kind: "Deployment", plural: "deployments" };
pub const ENDPOINT_SLICE: Kind = Kind {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
};
pub const GATEWAY: Kind =
    Kind { group: "gateway.networking.k8s.io", version: "v1", kind: "Gateway", plural: "gateways" };
pub const GATEWAY_CLASS: Kind = Kind {
    group: "gateway.networking.k8s.io",
    version: "v1",
    kind: "GatewayClass",
    plural: "gatewayclasses",
};
pub const HORIZONTAL_POD_AUTOSCALER: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
};
pub const HTTP_ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    version: "v1",
    kind: "HTTPRoute",
    plural: "httproutes",
};
pub const INGRESS_ROUTE: Kind = Kind {
    group: "traefik.io",
    version: "v1alpha1",
    kind: "IngressRoute",
    plural: "ingressroutes",
};
pub const SECRET: Kind = Kind { group: "", version: "v1", kind: "Secret", plural: "secrets" };
pub const SERVICE: Kind = Kind { group: "", version: "v1", kind: "Service", plural: "services" };
pub const TRAEFIK_SERVICE: Kind = Kind {
    group: "traefik.io",
    version: "v1alpha1",
    kind: "TraefikService",
    plural: "traefikservices",
};

/// Every kind that a change or a reference may name.
pub const KINDS: [Kind; 13] = [
    CANARY,
    CONFIG_MAP,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    GATEWAY,
    GATEWAY_CLASS,
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS_ROUTE,
    SECRET,
    SERVICE,
    TRAEFIK_SERVICE,
];

/// One object; the namespace is empty where its kind has none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.is_cluster_scoped() {
            true => write!(f, "{} {}", self.kind.kind, self.name),
            false => write!(f, "{} {}/{}", self.kind.kind, self.namespace, self.name),
        }
    }
}

/// What was found, by name. What was never looked up reads as unreadable, so that forgetting to look cannot pass for absence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    objects: BTreeMap<ObjectRef, Seen<Arc<Value>>>,
    slices: BTreeMap<(String, String), Seen<Vec<Arc<Value>>>>,
    /// By uid of the pod.
    owners: BTreeMap<String, Seen<PodOwner>>,
    /// By address and port.
    listening: BTreeMap<(String, u16), Listening>,
}

impl Objects {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn put(&mut self, object: ObjectRef, seen: Seen<Arc<Value>>) {
        self.objects.insert(object, seen);
    }

    /// The EndpointSlices that carry `kubernetes.io/service-name: <service>`.
    pub fn put_slices(
        &mut self,
        namespace: impl Into<String>,
        service: impl Into<String>,
        slices: Seen<Vec<Arc<Value>>>,
    ) {
        self.slices.insert((namespace.into(), service.into()), slices);
    }

    pub fn get(&self, object: &ObjectRef) -> Seen<&Value> {
        match self.objects.get(object) {
            Some(Seen::Present(value)) => Seen::Present(value.as_ref()),
            Some(Seen::Absent) => Seen::Absent,
            Some(Seen::Unreadable(why)) => Seen::Unreadable(why.clone()),
            None => Seen::Unreadable(format!("{object} was not looked up")),
        }
    }

    /// The object if it is there; absence and unreadability look alike.
    pub fn present(&self, object: &ObjectRef) -> Option<&Value> {
        match self.objects.get(object) {
            Some(Seen::Present(value)) => Some(value.as_ref()),
            Some(Seen::Absent | Seen::Unreadable(_)) | None => None,
        }
    }

    pub fn slices(&self, namespace: &str, service: &str) -> Seen<&[Arc<Value>]> {
        match self.slices.get(&(namespace.to_owned(), service.to_owned())) {
            Some(Seen::Present(slices)) => Seen::Present(slices.as_slice()),
            Some(Seen::Absent) => Seen::Absent,
            Some(Seen::Unreadable(why)) => Seen::Unreadable(why.clone()),
            None => Seen::Unreadable(format!(
                "EndpointSlices of {namespace}/{service} were not looked up"
            )),
        }
    }

    /// What controls a pod, by the pod's uid.
    pub fn put_owner(&mut self, pod: impl Into<String>, owner: Seen<PodOwner>) {
        self.owners.insert(pod.into(), owner);
    }

    /// None where it was not asked for.
    pub(crate) fn owner(&self, pod: &str) -> Option<&Seen<PodOwner>> {
        self.owners.get(pod)
    }

    pub fn put_listening(&mut self, address: impl Into<String>, port: u16, listening: Listening) {
        self.listening.insert((address.into(), port), listening);
    }

    /// None where it was not tried.
    pub(crate) fn listening(&self, address: &str, port: u16) -> Option<Listening> {
        self.listening.get(&(address.to_owned(), port)).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ObjectRef, &Seen<Arc<Value>>)> {
        self.objects.iter()
    }
}

/// One write, complete: whoever carries it out has nothing to decide. Field manager is [`FIELD_MANAGER`] always.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Server-side apply with force of exactly the fields that are ours. A fence stands in the object's
    /// `metadata.resourceVersion`: when the object has moved since, the write conflicts and must not be retried.
    Apply { target: ObjectRef, object: Value },
    /// Plain create; a conflict if it exists.
    Create { target: ObjectRef, object: Value },
    /// Plain update of a whole object that we generate, fenced by its `metadata.resourceVersion`.
    Replace { target: ObjectRef, object: Value },
    /// JSON merge patch (RFC 7386); a fence stands in the patch's `metadata.resourceVersion`.
    MergePatch { target: ObjectRef, patch: Value },
    /// JSON merge patch of the `scale` subresource: `{"spec":{"replicas":N}}`, fenced by the target's version if there is one.
    Scale { target: ObjectRef, replicas: u32, version: Option<String> },
}

impl Change {
    pub fn target(&self) -> &ObjectRef {
        match self {
            Change::Apply { target, object: _ }
            | Change::Create { target, object: _ }
            | Change::Replace { target, object: _ }
            | Change::MergePatch { target, patch: _ }
            | Change::Scale { target, replicas: _, version: _ } => target,
        }
    }

    /// The version the object must still have, if the write is fenced.
    pub fn fence(&self) -> Option<&str> {
        match self {
            Change::Apply { target: _, object: body }
            | Change::Create { target: _, object: body }
            | Change::Replace { target: _, object: body }
            | Change::MergePatch { target: _, patch: body } => {
                body.pointer("/metadata/resourceVersion").and_then(Value::as_str)
            }
            Change::Scale { target: _, replicas: _, version } => version.as_deref(),
        }
    }
}

/// What controls a pod, at the end of its chain of owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodOwner {
    /// `metadata.uid`; empty when nothing does.
    pub uid: String,
    /// `Job import`; empty when nothing does.
    pub words: String,
}

/// What came of one connection to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    Yes,
    /// The pod's own host refused it: nothing listens there.
    Refused,
    /// It cannot be reached from here.
    Unknown,
}
