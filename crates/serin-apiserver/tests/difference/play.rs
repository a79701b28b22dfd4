//! Sends a file of requests to a server, ours in process or another one over HTTP, and returns its answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use serin_apiserver::admission::{AdmissionRequest, Refusal};
use serin_apiserver::http::Api;
use serin_apiserver::store::Store;
use tower::Service;

use crate::normal;

/// One step of a file.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Step {
    /// A request as written in the file.
    Request {
        name: String,
        /// Method and path, such as `POST /api/v1/namespaces`.
        request: String,
        #[serde(default)]
        r#type: Option<String>,
        #[serde(default)]
        accept: Option<String>,
        #[serde(default)]
        body: Value,
        /// The body as text, for bodies that are not JSON.
        #[serde(default)]
        raw: Option<String>,
        /// The answer is not compared: the request only prepares others.
        #[serde(default)]
        quiet: bool,
        /// Repeated until it succeeds: a new kind is served a moment after its definition.
        #[serde(default)]
        wait: bool,
        /// Repeated until it is refused: admission rules apply a moment later.
        #[serde(default)]
        refused: bool,
    },
    /// An object and invalid variants of it, all sent with `dryRun`.
    Object {
        object: String,
        path: String,
        base: Value,
        #[serde(default)]
        create: BTreeMap<String, BTreeMap<String, Value>>,
        #[serde(default)]
        update: BTreeMap<String, BTreeMap<String, Value>>,
        #[serde(default)]
        apply: BTreeMap<String, BTreeMap<String, Value>>,
    },
}

/// A prepared request.
#[derive(Clone)]
struct Sent<'a> {
    method: Method,
    path: String,
    kind: &'a str,
    accept: &'a str,
    body: Vec<u8>,
}

/// The server under test.
pub(crate) enum Server {
    /// The API server of this crate, without controllers.
    Ours(Box<Api>),
    /// Any server behind plain HTTP, such as `kubectl proxy`.
    At { base: String, client: Client<HttpConnector, Full<Bytes>> },
}

impl Server {
    pub(crate) fn ours() -> Self {
        let clock = || Timestamp::from_second(1_800_000_000).expect("a time of this century");
        let api = Api::new(Store::new(Arc::new(clock), 7)).with_admission(Arc::new(refusals));
        Self::Ours(Box::new(api))
    }

    pub(crate) fn at(base: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self::At { base: base.trim_end_matches('/').to_owned(), client }
    }

    /// Status code, warnings and body.
    async fn send(&self, sent: Sent<'_>) -> (u16, Vec<String>, Bytes) {
        let base = match self {
            Server::Ours(_) => "",
            Server::At { base, .. } => base,
        };
        let mut request = Request::builder()
            .method(sent.method)
            .uri(format!("{base}{}", sent.path))
            .header("user-agent", "difference/1.0")
            .header("accept", sent.accept);
        if !sent.body.is_empty() {
            request = request.header("content-type", sent.kind);
        }
        let request =
            request.body(Full::new(Bytes::from(sent.body))).expect("a well-formed request");
        let (parts, body) = match self {
            Server::Ours(api) => {
                let Ok(response) = api.as_ref().clone().call(request).await;
                let (parts, body) = response.into_parts();
                let Ok(body) = body.collect().await;
                (parts, body.to_bytes())
            }
            Server::At { client, .. } => {
                let response = client.request(request).await.expect("the server answers");
                let (parts, body) = response.into_parts();
                (parts, body.collect().await.expect("a whole body").to_bytes())
            }
        };
        let warnings = parts.headers.get_all("warning").iter();
        let warnings = warnings.filter_map(|value| Some(value.to_str().ok()?.to_owned())).collect();
        (parts.status.as_u16(), warnings, body)
    }
}

