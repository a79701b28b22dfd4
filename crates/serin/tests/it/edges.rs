//! Text from outside: sequences that command a terminal, forge lines or turn the writing direction are planted at every edge
//! and looked for in every sink.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use serin::http_client::HttpError;
use serin_apiserver::http::{Api, Body};
use tower::Service;
use tracing_subscriber::fmt::MakeWriter;

use crate::cluster::{CANARIES, TestCluster, value};

/// Colours, a line of a log that nobody wrote, another direction, a string that ends a title, and what cannot be seen.
const PLANTED: &str =
    "planted\u{1b}[31mred\r\nforged line\u{202e}gnol\u{2066}\u{200b}\u{9b}0m\u{7}\u{2028}end";

/// Whatever no sink may show.
fn is_bad(sign: char) -> bool {
    sign.is_control()
        || matches!(sign, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Every string in it, keys included.
fn clean_json(sink: &str, value: &Value) {
    match value {
        Value::String(text) => assert!(!text.chars().any(is_bad), "{sink}: {text:?}"),
        Value::Array(list) => list.iter().for_each(|value| clean_json(sink, value)),
        Value::Object(map) => {
            for (key, value) in map {
                assert!(!key.chars().any(is_bad), "{sink}: {key:?}");
                clean_json(sink, value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Lines may end; nothing else may, and none is forged.
fn clean_text(sink: &str, text: &str) {
    for line in text.lines() {
        assert!(!line.chars().any(is_bad), "{sink}: {line:?}");
        assert!(!line.starts_with("forged line"), "{sink}: {line:?}");
    }
}

/// An API whose admission refuses primaries in words of its own, while told to.
#[derive(Clone)]
struct Admission {
    api: Api,
    refuses: Arc<AtomicBool>,
}

impl Service<Request<kube::client::Body>> for Admission {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let (api, refuses) = (self.api.clone(), self.refuses.load(Ordering::SeqCst));
        Box::pin(async move {
            let primary =
                *request.method() == Method::POST && request.uri().path().contains("/deployments");
            if primary && refuses {
                let status = json!({
                    "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403,
                    "reason": "Forbidden", "message": format!("admission: {PLANTED}"), "metadata": {},
                });
                let body = http_body_util::Full::new(bytes::Bytes::from(status.to_string()));
                let body = body.map_err(|never| match never {}).boxed_unsync();
                return Ok(Response::builder().status(403).body(body).unwrap());
            }
            Ok(api.handle(request).await)
        })
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

fn spec() -> Value {
    json!({
        "analysis": {
            "threshold": 3,
            "metrics": [
                {"name": format!("errors {PLANTED}"), "query": "refused", "thresholdRange": {"max": 1}},
                {"name": "unreachable", "query": "unreachable", "thresholdRange": {"max": 1}},
            ],
            "webhooks": [
                {"name": format!("hook {PLANTED}"), "type": "rollout", "url": "http://hooks/refuses"},
                {"name": "events", "type": "event", "url": "http://hooks/events"},
                {"name": "broken", "type": "rollout", "url": "http://hooks/broken"},
            ],
            "alerts": [{"name": format!("chat {PLANTED}"), "severity": "info", "providerRef": {"name": "chat"}}],
        },
    })
}

fn answers(
    heard: &Arc<Mutex<Vec<String>>>,
) -> impl Fn(&str, &str) -> Result<(u16, String), HttpError> + Send + Sync + 'static {
    let heard = Arc::clone(heard);
    move |url, body| {
        if url.contains("hooks/events") || url.contains("chat") {
            heard.lock().unwrap().push(body.to_owned());
            return Ok((200, String::new()));
        }
        if url.contains("hooks/refuses") {
            return Ok((403, PLANTED.to_owned()));
        }
        if url.contains("broken") || url.contains("unreachable") || url.contains("gateway") {
            return Err(HttpError::Connect { host: PLANTED.to_owned(), why: PLANTED.to_owned() });
        }
        if url.contains("refused") {
            let body = json!({"status": "error", "errorType": PLANTED, "error": PLANTED});
            return Ok((422, body.to_string()));
        }
        value(0.0)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_planted_at_an_edge_comes_out_of_a_sink() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let refuses = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&refuses);
    let mut cluster = TestCluster::start_with(move |api| {
        kube::Client::new(Admission { api, refuses: told }, "default")
    });
    cluster.kill_operator();
    cluster.gateways = vec!["http://gateway:9100/metrics".to_owned()];
    cluster.start_operator();
    let heard = Arc::new(Mutex::new(Vec::new()));
    cluster.answer(answers(&heard));
    cluster.create(
        ("flagger.app", "alertproviders"),
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "AlertProvider", "metadata": {"name": "chat"},
            "spec": {"type": "slack", "channel": format!("releases {PLANTED}"), "address": "http://chat/"},
        }),
    );
    cluster.apply("app:v1", spec());
    cluster.pass(60).await;
    refuses.store(false, Ordering::SeqCst);
    cluster.until_phase("Initialized").await;
    cluster.set_image("app:v2");
    cluster.until_phase("Failed").await;
    cluster.pass(60).await;

    clean_json("status", &cluster.status());
    let status = cluster.status().to_string();
    assert!(status.contains("planted") && status.contains("unreachable"), "{status}");
    let events =
        cluster.store.list(&serin_apiserver::registry::ResourceId::core("events"), Some("develop"));
    assert!(events.iter().any(|event| event["message"].to_string().contains("planted")));
    for event in &events {
        clean_json("Event", event);
    }
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert!(heard.iter().any(|body| body.contains("planted")), "{heard:?}");
    for body in &heard {
        let mut said: Value = serde_json::from_str(body).unwrap();
        // The channel is the user's own, and goes to the chat as it is.
        said.as_object_mut().unwrap().remove("channel");
        clean_json("hook or chat", &said);
    }
    let metrics = cluster.metrics();
    assert!(metrics.contains("planted"), "{metrics}");
    clean_text("/metrics", &metrics);
    let canary = cluster.get(CANARIES, "backend").unwrap();
    let explained = serin::cli::explain::report(&canary).to_string();
    assert!(explained.contains("planted"), "{explained}");
    clean_text("serin explain", &explained);
    let log = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
    assert!(log.contains("planted"), "nothing was logged");
    clean_text("log", &log);
}
