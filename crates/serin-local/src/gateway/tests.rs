//! The gateway on real sockets, in front of the sample application.

mod traefik;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::app::{App, Faults};
use crate::exposition;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct World {
    gateway: Gateway,
    client: Client<HttpConnector, Full<Bytes>>,
    objects: GatewayObjects,
}

impl World {
    async fn new() -> Self {
        let gateway = Gateway::start(Options::new(LOOPBACK, LOOPBACK)).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { gateway, client, objects: GatewayObjects::default() }
    }

    fn service(&mut self, name: &str, address: Option<SocketAddr>) {
        let meta = json!({"namespace": "develop", "name": name});
        let spec = json!({"ports": [{"name": "http", "port": 80}]});
        self.objects.services.push(json!({"metadata": meta, "spec": spec}));
        if let Some(address) = address {
            self.objects.endpoint_slices.push(json!({
                "metadata": {"namespace": "develop", "name": name,
                    "labels": {"kubernetes.io/service-name": name}},
                "ports": [{"name": "http", "port": address.port()}],
                "endpoints": [{"addresses": [address.ip().to_string()]}],
            }));
        }
    }

    fn traefik_service(&mut self, name: &str, spec: Value) {
        let meta = json!({"namespace": "develop", "name": name});
        self.objects.traefik_services.push(json!({"metadata": meta, "spec": spec}));
    }

    fn weights(&mut self, weights: &[(&str, u64)]) {
        let services: Vec<Value> = weights
            .iter()
            .map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight}))
            .collect();
        self.objects.traefik_services.clear();
        self.traefik_service("backend", json!({"weighted": {"services": services}}));
    }

    fn route(&mut self, rule: &str, service: &str) {
        let services = json!([{"kind": "TraefikService", "name": service}]);
        self.objects.ingress_routes.push(json!({
            "metadata": {"namespace": "develop", "name": service},
            "spec": {"routes": [{"kind": "Rule", "match": rule, "services": services}]},
        }));
    }

    fn update(&self) {
        assert_eq!(self.gateway.update(&self.objects), []);
    }

    async fn send(&self, request: http::request::Builder, body: &'static str) -> Response<Bytes> {
        let request = request.body(Full::from(body)).unwrap();
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    fn request(&self, path: &str) -> http::request::Builder {
        let address = self.gateway.addresses().listen;
        Request::builder().uri(format!("http://{address}{path}")).header("host", "a.local")
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.send(self.request(path), "").await
    }

    async fn versions(&self, requests: usize) -> BTreeMap<String, usize> {
        let mut versions = BTreeMap::new();
        for _ in 0..requests {
            let response = self.get("/").await;
            *versions.entry(answered_by(&response)).or_default() += 1;
        }
        versions
    }

    async fn metrics(&self) -> String {
        let uri = format!("http://{}/metrics", self.gateway.addresses().admin);
        let response = self.send(Request::builder().uri(uri), "").await;
        assert_eq!(response.headers()["content-type"], exposition::CONTENT_TYPE);
        String::from_utf8(response.into_body().to_vec()).unwrap()
    }

    /// Waits until the page has this line.
    async fn metric(&self, line: &str) {
        within(async {
            while !self.metrics().await.lines().any(|found| found == line) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("in time")
}

fn answered_by(response: &Response<Bytes>) -> String {
    match response.headers().get("x-version") {
        Some(version) => version.to_str().unwrap().to_owned(),
        None => response.status().as_u16().to_string(),
    }
}

async fn app(version: &str) -> App {
    App::start(crate::app::Options::new(LOOPBACK, version)).await.unwrap()
}

async fn two_versions() -> (World, App, App) {
    let (v1, v2) = (app("v1").await, app("v2").await);
    let mut world = World::new().await;
    world.service("backend-primary", Some(v1.address()));
    world.service("backend-canary", Some(v2.address()));
    world.route("Host(`a.local`)", "backend");
    (world, v1, v2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_are_exact_and_counted() {
    let (mut world, _v1, _v2) = two_versions().await;
    let mut canary = 0;
    for (percent, expected) in [(5, 100), (10, 200), (50, 1000), (90, 1800)] {
        world.weights(&[("backend-primary", 100 - percent), ("backend-canary", percent)]);
        world.update();
        let versions = world.versions(2000).await;
        assert_eq!(versions["v2"], expected, "{percent} %");
        canary += expected;
        let labels = "code=\"200\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\"";
        world.metric(&format!("traefik_service_requests_total{{{labels}}} {canary}")).await;
        let count = format!("traefik_service_request_duration_seconds_count{{{labels}}} {canary}");
        world.metric(&count).await;
    }
    world.metric("traefik_config_reloads_total 4").await;
    let entry = "code=\"200\",entrypoint=\"web\",method=\"GET\",protocol=\"http\"";
    world.metric(&format!("traefik_entrypoint_requests_total{{{entry}}} 8000")).await;
}

#[tokio::test]
async fn series_of_a_service_that_left_are_gone_after_one_scrape() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 50), ("backend-canary", 50)]);
    world.update();
    world.versions(10).await;
    world.weights(&[("backend-primary", 100)]);
    world.update();
    assert!(world.metrics().await.contains("develop-backend-canary-80"));
    let after = world.metrics().await;
    assert!(!after.contains("develop-backend-canary-80"), "{after}");
    assert!(after.contains("develop-backend-primary-80"));
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_no_reload() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 9), ("backend-canary", 1)]);
    world.update();
    let mut canary = 0;
    for _ in 0..20 {
        // With a fresh balancer each time the canary would never have its turn.
        world.update();
        canary += usize::from(answered_by(&world.get("/").await) == "v2");
    }
    assert_eq!(canary, 2);
    world.metric("traefik_config_reloads_total 1").await;
}