/// The refusals of the rules in `cases/refusals.yaml`: this API server stores such rules and does not enforce them.
fn refusals(attempt: &AdmissionRequest<'_>) -> Option<Refusal> {
    let quota = Refusal::Quota { quota: "few".to_owned(), limit: 0 };
    match (attempt.namespace, attempt.resource.plural.as_str(), attempt.name) {
        ("difference-refusals", "services" | "deployments", _) => Some(quota),
        ("difference-refusals", "configmaps", "unsigned") => Some(Refusal::Policy {
            policy: "difference-refusals-unsigned".to_owned(),
            binding: "difference-refusals-unsigned".to_owned(),
            message: "v2 is not signed for production".to_owned(),
        }),
        (_, _, _) => None,
    }
}

/// The answers to the requests of a file, by name.
pub(crate) type Answers = BTreeMap<String, Value>;

/// The names of the request files.
pub(crate) fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder of requests");
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            entry.ok()?.file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned)
        })
        .collect();
    names.sort();
    names
}

/// Sends one file, in a namespace of its own.
pub(crate) async fn play(server: &Server, folder: &Path, name: &str) -> Answers {
    let text =
        std::fs::read_to_string(folder.join(format!("{name}.yaml"))).expect("a readable file");
    let namespace = format!("difference-{name}");
    let text = text.replace("{ns}", &namespace);
    let steps: Vec<Step> =
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}.yaml: {error}"));
    let mut player = Player { server, answers: Answers::new(), objects: BTreeMap::new() };
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    player.post("/api/v1/namespaces", "", &body).await;
    for step in steps {
        player.step(step).await;
    }
    player.answers
}

struct Player<'a> {
    server: &'a Server,
    answers: Answers,
    /// Bodies of answers, for later requests that refer to them.
    objects: BTreeMap<String, Value>,
}

