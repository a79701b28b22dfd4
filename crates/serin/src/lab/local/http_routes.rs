//! HTTPRoutes for the embedded gateway, said in the words of Traefik that it knows: an IngressRoute with a rule for each
//! match, and a weighted TraefikService for each rule's backends.
//!
//! It serves every HTTPRoute, whatever Gateway it attaches to. Filters other than copies of requests, and time limits, have no
//! place there and are told.

use serde_json::{Value, json};
use serin_local::gateway::Problem;

/// What one HTTPRoute is to the gateway.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Translated {
    pub(super) ingress_routes: Vec<Value>,
    pub(super) traefik_services: Vec<Value>,
    pub(super) problems: Vec<Problem>,
}

/// More conditions than any match has.
const CONDITIONS: i64 = 64;
/// A request with a longer body is not copied: the API leaves it to the gateway, and this one takes the same as we do with
/// Traefik.
const COPIED_BYTES_MAX: u32 = 1 << 20;
/// Longer than any path.
const LENGTH: i64 = 4096;

pub(super) fn translate(route: &Value) -> Translated {
    let text = |pointer: &str| route.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let mut out = Translated::default();
    let mut routes = Vec::new();
    for (place, rule) in list(&route["spec"]["rules"]).iter().enumerate() {
        let (copies, others): (Vec<&Value>, Vec<&Value>) =
            list(&rule["filters"]).iter().partition(|filter| filter["type"] == "RequestMirror");
        for field in ["filters", "timeouts", "retry", "sessionPersistence"] {
            let there = match field {
                "filters" => !others.is_empty(),
                _ => rule.get(field).is_some_and(|value| !value.is_null()),
            };
            if there {
                out.problems.push(Problem {
                    object: format!("HTTPRoute {namespace}/{name}"),
                    field: format!("spec.rules[{place}].{field}"),
                    message: "has no effect with the embedded gateway; use --traefik".to_owned(),
                });
            }
        }
        let service = format!("{name}-httproute-{place}");
        let backends = list(&rule["backendRefs"]).iter().map(|backend| {
            let mut entry = reference(namespace, backend);
            entry["weight"] = json!(backend["weight"].as_i64().unwrap_or(1));
            entry
        });
        let backends: Vec<Value> = backends.filter(|backend| backend["weight"] != 0).collect();
        out.traefik_services.push(json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
            "metadata": {"name": service, "namespace": namespace},
            "spec": {"weighted": {"services": backends}},
        }));
        let service = match copies.is_empty() {
            true => service,
            false => {
                let copied = format!("{service}-copied");
                out.traefik_services.push(copying(namespace, &copied, &service, &copies));
                copied
            }
        };
        let any = [json!({})];
        let matches = list(&rule["matches"]);
        for condition in if matches.is_empty() { &any[..] } else { matches } {
            routes.push(json!({
                "kind": "Rule",
                "match": rule_of(list(&route["spec"]["hostnames"]), condition),
                "priority": priority(condition),
                "services": [{"kind": "TraefikService", "name": service}],
            }));
        }
    }
    out.ingress_routes.push(json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute",
        "metadata": {"name": format!("{name}-httproute"), "namespace": namespace},
        "spec": {"routes": routes},
    }));
    out
}

/// A Service, or a TraefikService, in the words of Traefik.
fn reference(namespace: &str, backend: &Value) -> Value {
    let namespace = backend["namespace"].as_str().unwrap_or(namespace);
    match backend["kind"].as_str() {
        Some("TraefikService") => {
            json!({"kind": "TraefikService", "name": backend["name"], "namespace": namespace})
        }
        Some(_) | None => {
            json!({"name": backend["name"], "namespace": namespace, "port": backend["port"]})
        }
    }
}

/// All requests to one service, and copies of them to the backends of these filters.
fn copying(namespace: &str, name: &str, of: &str, filters: &[&Value]) -> Value {
    let mirrors: Vec<Value> = filters
        .iter()
        .map(|filter| {
            let mirror = &filter["requestMirror"];
            let mut entry = reference(namespace, &mirror["backendRef"]);
            entry["percent"] = json!(mirror["percent"].as_i64().unwrap_or(100));
            entry
        })
        .collect();
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "TraefikService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"mirroring": {
            "kind": "TraefikService", "name": of, "mirrors": mirrors, "maxBodySize": COPIED_BYTES_MAX,
        }},
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The API's order: an exact path, the longest prefix, a method, the most headers, the most parameters.
fn priority(condition: &Value) -> i64 {
    let length = condition["path"]["value"].as_str().map_or(1, str::len);
    let length = i64::try_from(length).unwrap_or(LENGTH).min(LENGTH);
    let exact = i64::from(condition["path"]["type"] == "Exact");
    let method = i64::from(condition["method"].is_string());
    let count = |field: &str| {
        i64::try_from(list(&condition[field]).len()).unwrap_or(CONDITIONS).min(CONDITIONS - 1)
    };
    let order = [
        (exact, 2),
        (length, LENGTH + 1),
        (method, 2),
        (count("headers"), CONDITIONS),
        (count("queryParams"), CONDITIONS),
    ];
    // Traefik takes 0 for none.
    order.iter().fold(0, |sum, (value, base)| sum * base + value) + 1
}

