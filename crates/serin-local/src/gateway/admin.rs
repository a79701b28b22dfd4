//! The second listener: `/metrics`, `/ping`, and `/api` to see which configuration is live.

use std::collections::BTreeMap;

use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::config::{Config, PROVIDER, Service};
use super::{ENTRY_POINT, Shared};
use crate::exposition;
use crate::http_server::{Body, answer, plain};

pub(super) fn serve<B>(shared: &Shared, request: &Request<B>) -> Response<Body> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    let runtime = shared.runtime();
    let path = request.uri().path();
    match path {
        "/ping" => plain(StatusCode::OK, "OK"),
        "/metrics" => {
            answer(StatusCode::OK, exposition::CONTENT_TYPE, shared.metrics.scrape(&runtime))
        }
        "/api/http/services" => found(Some(values(services(runtime.config())))),
        "/api/http/routers" => found(Some(values(routers(runtime.config())))),
        "/api/problems" => found(Some(json!(runtime.problems()))),
        _ => {
            let service = path.strip_prefix("/api/http/services/");
            let router = path.strip_prefix("/api/http/routers/");
            match (service, router) {
                (Some(name), _) => found(services(runtime.config()).remove(name)),
                (None, Some(name)) => found(routers(runtime.config()).remove(name)),
                (None, None) => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
            }
        }
    }
}

fn found(value: Option<Value>) -> Response<Body> {
    match value {
        Some(value) => answer(StatusCode::OK, "application/json", value.to_string()),
        None => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn values(named: BTreeMap<String, Value>) -> Value {
    named.into_values().collect()
}

fn qualified(name: &str) -> String {
    format!("{name}@{PROVIDER}")
}

fn services(config: &Config) -> BTreeMap<String, Value> {
    config
        .services
        .iter()
        .map(|(name, service)| {
            let users = config.routers.iter().filter(|(_, router)| router.service == *name);
            let used_by: Vec<String> = users.map(|(router, _)| qualified(router)).collect();
            let mut value = describe(service);
            value["name"] = json!(qualified(name));
            value["provider"] = json!(PROVIDER);
            value["status"] = json!("enabled");
            value["usedBy"] = json!(used_by);
            (qualified(name), value)
        })
        .collect()
}

fn describe(service: &Service) -> Value {
    match service {
        Service::Servers(servers) => {
            let list: Vec<Value> = servers
                .servers
                .iter()
                .map(|server| match server.fenced {
                    true => json!({"url": format!("http://{}", server.authority), "fenced": true}),
                    false => json!({"url": format!("http://{}", server.authority)}),
                })
                .collect();
            let pass = servers.pass_host_header;
            let balancer = json!({"servers": list, "strategy": "wrr", "passHostHeader": pass});
            json!({"loadBalancer": balancer, "type": "loadbalancer"})
        }
        Service::Weighted(weighted) => {
            let list: Vec<Value> = weighted
                .services
                .iter()
                .map(|(name, weight)| json!({"name": name, "weight": weight}))
                .collect();
            let mut balancer = json!({"services": list});
            if let Some(cookie) = &weighted.sticky {
                balancer["sticky"] = json!({"cookie": {"name": cookie.name}});
            }
            json!({"weighted": balancer, "type": "weighted"})
        }
        Service::Mirroring(mirroring) => {
            let list: Vec<Value> = mirroring
                .mirrors
                .iter()
                .map(|(name, percent)| json!({"name": name, "percent": percent}))
                .collect();
            json!({"mirroring": {"service": mirroring.main, "mirrors": list}, "type": "mirroring"})
        }
    }
}

fn routers(config: &Config) -> BTreeMap<String, Value> {
    config
        .routers
        .iter()
        .map(|(name, router)| {
            let middlewares: Vec<String> =
                router.middlewares.iter().map(|m| qualified(m)).collect();
            let value = json!({
                "entryPoints": [ENTRY_POINT],
                "middlewares": middlewares,
                "name": qualified(name),
                "priority": router.priority,
                "provider": PROVIDER,
                "rule": router.rule.text(),
                "service": router.service,
                "status": "enabled",
                "using": [ENTRY_POINT],
            });
            (qualified(name), value)
        })
        .collect()
}
