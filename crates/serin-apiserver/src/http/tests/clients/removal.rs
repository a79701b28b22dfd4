//! Deletion: finalizers, owners, namespaces, collections and custom kinds.

use super::*;

fn owned(name: &str, owner: &Value) -> Value {
    let mut object = config(name, "1");
    object["metadata"]["ownerReferences"] = json!([reference(owner)]);
    object
}

fn reference(owner: &Value) -> Value {
    json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
           "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true})
}

async fn names(server: &TestServer, path: &str) -> Vec<String> {
    let body = server.get(path).await.body;
    body["items"].as_array().unwrap().iter().map(|item| text(item, "/metadata/name")).collect()
}

async fn delete_with(server: &TestServer, path: &str, options: Value) -> Answer {
    server.ask("DELETE", path, &[], &options).await
}

#[tokio::test(start_paused = true)]
async fn deletion_answers_with_a_status_and_a_new_version() {
    let server = server();
    let made = server.made(CONFIGS, config("a", "1")).await;
    let mut watch =
        server.watch(&format!("{CONFIGS}?watch=true&resourceVersion={}", rv(&made))).await;
    let gone = server.delete(&format!("{CONFIGS}/a")).await;
    assert_eq!((gone.code, text(&gone.body, "/status")), (200, "Success".to_owned()));
    assert_eq!(gone.body["details"]["uid"], made["metadata"]["uid"]);
    let lines = watch.ready();
    assert_eq!((lines.len(), &lines[0]["type"]), (1, &json!("DELETED")));
    assert_eq!(lines[0]["object"]["data"], made["data"]);
    assert!(rv(&lines[0]["object"]).parse::<u64>().unwrap() > rv(&made).parse().unwrap());
    let again = server.delete(&format!("{CONFIGS}/a")).await;
    assert_eq!(
        (again.code, text(&again.body, "/message")),
        (404, "configmaps \"a\" not found".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn finalizers_hold_an_object_until_the_last_is_gone() {
    let server = server();
    let mut held = config("a", "1");
    held["metadata"]["finalizers"] = json!(["example.org/x", "example.org/y"]);
    server.made(CONFIGS, held).await;
    let path = format!("{CONFIGS}/a");
    let marked = server.delete(&path).await;
    assert_eq!((marked.code, text(&marked.body, "/kind")), (200, "ConfigMap".to_owned()));
    assert!(!text(&marked.body, "/metadata/deletionTimestamp").is_empty());
    let before = server.version().await;
    assert_eq!(server.delete(&path).await.code, 200);
    assert_eq!(server.version().await, before, "it is being deleted already");
    let one =
        server.patch(MERGE, &path, json!({"metadata": {"finalizers": ["example.org/x"]}})).await;
    assert_eq!(one.code, 200);
    assert_eq!(server.get(&path).await.code, 200);
    assert_eq!(
        server.patch(MERGE, &path, json!({"metadata": {"finalizers": null}})).await.code,
        200
    );
    assert_eq!(server.get(&path).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn preconditions_are_honoured() {
    let server = server();
    let made = server.made(CONFIGS, config("a", "1")).await;
    let path = format!("{CONFIGS}/a");
    for wrong in [json!({"uid": "x"}), json!({"resourceVersion": "1"})] {
        assert_eq!(delete_with(&server, &path, json!({"preconditions": wrong})).await.code, 409);
    }
    let right =
        json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": rv(&made)}});
    assert_eq!(delete_with(&server, &path, right).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn dependents_are_deleted_or_orphaned_by_policy() {
    for (policy, left) in [
        ("Background", vec!["other"]),
        ("Foreground", vec!["other"]),
        ("Orphan", vec!["child", "grandchild", "other"]),
    ] {
        let server = server();
        let owner = server.made(CONFIGS, config("owner", "1")).await;
        let child = server.made(CONFIGS, owned("child", &owner)).await;
        server.made(CONFIGS, owned("grandchild", &child)).await;
        server.made(CONFIGS, config("other", "1")).await;
        let gone =
            delete_with(&server, &format!("{CONFIGS}/owner"), json!({"propagationPolicy": policy}))
                .await;
        assert_eq!(gone.code, 200, "{policy}");
        assert_eq!(names(&server, CONFIGS).await, left, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_deleted_in_the_foreground_waits_for_a_held_child() {
    let server = server();
    let owner = server.made(CONFIGS, config("owner", "1")).await;
    let mut held = owned("child", &owner);
    held["metadata"]["finalizers"] = json!(["example.org/x"]);
    server.made(CONFIGS, held).await;
    let path = format!("{CONFIGS}/owner");
    let marked = delete_with(&server, &path, json!({"propagationPolicy": "Foreground"})).await;
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(names(&server, CONFIGS).await, ["child", "owner"]);
    server
        .patch(MERGE, &format!("{CONFIGS}/child"), json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(names(&server, CONFIGS).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_shared_object_stays_while_one_owner_lives() {
    let server = server();
    let first = server.made(CONFIGS, config("first", "1")).await;
    let second = server.made(CONFIGS, config("second", "1")).await;
    let mut shared = owned("shared", &first);
    let mut other = reference(&second);
    other["controller"] = json!(false);
    shared["metadata"]["ownerReferences"] = json!([reference(&first), other]);
    server.made(CONFIGS, shared).await;
    server.delete(&format!("{CONFIGS}/first")).await;
    assert_eq!(names(&server, CONFIGS).await, ["second", "shared"]);
    server.delete(&format!("{CONFIGS}/second")).await;
    assert_eq!(names(&server, CONFIGS).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn cyclic_owners_and_long_chains_of_owners_are_collected() {
    for policy in ["Background", "Foreground"] {
        let server = server();
        let one = server.made(CONFIGS, config("one", "1")).await;
        let two = server.made(CONFIGS, owned("two", &one)).await;
        let circle = json!({"metadata": {"ownerReferences": [reference(&two)]}});
        server.patch(MERGE, &format!("{CONFIGS}/one"), circle).await;
        let gone =
            delete_with(&server, &format!("{CONFIGS}/one"), json!({"propagationPolicy": policy}))
                .await;
        assert_eq!(gone.code, 200, "{policy}");
        let mut last = server.made(CONFIGS, config("n0", "1")).await;
        for number in 1..3000 {
            last = server.made(CONFIGS, owned(&format!("n{number}"), &last)).await;
        }
        delete_with(&server, &format!("{CONFIGS}/n0"), json!({"propagationPolicy": policy})).await;
        assert!(
            !names(&server, CONFIGS).await.iter().any(|name| name.starts_with('n')),
            "{policy}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_ends_when_it_is_empty() {
    let server = server();
    let spaces = "/api/v1/namespaces";
    server
        .made(spaces, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}))
        .await;
    let configs = "/api/v1/namespaces/n/configmaps";
    server.made(configs, config("free", "1")).await;
    let mut held = config("held", "1");
    held["metadata"]["finalizers"] = json!(["example.org/x"]);
    server.made(configs, held).await;
    let ending = server.delete("/api/v1/namespaces/n").await;
    assert_eq!(ending.body["status"]["phase"], "Terminating");
    assert_eq!(names(&server, configs).await, ["held"]);
    assert_eq!(server.post(configs, config("late", "1")).await.code, 403);
    server
        .patch(MERGE, &format!("{configs}/held"), json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(server.get("/api/v1/namespaces/n").await.code, 404);
    assert_eq!(server.post(configs, config("late", "1")).await.code, 404);
    assert_eq!(server.delete("/api/v1/namespaces/default").await.code, 403);
}

#[tokio::test(start_paused = true)]
async fn a_collection_is_deleted_by_selector() {
    let server = server();
    for (name, value) in [("a", "1"), ("b", "2"), ("c", "1")] {
        server.made(CONFIGS, config(name, value)).await;
    }
    let gone = server.delete(&format!("{CONFIGS}?labelSelector=v%3D1")).await;
    assert_eq!(gone.body["items"].as_array().unwrap().len(), 2);
    assert_eq!(names(&server, CONFIGS).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_kind_goes_after_the_last_of_its_objects() {
    let server = TestServer::with_widgets().await;
    let mut held = widget("held", 1);
    held["metadata"]["finalizers"] = json!(["example.org/x"]);
    server.made(WIDGETS, held).await;
    server.made(WIDGETS, widget("free", 1)).await;
    let crd = format!("{CRDS}/widgets.example.org");
    assert_eq!(server.delete(&crd).await.code, 200);
    assert_eq!(names(&server, WIDGETS).await, ["held"], "its finalizer is honoured");
    assert_eq!(server.post(WIDGETS, widget("late", 1)).await.code, 405);
    server
        .patch(MERGE, &format!("{WIDGETS}/held"), json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(server.get(&crd).await.code, 404);
    assert_eq!(server.get(WIDGETS).await.code, 404);
    assert_eq!(server.get("/apis/example.org/v1").await.code, 404);
    server.made(CRDS, widgets()).await;
    assert_eq!(names(&server, WIDGETS).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_pod_on_a_node_ends_in_its_own_time() {
    let server = server();
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, node: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": node, "containers": [{"name": "c", "image": "x"}]}});
    server.made(pods, pod("placed", json!("n"))).await;
    server.made(pods, pod("waiting", Value::Null)).await;
    let marked = server.delete(&format!("{pods}/placed")).await.body;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    server.delete(&format!("{pods}/waiting")).await;
    assert_eq!(names(&server, pods).await, ["placed"]);
    delete_with(&server, &format!("{pods}/placed"), json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(names(&server, pods).await, Vec::<String>::new());
}
