//! The same configuration and requests given to the real Traefik, when `SERIN_TRAEFIK` says where it is.

use std::process::{Child, Command, Stdio};

use super::*;
use crate::gateway::config::{Config, Service};

/// A Traefik with the configuration in a file; both end with the test.
struct Traefik {
    process: Child,
    folder: std::path::PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Traefik {
    async fn start(config: &Config) -> Option<Self> {
        let path = std::env::var_os("SERIN_TRAEFIK")?;
        let (listen, admin) = (free_address().await, free_address().await);
        let folder = std::env::temp_dir().join(format!("serin-traefik-{}", listen.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("dynamic.yml");
        std::fs::write(&file, as_file(config).to_string()).unwrap();
        let process = Command::new(path)
            .arg(format!("--entrypoints.web.address={listen}"))
            .arg(format!("--entrypoints.traefik.address={admin}"))
            .arg(format!("--providers.file.filename={}", file.display()))
            .args(["--metrics.prometheus", "--metrics.prometheus.addrouterslabels"])
            .args(["--api.insecure", "--ping", "--log.level=ERROR"])
            .args(["--global.checknewversion=false", "--global.sendanonymoususage=false"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { process, folder, listen, admin })
    }
}

async fn free_address() -> SocketAddr {
    tokio::net::TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap()
}

fn as_file(config: &Config) -> Value {
    let mut services = serde_json::Map::new();
    for (name, service) in &config.services {
        let value = match service {
            Service::Servers(servers) => {
                let list = servers.servers.iter();
                let list: Vec<_> =
                    list.map(|s| json!({"url": format!("http://{}", s.authority)})).collect();
                json!({"loadBalancer": {"servers": list}})
            }
            Service::Weighted(weighted) => {
                let list = weighted.services.iter();
                let list: Vec<_> = list.map(|(n, w)| json!({"name": n, "weight": w})).collect();
                let mut value = json!({"services": list});
                if let Some(cookie) = &weighted.sticky {
                    value["sticky"] = json!({"cookie": {"name": cookie.name, "maxAge": cookie.max_age,
                        "httpOnly": cookie.http_only, "secure": cookie.secure}});
                }
                json!({"weighted": value})
            }
            Service::Mirroring(mirroring) => {
                let list = mirroring.mirrors.iter();
                let list: Vec<_> = list.map(|(n, p)| json!({"name": n, "percent": p})).collect();
                json!({"mirroring": {"service": mirroring.main, "mirrors": list,
                    "mirrorBody": mirroring.mirror_body, "maxBodySize": mirroring.body_max}})
            }
        };
        services.insert(name.clone(), value);
    }
    let routers: serde_json::Map<String, Value> = config
        .routers
        .iter()
        .map(|(name, router)| {
            let value = json!({"rule": router.rule.text(), "service": router.service,
                "priority": router.priority, "entryPoints": ["web"]});
            (name.clone(), value)
        })
        .collect();
    json!({"http": {"routers": routers, "services": services}})
}

/// Rules and a request for each; every rule is tried against every request of the table.
const RULES: [&str; 19] = [
    "Path(`/x`)",
    "Path(`/x/`)",
    "PathPrefix(`/x`)",
    "PathPrefix(`/x/y`)",
    "PathRegexp(`^/[a-z]+$`)",
    "PathRegexp(`y$`)",
    "Header(`X-A`, `1`)",
    "Header(`x-a`, `1`) && Header(`X-B`, `2`)",
    "HeaderRegexp(`X-A`, `^[0-9]$`)",
    "HeaderRegexp(`Cookie`, `^(.*?;)?(canary=always)(;.*)?$`)",
    "Method(`GET`)",
    "method(`post`)",
    "Query(`k`)",
    "Query(`k`, `1`)",
    "Query(`k`, `a b`)",
    "QueryRegexp(`k`, `^[0-9]+$`)",
    "!PathPrefix(`/x`) || Method(`POST`) && Header(`X-A`, `1`)",
    "(Path(`/x`) || Path(`/z`)) && !Query(`k`, `1`)",
    "ClientIP(`127.0.0.0/8`) && HostRegexp(`^r[0-9]+\\.local$`)",
];
const REQUESTS: [&str; 18] = [
    "GET /",
    "GET /x",
    "GET /x/",
    "GET /xyz",
    "GET /x/y",
    "GET /x/../y",
    "GET /x/./y",
    "GET //x",
    "GET /x//y",
    "GET /%78",
    "GET /x%20y",
    "GET /x?k",
    "GET /x?k=",
    "GET /x?k=1&k=2",
    "GET /x?k=a+b",
    "GET /x?k=a%20b",
    "POST /x x-a=1",
    "GET /z x-a=1 x-a=3 x-b=2 cookie=a=1;canary=always",
];

async fn ask(world: &World, address: SocketAddr, host: &str, request: &str) -> String {
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let uri = format!("http://{address}{path}");
    let mut request = Request::builder().method(method).uri(uri).header("host", host);
    for word in words {
        let (name, value) = word.split_once('=').unwrap();
        request = request.header(name, value);
    }
    let response = world.send(request, "").await;
    let cookie = response.headers().get("set-cookie").map(|c| c.to_str().unwrap().to_owned());
    format!(
        "{} {} {}",
        response.status().as_u16(),
        answered_by(&response),
        cookie.unwrap_or_default()
    )
}

async fn live(world: &World, traefik: &Traefik) {
    let uri = format!("http://{}/api/http/routers", traefik.admin);
    within(async {
        loop {
            let request = Request::builder().uri(&uri).body(Full::from("")).unwrap();
            if let Ok(response) = world.client.request(request).await {
                let body = response.into_body().collect().await.unwrap().to_bytes();
                if String::from_utf8_lossy(&body).contains("@file") {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_match_as_in_traefik() {
    let (mut world, _v1, _v2) = two_versions().await;
    world.weights(&[("backend-primary", 1)]);
    world.objects.ingress_routes.clear();
    for (index, rule) in RULES.iter().enumerate() {
        world.route(&format!("Host(`r{index}.local`) && ({rule})"), "backend");
    }
    world.update();
    let (config, _) = config::build(&world.objects);
    let Some(traefik) = Traefik::start(&config).await else { return };
    live(&world, &traefik).await;
    let ours = world.gateway.addresses().listen;
    let mut differences = Vec::new();
    for (index, rule) in RULES.iter().enumerate() {
        for request in REQUESTS {
            let host = format!("r{index}.local");
            let expected = ask(&world, traefik.listen, &host, request).await;
            let found = ask(&world, ours, &host, request).await;
            if expected != found {
                differences.push(format!("{rule} on {request}: Traefik {expected}, ours {found}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn weights_cookies_mirrors_and_counts_are_as_in_traefik() {
    let (mut world, _v1, _v2) = two_versions().await;
    let closed = free_address().await;
    world.service("closed", Some(closed));
    world.service("empty", None);
    let child = |name: &str, weight: i64| json!({"name": name, "port": 80, "weight": weight});
    let both = |a: Value, b: Value| json!({"weighted": {"services": [a, b]}});
    world.objects.ingress_routes.clear();
    let mirrors = json!([{"name": "backend-canary", "port": 80, "percent": 50}]);
    let (primary, canary) = ("backend-primary", "backend-canary");
    let mut sticky = both(child(primary, 7), child(canary, 3));
    sticky["weighted"]["sticky"] =
        json!({"cookie": {"name": "pin", "maxAge": 9, "httpOnly": true}});
    for (name, spec) in [
        ("plain", both(child(primary, 95), child(canary, 5))),
        ("zero", both(child(primary, 0), child(canary, 100))),
        ("closed", both(child(primary, 3), child("closed", 1))),
        ("empty", both(child(primary, 3), child("empty", 1))),
        ("sticky", sticky),
        ("mirror", json!({"mirroring": {"name": primary, "port": 80, "mirrors": mirrors}})),
    ] {
        world.traefik_service(name, spec);
        world.route(&format!("Host(`{name}.local`)"), name);
    }
    world.update();
    let (config, _) = config::build(&world.objects);
    let Some(traefik) = Traefik::start(&config).await else { return };
    live(&world, &traefik).await;
    let ours = world.gateway.addresses().listen;
    for name in ["plain", "zero", "closed", "empty", "sticky", "mirror"] {
        let host = format!("{name}.local");
        let mut counts = [BTreeMap::new(), BTreeMap::new()];
        for _ in 0..100 {
            for (address, counts) in [traefik.listen, ours].into_iter().zip(&mut counts) {
                *counts.entry(ask(&world, address, &host, "GET /").await).or_insert(0) += 1;
            }
        }
        assert_eq!(counts[0], counts[1], "{name}");
    }
    // Without the provider's name and the times, both pages say the same.
    within(async {
        let (mut theirs, mut mine);
        loop {
            let uri = format!("http://{}/metrics", traefik.admin);
            let page = world.send(Request::builder().uri(uri), "").await.into_body();
            theirs = counters(&String::from_utf8_lossy(&page), "@file");
            mine = counters(&world.metrics().await, "@kubernetescrd");
            let mirrored = |lines: &[String]| {
                lines.iter().any(|line| {
                    line.contains("develop-backend-canary-80") && line.ends_with(" 185")
                })
            };
            if mirrored(&theirs) && mirrored(&mine) {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(theirs, mine);
    })
    .await;
}

fn counters(page: &str, provider: &str) -> Vec<String> {
    let kinds = ["traefik_service_", "traefik_router_", "traefik_entrypoint_"];
    let mut lines: Vec<String> = page
        .lines()
        .filter(|line| kinds.iter().any(|kind| line.starts_with(kind)))
        .filter(|line| line.contains("requests_total{") || line.contains("_seconds_count{"))
        .map(|line| line.replace(provider, ""))
        .collect();
    lines.sort();
    lines
}