#[tokio::test]
async fn an_empty_backend_answers_503_that_no_service_counts() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.service("empty", None);
    world.weights(&[("backend-primary", 1), ("empty", 1)]);
    world.update();
    assert_eq!(world.versions(10).await, BTreeMap::from([("503".into(), 5), ("v1".into(), 5)]));
    let page = world.metrics().await;
    assert!(!page.contains("traefik_service_requests_total{code=\"503\""), "{page}");
    assert!(page.contains("traefik_entrypoint_requests_total{code=\"503\""), "{page}");
    assert!(page.contains("traefik_router_requests_total{code=\"503\""), "{page}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_counted_nowhere() {
    let (mut world, v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 1)]);
    world.update();
    v1.set_faults(Faults { cut_rate: 0.5, ..Faults::default() });
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut whole = 0;
    for _ in 0..10 {
        let request = world.request("/").body(Full::default()).unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        whole += u32::from(response.into_body().collect().await.is_ok());
    }
    assert_eq!(whole, 5);
    let labels = "code=\"200\",method=\"GET\",protocol=\"http\",service=\"develop-backend-primary-80@kubernetescrd\"";
    world.metric(&format!("traefik_service_requests_total{{{labels}}} 5")).await;
    let page = world.metrics().await;
    assert!(page.contains("traefik_entrypoint_requests_total{code=\"200\",entrypoint=\"web\",method=\"GET\",protocol=\"http\"} 5"), "{page}");
}

#[tokio::test]
async fn a_refused_connection_is_a_502_of_its_service() {
    let mut world = World::new().await;
    let closed = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
    world.service("backend-primary", Some(closed));
    world.weights(&[("backend-primary", 1)]);
    world.route("Host(`a.local`)", "backend");
    world.update();
    assert_eq!(world.get("/").await.status(), StatusCode::BAD_GATEWAY);
    let service = "service=\"develop-backend-primary-80@kubernetescrd\"";
    let labels = format!("code=\"502\",method=\"GET\",protocol=\"http\",{service}");
    world.metric(&format!("traefik_service_requests_total{{{labels}}} 1")).await;
}

#[tokio::test]
async fn what_no_route_takes_is_a_404_and_unknown_methods_share_a_label() {
    let (mut world, _v1, _v2) = two_versions().await;
    assert_eq!(world.get("/").await.status(), StatusCode::NOT_FOUND);
    world.weights(&[("backend-primary", 1)]);
    world.update();
    let address = world.gateway.addresses().listen;
    let other = Request::builder().uri(format!("http://{address}/")).header("host", "b.local");
    let response = world.send(other, "").await;
    assert_eq!(
        (response.status(), &response.body()[..]),
        (StatusCode::NOT_FOUND, &b"404 page not found\n"[..])
    );
    let odd = world.request("/").method(Method::from_bytes(b"ODD").unwrap());
    world.send(odd, "").await;
    let labels = "code=\"200\",entrypoint=\"web\",method=\"EXTENSION_METHOD\",protocol=\"http\"";
    world.metric(&format!("traefik_entrypoint_requests_total{{{labels}}} 1")).await;
    let upgrade = world.request("/").header("upgrade", "websocket").header("connection", "upgrade");
    assert_eq!(world.send(upgrade, "").await.status(), StatusCode::NOT_IMPLEMENTED);
}

