//! The rules that real clients rely on, asked of the service in process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::FutureExt;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::*;

mod laws;
mod persistence;
mod removal;
mod rules;
mod shapes;
mod socket;
mod watches;

const START_SECS: i64 = 1_790_000_000;
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

struct TestServer {
    api: Api,
    secs: Arc<AtomicI64>,
}

struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

/// The events of a watch.
struct Lines(Body);

impl Lines {
    /// The events so far, without waiting.
    fn ready(&mut self) -> Vec<Value> {
        let mut lines = Vec::new();
        // Tests do not yield, so that tokio's budget of one task would end before all ready events are read.
        while let Some(Some(frame)) = tokio::task::unconstrained(self.0.frame()).now_or_never() {
            let data = frame.unwrap().into_data().unwrap();
            lines.push(serde_json::from_slice(&data).unwrap());
        }
        lines
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let frame = self.0.frame().await?;
        Some(serde_json::from_slice(&frame.unwrap().into_data().unwrap()).unwrap())
    }

    /// Type and name of the events so far.
    fn brief(&mut self) -> Vec<String> {
        let text = |line: &Value, pointer: &str| {
            line.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned()
        };
        let line = |line: &Value| {
            format!("{} {}", text(line, "/type"), text(line, "/object/metadata/name"))
        };
        self.ready().iter().map(line).collect()
    }
}

fn server() -> TestServer {
    server_at(START_SECS)
}

fn server_at(start: i64) -> TestServer {
    let secs = Arc::new(AtomicI64::new(start));
    let clock = Arc::clone(&secs);
    let now = move || Timestamp::from_second(clock.load(Ordering::Relaxed)).unwrap();
    TestServer { api: Api::new(Store::new(Arc::new(now), 1)), secs }
}

impl TestServer {
    fn pass(&self, secs: i64) {
        self.secs.fetch_add(secs, Ordering::Relaxed);
    }

    async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.api.handle(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let (parts, body) = self.raw(method, path, headers, bytes).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
        Answer { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], &Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[], &body).await
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path, &[], &body).await
    }

    /// A PUT with the current resourceVersion, which custom resources require.
    async fn replace(&self, path: &str, mut body: Value) -> Answer {
        let bare = path.split('?').next().unwrap_or_default();
        let live = self.get(bare).await.body;
        body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        self.put(path, body).await
    }

    async fn patch(&self, kind: &str, path: &str, body: Value) -> Answer {
        self.ask("PATCH", path, &[("content-type", kind)], &body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], &Value::Null).await
    }

    async fn table(&self, path: &str) -> Value {
        self.ask("GET", path, &[("accept", TABLE)], &Value::Null).await.body
    }

    async fn watch(&self, path: &str) -> Lines {
        let response = self.raw("GET", path, &[], "").await;
        assert_eq!(response.status().as_u16(), 200, "{path}");
        Lines(response.into_body())
    }

    async fn version(&self) -> String {
        text(&self.get(CONFIGS).await.body, "/metadata/resourceVersion")
    }

    /// A server with the kind `widgets`; the creation must succeed.
    async fn with_widgets() -> TestServer {
        let server = server();
        let answer = server.post(CRDS, widgets()).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        server
    }

    async fn made(&self, path: &str, body: Value) -> Value {
        let answer = self.post(path, body).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        answer.body
    }
}

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CONFIGS: &str = "/api/v1/namespaces/default/configmaps";
const WIDGETS: &str = "/apis/example.org/v1/namespaces/default/widgets";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn rv(object: &Value) -> String {
    text(object, "/metadata/resourceVersion")
}

fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"v": value}}, "data": {"k": value}})
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "x:1", "ports": [{"containerPort": 80}]}]},
        }},
    })
}

fn widget(name: &str, size: i64) -> Value {
    json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}})
}

/// Two served versions, a status, a scale, columns, a default and bounds.
fn widgets() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 0, "maximum": 100},
            "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]},
        }},
        "status": {"type": "object", "properties": {
            "phase": {"type": "string"}, "size": {"type": "integer"},
            "since": {"type": "string", "format": "date-time"},
            "conditions": {"type": "array", "items": {"type": "object", "properties": {
                "type": {"type": "string"}, "status": {"type": "string"},
            }}},
        }},
    }}});
    let columns = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Promoted", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Promoted\")].status"},
        {"name": "Since", "type": "date", "jsonPath": ".status.since"},
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
        {"name": "Odd", "type": "string", "jsonPath": "..[[nonsense"},
    ]);
    let version = |name: &str, storage: bool| {
        json!({
            "name": name, "served": true, "storage": storage, "schema": schema, "additionalPrinterColumns": columns,
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "shortNames": ["wd"]},
            "versions": [version("v1beta1", false), version("v1", true)],
        },
    })
}
