//! What is built from objects, and what is refused.

use serde_json::json;

use super::*;

fn objects() -> GatewayObjects {
    let service = |name: &str| {
        json!({"metadata": {"namespace": "develop", "name": name},
            "spec": {"ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]}})
    };
    GatewayObjects {
        services: vec![service("backend-primary"), service("backend-canary")],
        ..GatewayObjects::default()
    }
}

fn traefik_service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "develop", "name": name}, "spec": spec})
}

fn route(name: &str, spec: Value) -> Value {
    json!({"metadata": {"namespace": "develop", "name": name}, "spec": spec})
}

fn weighted() -> Value {
    json!({"weighted": {"services": [
        {"name": "backend-primary", "port": 80, "weight": 95},
        {"name": "backend-canary", "port": "http"},
    ]}})
}

fn to(service: &str) -> Value {
    json!([{"kind": "TraefikService", "name": service}])
}

#[test]
fn names_are_traefiks() {
    let mut objects = objects();
    objects.traefik_services.push(traefik_service("backend", weighted()));
    objects.ingress_routes.push(route(
        "web",
        json!({"entryPoints": ["web"], "routes": [
            {"kind": "Rule", "match": "Host(`a.local`)", "services": to("backend")}]}),
    ));
    let (config, problems) = build(&objects);
    assert_eq!(problems, []);
    let services: Vec<_> = config.services.keys().map(String::as_str).collect();
    assert_eq!(
        services,
        ["develop-backend", "develop-backend-canary-http", "develop-backend-primary-80"]
    );
    let routers: Vec<_> = config.routers.iter().collect();
    let (name, router) = routers[0];
    assert!(name.starts_with("develop-web-") && name.len() == "develop-web-".len() + 20, "{name}");
    assert_eq!((router.service.as_str(), router.priority), ("develop-backend", 15));
    let Service::Weighted(weighted) = &config.services["develop-backend"] else { panic!() };
    assert_eq!(weighted.services[1].1, 1, "a missing weight is 1");
}

#[test]
fn endpoints_follow_their_conditions() {
    let mut objects = objects();
    objects.traefik_services.push(traefik_service("backend", weighted()));
    let slice = |port_name: Value, endpoints: Value| {
        json!({"metadata": {"namespace": "develop", "name": "x",
                "labels": {"kubernetes.io/service-name": "backend-primary"}},
            "ports": [{"name": port_name, "port": 8080}], "endpoints": endpoints})
    };
    objects.endpoint_slices.push(slice(
        json!("http"),
        json!([
            {"addresses": ["127.1.0.1"]},
            {"addresses": ["127.1.0.2"], "conditions": {"serving": false}},
            {"addresses": ["127.1.0.3"], "conditions": {"serving": true, "terminating": true}},
            {"addresses": ["::1"], "conditions": {"ready": true}},
        ]),
    ));
    objects.endpoint_slices.push(slice(Value::Null, json!([{"addresses": ["127.1.0.9"]}])));
    let (config, problems) = build(&objects);
    assert_eq!(problems, []);
    let Service::Servers(servers) = &config.services["develop-backend-primary-80"] else {
        panic!()
    };
    let found: Vec<_> = servers.servers.iter().map(|s| (s.authority.as_str(), s.fenced)).collect();
    assert_eq!(found, [("127.1.0.1:8080", false), ("127.1.0.3:8080", true), ("[::1]:8080", false)]);
    assert_eq!(
        config.services["develop-backend-canary-http"],
        Service::Servers(Servers { servers: vec![], pass_host_header: true }),
    );
}

/// Builds one TraefikService and a route to it; gives the problems and whether the route is served.
fn check_service(spec: Value) -> (Vec<String>, bool) {
    let mut objects = objects();
    objects.traefik_services.push(traefik_service("backend", spec));
    objects.ingress_routes.push(route(
        "web",
        json!({"routes": [{"kind": "Rule", "match": "Host(`a`)", "services": to("backend")}]}),
    ));
    let (config, problems) = build(&objects);
    let said = problems.into_iter().map(|p| format!("{} {}: {}", p.object, p.field, p.message));
    (said.collect(), !config.routers.is_empty())
}