#[tokio::test]
async fn a_sticky_cookie_pins_until_its_weight_is_0() {
    let (mut world, _v1, _v2) = two_versions().await;
    let spec = |primary: u64, canary: u64| {
        json!({"weighted": {
            "services": [{"name": "backend-primary", "port": 80, "weight": primary},
                {"name": "backend-canary", "port": 80, "weight": canary}],
            "sticky": {"cookie": {"maxAge": 60, "httpOnly": true, "secure": true,
                "sameSite": "lax", "domain": "a.local"}},
        }})
    };
    world.traefik_service("backend", spec(9, 1));
    world.update();
    let first = world.get("/").await;
    let cookie = first.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (name, rest) = cookie.split_once('=').unwrap();
    assert!(name.starts_with('_') && name.len() == 6, "{name}");
    let attributes = "Path=/; Domain=a.local; Max-Age=60; HttpOnly; Secure; SameSite=Lax";
    let value = config::cookie_value("develop-backend-primary-80");
    assert_eq!(rest, format!("{value}; {attributes}"));
    let pinned = || {
        world.request("/").header("cookie", format!("x=1; {}", cookie.split(';').next().unwrap()))
    };
    for _ in 0..20 {
        let response = world.send(pinned(), "").await;
        assert_eq!(answered_by(&response), "v1");
        assert!(!response.headers().contains_key("set-cookie"));
    }
    let mut world = world;
    world.objects.traefik_services.clear();
    world.traefik_service("backend", spec(0, 1));
    world.update();
    let pinned = world.request("/").header("cookie", cookie.split(';').next().unwrap());
    let response = world.send(pinned, "").await;
    assert_eq!(answered_by(&response), "v2");
    assert!(response.headers().contains_key("set-cookie"));
}

