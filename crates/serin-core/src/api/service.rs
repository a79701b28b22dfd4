//! `spec.service`: the Services that are generated, and what routers are told.

use std::collections::BTreeMap;

use super::{Foreign, IntOrString, document};

document! {
    /// The Services that are generated for the workload: the apex and its `-primary` and `-canary` siblings.
    pub struct Service {
        /// Name of the apex Service. Default: the target's name. Do not change it while the Canary lives.
        name: String,
        /// Port of the Services.
        #[schemars(range(min = 1, max = 65535))]
        port: i32,
        /// Name of that port. Default `http`.
        port_name: String,
        /// Container port behind it, by number or name. Default: the same number as `port`.
        target_port: IntOrString,
        /// Application protocol of the port, such as `http`, `kubernetes.io/h2c` or `tcp`.
        app_protocol: String,
        /// Preference for endpoints that are close to the client.
        #[schemars(extend("enum" = ["PreferClose", "PreferSameZone", "PreferSameNode"]))]
        traffic_distribution: String,
        /// Add every other container port of the workload to the Services. Default false.
        port_discovery: bool,
        /// Make the Services headless (`clusterIP: None`). Default false.
        headless: bool,
        /// Longest time that a request may take, such as `15s`.
        timeout: String,
        /// Longest time that one attempt at the backend may take, such as `5s` (Gateway API).
        backend_timeout: String,
        /// Istio gateways. Default `mesh`.
        gateways: Vec<String>,
        /// Gateways that the HTTPRoute attaches to (Gateway API).
        #[schemars(length(max = 32))]
        gateway_refs: Vec<GatewayReference>,
        /// Host names of the route.
        hosts: Vec<String>,
        /// Make the generated VirtualService a delegate of another one (Istio). Default false.
        delegation: bool,
        /// Load balancing, connection pools, outlier detection and TLS of the DestinationRules (Istio).
        traffic_policy: Foreign,
        /// Which requests the route takes, in Istio's terms: uri, method, headers, query parameters and more.
        r#match: Vec<Foreign>,
        /// How requests are rewritten on their way.
        rewrite: Rewrite,
        /// How failed requests are tried again.
        retries: Retries,
        /// Headers that are added, set and removed.
        headers: Headers,
        /// Where else copies of all requests go (Gateway API request mirror filters).
        mirror: Vec<Foreign>,
        /// Cross-origin resource sharing, in Istio's terms.
        cors_policy: Foreign,
        /// Name of the mesh (App Mesh).
        mesh_name: String,
        /// Backends of the virtual node (App Mesh).
        backends: Vec<String>,
        /// Metadata of the apex Service and of the router's object.
        apex: MetadataPatch,
        /// Metadata of the primary's Service.
        primary: MetadataPatch,
        /// Metadata of the canary's Service.
        canary: MetadataPatch,
        /// Metadata on the generated Services that others own and that is left alone.
        unmanaged_metadata: MetadataKeys,
    }

    /// A Gateway, or part of one.
    pub struct GatewayReference {
        /// API group of the parent. Default `gateway.networking.k8s.io`.
        group: String,
        /// Kind of the parent. Default `Gateway`.
        kind: String,
        /// Namespace of the parent. Default: the canary's.
        namespace: String,
        /// Name of the parent.
        name: String,
        /// Listener of the Gateway to attach to. Unset attaches to all.
        section_name: String,
        /// Port of the Gateway to attach to. Unset attaches to all.
        #[schemars(range(min = 1, max = 65535))]
        port: i32,
    }

    /// How requests are rewritten.
    pub struct Rewrite {
        /// Path, or the prefix of it, that takes the place of what matched.
        uri: String,
        /// Host that takes the place of the request's.
        authority: String,
        /// `ReplaceFullPath` (default) or `ReplacePrefixMatch` (Gateway API).
        r#type: String,
        /// Rewrite by a regular expression (Istio).
        uri_regex_rewrite: Foreign,
    }

    /// How failed requests are tried again.
    pub struct Retries {
        /// How many times.
        attempts: i32,
        /// Longest time of one attempt, such as `2s`.
        per_try_timeout: String,
        /// On which failures, in Envoy's terms.
        retry_on: String,
        /// Whether other localities may be tried (Istio).
        retry_remote_localities: bool,
    }

    /// Headers that are added, set and removed.
    pub struct Headers {
        /// On requests to the workload.
        request: HeaderOperations,
        /// On responses to the client.
        response: HeaderOperations,
    }

    /// What happens to headers.
    pub struct HeaderOperations {
        /// Values that are added to those present.
        add: BTreeMap<String, String>,
        /// Values that take the place of those present.
        set: BTreeMap<String, String>,
        /// Names of headers that are removed.
        remove: Vec<String>,
    }

    /// Labels and annotations of a generated object.
    pub struct MetadataPatch {
        /// Labels that are set.
        labels: BTreeMap<String, String>,
        /// Annotations that are set.
        annotations: BTreeMap<String, String>,
    }

    /// Keys of labels and annotations.
    pub struct MetadataKeys {
        /// Annotation keys that are left alone.
        annotations: Vec<String>,
        /// Label keys that are left alone.
        labels: Vec<String>,
    }
}
