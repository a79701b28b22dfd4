//! Gateways that are found in the cluster: the pods behind a Service, or those with certain labels, watched while leading.

use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::Value;
use serin_providers::change::{ENDPOINT_SLICE, Kind};
use tokio::task::AbortHandle;

use crate::cache::resource;
use crate::http_client::chain;

/// What makes a Service's slices its own.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// A list that takes longer is not known now.
const LIST_WAIT: Duration = Duration::from_secs(2);
const POD: Kind = Kind { group: "", version: "v1", kind: "Pod", plural: "pods" };

/// One entry of `--gateway-metrics`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Url(String),
    /// `service=NAMESPACE/NAME:PORT/PATH`.
    Service(Found),
    /// `selector=NAMESPACE/LABELS:PORT/PATH`.
    Selector(Found),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    namespace: String,
    /// A Service's name, or labels as kubectl takes them.
    what: String,
    port: Port,
    path: String,
}

/// A number is the pod's own, a name is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Port {
    Number(u16),
    Name(String),
}

/// The flag's values, cut at commas; a piece that names no kind belongs to the labels before it.
pub fn targets(pieces: &[String]) -> Result<Vec<Target>, String> {
    let mut texts: Vec<String> = Vec::new();
    for piece in pieces.iter().map(|piece| piece.trim()).filter(|piece| !piece.is_empty()) {
        let begins = piece.contains("://") || piece.starts_with("service=");
        match texts.last_mut().filter(|last| last.starts_with("selector=") && !begins) {
            Some(last) if !piece.starts_with("selector=") => {
                last.push(',');
                last.push_str(piece);
            }
            Some(_) | None => texts.push(piece.to_owned()),
        }
    }
    texts.iter().map(|text| target(text)).collect()
}

fn target(text: &str) -> Result<Target, String> {
    let complain = |why: &str| format!("gateway metrics {text:?}: {why}");
    if let Some(rest) = text.strip_prefix("service=") {
        return found(rest).map(Target::Service).map_err(|why| complain(&why));
    }
    if let Some(rest) = text.strip_prefix("selector=") {
        return found(rest).map(Target::Selector).map_err(|why| complain(&why));
    }
    let uri: Result<http::Uri, _> = text.parse();
    match uri.as_ref().map(|uri| (uri.scheme_str(), uri.host())) {
        Ok((Some("http" | "https"), Some(_))) => Ok(Target::Url(text.to_owned())),
        Ok(_) | Err(_) => Err(complain(
            "must be a URL, service=NAMESPACE/NAME:PORT or selector=NAMESPACE/LABELS:PORT",
        )),
    }
}

fn found(text: &str) -> Result<Found, String> {
    let (namespace, rest) = text.split_once('/').ok_or("names no namespace")?;
    // Labels have slashes, but no colons.
    let (what, rest) = rest.rsplit_once(':').ok_or("names no port")?;
    let (port, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    if namespace.is_empty() || what.is_empty() || port.is_empty() {
        return Err("has an empty part".to_owned());
    }
    let port = match port.parse() {
        Ok(0) => return Err("has no port 0".to_owned()),
        Ok(number) => Port::Number(number),
        Err(_) if port.bytes().all(|b| b.is_ascii_digit()) => {
            return Err(format!("has no port {port}"));
        }
        Err(_) => Port::Name(port.to_owned()),
    };
    Ok(Found {
        namespace: namespace.to_owned(),
        what: what.to_owned(),
        port,
        path: format!("/{path}"),
    })
}

/// A watch on what an entry names.
struct Watched {
    found: Found,
    slices: bool,
    store: Store<DynamicObject>,
    error: Arc<Mutex<Option<String>>>,
    task: AbortHandle,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every gateway that the operator was told of.
pub(in crate::guard) struct Discovery {
    pub urls: Vec<String>,
    watched: Vec<Watched>,
}

impl Discovery {
    /// Starts a watch for each entry that needs one.
    pub(in crate::guard) fn start(client: &Client, targets: Vec<Target>) -> Self {
        let (mut urls, mut watched) = (Vec::new(), Vec::new());
        for target in targets {
            match target {
                Target::Url(url) => urls.push(url),
                Target::Service(found) => watched.push(Watched::start(client, found, true)),
                Target::Selector(found) => watched.push(Watched::start(client, found, false)),
            }
        }
        Self { urls, watched }
    }

    /// The metrics of every pod that is known now, and what is wrong with one of the entries.
    pub(in crate::guard) async fn found(&self) -> (Vec<String>, Option<String>) {
        let (mut all, mut failure) = (Vec::new(), None);
        for watched in &self.watched {
            match watched.urls().await {
                Ok(urls) => all.extend(urls),
                Err(why) => {
                    let Found { namespace, what, .. } = &watched.found;
                    failure = Some(format!("{namespace}/{what}: {why}"));
                }
            }
        }
        (all, failure)
    }
}

impl Watched {
    fn start(client: &Client, found: Found, slices: bool) -> Self {
        let kind = resource(if slices { &ENDPOINT_SLICE } else { &POD });
        let labels = if slices {
            format!("{SERVICE_NAME_LABEL}={}", found.what)
        } else {
            found.what.clone()
        };
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &found.namespace, &kind);
        let writer = reflector::store::Writer::<DynamicObject>::new(kind);
        let store = writer.as_reader();
        let error = Arc::new(Mutex::new(None));
        let note = Arc::clone(&error);
        let task = tokio::spawn(async move {
            let events = watcher(api, watcher::Config::default().labels(&labels))
                .modify(|object| object.metadata.managed_fields = None)
                .default_backoff()
                .reflect(writer);
            futures::pin_mut!(events);
            while let Some(event) = events.next().await {
                let why = event.err().map(|error| chain(&error));
                *note.lock() = why;
            }
        });
        Self { found, slices, store, error, task: task.abort_handle() }
    }

    async fn urls(&self) -> Result<Vec<String>, String> {
        let ready = tokio::time::timeout(LIST_WAIT, self.store.wait_until_ready());
        if !matches!(ready.await, Ok(Ok(()))) {
            let error = self.error.lock().clone();
            let kind = if self.slices { "endpointslices" } else { "pods" };
            return Err(error.unwrap_or_else(|| format!("its {kind} are not listed yet")));
        }
        let objects: Vec<Value> =
            self.store.state().iter().map(|object| object.data.clone()).collect();
        let Found { port, path, .. } = &self.found;
        let hosts = if self.slices { behind(&objects, port) } else { running(&objects, port) };
        if hosts.is_empty() {
            return Err("no pod with that port is running".to_owned());
        }
        Ok(hosts.iter().map(|host| format!("http://{host}{path}")).collect())
    }
}

/// Addresses and ports of the endpoints that serve, or still do.
fn behind(slices: &[Value], port: &Port) -> BTreeSet<String> {
    // A pod with an address of each family is still one.
    let family = |slice: &Value| slice["addressType"] == "IPv4";
    let four = slices.iter().any(family);
    let mut hosts = BTreeSet::new();
    for slice in slices.iter().filter(|slice| family(slice) == four) {
        let ports = slice["ports"].as_array().into_iter().flatten();
        let Some(port) = number(port, ports, "port") else { continue };
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        for endpoint in endpoints.filter(|e| e["conditions"]["serving"] != Value::Bool(false)) {
            let address = endpoint.pointer("/addresses/0").and_then(Value::as_str);
            hosts.extend(address.map(|address| host(address, port)));
        }
    }
    hosts
}

/// Addresses and ports of running pods.
fn running(pods: &[Value], port: &Port) -> BTreeSet<String> {
    let mut hosts = BTreeSet::new();
    for pod in pods.iter().filter(|pod| pod["status"]["phase"] == "Running") {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let ports = containers.into_iter().flatten();
        let ports = ports.filter_map(|container| container["ports"].as_array()).flatten();
        let (Some(port), Some(address)) =
            (number(port, ports, "containerPort"), pod["status"]["podIP"].as_str())
        else {
            continue;
        };
        hosts.insert(host(address, port));
    }
    hosts
}

fn number<'a>(port: &Port, ports: impl Iterator<Item = &'a Value>, field: &str) -> Option<u16> {
    match port {
        Port::Number(number) => Some(*number),
        Port::Name(name) => ports
            .filter(|port| port["name"] == **name)
            .find_map(|port| u16::try_from(port[field].as_u64()?).ok()),
    }
}

