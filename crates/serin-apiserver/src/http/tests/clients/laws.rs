//! Properties under random writes: a watch sends every change once, and no request makes the server fail.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::registry::ResourceId;
use crate::store::{DeleteOptions, Sub, WriteOptions};

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u8),
    Drop(u8),
    Elsewhere(u8),
    /// Watches of all kinds begin here.
    Watch,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..4_u8, 0..3_u8).prop_map(|(name, value)| Op::Set(name, value)),
        2 => (0..4_u8).prop_map(Op::Drop),
        1 => (0..3_u8).prop_map(Op::Elsewhere),
        1 => Just(Op::Watch),
    ]
}

fn run(store: &Store, op: &Op) {
    let id = ResourceId::core("configmaps");
    let by = WriteOptions::by("law");
    let put = |name: &str, value: u8| {
        let object = config(name, &value.to_string());
        if store.get(&id, "default", name).is_some() {
            drop(store.update(&id, "default", name, object, Sub::Main, &by));
        } else {
            drop(store.create(&id, "default", object, &by));
        }
    };
    match op {
        Op::Set(name, value) => put(&format!("c{name}"), *value),
        Op::Drop(name) => {
            drop(store.delete(&id, "default", &format!("c{name}"), &DeleteOptions::default()));
        }
        Op::Elsewhere(value) => {
            let object = config("elsewhere", &value.to_string());
            drop(store.create(&id, "kube-system", object, &by));
        }
        Op::Watch => {}
    }
}

/// A client's cache: the objects that it listed, and the changes since.
struct Cache {
    lines: Lines,
    selector: &'static str,
    objects: BTreeMap<String, Value>,
    seen: u64,
}

impl Cache {
    fn take(&mut self) -> Result<(), TestCaseError> {
        for line in self.lines.ready() {
            let object = &line["object"];
            let (name, version) =
                (text(object, "/metadata/name"), rv(object).parse::<u64>().unwrap());
            let known = self.objects.contains_key(&name);
            let kind = text(&line, "/type");
            if kind == "BOOKMARK" {
                self.seen = self.seen.max(version);
                continue;
            }
            // The initial objects come sorted by name, each with its own version.
            if self.seen > 0 {
                prop_assert!(version > self.seen, "{kind} {name} at {version} after {}", self.seen);
                self.seen = version;
            }
            prop_assert_eq!(known, kind != "ADDED", "{} {}", kind, name);
            if kind == "DELETED" {
                self.objects.remove(&name);
            } else {
                self.objects.insert(name, object.clone());
            }
        }
        Ok(())
    }
}

/// A list item with `kind` and `apiVersion`, as a watch shows it.
fn whole(item: &Value) -> Value {
    let mut object = item.clone();
    object["apiVersion"] = json!("v1");
    object["kind"] = json!("ConfigMap");
    object
}

async fn begin(server: &TestServer) -> Vec<Cache> {
    let mut caches = Vec::new();
    let stream =
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for selector in
        ["", "&labelSelector=v%3D1", "&labelSelector=v%21%3D1", "&fieldSelector=metadata.name%3Dc1"]
    {
        let list = server.get(&format!("{CONFIGS}?{selector}")).await.body;
        let objects =
            list["items"].as_array().unwrap().iter().map(|o| (text(o, "/metadata/name"), whole(o)));
        let (objects, version) = (objects.collect(), rv(&list));
        let lines = server
            .watch(&format!("{CONFIGS}?watch=true&resourceVersion={version}{selector}"))
            .await;
        caches.push(Cache { lines, selector, objects, seen: version.parse().unwrap() });
        let lines = server.watch(&format!("{CONFIGS}?watch=true&{stream}{selector}")).await;
        caches.push(Cache { lines, selector, objects: BTreeMap::new(), seen: 0 });
    }
    caches
}

async fn watched(ops: Vec<Op>) -> Result<(), TestCaseError> {
    let server = server();
    let mut caches = begin(&server).await;
    for (number, op) in ops.iter().enumerate() {
        run(server.api.store(), op);
        if matches!(op, Op::Watch) {
            caches.extend(begin(&server).await);
        }
        // Some clients read at once, some fall behind.
        for (index, cache) in caches.iter_mut().enumerate() {
            if (number + index) % 3 == 0 {
                cache.take()?;
            }
        }
    }
    for cache in &mut caches {
        cache.take()?;
        let list = server.get(&format!("{CONFIGS}?{}", cache.selector)).await.body;
        let told: Vec<&Value> = cache.objects.values().collect();
        let items: Vec<Value> = list["items"].as_array().unwrap().iter().map(whole).collect();
        prop_assert_eq!(json!(told), json!(items), "{}", cache.selector);
    }
    Ok(())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i32>().prop_map(|n| json!(n)),
        "[a-z/%.]{0,6}".prop_map(|s| json!(s)),
        Just(json!("None")),
    ];
    let key = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("status"),
        Just("data"),
        Just("stringData"),
        Just("name"),
        Just("labels"),
        Just("annotations"),
        Just("finalizers"),
        Just("ownerReferences"),
        Just("uid"),
        Just("managedFields"),
        Just("template"),
        Just("containers"),
        Just("ports"),
        Just("port"),
        Just("type"),
        Just("names"),
        Just("versions"),
        Just("schema"),
        Just("selector"),
        Just("series"),
        Just("involvedObject"),
        Just("regarding"),
        Just("replicas"),
        Just("op"),
        Just("path"),
        Just("value"),
        Just("strategy"),
        Just("rollingUpdate"),
        Just("env"),
        Just("valueFrom"),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|list| json!(list)),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| json!(map)),
        ]
    })
}

fn named(mut body: Value, name: &str) -> Value {
    if let Some(map) = body.as_object_mut() {
        let meta = map.entry("metadata").or_insert_with(|| json!({}));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("name".to_owned(), json!(name));
        }
    }
    body
}

/// Sends `body` to every kind that has code of its own, in all ways to write it.
async fn thrown(body: Value) {
    let server = TestServer::with_widgets().await;
    let places = [
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces/default/services",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/default/events",
        "/api/v1/namespaces",
        "/api/v1/nodes",
        DEPLOYMENTS,
        "/apis/apps/v1/namespaces/default/daemonsets",
        "/apis/apps/v1/namespaces/default/statefulsets",
        "/apis/batch/v1/namespaces/default/jobs",
        CRDS,
        WIDGETS,
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    ];
    for place in places {
        let one = format!("{place}/x");
        for answer in [
            server.post(place, body.clone()).await,
            server.post(place, named(body.clone(), "x")).await,
            server.put(&one, body.clone()).await,
            server.put(&format!("{one}/status"), body.clone()).await,
            server.put(&format!("{one}/scale"), body.clone()).await,
            server.patch(MERGE, &one, body.clone()).await,
            server.patch(STRATEGIC, &one, body.clone()).await,
            server.patch(JSON_PATCH, &one, body.clone()).await,
            server.patch(APPLY, &format!("{one}?force=true"), body.clone()).await,
            server.ask("GET", place, &[("accept", TABLE)], &Value::Null).await,
            server.ask("DELETE", &one, &[], &body).await,
        ] {
            assert!(answer.code < 500, "{place}: {}", answer.body);
        }
    }
}

fn on_paused_clock<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_watch_skips_and_repeats_nothing_and_a_streaming_list_is_a_list_and_a_watch(ops in prop::collection::vec(op(), 0..40)) {
        on_paused_clock(watched(ops))?;
    }

    #[test]
    fn no_body_brings_the_server_down(body in json_value()) {
        on_paused_clock(thrown(body));
    }
}
