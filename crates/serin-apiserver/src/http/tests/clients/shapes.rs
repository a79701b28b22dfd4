//! The form of answers: discovery, tables, pages, errors, warnings, and both versions of Events.

use super::*;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn has_null_list(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.iter().any(|(name, value)| {
            let list =
                ["versions", "resources", "subresources", "shortNames", "categories", "verbs"];
            (value.is_null() && list.contains(&name.as_str())) || has_null_list(value)
        }),
        Value::Array(list) => list.iter().any(has_null_list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[tokio::test(start_paused = true)]
async fn discovery_has_both_forms() {
    let server = TestServer::with_widgets().await;
    for (path, plain) in [("/api", "APIVersions"), ("/apis", "APIGroupList")] {
        let accept = format!("{AGGREGATED},application/json");
        let answer = server.ask("GET", path, &[("accept", &accept)], &Value::Null).await;
        assert_eq!(answer.headers["content-type"], AGGREGATED, "{path}");
        assert_eq!(answer.body["kind"], "APIGroupDiscoveryList");
        assert!(!has_null_list(&answer.body), "kube refuses null for a list");
        assert_eq!(server.get(path).await.body["kind"], plain);
    }
    for path in ["/api/v1", "/apis/apps/v1", "/apis/example.org/v1beta1"] {
        let answer = server.get(path).await;
        assert_eq!((answer.code, &answer.body["kind"]), (200, &json!("APIResourceList")), "{path}");
        assert!(!has_null_list(&answer.body));
    }
    let group = server.get("/apis/example.org").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v1", "stable before beta");
    for path in [
        "/apis/none.example",
        "/apis/apps/v7",
        "/api/v7",
        "/apis/none.example/v1/things",
        "/nonsense",
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.code, text(&answer.body, "/kind")),
            (404, "Status".to_owned()),
            "{path}"
        );
    }
    for path in ["/healthz", "/readyz", "/livez"] {
        assert_eq!(server.get(path).await.body, "ok");
    }
    assert_eq!(server.get("/version").await.body["major"], "1");
}

#[tokio::test(start_paused = true)]
async fn the_openapi_hash_follows_the_kinds() {
    let server = TestServer::with_widgets().await;
    let url = |body: &Value, path: &str| text(&body["paths"][path], "/serverRelativeURL");
    let before = server.get("/openapi/v3").await.body;
    let address = url(&before, "apis/example.org/v1");
    let document = server.get(&address).await;
    assert_eq!(document.code, 200, "{address}");
    assert!(
        document.body.to_string().contains("fieldValidation"),
        "kubectl asks the server to validate"
    );
    let mut changed = widgets();
    changed["spec"]["names"]["shortNames"] = json!(["wdg"]);
    assert_eq!(server.replace(&format!("{CRDS}/widgets.example.org"), changed).await.code, 200);
    assert_ne!(url(&server.get("/openapi/v3").await.body, "apis/example.org/v1"), address);
}