impl Player<'_> {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Request { name, request, r#type, accept, body, raw, quiet, wait, refused } => {
                let (method, path) = request.split_once(' ').expect("a method and a path");
                let kind = r#type.as_deref().unwrap_or("application/json");
                let accept = accept.as_deref().unwrap_or("application/json");
                let bytes = match raw {
                    Some(raw) => raw.into_bytes(),
                    None if body.is_null() => Vec::new(),
                    None => self.filled(body).to_string().into_bytes(),
                };
                let method = method.parse().expect("a method");
                let path = self.filled(json!(path)).as_str().unwrap_or_default().to_owned();
                let sent = Sent { method, path, kind, accept, body: bytes };
                if wait || refused {
                    self.until(&sent, |code| (code >= 400) == refused).await;
                }
                let name = (!quiet).then_some(name.as_str());
                self.ask(name, &request, sent).await;
            }
            Step::Object { object, path, base, create, update, apply } => {
                for (what, changes) in &create {
                    let name = format!("{object}: create: {what}");
                    self.post(&format!("{path}?dryRun=All"), &name, &changed(&base, changes)).await;
                }
                let at = format!("{path}/{}", base["metadata"]["name"].as_str().expect("a name"));
                if !update.is_empty() || !apply.is_empty() {
                    self.post(&path, "", &base).await;
                }
                for (what, changes) in &update {
                    let name = format!("{object}: update: {what}");
                    let body = changed(&base, changes).to_string().into_bytes();
                    let path = format!("{at}?dryRun=All");
                    let sent = Sent {
                        method: Method::PUT,
                        path,
                        kind: "application/json",
                        accept: "application/json",
                        body,
                    };
                    self.ask(Some(&name), "PUT", sent).await;
                }
                for (what, changes) in &apply {
                    let name = format!("{object}: apply: {what}");
                    let bare = json!({"apiVersion": base["apiVersion"], "kind": base["kind"], "metadata": {"name": base["metadata"]["name"]}});
                    let body = changed(&bare, changes).to_string().into_bytes();
                    let path = format!("{at}?dryRun=All&fieldManager=second&force=true");
                    let sent = Sent {
                        method: Method::PATCH,
                        path,
                        kind: "application/apply-patch+yaml",
                        accept: "application/json",
                        body,
                    };
                    self.ask(Some(&name), "APPLY", sent).await;
                }
            }
        }
    }

    /// Repeats a request until its status code is wanted, for at most a minute.
    async fn until(&self, sent: &Sent<'_>, wanted: impl Fn(u16) -> bool) {
        for _ in 0..600 {
            let (code, _, _) = self.server.send(sent.clone()).await;
            if wanted(code) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    async fn post(&mut self, path: &str, name: &str, body: &Value) {
        let sent = Sent {
            method: Method::POST,
            path: path.to_owned(),
            kind: "application/json",
            accept: "application/json",
            body: body.to_string().into_bytes(),
        };
        let name = (!name.is_empty()).then_some(name);
        self.ask(name, "POST", sent).await;
    }

    async fn ask(&mut self, name: Option<&str>, request: &str, sent: Sent<'_>) {
        let (code, warnings, body) = self.server.send(sent).await;
        let Some(name) = name else {
            let text = String::from_utf8_lossy(&body);
            assert!(code < 300, "what prepares must not fail: {request}: {code} {text}");
            return;
        };
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(&body)
            .into_iter()
            .filter_map(Result::ok)
            .collect();
        let body = match <[Value; 1]>::try_from(lines) {
            Ok([one]) => one,
            Err(lines) if lines.is_empty() => json!(String::from_utf8_lossy(&body)),
            Err(lines) => Value::Array(lines),
        };
        self.objects.insert(name.to_owned(), body.clone());
        let answer = json!({"code": code, "warnings": warnings, "body": normal::body(body)});
        let twice = self.answers.insert(name.to_owned(), answer);
        assert!(twice.is_none(), "two requests are called {name:?}");
    }

    /// Replaces texts such as `$(first create:/metadata/resourceVersion)` by the value in that answer.
    fn filled(&self, value: Value) -> Value {
        match value {
            Value::String(text) => {
                let Some((before, rest)) = text.split_once("$(") else {
                    return Value::String(text);
                };
                let (inside, after) = rest.split_once(')').expect("a closed reference");
                let (name, pointer) = inside.split_once(':').expect("a name and a pointer");
                let found = self.objects.get(name).and_then(|body| body.pointer(pointer));
                let found = found.unwrap_or_else(|| panic!("no {inside}"));
                match found.as_str() {
                    Some(found) => json!(format!("{before}{found}{after}")),
                    None => found.clone(),
                }
            }
            Value::Array(list) => list.into_iter().map(|item| self.filled(item)).collect(),
            Value::Object(map) => {
                map.into_iter().map(|(name, value)| (name, self.filled(value))).collect()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }
}

/// Changes an object at some pointers: null removes, and `-` at the end of a pointer appends to a list.
fn changed(base: &Value, changes: &BTreeMap<String, Value>) -> Value {
    let mut object = base.clone();
    for (pointer, value) in changes {
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        let parent = reach(&mut object, parent);
        match parent {
            Value::Array(list) if last == "-" => list.push(value.clone()),
            Value::Array(list) => {
                let index: usize = last.parse().expect("an index");
                if value.is_null() {
                    list.remove(index);
                } else {
                    list[index] = value.clone();
                }
            }
            Value::Object(map) => {
                let last = last.replace("~1", "/");
                if value.is_null() {
                    map.remove(&last);
                } else {
                    map.insert(last, value.clone());
                }
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                panic!("{pointer}: {other} has no parts")
            }
        }
    }
    object
}

fn reach<'a>(object: &'a mut Value, pointer: &str) -> &'a mut Value {
    let mut at = object;
    for part in pointer.split('/').skip(1) {
        at = match at {
            Value::Array(list) => &mut list[part.parse::<usize>().expect("an index")],
            other @ (Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_)) => {
                if other.get(part).is_none_or(Value::is_null) {
                    other[part] = json!({});
                }
                &mut other[part]
            }
        };
    }
    at
}