#[test]
fn a_service_that_is_not_understood_takes_its_route_down_and_says_so() {
    let unsupported = "is not supported by the embedded gateway";
    for (spec, message) in [
        (json!({"highestRandomWeight": {}}), format!("spec.highestRandomWeight: {unsupported}")),
        (json!({"failover": {}}), format!("spec.failover: {unsupported}")),
        (json!({}), "spec: must have either weighted or mirroring".to_owned()),
        (
            json!({"weighted": {"services": [{"name": "gone", "port": 80}]}}),
            "spec.weighted.services[0].name: Service develop/gone does not exist".to_owned(),
        ),
        (
            json!({"weighted": {"services": [{"name": "backend-canary", "port": 81}]}}),
            "spec.weighted.services[0].port: Service develop/backend-canary has no port 81"
                .to_owned(),
        ),
        (
            json!({"weighted": {"services": [{"name": "backend-canary", "port": 443}]}}),
            "spec.weighted.services[0].port: backends that speak HTTPS are not supported"
                .to_owned(),
        ),
        (
            json!({"weighted": {"services": [{"name": "backend-canary", "port": 80, "sticky": {}}]}}),
            format!("spec.weighted.services[0].sticky: {unsupported}"),
        ),
        (
            json!({"weighted": {"services": [{"name": "backend-canary", "port": 80, "weight": "5"}]}}),
            "spec.weighted.services[0].weight: must be a whole number".to_owned(),
        ),
        (
            json!({"weighted": {"services": [{"name": "backend-canary", "port": 80, "namespace": "x"}]}}),
            "spec.weighted.services[0].namespace: references to other namespaces are not allowed \
             (allowCrossNamespace is off)"
                .to_owned(),
        ),
        (
            json!({"mirroring": {"name": "backend-primary", "port": 80,
                "mirrors": [{"name": "backend-canary", "port": 80, "percent": 101}]}}),
            "spec.mirroring.mirrors[0].percent: must be between 0 and 100".to_owned(),
        ),
    ] {
        let (problems, served) = check_service(spec.clone());
        let expected = vec![
            "IngressRoute develop/web spec.routes[0]: is not served: \
             service develop-backend does not exist or was refused"
                .to_owned(),
            format!("TraefikService develop/backend {message}"),
        ];
        assert_eq!((problems, served), (expected, false), "{spec}");
    }
}

#[test]
fn a_circle_of_services_is_not_served() {
    let circle = json!({"weighted": {"services": [{"kind": "TraefikService", "name": "backend"}]}});
    let (problems, served) = check_service(circle);
    assert!(!served);
    assert!(problems[0].ends_with("service develop-backend refers to itself"), "{problems:?}");
}

#[test]
fn a_route_that_is_not_understood_is_not_served_and_the_others_are() {
    for (change, message) in [
        (
            json!({"match": "Foo(`a`)"}),
            "match: matcher Foo is not supported by the embedded gateway",
        ),
        (json!({"syntax": "v2"}), "syntax: only v3 is supported"),
        (json!({"observability": {}}), "observability: is not supported by the embedded gateway"),
        (json!({"services": []}), "services: must name a service"),
        (
            json!({"middlewares": [{"name": "gone"}]}),
            "is not served: middleware develop-gone does not exist or was refused",
        ),
    ] {
        let good = json!({"kind": "Rule", "match": "Host(`a`)", "services": to("backend")});
        let mut bad = good.clone();
        bad["match"] = json!("Host(`b`)");
        bad.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let mut objects = objects();
        objects.traefik_services.push(traefik_service("backend", weighted()));
        objects.ingress_routes.push(route("web", json!({"routes": [bad, good]})));
        let (config, problems) = build(&objects);
        assert_eq!(config.routers.len(), 1, "{message}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let said = format!("{}: {}", problems[0].field, problems[0].message);
        assert!(said.ends_with(message) && said.starts_with("spec.routes[0]"), "{said}");
    }
}

#[test]
fn middlewares_are_headers_and_prefixes() {
    let middleware = |name: &str, spec: Value| json!({"metadata": {"namespace": "develop", "name": name}, "spec": spec});
    let objects = GatewayObjects {
        middlewares: vec![
            middleware("a", json!({"stripPrefix": {"prefixes": ["/v1"]}})),
            middleware("b", json!({"addPrefix": {"prefix": "x"}})),
            middleware("c", json!({"headers": {"customResponseHeaders": {"X-A": "1"}}})),
            middleware("d", json!({"headers": {"sslRedirect": true}})),
            middleware("e", json!({"rateLimit": {"average": 1}})),
        ],
        ..GatewayObjects::default()
    };
    let (config, problems) = build(&objects);
    let names: Vec<_> = config.middlewares.keys().map(String::as_str).collect();
    assert_eq!(names, ["develop-a", "develop-b", "develop-c"]);
    let fields: Vec<_> = problems.iter().map(|p| (p.object.as_str(), p.field.as_str())).collect();
    let expected = [
        ("Middleware develop/d", "spec.headers.sslRedirect"),
        ("Middleware develop/e", "spec.rateLimit"),
    ];
    assert_eq!(fields, expected);
}