#[test]
fn a_cookies_value_is_traefiks() {
    // Seen from Traefik 3.7.
    assert_eq!(config::cookie_value("develop-pi-primary-80"), "0810803bd6220dd9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mirrors_get_their_share_and_their_answers_are_dropped() {
    let (mut world, _v1, v2) = two_versions().await;
    v2.set_faults(Faults { error_rate: 1.0, ..Faults::default() });
    world.traefik_service(
        "backend",
        json!({"mirroring": {"name": "backend-primary", "port": 80, "maxBodySize": 4,
            "mirrors": [{"name": "backend-canary", "port": 80, "percent": 50}]}}),
    );
    world.update();
    assert_eq!(world.versions(40).await, BTreeMap::from([("v1".into(), 40)]));
    let labels = "code=\"500\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\"";
    world.metric(&format!("traefik_service_requests_total{{{labels}}} 20")).await;
    // A body over the limit reaches the main service whole and no mirror.
    for body in ["1234", "1234", "12345", "12345"] {
        let response = world.send(world.request("/").method(Method::POST), body).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
    let labels = labels.replace("GET", "POST");
    world.metric(&format!("traefik_service_requests_total{{{labels}}} 1")).await;
    let labels = "code=\"200\",method=\"POST\",protocol=\"http\",service=\"develop-backend-primary-80@kubernetescrd\"";
    world.metric(&format!("traefik_service_requests_bytes_total{{{labels}}} 18")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_survive_a_change_and_a_shutdown() {
    let mut world = World::new().await;
    let backend = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let address = backend.local_addr().unwrap();
    let (arrived, release) =
        (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let gates = (Arc::clone(&arrived), Arc::clone(&release));
    let gated = move |_request, _peer| {
        let (arrived, release) = gates.clone();
        async move {
            arrived.notify_one();
            release.notified().await;
            crate::http_server::plain(StatusCode::OK, "late but whole")
        }
    };
    let server = Server::start(backend, Arc::default(), GRACE, gated).unwrap();
    world.service("backend-primary", Some(address));
    world.weights(&[("backend-primary", 1)]);
    world.route("Host(`a.local`)", "backend");
    world.update();

    let (response, ()) = tokio::join!(world.get("/"), async {
        within(arrived.notified()).await;
        assert_eq!(world.gateway.update(&GatewayObjects::default()), []);
        release.notify_one();
    });
    assert_eq!(&response.body()[..], b"late but whole");
    assert_eq!(world.get("/").await.status(), StatusCode::NOT_FOUND);

    world.update();
    let request = world.request("/").body(Full::from("")).unwrap();
    let response = tokio::spawn(world.client.request(request));
    within(arrived.notified()).await;
    let stopping = tokio::spawn(world.gateway.shutdown());
    release.notify_one();
    assert_eq!(within(response).await.unwrap().unwrap().status(), StatusCode::OK);
    within(stopping).await.unwrap();
    server.shutdown().await;
}

#[tokio::test]
async fn priorities_and_nested_services() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 1)]);
    world.traefik_service(
        "outer",
        json!({"weighted": {"services": [
            {"kind": "TraefikService", "name": "backend", "weight": 3},
            {"name": "backend-canary", "port": 80, "weight": 1}]}}),
    );
    world.route("Host(`a.local`) && Header(`x-test`, `1`)", "outer");
    world.update();
    assert_eq!(world.versions(8).await, BTreeMap::from([("v1".into(), 8)]));
    let mut canary = 0;
    for _ in 0..8 {
        let response = world.send(world.request("/").header("x-test", "1"), "").await;
        canary += usize::from(answered_by(&response) == "v2");
    }
    assert_eq!(canary, 2);
}

#[tokio::test]
async fn headers_are_a_proxys_and_prefixes_are_changed() {
    let mut world = World::new().await;
    let backend = tokio::net::TcpListener::bind(LOOPBACK).await.unwrap();
    let address = backend.local_addr().unwrap();
    let echo = |request: Request<hyper::body::Incoming>, _peer| async move {
        let text = format!("{} {}\n{:?}", request.method(), request.uri(), request.headers());
        let mut response = crate::http_server::plain(StatusCode::OK, text);
        response.headers_mut().insert("keep-alive", "timeout=5".parse().unwrap());
        response
    };
    let server = Server::start(backend, Arc::default(), GRACE, echo).unwrap();
    world.service("backend-primary", Some(address));
    world.weights(&[("backend-primary", 1)]);
    world.objects.middlewares.push(json!({"metadata": {"namespace": "develop", "name": "strip"},
        "spec": {"stripPrefix": {"prefixes": ["/v1"]}}}));
    world.objects.middlewares.push(json!({"metadata": {"namespace": "develop", "name": "mark"},
        "spec": {"headers": {"customRequestHeaders": {"x-mark": "yes", "x-drop": ""},
            "customResponseHeaders": {"x-seen": "1"}}}}));
    world.route("Host(`a.local`)", "backend");
    world.objects.ingress_routes[0]["spec"]["routes"][0]["middlewares"] =
        json!([{"name": "strip"}, {"name": "mark"}]);
    world.update();
    let request = world.request("/v1/x%2Fy?q=1").header("x-forwarded-for", "9.9.9.9");
    let request = request.header("connection", "x-hop").header("x-hop", "1").header("x-drop", "1");
    let response = world.send(request, "").await;
    assert_eq!(response.headers()["x-seen"], "1");
    assert!(!response.headers().contains_key("keep-alive"));
    let seen = String::from_utf8(response.body().to_vec()).unwrap();
    assert!(seen.starts_with("GET /x%2Fy?q=1\n"), "{seen}");
    for part in
        ["\"host\": \"a.local\"", "\"x-forwarded-for\": \"127.0.0.1\"", "\"x-mark\": \"yes\""]
    {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    assert!(
        !seen.contains("x-hop") && !seen.contains("x-drop") && !seen.contains("9.9.9.9"),
        "{seen}"
    );
    server.shutdown().await;
}

#[tokio::test]
async fn the_admin_listener_shows_what_is_live() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 95), ("backend-canary", 5)]);
    world.update();
    let admin = world.gateway.addresses().admin;
    let get = async |path: &str| {
        let response =
            world.send(Request::builder().uri(format!("http://{admin}{path}")), "").await;
        (response.status().as_u16(), String::from_utf8(response.into_body().to_vec()).unwrap())
    };
    assert_eq!(get("/ping").await, (200, "OK".to_owned()));
    let (_, service) = get("/api/http/services/develop-backend@kubernetescrd").await;
    let service: Value = serde_json::from_str(&service).unwrap();
    assert_eq!(
        service["weighted"]["services"][1],
        json!({"name": "develop-backend-canary-80", "weight": 5})
    );
    let (_, routers) = get("/api/http/routers").await;
    let routers: Value = serde_json::from_str(&routers).unwrap();
    assert_eq!(routers[0]["rule"], "Host(`a.local`)");
    assert_eq!(get("/api/problems").await, (200, "[]".to_owned()));
    assert_eq!(get("/nope").await.0, 404);
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let app = app("v1").await;
    let mut world = World::new().await;
    world.service("backend", Some(app.address()));
    world.weights(&[("backend", 1)]);
    world.route("PathPrefix(`/`)", "backend");
    world.update();
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: a.local\r\n", "200"),
        ("GET / HTTP/1.1\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: a.local\r\nhost: b.local\r\n", "400"),
        ("GET / HTTP/1.0\r\n", "200"),
        ("GET / HTTP/1.0\r\nhost: a.local\r\nHost: a.local\r\n", "400"),
    ] {
        let answer = within(async {
            let address = world.gateway.addresses().listen;
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request = format!("{head}connection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
        .await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
    }
}