fn host(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Vec<Target>, String> {
        targets(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    fn at(namespace: &str, what: &str, port: Port, path: &str) -> Found {
        Found { namespace: namespace.into(), what: what.into(), port, path: path.into() }
    }

    #[test]
    fn entries_are_urls_services_and_labels() {
        let all = parse(
            "http://a:9100/metrics,service=traefik/metrics:9100,\
             selector=edge/app.kubernetes.io/name=traefik,tier!=test:metrics,https://b/stats,\
             service=edge/envoy:admin/stats/prometheus,",
        );
        let name = |name: &str| Port::Name(name.to_owned());
        let labels = "app.kubernetes.io/name=traefik,tier!=test";
        let expected = [
            Target::Url("http://a:9100/metrics".into()),
            Target::Service(at("traefik", "metrics", Port::Number(9100), "/metrics")),
            Target::Selector(at("edge", labels, name("metrics"), "/metrics")),
            Target::Url("https://b/stats".into()),
            Target::Service(at("edge", "envoy", name("admin"), "/stats/prometheus")),
        ];
        assert_eq!(all.unwrap(), expected);
        for bad in [
            "traefik:9100",
            "ftp://a/",
            "service=metrics:9100",
            "service=a/b",
            "service=a/:1",
            "service=a/b:0",
            "service=a/b:70000",
            "selector=/a=b:1",
            "service=a/b:/x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_serving_endpoint_is_a_replica_and_each_only_once() {
        let four = json!({
            "addressType": "IPv4", "ports": [{"name": "web", "port": 80}, {"name": "metrics", "port": 9100}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": false}},
            ],
        });
        let six = json!({
            "addressType": "IPv6", "ports": [{"name": "metrics", "port": 9100}],
            "endpoints": [{"addresses": ["fd00::1"], "conditions": {"ready": true}}],
        });
        let name = Port::Name("metrics".to_owned());
        let of =
            |slices: &[Value], port: &Port| behind(slices, port).into_iter().collect::<Vec<_>>();
        assert_eq!(of(&[four.clone(), six.clone()], &name), ["10.0.0.1:9100", "10.0.0.2:9100"]);
        assert_eq!(of(std::slice::from_ref(&four), &Port::Number(7)), ["10.0.0.1:7", "10.0.0.2:7"]);
        assert_eq!(of(&[six], &name), ["[fd00::1]:9100"]);
        assert!(of(&[four], &Port::Name("none".to_owned())).is_empty());
    }

    #[test]
    fn running_pods_are_replicas() {
        let pod = |phase: &str, ip: &str| {
            json!({
                "spec": {"containers": [
                    {"name": "sidecar"}, {"ports": [{"name": "metrics", "containerPort": 9100}]},
                ]},
                "status": {"phase": phase, "podIP": ip},
            })
        };
        let pods = [pod("Running", "10.0.0.1"), pod("Pending", "10.0.0.2"), json!({})];
        let name = Port::Name("metrics".to_owned());
        assert_eq!(running(&pods, &name).into_iter().collect::<Vec<_>>(), ["10.0.0.1:9100"]);
    }
}
