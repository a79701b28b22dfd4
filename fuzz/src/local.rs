//! The stand-ins of the laptop: PromQL, expositions, and the gateway's rules and objects.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;

use http::HeaderMap;
use serde_json::Value;
use serin_local::gateway::config;
use serin_local::gateway::rule::{Facts, Rule, routing_host, routing_path};
use serin_local::gateway::{GatewayObjects, balance};
use serin_local::prometheus::exposition::{self, Sample};
use serin_local::prometheus::promql::{self, Value as Found};
use serin_local::prometheus::store::{Labels, NAME, Store};

use super::json::document;
use super::source::Source;

/// A minute of a few series.
fn store() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| {
        let mut store = Store::new(i64::MAX);
        for second in 0..60_i32 {
            for (name, label, value) in [
                ("hits_total", ("code", "200"), 10),
                ("hits_total", ("code", "500"), 1),
                ("took_bucket", ("le", "0.1"), 4),
                ("took_bucket", ("le", "+Inf"), 9),
            ] {
                let labels: Labels = [(NAME, name), label]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into();
                let at = i64::from(second) * 1000;
                store.write([(&labels, at, f64::from(second * value))], at);
            }
        }
        store
    })
}

const AT: i64 = 55_000;

pub fn promql(data: &[u8]) {
    let query = String::from_utf8_lossy(data);
    let answer = promql::instant(store(), &query, AT);
    // In parentheses it means the same, unless a comment swallows the closing one.
    let wrapped = promql::instant(store(), &format!("({query}\n)"), AT);
    match (&answer, &wrapped) {
        (Ok(one), Ok(other)) => assert_eq!(shown(one), shown(other), "{query}"),
        (Ok(_), Err(promql::Error::Parse { message, .. })) => {
            assert!(message.contains("deeper") || message.contains("longer"), "{query}: {message}");
        }
        (Err(error), _) => assert!(!error.to_string().is_empty()),
        (Ok(_), Err(error)) => panic!("{query}: {error}"),
    }
    // A range of one step is an instant, sorted.
    let range = promql::range(store(), &query, AT, AT, 1000);
    if let (Ok(Found::Vector(mut vector)), Ok(range)) = (answer, range) {
        vector.sort_by(|a, b| a.labels.cmp(&b.labels));
        let of_vector: Vec<String> =
            vector.iter().map(|s| format!("{:?} {:?}", s.labels, [(AT, s.value)])).collect();
        let of_range: Vec<String> =
            range.iter().map(|r| format!("{:?} {:?}", r.labels, r.points)).collect();
        assert_eq!(of_vector, of_range, "{query}");
    }
}

/// NaN is NaN, whatever its sign.
fn shown(value: &Found) -> String {
    format!("{value:?}")
}

/// What is read can be written, and is read alike.
pub fn exposition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (samples, bad) = exposition::parse(&text);
    assert!(samples.len() + bad <= text.lines().count());
    for sample in samples {
        let line = written(&sample);
        let (again, bad) = exposition::parse(&line);
        assert_eq!(bad, 0, "{line:?} was written from {sample:?}");
        assert_eq!(format!("{again:?}"), format!("{:?}", [&sample]), "{line:?}");
    }
}

fn written(sample: &Sample) -> String {
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = sample
        .labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    let value = match sample.value {
        value if value.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        value => format!("{value:?}"),
    };
    let time = sample.timestamp_ms.map(|time| format!(" {time}")).unwrap_or_default();
    format!("{}{{{}}} {value}{time}\n", sample.name, labels.join(","))
}

pub fn rule(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut headers = HeaderMap::new();
    headers.insert("a", http::HeaderValue::from_static("b"));
    let host = routing_host(&text);
    assert_eq!(host.to_ascii_lowercase(), host, "hosts are compared in lower case");
    let path = routing_path(&format!("/{text}"));
    assert!(path.starts_with('/'), "{path:?}");
    let Ok(rule) = Rule::parse(&text) else { return };
    // Rules are written once more in other words, which must mean the same.
    let others = [format!("({text})"), format!("{text} || {text}"), format!("!(!({text}))")];
    let never = format!("({text}) && !({text})");
    for (method, host, path, client) in [
        ("GET", "a", "/", Ipv4Addr::new(10, 1, 2, 3)),
        ("POST", "backend.example", "/a/b", Ipv4Addr::LOCALHOST),
    ] {
        let client = IpAddr::V4(client);
        let facts = Facts { method, host, path, query: "q=1&a=b", headers: &headers, client };
        let fits = rule.matches(&facts);
        for other in &others {
            if let Ok(same) = Rule::parse(other) {
                assert_eq!(same.matches(&facts), fits, "{other:?}");
            }
        }
        if let Ok(never) = Rule::parse(&never) {
            assert!(!never.matches(&facts), "{text:?}");
        }
    }
}

const GATEWAY: &[&[u8]] = &[
    include_bytes!("../seeds/gateway/route.json"),
    include_bytes!("../seeds/gateway/sticky.json"),
    include_bytes!("../seeds/gateway/heavy.json"),
];
const GATEWAY_WORDS: &[&str] = &[
    "weight",
    "services",
    "TraefikService",
    "Service",
    "weighted",
    "mirroring",
    "mirrors",
    "percent",
    "backend",
    "backend-canary",
    "loop",
    "sticky",
    "cookie",
    "match",
    "Host(`a`)",
    "PathPrefix(`/`)",
    "((",
    "priority",
    "middlewares",
    "port",
    "http",
    "namespace",
    "other",
];

pub fn gateway(data: &[u8]) {
    let document = document(data, GATEWAY, GATEWAY_WORDS);
    let list = |name: &str| -> Vec<Value> {
        document.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let objects = GatewayObjects {
        ingress_routes: list("ingressRoutes"),
        traefik_services: list("traefikServices"),
        middlewares: list("middlewares"),
        services: list("services"),
        endpoint_slices: list("endpointSlices"),
    };
    let (config, problems) = config::build(&objects);
    assert_eq!(
        (config.clone(), problems.clone()),
        config::build(&objects),
        "building is a function"
    );
    for router in config.routers.values() {
        assert!(config.services.contains_key(&router.service), "{router:?} leads somewhere");
        for middleware in &router.middlewares {
            assert!(config.middlewares.contains_key(middleware), "{router:?} has its middlewares");
        }
    }
    for service in config.services.values() {
        if let config::Service::Weighted(weighted) = service {
            let weights =
                weighted.services.iter().map(|(_, weight)| u64::try_from(*weight).unwrap_or(0));
            balance::Picker::new(weights.collect()).pick();
        }
    }
    for problem in problems {
        assert!(!problem.object.is_empty() && !problem.message.is_empty(), "{problem:?}");
    }
    fair(&mut Source::new(data));
}

/// Over one round of all weights everybody is picked exactly as often as the weight says.
fn fair(source: &mut Source<'_>) {
    let count = source.below(5);
    let weights: Vec<u64> = (0..count).map(|_| u64::from(source.byte())).collect();
    let total: u64 = weights.iter().sum();
    let mut balancer = balance::Picker::new(weights.clone());
    let mut picked = vec![0_u64; weights.len()];
    for _ in 0..total {
        let chosen = balancer.pick().expect("there is somebody to pick");
        picked[chosen] += 1;
    }
    assert_eq!(picked, weights);
}
