//! Names in the metrics of the NGINX ingress controller.
//!
//! The main Ingress goes to the apex Service, behind which are the primary's pods; what the canary Ingress takes over is told by
//! `canary`, the upstream `namespace-service-port` that was taken instead.

use super::line::Series;
use super::{Count, Counted, Said, Wanted, class, seconds};

pub(super) const REQUESTS: &str = "nginx_ingress_controller_requests";
pub(super) const BUCKET: &str = "nginx_ingress_controller_request_duration_seconds_bucket";
pub(super) const TIMED: &str = "nginx_ingress_controller_request_duration_seconds_count";

pub(super) fn is_ours(line: &[u8]) -> bool {
    [REQUESTS, BUCKET, TIMED].iter().any(|name| line.starts_with(name.as_bytes()))
}

pub(super) fn read<'w>(wanted: &'w Wanted, series: &Series<'_>) -> Option<Said<'w>> {
    let count = match series.name {
        REQUESTS => Count::Requests(class(series.label("status"))),
        TIMED => Count::Timed,
        BUCKET => Count::Within(seconds(series.label("le"))),
        _ => return None,
    };
    Some(Said { counted: service(wanted, series), count })
}

fn service<'w>(wanted: &'w Wanted, series: &Series<'_>) -> Option<&'w Counted> {
    let canary = series.label("canary");
    if !matches!(canary, "" | "-") {
        return wanted.joined.get(canary);
    }
    let (namespace, service) = (series.label("namespace"), series.label("service"));
    if let Some(counted) = wanted.service(namespace, service) {
        return Some(counted);
    }
    wanted.apexes.get(&format!("{namespace}-{service}"))
}
