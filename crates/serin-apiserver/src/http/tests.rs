//! Tests of the API as clients use it, in process and on a paused clock.

use std::sync::Arc;

use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use serde_json::{Value, json};
use tower::Service;

use super::{Api, Body};
use crate::store::Store;

mod clients;
mod definitions;
mod garbage;
mod kubectl;
mod lists;
mod surface;
mod watching;
mod writes;

pub(super) const MERGE: &str = "application/merge-patch+json";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
pub(super) const APPLY: &str = "application/apply-patch+yaml";
pub(super) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(super) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

/// An API server with a client.
#[derive(Clone)]
pub(super) struct TestServer {
    pub(super) api: Api,
}

/// The answer to a request.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) kind: String,
    pub(super) warnings: Vec<String>,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn version(&self) -> u64 {
        self.text("/metadata/resourceVersion").parse().unwrap()
    }

    pub(super) fn text(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap().iter();
        items.map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
    }

    /// The status code and the message of a refused request.
    pub(super) fn refusal(&self) -> (u16, &str) {
        (self.code, self.text("/message"))
    }
}

impl TestServer {
    pub(super) fn new() -> Self {
        Self::at(1_800_000_000)
    }

    pub(super) fn at(second: i64) -> Self {
        let clock = Arc::new(move || Timestamp::from_second(second).unwrap());
        Self { api: Api::new(Store::new(clock, 7)) }
    }

    /// With a custom kind: `spec.size` up to 10 with default 3, `spec.keep` is free, status and scale.
    pub(super) async fn with_widgets() -> Self {
        let server = Self::new();
        assert_eq!(server.post(CRDS, widgets()).await.code, 201);
        server
    }

    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> http::Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        self.api.clone().call(request).await.unwrap()
    }

    async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let headers = [("content-type", kind), ("user-agent", "tester/1.0")];
        self.answer(self.raw(method, path, &headers, body).await).await
    }

    async fn answer(&self, response: http::Response<Body>) -> Answer {
        let (parts, body) = response.into_parts();
        let text = |name: &str| {
            let all = parts.headers.get_all(name).iter();
            all.map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            code: parts.status.as_u16(),
            kind: text("content-type").join(","),
            warnings: text("warning"),
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", Vec::new()).await
    }

    pub(super) async fn get_as(&self, path: &str, accept: &str) -> Answer {
        self.answer(self.raw(Method::GET, path, &[("accept", accept)], Vec::new()).await).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string().into_bytes()).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send(Method::PUT, path, "application/json", body.to_string().into_bytes()).await
    }

    pub(super) async fn patch(&self, path: &str, kind: &str, body: Value) -> Answer {
        self.send(Method::PATCH, path, kind, body.to_string().into_bytes()).await
    }

    pub(super) async fn delete(&self, path: &str, options: Value) -> Answer {
        self.send(Method::DELETE, path, "application/json", options.to_string().into_bytes()).await
    }

    pub(super) async fn watch(&self, path: &str) -> Lines {
        let response = self.raw(Method::GET, path, &[], Vec::new()).await;
        assert_eq!(response.status(), 200);
        Lines { body: response.into_body() }
    }
}

/// The events of a watch.
pub(super) struct Lines {
    body: Body,
}

impl Lines {
    /// The next event; `None` when the stream is over.
    pub(super) async fn next(&mut self) -> Option<Value> {
        let frame = self.body.frame().await?.unwrap();
        Some(serde_json::from_slice(&frame.into_data().unwrap()).unwrap())
    }

    /// The next event as text: `ADDED a`, or the annotation that ends a streaming list.
    pub(super) async fn line(&mut self) -> String {
        let Some(event) = self.next().await else { return "over".to_owned() };
        let object = &event["object"];
        let what = match event["type"].as_str().unwrap() {
            "BOOKMARK" => object["metadata"]["annotations"].to_string(),
            "ERROR" => object["code"].to_string(),
            _ => object["metadata"]["name"].as_str().unwrap().to_owned(),
        };
        format!("{} {what}", event["type"].as_str().unwrap())
    }

    /// All events that can be read without waiting.
    pub(super) async fn ready(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        // The paused clock advances as soon as no task is ready to run.
        while let Ok(Some(event)) =
            tokio::time::timeout(std::time::Duration::from_millis(1), self.next()).await
        {
            all.push(event);
        }
        all
    }
}

pub(super) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

pub(super) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

pub(super) fn widgets() -> Value {
    let size = json!({"type": "integer", "default": 3, "maximum": 10});
    let spec = json!({
        "type": "object",
        "properties": {
            "size": size,
            "most": {"type": "integer"},
            "keep": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
        "x-kubernetes-validations": [{"rule": "!has(self.most) || self.size <= self.most", "message": "too big"}],
    });
    let status = json!({"type": "object", "properties": {"ready": {"type": "integer"}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready"},
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Ready", "type": "integer", "jsonPath": ".status.ready", "priority": 1},
                ],
            }],
        },
    })
}
