//! What is scraped: the gateway, and pods whose annotations ask for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::Store;
use serin_local::prometheus::Target;
use tokio::sync::watch;

use super::follow::follow;

/// Job of the gateway's series, as Traefik's own dashboards expect it.
const GATEWAY_JOB: &str = "traefik";
const PODS_JOB: &str = "kubernetes-pods";
/// More pods than a laptop runs.
const PODS_MAX: usize = 512;

/// The targets as of now.
pub(super) fn of(store: &Store, gateway: SocketAddr) -> Vec<Target> {
    let pods = store.list(&ResourceId::core("pods"), None);
    let mut all = vec![target(GATEWAY_JOB, &gateway.to_string(), "/metrics", [])];
    all.extend(pods.iter().filter_map(pod).take(PODS_MAX));
    all
}

/// Publishes the targets whenever they change.
pub(super) async fn follow_pods(
    store: Store,
    gateway: SocketAddr,
    publish: watch::Sender<Vec<Target>>,
) {
    let look = |store: &Store| {
        let next = of(store, gateway);
        publish.send_if_modified(|current| std::mem::replace(current, next.clone()) != next);
    };
    follow(store, &[ResourceId::core("pods")], look).await;
}

fn target<const N: usize>(
    job: &str,
    instance: &str,
    path: &str,
    more: [(&str, &str); N],
) -> Target {
    let labels: BTreeMap<String, String> = [("job", job), ("instance", instance)]
        .into_iter()
        .chain(more)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Target { url: format!("http://{instance}{path}"), labels }
}

fn pod(pod: &Arc<Value>) -> Option<Target> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str);
    let annotation = |name: &str| text(&format!("/metadata/annotations/prometheus.io~1{name}"));
    if annotation("scrape") != Some("true") || text("/status/phase") != Some("Running") {
        return None;
    }
    let declared = || pod.pointer("/spec/containers/0/ports/0/containerPort")?.as_i64();
    let port = match annotation("port") {
        Some(port) => port.parse::<u16>().ok()?,
        None => u16::try_from(declared()?).ok()?,
    };
    let instance = format!("{}:{port}", text("/status/podIP")?);
    let names = [("namespace", text("/metadata/namespace")?), ("pod", text("/metadata/name")?)];
    Some(target(PODS_JOB, &instance, annotation("path").unwrap_or("/metrics"), names))
}

/// The same list as Prometheus reads it from a file.
pub(super) fn file_sd(targets: &[Target]) -> Value {
    let entry = |target: &Target| {
        let rest = target.url.strip_prefix("http://").unwrap_or(&target.url);
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let mut labels = target.labels.clone();
        labels.insert("__metrics_path__".to_owned(), format!("/{path}"));
        json!({"targets": [address], "labels": labels})
    };
    targets.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn check(annotations: Value, expected: Option<&str>) {
        let made = json!({
            "metadata": {"name": "a", "namespace": "n", "annotations": annotations},
            "spec": {"containers": [{"ports": [{"containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": "127.1.1.1"},
        });
        assert_eq!(pod(&Arc::new(made)).map(|target| target.url).as_deref(), expected);
    }

    #[test]
    fn pods_are_scraped_as_annotated() {
        check(json!({}), None);
        check(json!({"prometheus.io/scrape": "false"}), None);
        check(json!({"prometheus.io/scrape": "true"}), Some("http://127.1.1.1:8080/metrics"));
        let own = json!({"prometheus.io/scrape": "true", "prometheus.io/port": "9", "prometheus.io/path": "/m"});
        check(own, Some("http://127.1.1.1:9/m"));
    }

    #[test]
    fn prometheus_gets_the_same_list() {
        let targets = [target("traefik", "127.0.0.1:9000", "/metrics", [])];
        expect![[r#"[{"labels":{"__metrics_path__":"/metrics","instance":"127.0.0.1:9000","job":"traefik"},"targets":["127.0.0.1:9000"]}]"#]]
            .assert_eq(&file_sd(&targets).to_string());
    }
}