fn rule_of(hosts: &[Value], condition: &Value) -> String {
    let mut all = Vec::new();
    let hosts: Vec<String> = hosts.iter().filter_map(Value::as_str).map(host).collect();
    if !hosts.is_empty() {
        all.push(format!("({})", hosts.join(" || ")));
    }
    all.push(path(&condition["path"]));
    if let Some(method) = condition["method"].as_str() {
        all.push(format!("Method({})", quoted(method)));
    }
    for (field, matcher) in [("headers", "Header"), ("queryParams", "Query")] {
        for one in list(&condition[field]) {
            let (name, value) = (one["name"].as_str(), one["value"].as_str());
            let (name, value) = (quoted(name.unwrap_or_default()), value.unwrap_or_default());
            all.push(match one["type"].as_str() {
                Some("RegularExpression") => {
                    format!("{matcher}Regexp({name}, {})", quoted(&whole(value)))
                }
                Some(_) | None => format!("{matcher}({name}, {})", quoted(value)),
            });
        }
    }
    all.join(" && ")
}

/// A wildcard stands for at least one label.
fn host(name: &str) -> String {
    match name.strip_prefix("*.") {
        Some(rest) => {
            format!("HostRegexp({})", quoted(&format!("^.+\\.{}$", rest.replace('.', "\\."))))
        }
        None => format!("Host({})", quoted(name)),
    }
}

/// Prefixes are of whole elements of the path.
fn path(path: &Value) -> String {
    let value = path["value"].as_str().unwrap_or("/");
    match path["type"].as_str() {
        Some("Exact") => format!("Path({})", quoted(value)),
        Some("RegularExpression") => format!("PathRegexp({})", quoted(&whole(value))),
        Some(_) | None => match value.trim_end_matches('/') {
            "" => "PathPrefix(`/`)".to_owned(),
            bare => {
                format!("(Path({}) || PathPrefix({}))", quoted(bare), quoted(&format!("{bare}/")))
            }
        },
    }
}

fn whole(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

fn quoted(text: &str) -> String {
    if text.contains('`') { Value::from(text).to_string() } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_route_in_other_words() {
        let route = json!({
            "metadata": {"namespace": "develop", "name": "shop"},
            "spec": {"hostnames": ["a.example", "*.b.example"], "rules": [
                {"matches": [
                    {"path": {"type": "PathPrefix", "value": "/api/"}, "method": "GET"},
                    {"path": {"type": "Exact", "value": "/x"}, "headers": [{"name": "x-canary", "value": "a"}]},
                ], "timeouts": {"request": "5s"},
                 "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "backend-canary", "port": 80}, "percent": 20}}],
                 "backendRefs": [{"name": "backend-primary", "port": 80, "weight": 90}, {"name": "backend-canary", "port": 80, "weight": 0}]},
                {"backendRefs": [{"name": "docs", "port": 80}, {"group": "traefik.io", "kind": "TraefikService", "name": "docs-mirrored"}]},
            ]},
        });
        let Translated { ingress_routes, traefik_services, problems } = translate(&route);
        let routes = list(&ingress_routes[0]["spec"]["routes"]);
        let mut text: String = routes
            .iter()
            .map(|one| {
                format!(
                    "{} {} {}\n",
                    one["priority"],
                    one["match"].as_str().unwrap(),
                    one["services"]
                )
            })
            .collect();
        for service in &traefik_services {
            text.push_str(&format!("{} {}\n", service["metadata"]["name"], service["spec"]));
        }
        text.push_str(&format!("{} {}", problems[0].field, problems[0].message));
        expect![[r#"
            45057 (Host(`a.example`) || HostRegexp(`^.+\.b\.example$`)) && (Path(`/api`) || PathPrefix(`/api/`)) && Method(`GET`) [{"kind":"TraefikService","name":"shop-httproute-0-copied"}]
            33579073 (Host(`a.example`) || HostRegexp(`^.+\.b\.example$`)) && Path(`/x`) && Header(`x-canary`, `a`) [{"kind":"TraefikService","name":"shop-httproute-0-copied"}]
            8193 (Host(`a.example`) || HostRegexp(`^.+\.b\.example$`)) && PathPrefix(`/`) [{"kind":"TraefikService","name":"shop-httproute-1"}]
            "shop-httproute-0" {"weighted":{"services":[{"name":"backend-primary","namespace":"develop","port":80,"weight":90}]}}
            "shop-httproute-0-copied" {"mirroring":{"kind":"TraefikService","maxBodySize":1048576,"mirrors":[{"name":"backend-canary","namespace":"develop","percent":20,"port":80}],"name":"shop-httproute-0"}}
            "shop-httproute-1" {"weighted":{"services":[{"name":"docs","namespace":"develop","port":80,"weight":1},{"kind":"TraefikService","name":"docs-mirrored","namespace":"develop","weight":1}]}}
            spec.rules[0].timeouts has no effect with the embedded gateway; use --traefik"#]].assert_eq(&text);
    }

    #[test]
    fn the_more_specific_match_comes_first() {
        let ordered = [
            json!({}),
            json!({"queryParams": [{"name": "a"}]}),
            json!({"headers": [{"name": "a"}]}),
            json!({"method": "GET"}),
            json!({"path": {"type": "PathPrefix", "value": "/api"}}),
            json!({"path": {"type": "PathPrefix", "value": "/api"}, "headers": [{"name": "a"}]}),
            json!({"path": {"type": "Exact", "value": "/a"}}),
        ];
        assert!(ordered.iter().map(priority).is_sorted_by(|a, b| a < b));
    }
}
