//! Canary: which workload is released, behind which Service, and how the release is judged.

use std::collections::BTreeMap;

use super::{Analysis, Foreign, Service, document};
use crate::status::Status;

document! {
    /// Releases new versions of a workload step by step: a copy of the running version keeps serving as the primary, the
    /// new version gets a growing share of the traffic while it is measured, and is promoted or rolled back.
    pub struct Canary {
        /// Version of this document's schema: `flagger.app/v1beta1`.
        api_version: String,
        /// Kind of this document: `Canary`.
        kind: String,
        /// Name, namespace, labels and annotations.
        metadata: Foreign,
        /// What is released, and how.
        spec: CanarySpec,
        /// Where the release stands. Written by the controller.
        #[schemars(with = "Option<Status>")]
        status: serde_json::Value,
    }

    /// What is released, and how.
    pub struct CanarySpec {
        /// Router that shifts the traffic. Unset takes the controller's `-mesh-provider`. Serin honours `traefik`,
        /// `gatewayapi:v1` (also for `gatewayapi:v1beta1`) and `kubernetes` (no router: Blue/Green) so far; the others of the
        /// list are refused.
        #[schemars(extend("enum" = [
            "apisix", "appmesh", "appmesh:v1beta2", "contour", "gatewayapi:v1", "gatewayapi:v1beta1", "gloo", "istio",
            "knative", "kubernetes", "kuma", "linkerd", "nginx", "osm", "skipper", "smi:v1alpha1", "smi:v1alpha2",
            "smi:v1alpha3", "traefik",
        ]))]
        provider: String,
        /// URL of the Prometheus server that answers the builtin and inline queries of this canary. Unset takes the
        /// controller's `-metrics-server`.
        metrics_server: String,
        /// The workload that is released. It stays yours; between releases it is scaled to zero.
        target_ref: LocalReference,
        /// The target's autoscaler. The primary gets a copy of it.
        autoscaler_ref: ScalerReference,
        /// The Ingress that routes to the workload (NGINX and Skipper), and what `{{ ingress }}` in queries stands for.
        ingress_ref: LocalReference,
        /// The user's own route to the workload: an HTTPRoute (Gateway API), of which only the backends are touched, an
        /// IngressRoute (Traefik), beside which one of ours is made, or an ApisixRoute (APISIX). Also what `{{ route }}` in queries stands for.
        route_ref: LocalReference,
        /// The Upstream whose settings are copied (Gloo).
        upstream_ref: UpstreamReference,
        /// The Services that are generated for the workload, and what routers need to know of it.
        service: Service,
        /// How a new version is introduced and judged.
        analysis: Analysis,
        /// Seconds that the workloads may take to become ready before the release fails. Default 600.
        progress_deadline_seconds: i32,
        /// Promote new versions at once, without an analysis. Default false.
        skip_analysis: bool,
        /// Give the workload its replicas and its traffic back when this Canary is deleted, before the primary goes. Default true (Flagger: false, which drops all requests).
        revert_on_deletion: bool,
        /// Leave everything as it is until this is false again; traffic stays where it is. Default false.
        suspend: bool,
    }

    /// An object in the canary's namespace.
    pub struct LocalReference {
        /// API group and version of the object, such as `apps/v1`.
        api_version: String,
        /// Kind of the object.
        kind: String,
        /// Name of the object.
        name: String,
    }

    /// An autoscaler in the canary's namespace.
    pub struct ScalerReference {
        /// API group and version of the autoscaler, `autoscaling/v2`.
        api_version: String,
        /// Kind of the autoscaler. `HorizontalPodAutoscaler` is honoured so far.
        #[schemars(extend("enum" = ["HorizontalPodAutoscaler", "ScaledObject"]))]
        kind: String,
        /// Name of the autoscaler.
        name: String,
        /// Queries of the primary's ScaledObject, by trigger name; unset ones are derived from the target's.
        primary_scaler_queries: BTreeMap<String, String>,
        /// Replica bounds of the primary's autoscaler, where they differ from the target's.
        primary_scaler_replicas: ScalerReplicas,
    }

    /// Replica bounds of an autoscaler.
    pub struct ScalerReplicas {
        /// Fewest replicas, at least 1. Unset copies the target's.
        #[schemars(range(min = 1))]
        min_replicas: i32,
        /// Most replicas, at least 1. Unset copies the target's.
        #[schemars(range(min = 1))]
        max_replicas: i32,
    }

    /// A Gloo Upstream.
    pub struct UpstreamReference {
        /// API group and version of the Upstream.
        api_version: String,
        /// Kind of the object, `Upstream`.
        #[schemars(extend("enum" = ["Upstream"]))]
        kind: String,
        /// Name of the Upstream.
        name: String,
        /// Namespace of the Upstream. Default: the canary's.
        namespace: String,
    }
}