#[tokio::test(start_paused = true)]
async fn tables_print_the_columns_of_the_kind() {
    let server = TestServer::with_widgets().await;
    server.made(WIDGETS, widget("w", 3)).await;
    let since = Timestamp::from_second(START_SECS - 312).unwrap().to_string();
    let status = json!({"status": {"phase": "On", "since": since, "conditions": [{"type": "Promoted", "status": "True"}]}});
    server.patch(MERGE, &format!("{WIDGETS}/w/status"), status).await;
    let table = server.table(WIDGETS).await;
    assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
    let columns: Vec<String> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| text(c, "/name")).collect();
    assert_eq!(columns, ["Name", "Size", "Phase", "Promoted", "Since", "Colour", "Odd"]);
    assert_eq!(table["columnDefinitions"][5]["priority"], 1);
    assert_eq!(table["rows"][0]["cells"], json!(["w", 3, "On", "True", "5m12s", "red", null]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = server.table(&format!("{WIDGETS}?includeObject=Object")).await;
    assert_eq!(whole["rows"][0]["object"]["spec"]["size"], 3);
    assert!(
        server.table(&format!("{WIDGETS}?includeObject=None")).await["rows"][0]["object"].is_null()
    );
    assert_eq!(server.table(&format!("{WIDGETS}/w")).await["rows"].as_array().unwrap().len(), 1);
    assert_eq!(rv(&table), server.version().await);
}

#[tokio::test(start_paused = true)]
async fn tables_of_built_in_kinds_say_what_kubectl_users_know() {
    let server = server();
    server.made(DEPLOYMENTS, deployment("d")).await;
    server.pass(200);
    // Without the columns of `-o wide`.
    let cells = |table: Value| {
        let columns = table["columnDefinitions"].as_array().unwrap().iter();
        let narrow = columns.map(|column| column["priority"] == 0);
        let cells = table["rows"][0]["cells"].as_array().unwrap().clone();
        json!(cells.into_iter().zip(narrow).filter(|(_, n)| *n).map(|(c, _)| c).collect::<Vec<_>>())
    };
    assert_eq!(cells(server.table(DEPLOYMENTS).await), json!(["d", "0/1", 0, 0, "3m20s"]));
    let nodes = "/api/v1/nodes";
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "status": {"conditions": [{"type": "Ready", "status": "False"}], "nodeInfo": {"kubeletVersion": "v1"}}});
    server.made(nodes, node.clone()).await;
    server.ask("PUT", &format!("{nodes}/n/status"), &[], &node).await;
    assert_eq!(
        cells(server.table(nodes).await),
        json!(["n", "NotReady", "control-plane", "0s", "v1"])
    );
    let ingresses = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    server.made(ingresses, json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i"},
        "spec": {"ingressClassName": "traefik", "tls": [{"hosts": ["a"]}], "rules": [{"host": "a"}, {"host": "b"}]}})).await;
    assert_eq!(
        cells(server.table(ingresses).await),
        json!(["i", "traefik", "a,b", "", "80, 443", "0s"])
    );
    let sets = "/apis/apps/v1/namespaces/default/statefulsets";
    let mut set = deployment("s");
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("s");
    server.made(sets, set).await;
    assert_eq!(cells(server.table(sets).await), json!(["s", "0/1", "0s"]));
}

