//! What the embedded gateway cannot do, as an Event on the object that asks for it.

use serde_json::json;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Store, WriteOptions};
use serin_local::gateway::Problem;

/// Who says it.
const COMPONENT: &str = "serin-gateway";
const KINDS: [(&str, &str, &str); 4] = [
    ("HTTPRoute", "gateway.networking.k8s.io", "httproutes"),
    ("IngressRoute", "traefik.io", "ingressroutes"),
    ("TraefikService", "traefik.io", "traefikservices"),
    ("Middleware", "traefik.io", "middlewares"),
];

/// Best effort: the object may be gone by now, and the log has said it already.
pub(super) fn tell(store: &Store, problem: &Problem) {
    let Problem { object, field, message } = problem;
    let Some((kind, path)) = object.split_once(' ') else { return };
    let Some((namespace, name)) = path.split_once('/') else { return };
    let known = KINDS.iter().find(|(known, ..)| *known == kind);
    let Some((_, group, plural)) = known else { return };
    let id = ResourceId::new(group, plural);
    let Some(live) = store.get(&id, namespace, name) else { return };
    let now = store.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let event = json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": format!("{name}."), "namespace": namespace},
        "involvedObject": {
            "apiVersion": live["apiVersion"], "kind": kind, "namespace": namespace, "name": name,
            "uid": live["metadata"]["uid"],
        },
        "type": "Warning",
        "reason": "NotServed",
        "message": format!("{field}: {message}"),
        "count": 1, "firstTimestamp": now, "lastTimestamp": now,
        "source": {"component": COMPONENT}, "reportingComponent": COMPONENT,
        "reportingInstance": "",
    });
    let events = ResourceId::core("events");
    if let Err(failure) = store.create(&events, namespace, event, &WriteOptions::by(COMPONENT)) {
        tracing::debug!(%failure, "the Event was not written");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_object_gets_an_event_that_names_the_field() {
        let store = Store::new(Arc::new(jiff::Timestamp::now), 1);
        for crd in serin_apiserver::crds::traefik_crds() {
            let id = ResourceId::new("apiextensions.k8s.io", "customresourcedefinitions");
            store.create(&id, "", crd, &WriteOptions::by("test")).unwrap();
        }
        let route = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": {"name": "backend"},
            "spec": {"routes": [{"kind": "Rule", "match": "ClientIP(`10.0.0.1`)", "services": [{"name": "backend"}]}]},
        });
        let routes = ResourceId::new("traefik.io", "ingressroutes");
        store.create(&routes, "default", route, &WriteOptions::by("test")).unwrap();
        let problem = |object: &str| Problem {
            object: object.to_owned(),
            field: "spec.routes[0].match".to_owned(),
            message: "ClientIP is not supported".to_owned(),
        };
        tell(&store, &problem("IngressRoute default/backend"));
        tell(&store, &problem("IngressRoute default/gone"));
        let events = store.list(&ResourceId::core("events"), Some("default"));
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["involvedObject"]["kind"], "IngressRoute");
        assert_eq!(events[0]["message"], "spec.routes[0].match: ClientIP is not supported");
    }
}
