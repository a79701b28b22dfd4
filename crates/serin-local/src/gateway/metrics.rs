//! Traefik's metrics: the same names, the same labels, the same disappearance of services that have left.

use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use super::ENTRY_POINT;
use super::config::PROVIDER;
use super::runtime::Runtime;
use crate::exposition::{Histogram, labels, write_head};

/// What Traefik writes when a client leaves before it is answered.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// Who a request is counted on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    EntryPoint,
    Router { router: Arc<str>, service: Arc<str> },
    Service(Arc<str>),
}

/// All of this is bounded: scopes by the configuration, methods and protocols by tables, codes by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scope: Scope,
    code: u16,
    method: &'static str,
    protocol: &'static str,
}

#[derive(Clone, Debug)]
struct Series {
    durations: Histogram,
    bytes_in: u64,
    bytes_out: u64,
}

pub(super) struct Registry {
    buckets: Vec<f64>,
    open: Arc<AtomicI64>,
    series: Mutex<BTreeMap<Key, Series>>,
    reloads: AtomicU64,
    last_reload: AtomicI64,
}

impl Registry {
    pub(super) fn new(buckets: Vec<f64>, open: Arc<AtomicI64>) -> Self {
        let (reloads, last_reload) = (AtomicU64::new(0), AtomicI64::new(0));
        Self { buckets, open, series: Mutex::default(), reloads, last_reload }
    }

    pub(super) fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.last_reload.store(jiff::Timestamp::now().as_second(), Ordering::Relaxed);
    }

    fn series(&self) -> MutexGuard<'_, BTreeMap<Key, Series>> {
        self.series.lock()
    }

    /// The page as of now; afterwards the series of what is no longer configured are gone.
    pub(super) fn scrape(&self, runtime: &Runtime) -> String {
        let mut all = self.series();
        let series = all.clone();
        all.retain(|key, _| runtime.knows(&key.scope));
        drop(all);
        let mut out = String::new();
        write_head("traefik_config_reloads_total", "counter", "Config reloads", &mut out);
        let _ =
            writeln!(out, "traefik_config_reloads_total {}", self.reloads.load(Ordering::Relaxed));
        let name = "traefik_config_last_reload_success";
        write_head(name, "gauge", "Last config reload success", &mut out);
        let _ = writeln!(out, "{name} {}", self.last_reload.load(Ordering::Relaxed));
        let name = "traefik_open_connections";
        write_head(
            name,
            "gauge",
            "How many open connections exist, by entryPoint and protocol",
            &mut out,
        );
        let open = self.open.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}{{entrypoint=\"{ENTRY_POINT}\",protocol=\"TCP\"}} {open}");
        for kind in ["entrypoint", "router", "service"] {
            let series: Vec<(String, &Series)> = series
                .iter()
                .filter(|(key, _)| key.scope.kind() == kind)
                .map(|(key, series)| (key.labels(), series))
                .collect();
            if !series.is_empty() {
                self.write_family(kind, &series, &mut out);
            }
        }
        out
    }

    fn write_family(&self, kind: &str, series: &[(String, &Series)], out: &mut String) {
        let mut counter = |what: &str, help: &str, value: fn(&Series) -> u64| {
            let name = format!("traefik_{kind}_{what}_total");
            write_head(&name, "counter", &format!("{help} {kind}."), out);
            for (labels, series) in series {
                let _ = writeln!(out, "{name}{{{labels}}} {}", value(series));
            }
        };
        counter("requests", "How many HTTP requests were processed, by", |s| s.durations.count());
        counter("requests_bytes", "The total size of requests in bytes, by", |s| s.bytes_in);
        counter("responses_bytes", "The total size of responses in bytes, by", |s| s.bytes_out);
        let name = format!("traefik_{kind}_request_duration_seconds");
        write_head(&name, "histogram", &format!("How long requests took, by {kind}."), out);
        for (labels, series) in series {
            series.durations.write(&self.buckets, &name, labels, out);
        }
    }
}

impl Scope {
    fn kind(&self) -> &'static str {
        match self {
            Scope::EntryPoint => "entrypoint",
            Scope::Router { .. } => "router",
            Scope::Service(_) => "service",
        }
    }
}

impl Key {
    fn labels(&self) -> String {
        let code = self.code.to_string();
        let common =
            [("code", code.as_str()), ("method", self.method), ("protocol", self.protocol)];
        let [code, method, protocol] = common;
        let qualified = |name: &str| format!("{name}@{PROVIDER}");
        match &self.scope {
            Scope::EntryPoint => labels(&[code, ("entrypoint", ENTRY_POINT), method, protocol]),
            Scope::Router { router, service } => {
                let (router, service) = (qualified(router), qualified(service));
                labels(&[code, method, protocol, ("router", &router), ("service", &service)])
            }
            Scope::Service(service) => {
                labels(&[code, method, protocol, ("service", &qualified(service))])
            }
        }
    }
}

/// One request on its way; it is counted when this is dropped, so that no way out forgets it.
pub(super) struct Observation {
    registry: Arc<Registry>,
    begun: Instant,
    method: &'static str,
    protocol: &'static str,
    scopes: Vec<Scope>,
    code: u16,
    bytes_in: Arc<AtomicU64>,
    bytes_out: u64,
}

impl Observation {
    pub(super) fn begin(
        registry: &Arc<Registry>,
        method: &http::Method,
        headers: &http::HeaderMap,
    ) -> Self {
        Self {
            registry: Arc::clone(registry),
            begun: Instant::now(),
            method: method_label(method),
            protocol: protocol_label(headers),
            scopes: Vec::with_capacity(3),
            code: CLIENT_CLOSED_REQUEST,
            bytes_in: Arc::default(),
            bytes_out: 0,
        }
    }

    /// Counts the request on one more.
    pub(super) fn on(&mut self, scope: Scope) {
        self.scopes.push(scope);
    }

    pub(super) fn answered(&mut self, status: http::StatusCode) {
        self.code = status.as_u16();
    }

    /// Counts it nowhere.
    pub(super) fn forget(mut self) {
        self.scopes.clear();
    }

    /// To be raised by what reads the request's body.
    pub(super) fn bytes_in(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.bytes_in)
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let mut all = self.registry.series();
        for scope in self.scopes.drain(..) {
            let key = Key { scope, code: self.code, method: self.method, protocol: self.protocol };
            let buckets = &self.registry.buckets;
            let series = all.entry(key).or_insert_with(|| Series {
                durations: Histogram::new(buckets),
                bytes_in: 0,
                bytes_out: 0,
            });
            series.durations.observe(buckets, seconds);
            series.bytes_in += self.bytes_in.load(Ordering::Relaxed);
            series.bytes_out += self.bytes_out;
        }
    }
}

fn method_label(method: &http::Method) -> &'static str {
    const KNOWN: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("EXTENSION_METHOD")
}

fn protocol_label(headers: &http::HeaderMap) -> &'static str {
    let is = |name: http::HeaderName, value: &str| {
        headers
            .get(name)
            .is_some_and(|found| found.as_bytes().eq_ignore_ascii_case(value.as_bytes()))
    };
    if is(http::header::UPGRADE, "websocket") {
        "websocket"
    } else if is(http::header::ACCEPT, "text/event-stream") {
        "sse"
    } else {
        "http"
    }
}