#[tokio::test(start_paused = true)]
async fn pages_lose_and_repeat_nothing() {
    let server = server();
    for space in ["a", "a-b", "a.b", "ab"].iter().filter(|name| !name.contains('.')) {
        server
            .made(
                "/api/v1/namespaces",
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}),
            )
            .await;
        for name in ["x", "x-y", "x.y"] {
            server.made(&format!("/api/v1/namespaces/{space}/configmaps"), config(name, "1")).await;
        }
    }
    let all = server.get("/api/v1/configmaps").await.body["items"].clone();
    for limit in [1, 2, 4, 100] {
        let mut paged = Vec::new();
        let mut token = String::new();
        let first = server.version().await;
        loop {
            let page = server
                .get(&format!("/api/v1/configmaps?limit={limit}&continue={token}"))
                .await
                .body;
            assert_eq!(rv(&page), first, "every page is watched on from the first one's version");
            let items = page["items"].as_array().unwrap().clone();
            assert!(items.len() <= limit);
            paged.extend(items);
            token = text(&page, "/metadata/continue");
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(json!(paged), all, "limit {limit}");
    }
    assert_eq!(server.get("/api/v1/configmaps?limit=1&continue=nonsense!").await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_missed_between_two_pages_and_a_watch() {
    let server = server();
    server.made(CONFIGS, config("a", "1")).await;
    server.made(CONFIGS, config("b", "1")).await;
    let first = server.get(&format!("{CONFIGS}?limit=1")).await.body;
    server.put(&format!("{CONFIGS}/a"), config("a", "2")).await;
    let token = text(&first, "/metadata/continue");
    let second = server.get(&format!("{CONFIGS}?limit=1&continue={token}")).await.body;
    let mut watch =
        server.watch(&format!("{CONFIGS}?watch=true&resourceVersion={}", rv(&second))).await;
    assert_eq!(watch.brief(), ["MODIFIED a"]);
}

#[tokio::test(start_paused = true)]
async fn lists_know_which_versions_there_are() {
    let server = server();
    let version = server.version().await;
    for (query, code) in [
        ("resourceVersion=0".to_owned(), 200),
        ("resourceVersion=5&resourceVersionMatch=NotOlderThan".to_owned(), 200),
        (format!("resourceVersion={version}&resourceVersionMatch=Exact"), 200),
        ("resourceVersion=5&resourceVersionMatch=Exact".to_owned(), 410),
        ("resourceVersion=99999999999999999".to_owned(), 504),
        ("resourceVersion=x".to_owned(), 400),
        ("labelSelector=a+b+c(".to_owned(), 400),
        ("limit=x".to_owned(), 400),
    ] {
        assert_eq!(server.get(&format!("{CONFIGS}?{query}")).await.code, code, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_objects_are_refused_with_their_causes() {
    let server = TestServer::with_widgets().await;
    let mut wrong = widget("w", 700);
    wrong["spec"]["colour"] = json!("green");
    let answer = server.post(WIDGETS, wrong).await;
    assert_eq!((answer.code, text(&answer.body, "/reason")), (422, "Invalid".to_owned()));
    let details = &answer.body["details"];
    assert_eq!(
        (&details["kind"], &details["group"], &details["name"]),
        (&json!("Widget"), &json!("example.org"), &json!("w"))
    );
    let mut fields: Vec<String> =
        details["causes"].as_array().unwrap().iter().map(|cause| text(cause, "/field")).collect();
    fields.sort();
    assert_eq!(fields, ["spec.colour", "spec.size"]);
    for (path, body, code) in [
        (CONFIGS, config("Upper", "1"), 422),
        (CONFIGS, json!({"metadata": {}}), 422),
        (CONFIGS, json!([1]), 400),
        (CONFIGS, json!({"metadata": {"name": "x", "labels": "none"}}), 400),
        (CONFIGS, json!({"metadata": {"name": 5}}), 400),
        ("/api/v1/namespaces", json!({"metadata": {"name": "x", "labels": ["none"]}}), 400),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "x"}, "data": "y", "stringData": {"a": "b"}}),
            400,
        ),
        (
            WIDGETS,
            json!({"metadata": {"name": "x", "finalizers": "none"}, "spec": {"size": 1}}),
            400,
        ),
        (DEPLOYMENTS, json!({"metadata": {"name": "x"}, "spec": "none"}), 400),
        ("/api/v1/namespaces/none/configmaps", config("x", "1"), 404),
        ("/api/v1/namespaces/default/clusterroles", config("x", "1"), 404),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles",
            json!({"metadata": {"name": "x"}}),
            404,
        ),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", json!([1]), 400),
        (CONFIGS, json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "x"}}), 400),
        (CONFIGS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}), 400),
    ] {
        let answer = server.post(path, body.clone()).await;
        assert_eq!(answer.code, code, "{path} {body} -> {}", answer.body);
        assert_eq!(answer.body["kind"], "Status");
    }
    assert_eq!(server.raw("POST", CONFIGS, &[], "{").await.status().as_u16(), 400);
    assert_eq!(server.raw("POST", CONFIGS, &[], vec![b' '; 4 << 20]).await.status().as_u16(), 413);
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let server = TestServer::with_widgets().await;
    let mut odd_widget = widget("w", 1);
    odd_widget["spec"]["sise"] = json!(1);
    let mut odd = deployment("w");
    odd["spec"]["template"]["spec"]["containers"][0]["imagge"] = json!("x");
    for (path, body, field) in [
        (WIDGETS, odd_widget, "spec.sise"),
        (DEPLOYMENTS, odd, "spec.template.spec.containers[0].imagge"),
    ] {
        let strict = server.post(&format!("{path}?fieldValidation=Strict"), body.clone()).await;
        let message = text(&strict.body, "/message");
        assert_eq!(strict.code, 400, "{path}");
        assert!(
            message.contains(&format!("strict decoding error: unknown field \"{field}\"")),
            "{message}"
        );
        let warned = server.post(&format!("{path}?dryRun=All"), body.clone()).await;
        assert_eq!(
            warned.headers["warning"],
            format!("299 - \"unknown field \\\"{field}\\\"\"").as_str()
        );
        let quiet = server.post(&format!("{path}?fieldValidation=Ignore"), body).await;
        assert_eq!((quiet.code, quiet.headers.get("warning")), (201, None));
        assert!(
            !quiet.body["spec"].to_string().contains("imagge")
                && !quiet.body["spec"].to_string().contains("sise")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_patches_are_refused_in_the_clients_words() {
    let server = TestServer::with_widgets().await;
    server.made(WIDGETS, widget("w", 1)).await;
    let path = format!("{WIDGETS}/w");
    let answer = server.patch(STRATEGIC, &path, json!({"spec": {"size": 2}})).await;
    assert_eq!(
        (answer.code, text(&answer.body, "/reason")),
        (415, "UnsupportedMediaType".to_owned())
    );
    assert_eq!(server.patch("application/cbor", &path, json!({})).await.code, 415);
    assert_eq!(server.patch(MERGE, &format!("{WIDGETS}/none"), json!({})).await.code, 404);
    assert_eq!(server.patch(MERGE, &path, json!({"metadata": {"name": "other"}})).await.code, 400);
    assert_eq!(server.ask("POST", &path, &[], &json!({})).await.code, 405);
    assert_eq!(server.put(WIDGETS, widget("w", 1)).await.code, 405);
    let duplicate = server.post(WIDGETS, widget("w", 1)).await;
    assert_eq!(
        (duplicate.code, text(&duplicate.body, "/message")),
        (409, "widgets.example.org \"w\" already exists".to_owned())
    );
    let mut fresh = widget("", 1);
    fresh["metadata"] = json!({"generateName": "made-"});
    assert!(text(&server.made(WIDGETS, fresh).await, "/metadata/name").starts_with("made-"));
}

#[tokio::test(start_paused = true)]
async fn invalid_definitions_are_refused() {
    let server = TestServer::with_widgets().await;
    let change = |pointer: &str, value: Value| {
        let mut crd = widgets();
        *crd.pointer_mut(pointer).unwrap() = value;
        crd
    };
    let mut apps = change("/spec/group", json!("apps"));
    apps["spec"]["names"]["plural"] = json!("deployments");
    apps["metadata"]["name"] = json!("deployments.apps");
    let empty = super::server();
    for wrong in [
        change("/spec/versions", json!([])),
        change("/spec/versions/0/storage", json!(true)),
        change("/spec/versions/1/storage", json!(false)),
        change("/spec/versions/0/name", json!("v1")),
        change("/spec/group", json!("example.com")),
        apps,
        change("/metadata/name", json!("gadgets.example.org")),
    ] {
        assert_eq!(
            empty.post(CRDS, wrong.clone()).await.code,
            422,
            "{}",
            wrong["spec"]["versions"][0]["name"]
        );
    }
    let path = format!("{CRDS}/widgets.example.org");
    for wrong in
        [change("/spec/scope", json!("Cluster")), change("/spec/names/kind", json!("Gadget"))]
    {
        assert_eq!(server.replace(&path, wrong).await.code, 422);
    }
    let mut grown = widgets();
    let mut third = grown["spec"]["versions"][1].clone();
    third["name"] = json!("v2");
    grown["spec"]["versions"][1]["storage"] = json!(false);
    grown["spec"]["versions"].as_array_mut().unwrap().push(third);
    let answer = server.replace(&path, grown).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
    assert_eq!(answer.body["status"]["storedVersions"], json!(["v1", "v2"]));
    let group = server.get("/apis/example.org").await.body;
    assert_eq!(group["preferredVersion"]["version"], "v2", "the newest stable one");
    let established = &answer.body["status"]["conditions"][1];
    assert_eq!(
        (&established["type"], &established["status"]),
        (&json!("Established"), &json!("True"))
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_stored_once_and_served_in_two_groups() {
    let server = server();
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let core = "/api/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-09-21T10:00:00.000000Z", "reportingController": "serin", "reportingInstance": "serin-0",
        "action": "Advance", "reason": "Advanced", "type": "Normal", "note": "to 30",
        "regarding": {"apiVersion": "example.org/v1", "kind": "Widget", "name": "w", "namespace": "default", "uid": "u"},
    });
    let answer = server.ask("POST", &format!("{new}?fieldValidation=Strict"), &[], &event).await;
    assert_eq!(answer.code, 201, "{}", answer.body);
    let old = server.get(&format!("{core}/e")).await.body;
    assert_eq!((&old["message"], &old["involvedObject"]["name"]), (&json!("to 30"), &json!("w")));
    assert_eq!((&old["source"]["component"], &old["count"]), (&json!("serin"), &json!(1)));
    let by = "involvedObject.name%3Dw%2CinvolvedObject.kind%3DWidget%2CinvolvedObject.namespace%3Ddefault%2CinvolvedObject.uid%3Du";
    assert_eq!(
        server.get(&format!("{core}?fieldSelector={by}")).await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let regarding = server.get(&format!("{new}?fieldSelector=regarding.name%3Dw")).await.body;
    assert_eq!(regarding["items"][0]["note"], "to 30");
    let none = server.get(&format!("{new}?fieldSelector=regarding.name%3Dx")).await.body;
    assert_eq!(none["items"], json!([]));
    let patched = server
        .patch(
            MERGE,
            &format!("{new}/e"),
            json!({"series": {"count": 4, "lastObservedTime": "2026-09-21T10:05:00.000000Z"}}),
        )
        .await;
    assert_eq!(patched.code, 200, "{}", patched.body);
    assert_eq!(server.get(&format!("{core}/e")).await.body["count"], 4);
    let replace = json!([{"op": "replace", "path": "/note", "value": "to 40"}]);
    assert_eq!(server.patch(JSON_PATCH, &format!("{new}/e"), replace).await.body["note"], "to 40");
    for path in [core, new] {
        let cells = server.table(path).await["rows"][0]["cells"].clone();
        assert_eq!(
            (&cells[2], &cells[3], &cells[6]),
            (&json!("Advanced"), &json!("widget/w"), &json!("to 40")),
            "{path}"
        );
    }
    server.delete(&format!("{core}/e")).await;
    assert_eq!(server.get(new).await.body["items"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn reviews_are_answered_and_metadata_comes_alone() {
    let server = server();
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {}});
    let answer =
        server.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review).await;
    assert_eq!((answer.code, &answer.body["status"]["allowed"]), (201, &json!(true)));
    server.made(CONFIGS, config("a", "1")).await;
    let accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    let list = server.ask("GET", CONFIGS, &[("accept", accept)], &Value::Null).await.body;
    assert_eq!(
        (&list["kind"], list["items"][0].get("data")),
        (&json!("PartialObjectMetadataList"), None)
    );
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
}

#[tokio::test(start_paused = true)]
async fn defaults_are_those_of_a_real_server() {
    let server = server();
    let made = server.made(DEPLOYMENTS, deployment("d")).await;
    let spec = &made["spec"];
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(
        (&spec["replicas"], &spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
        (&json!(1), &json!(10), &json!(600))
    );
    let pod = &spec["template"]["spec"];
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        assert_eq!(pod[field], value, "{field}");
    }
    assert_eq!(
        pod["containers"][0],
        json!({
            "name": "c", "image": "x:1", "imagePullPolicy": "IfNotPresent", "resources": {},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
        })
    );
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    let made = server.made(services, service("s")).await;
    assert_eq!(made["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert_eq!(
        (&made["spec"]["type"], &made["spec"]["sessionAffinity"]),
        (&json!("ClusterIP"), &json!("None"))
    );
    let other = server.made(services, service("t")).await;
    assert_ne!(made["spec"]["clusterIP"], other["spec"]["clusterIP"]);
}
