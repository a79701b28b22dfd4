//! The sample application on real sockets.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::*;

fn options(version: &str) -> Options {
    Options::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), version)
}

async fn call(
    app: SocketAddr,
    method: Method,
    path: &str,
    body: &'static str,
) -> (u16, String, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let request = Request::builder().method(method).uri(format!("http://{app}{path}"));
    let response = client.request(request.body(Full::from(body)).unwrap()).await.unwrap();
    let version = response.headers()[VERSION_HEADER].to_str().unwrap().to_owned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, version, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(app: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = call(app, Method::GET, path, "").await;
    (status, body)
}

#[tokio::test]
async fn it_says_who_answered() {
    let app = App::start(Options { pod: "backend-1".into(), ..options("v7") }).await.unwrap();
    let (status, version, body) = call(app.address(), Method::GET, "/", "").await;
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, version.as_str()), (200, "v7"));
    assert_eq!((body["version"].as_str(), body["pod"].as_str()), (Some("v7"), Some("backend-1")));
    assert_eq!(get(app.address(), "/healthz").await.0, 200);
    assert_eq!(get(app.address(), "/readyz").await.0, 200);
    app.shutdown().await;
}

#[tokio::test]
async fn faults_are_switched_on_and_off_while_it_runs() {
    let app = App::start(options("v1")).await.unwrap();
    let faults = r#"{"errorRate": 0.25, "errorStatus": 503}"#;
    let (status, _, shown) = call(app.address(), Method::POST, "/faults", faults).await;
    assert_eq!(status, 200, "{shown}");
    let mut failed = 0;
    for _ in 0..40 {
        failed += usize::from(get(app.address(), "/").await.0 == 503);
    }
    assert_eq!(failed, 10);
    assert_eq!(get(app.address(), "/healthz").await.0, 200);
    assert_eq!(call(app.address(), Method::POST, "/faults", "{}").await.0, 200);
    assert_eq!(get(app.address(), "/").await.0, 200);
    for wrong in ["", "{\"errorRate\": 2}", "{\"errorStatus\": 42}", "{\"typo\": 1}"] {
        assert_eq!(call(app.address(), Method::POST, "/faults", wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(call(app.address(), Method::DELETE, "/faults", "").await.0, 405);
    app.shutdown().await;
}

#[tokio::test]
async fn metrics_carry_what_the_kubernetes_provider_selects_by() {
    let faults = Faults { error_rate: 1.0, ..Faults::default() };
    let options =
        Options { faults, pod: "p-1".into(), namespace: "develop".into(), ..options("v1") };
    let app = App::start(options).await.unwrap();
    get(app.address(), "/").await;
    get(app.address(), "/anything").await;
    let page = get(app.address(), "/metrics").await.1;
    let labels = "app=\"backend\",kubernetes_namespace=\"develop\",kubernetes_pod_name=\"p-1\",\
        version=\"v1\",method=\"GET\",path=\"other\",status=\"500\"";
    let count = format!("http_request_duration_seconds_count{{{labels}}} 1");
    assert!(page.lines().any(|line| line == count), "{count} in {page}");
    let bucket = format!("http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} 1");
    assert!(page.lines().any(|line| line == bucket), "{bucket} in {page}");
}

#[tokio::test]
async fn a_slow_starter_is_not_ready() {
    let app = App::start(Options { ready_after: Duration::from_secs(3600), ..options("v1") })
        .await
        .unwrap();
    assert_eq!(get(app.address(), "/readyz").await, (503, "starting\n".to_owned()));
    assert_eq!(get(app.address(), "/healthz").await.0, 200);
}

#[tokio::test]
async fn faults_may_begin_later() {
    let faults = Faults { error_rate: 1.0, ..Faults::default() };
    let options = Options { faults, faults_after: Duration::from_secs(3600), ..options("v1") };
    let app = App::start(options).await.unwrap();
    assert_eq!(get(app.address(), "/").await.0, 200);
}

#[tokio::test]
async fn shutdown_finishes_requests_in_flight() {
    let faults = Faults { latency_rate: 1.0, latency_ms: 200, ..Faults::default() };
    let app = App::start(Options { faults, ..options("v1") }).await.unwrap();
    let (address, shared) = (app.address(), Arc::clone(&app.shared));
    let request = tokio::spawn(async move { get(address, "/").await });
    // The injector has dealt a fault out: the request is being worked on.
    while shared.injector().dealt() == 0 {
        tokio::task::yield_now().await;
    }
    app.shutdown().await;
    assert_eq!(request.await.unwrap().0, 200);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_process_told_to_fail_fails() {
    let options = Options { exit_after: Some(Duration::from_millis(1)), ..options("v1") };
    let error = serve(options).await.unwrap_err();
    assert_eq!(error.to_string(), "exits after 1ms, as told");
}

#[test]
fn settings_come_from_variables() {
    let from = |pairs: &'static [(&str, &str)]| {
        Options::from_variables(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    };
    let options = from(&[
        ("POD_IP", "127.1.0.5"),
        ("PORT", "9898"),
        ("IMAGE_TAG", "v3"),
        ("POD_NAME", "backend-x"),
        ("ERROR_RATE", "0.07"),
        ("LATENCY_RATE", "1"),
        ("LATENCY_MS", "700"),
        ("READY_AFTER_SECS", "1.5"),
        ("EXIT_AFTER_SECS", ""),
    ])
    .unwrap();
    assert_eq!(options.listen.to_string(), "127.1.0.5:9898");
    assert_eq!((options.version.as_str(), options.pod.as_str()), ("v3", "backend-x"));
    let expected =
        Faults { error_rate: 0.07, latency_rate: 1.0, latency_ms: 700, ..Faults::default() };
    assert_eq!(options.faults, expected);
    assert_eq!((options.ready_after, options.exit_after), (Duration::from_millis(1500), None));
    for (pairs, message) in [
        (&[("PORT", "x")][..], "PORT: \"x\" is not a port"),
        (&[("ERROR_RATE", "1.5")][..], "errorRate: \"1.5\" is not a share between 0 and 1"),
        (&[("READY_AFTER_SECS", "-1")][..], "READY_AFTER_SECS: \"-1\" is not a number of seconds"),
    ] {
        assert_eq!(from(pairs).unwrap_err().to_string(), message);
    }
}
