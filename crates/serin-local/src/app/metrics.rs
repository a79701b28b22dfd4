//! The application's own metrics, with the labels that the `kubernetes` provider's builtin queries select by.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::{Method, StatusCode};

use super::Options;
use crate::exposition::{Histogram, labels, write_head};
use crate::gateway::BUCKETS;

pub(super) struct Metrics {
    /// Of the process, in front of those of the request.
    common: Vec<(&'static str, String)>,
    durations: BTreeMap<(&'static str, &'static str, u16), Histogram>,
}

impl Metrics {
    pub(super) fn new(options: &Options) -> Self {
        // Prometheus would add the two Kubernetes labels when it finds its targets; here nobody does.
        let common = vec![
            ("app", options.app.clone()),
            ("kubernetes_namespace", options.namespace.clone()),
            ("kubernetes_pod_name", options.pod.clone()),
            ("version", options.version.clone()),
        ];
        Self { common, durations: BTreeMap::new() }
    }

    pub(super) fn observe(
        &mut self,
        method: &Method,
        path: &'static str,
        status: StatusCode,
        seconds: f64,
    ) {
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let method = known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other");
        let key = (method, path, status.as_u16());
        self.durations
            .entry(key)
            .or_insert_with(|| Histogram::new(&BUCKETS))
            .observe(&BUCKETS, seconds);
    }

    pub(super) fn page(&self) -> String {
        let mut out = String::new();
        let name = "http_requests_total";
        write_head(name, "counter", "Requests answered.", &mut out);
        for (key, histogram) in &self.durations {
            let _ = writeln!(out, "{name}{{{}}} {}", self.labels(*key), histogram.count());
        }
        let name = "http_request_duration_seconds";
        write_head(name, "histogram", "How long requests took.", &mut out);
        for (key, histogram) in &self.durations {
            histogram.write(&BUCKETS, name, &self.labels(*key), &mut out);
        }
        write_head("app_info", "gauge", "Which version this is.", &mut out);
        let common: Vec<_> =
            self.common.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let _ = writeln!(out, "app_info{{{}}} 1", labels(&common));
        out
    }

    fn labels(&self, (method, path, status): (&str, &str, u16)) -> String {
        let status = status.to_string();
        let mut all: Vec<_> =
            self.common.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend([("method", method), ("path", path), ("status", status.as_str())]);
        labels(&all)
    }
}
