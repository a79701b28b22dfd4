//! Names in Envoy's `/stats/prometheus`, as the gateways that are built on it write them.
//!
//! A cluster is one Service, under a name that its control plane has made up:
//!
//! | control plane | cluster in the label |
//! |---|---|
//! | Contour | `namespace_service_port`, or `namespace/service/port/hash` without its stat name |
//! | Gloo | `namespace-service-port_namespace`, with or without `kube-svc:` |
//! | kgateway | `kube_namespace_service_port` |
//! | Cilium | `namespace/config/namespace:service:port` |
//! | Istio | `outbound\|port\|subset\|service.namespace.svc.cluster.local` |
//!
//! Envoy Gateway puts all backends of a rule into one cluster, in which no version can be told from another.
//! Attempts are counted, not calls: a retry is one more request. Durations are in milliseconds and come with a delay of up to
//! `stats_flush_interval`, five seconds unless told otherwise.

use super::line::Series;
use super::{Count, Counted, Said, Wanted, class};

/// Where the admin interface has its page, and the statistics that are read of it, by the names that Envoy itself has for them.
pub(super) const PAGE: &str = "/stats/prometheus";
pub(super) const NARROW: &str =
    "usedonly&filter=upstream_rq_.xx%7Cupstream_rq_time%7Cserver.uptime";

const PREFIX: &str = "envoy_cluster_";
const REQUESTS: &str = "upstream_rq_xx";
const BUCKET: &str = "upstream_rq_time_bucket";
const TIMED: &str = "upstream_rq_time_count";

/// Nearly every line of a page is about clusters: decided on its name.
pub(super) fn is_ours(line: &[u8]) -> bool {
    if !line.starts_with(PREFIX.as_bytes()) {
        return false;
    }
    let name = line.split(|byte| *byte == b'{').next().unwrap_or_default();
    [REQUESTS, BUCKET, TIMED].iter().any(|end| name.ends_with(end.as_bytes()))
}

pub(super) fn read<'w>(wanted: &'w Wanted, series: &Series<'_>) -> Option<Said<'w>> {
    let name = series.name.strip_prefix(PREFIX)?;
    let (rest, count) = if let Some(rest) = name.strip_suffix(REQUESTS) {
        (rest, Count::Requests(class(either(series, "envoy_response_code_class"))))
    } else if let Some(rest) = name.strip_suffix(TIMED) {
        (rest, Count::Timed)
    } else {
        let millis = series.label("le").parse::<f64>().ok();
        (name.strip_suffix(BUCKET)?, Count::Within(millis.filter(|bound| bound.is_finite())))
    };
    let cluster = either(series, "envoy_cluster_name");
    let counted = if rest.is_empty() {
        service(wanted, cluster)
    } else {
        // Also `external_`, `internal_`, `canary_` and `retry_`, which count the same requests once more.
        broken(wanted, cluster, rest)?
    };
    Some(Said { counted, count })
}

/// Istio leaves `envoy_` out.
fn either<'a>(series: &Series<'a>, label: &str) -> &'a str {
    let value = series.label(label);
    if value.is_empty() { series.label(label.trim_start_matches("envoy_")) } else { value }
}

fn service<'w>(wanted: &'w Wanted, cluster: &str) -> Option<&'w Counted> {
    if let Some(outbound) = cluster.strip_prefix("outbound|") {
        let mut host = outbound.rsplit('|').next()?.split('.');
        let (service, namespace) = (host.next()?, host.next()?);
        return wanted.service(namespace, service);
    }
    if let Some((_, last)) = cluster.rsplit_once('/')
        && last.contains(':')
    {
        let mut parts = last.split(':');
        return wanted.service(parts.next()?, parts.next()?);
    }
    if cluster.contains('/') {
        let mut parts = cluster.split('/');
        return wanted.service(parts.next()?, parts.next()?);
    }
    let plain = cluster.strip_prefix("kube-svc:").unwrap_or(cluster);
    if let Some((joined, _)) = plain.rsplit_once('_')
        && let Some(counted) = wanted.joined.get(joined)
    {
        return Some(counted);
    }
    let mut parts = plain.strip_prefix("kube_").unwrap_or(plain).rsplitn(3, '_');
    let (_port, service, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    wanted.service(namespace, service)
}

/// Envoy takes the first dot of a cluster for its end and puts the rest into the metric's name. None where the rest is no
/// such thing.
fn broken<'w>(wanted: &'w Wanted, cluster: &str, rest: &str) -> Option<Option<&'w Counted>> {
    let domain = rest.strip_suffix("_svc_cluster_local_")?;
    let service = cluster.strip_prefix("outbound|")?.rsplit('|').next()?;
    // Dashes have become underscores, so that the namespace is not known to the letter.
    Some(wanted.services.iter().find(|counted| {
        counted.service == service && counted.namespace.replace('-', "_") == domain
    }))
}
