//! Versions, generations, conflicts and subresources.

use super::*;

#[tokio::test(start_paused = true)]
async fn versions_rise_over_all_kinds_and_lists_carry_the_current_one() {
    let server = server();
    let micros = START_SECS * 1_000_000;
    let first: i64 = rv(&server.made(CONFIGS, config("a", "1")).await).parse().unwrap();
    let second: i64 = rv(&server.made(DEPLOYMENTS, deployment("d")).await).parse().unwrap();
    assert!(micros < first && first < second, "{micros} {first} {second}");
    assert_eq!(server.version().await, second.to_string());
    assert_eq!(rv(&server.get(DEPLOYMENTS).await.body), second.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_changes_nothing_is_silent() {
    let server = TestServer::with_widgets().await;
    server.made(WIDGETS, widget("w", 3)).await;
    server.made(DEPLOYMENTS, deployment("d")).await;
    let (one, other) = (format!("{WIDGETS}/w"), format!("{DEPLOYMENTS}/d"));
    let old = "/apis/example.org/v1beta1/namespaces/default/widgets/w";
    let mut beta = widget("w", 3);
    beta["apiVersion"] = json!("example.org/v1beta1");
    let apply = format!("{one}?fieldManager=m");
    assert_eq!(server.patch(APPLY, &apply, widget("w", 3)).await.code, 200);
    let before = server.version().await;
    let mut watches = [
        server.watch(&watch_from(WIDGETS, &before)).await,
        server.watch(&watch_from(DEPLOYMENTS, &before)).await,
    ];
    server.pass(5);
    for answer in [
        server.replace(&one, widget("w", 3)).await,
        server.replace(old, beta).await,
        server.patch(MERGE, &one, json!({"spec": {"size": 3}})).await,
        server.patch(MERGE, old, json!({"spec": {"colour": "red"}})).await,
        server.patch(MERGE, &format!("{one}/scale"), json!({"spec": {"replicas": 3}})).await,
        server.patch(MERGE, &format!("{one}/status"), json!({"status": null})).await,
        server.patch(APPLY, &apply, widget("w", 3)).await,
        server.patch(STRATEGIC, &other, json!({"spec": {"replicas": 1}})).await,
        server.put(&other, deployment("d")).await,
    ] {
        assert_eq!(answer.code, 200, "{}", answer.body);
    }
    assert_eq!(server.version().await, before);
    assert!(watches.iter_mut().all(|watch| watch.ready().is_empty()));
}

fn watch_from(path: &str, version: &str) -> String {
    format!("{path}?watch=true&resourceVersion={version}")
}

#[tokio::test(start_paused = true)]
async fn writes_are_fenced_by_version_and_uid() {
    let server = server();
    let first = server.made(CONFIGS, config("a", "1")).await;
    let path = format!("{CONFIGS}/a");
    assert_eq!(server.put(&path, config("a", "2")).await.code, 200, "no version: unconditional");
    let mut stale = first.clone();
    stale["data"]["k"] = json!("3");
    let answer = server.put(&path, stale).await;
    assert_eq!((answer.code, text(&answer.body, "/reason")), (409, "Conflict".to_owned()));
    assert_eq!(
        text(&answer.body, "/message"),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
    let merge = json!({"metadata": {"resourceVersion": rv(&first)}, "data": {"k": "3"}});
    assert_eq!(server.patch(MERGE, &path, merge).await.code, 409);
    let other = json!({"metadata": {"uid": "another"}, "data": {"k": "3"}});
    assert_eq!(server.patch(MERGE, &path, other).await.code, 409);
    let replace = |version: String| {
        json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": version},
               {"op": "replace", "path": "/data/k", "value": "4"}])
    };
    assert_eq!(server.patch(JSON_PATCH, &path, replace(rv(&first))).await.code, 409);
    let now = rv(&server.get(&path).await.body);
    assert_eq!(server.patch(JSON_PATCH, &path, replace(now)).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn what_only_the_server_sets_cannot_be_set() {
    let server = TestServer::with_widgets().await;
    let mut sent = widget("w", 1);
    sent["metadata"]["uid"] = json!("mine");
    sent["metadata"]["generation"] = json!(77);
    let mut versioned = sent.clone();
    versioned["metadata"]["resourceVersion"] = json!("5");
    let refused = server.post(WIDGETS, versioned).await;
    assert_eq!(refused.code, 500, "as the real server says it: {}", refused.body);
    sent["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    let made = server.made(WIDGETS, sent).await;
    assert_ne!(text(&made, "/metadata/uid"), "mine");
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(made.pointer("/metadata/deletionTimestamp").is_none());
    let patch = json!({"metadata": {"generation": 9, "creationTimestamp": null, "deletionTimestamp": "2020-01-01T00:00:00Z"}});
    let after = server.patch(MERGE, &format!("{WIDGETS}/w"), patch).await.body;
    for field in ["generation", "creationTimestamp", "uid", "deletionTimestamp"] {
        assert_eq!(after["metadata"].get(field), made["metadata"].get(field), "{field}");
    }
}

#[tokio::test(start_paused = true)]
async fn generations_count_spec_changes_and_the_status_is_a_subresource() {
    let server = TestServer::with_widgets().await;
    let mut sent = widget("w", 1);
    sent["status"] = json!({"phase": "Sent"});
    let made = server.made(WIDGETS, sent).await;
    assert!(made.get("status").is_none(), "created with the status stripped");
    let path = format!("{WIDGETS}/w");
    let status = format!("{path}/status");
    let generation = |answer: &Answer| answer.body["metadata"]["generation"].clone();
    let labelled = server.patch(MERGE, &path, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(generation(&labelled), 1);
    let both = json!({"spec": {"size": 2}, "status": {"phase": "X"}});
    let spec = server.patch(MERGE, &path, both.clone()).await;
    assert_eq!((generation(&spec), spec.body.get("status")), (json!(2), None));
    let told = server.patch(MERGE, &status, json!({"spec": {"size": 9}, "status": {"phase": "X"}, "metadata": {"labels": {"a": "c"}}})).await;
    assert_eq!((generation(&told), &told.body["spec"]["size"]), (json!(2), &json!(2)));
    assert_eq!(told.body["status"]["phase"], "X");
    assert_eq!(told.body["metadata"]["labels"]["a"], "b");
    let replaced = server.replace(&path, widget("w", 2)).await;
    assert_eq!(replaced.body["status"]["phase"], "X", "a PUT of the main part keeps the status");
    assert_eq!(server.get(&format!("{CONFIGS}/none/status")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_answers_and_changes_nothing() {
    let server = TestServer::with_widgets().await;
    server.made(WIDGETS, widget("w", 1)).await;
    let before = server.version().await;
    let path = format!("{WIDGETS}/w?dryRun=All");
    let made = server.post(&format!("{WIDGETS}?dryRun=All"), widget("new", 1)).await;
    assert_eq!((made.code, &made.body["spec"]["colour"]), (201, &json!("red")));
    let changed = server.patch(MERGE, &path, json!({"spec": {"size": 7}})).await;
    assert_eq!((changed.code, &changed.body["spec"]["size"]), (200, &json!(7)));
    assert_eq!(server.patch(MERGE, &path, json!({"spec": {"size": 700}})).await.code, 422);
    assert_eq!(server.delete(&path).await.code, 200);
    assert_eq!(
        server
            .patch(APPLY, &format!("{path}&fieldManager=m&force=true"), widget("w", 5))
            .await
            .code,
        200
    );
    let scale = format!("{WIDGETS}/w/scale?dryRun=All");
    assert_eq!(server.patch(MERGE, &scale, json!({"spec": {"replicas": 9}})).await.code, 200);
    assert_eq!(server.delete(&format!("{WIDGETS}?dryRun=All")).await.code, 200);
    assert_eq!(server.version().await, before);
    assert_eq!(server.post(&format!("{WIDGETS}?dryRun=Some"), widget("x", 1)).await.code, 422);
    assert_eq!(server.get(&format!("{WIDGETS}/new")).await.code, 404);
    let mut broken = widgets();
    broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["type"] = json!("nonsense");
    assert_eq!(
        server.put(&format!("{CRDS}/widgets.example.org?dryRun=All"), broken).await.code,
        422
    );
}

#[tokio::test(start_paused = true)]
async fn the_scale_is_a_view_of_the_object() {
    let server = TestServer::with_widgets().await;
    server.made(DEPLOYMENTS, deployment("d")).await;
    server.made(WIDGETS, widget("w", 4)).await;
    let path = format!("{DEPLOYMENTS}/d/scale");
    let scale = server.get(&path).await.body;
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(1), &json!("app=d"))
    );
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(3);
    assert_eq!(server.put(&path, wanted.clone()).await.body["spec"]["replicas"], 3);
    assert_eq!(server.put(&path, wanted).await.code, 409, "the version it was read at is gone");
    let merge = json!({"spec": {"replicas": 5}});
    assert_eq!(server.patch(MERGE, &path, merge.clone()).await.code, 200);
    assert_eq!(server.get(&format!("{DEPLOYMENTS}/d")).await.body["spec"]["replicas"], 5);
    assert_eq!(server.patch(MERGE, &path, json!({"spec": {"replicas": -1}})).await.code, 422);
    let by = format!("{path}?fieldManager=a&force=true");
    let applied = server.patch(APPLY, &by, merge.clone()).await;
    assert_eq!(applied.body["spec"]["replicas"], 5);
    assert_eq!(server.patch(MERGE, &format!("{WIDGETS}/w/scale"), merge).await.code, 200);
    assert_eq!(server.get(&format!("{WIDGETS}/w")).await.body["spec"]["size"], 5);
    assert_eq!(server.get(&format!("{CONFIGS}/x/scale")).await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_creates_owns_and_conflicts() {
    let server = TestServer::with_widgets().await;
    let path = format!("{WIDGETS}/w");
    assert_eq!(
        server.patch(APPLY, &path, widget("w", 1)).await.code,
        422,
        "without a field manager"
    );
    let by = |who: &str| format!("{path}?fieldManager={who}");
    assert_eq!(server.patch(APPLY, &by("a"), widget("w", 1)).await.code, 201);
    assert_eq!(server.patch(APPLY, &by("a"), widget("w", 1)).await.code, 200);
    let refused = server.patch(APPLY, &by("b"), widget("w", 2)).await;
    assert_eq!((refused.code, text(&refused.body, "/reason")), (409, "Conflict".to_owned()));
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["field"]),
        (&json!("FieldManagerConflict"), &json!(".spec.size"))
    );
    let forced = server.patch(APPLY, &format!("{}&force=true", by("b")), widget("w", 2)).await;
    assert_eq!((forced.code, &forced.body["spec"]["size"]), (200, &json!(2)));
    let yaml =
        "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: yaml\nspec:\n  size: 4\n";
    let made = server
        .raw("PATCH", &format!("{WIDGETS}/yaml?fieldManager=y"), &[("content-type", APPLY)], yaml)
        .await;
    let (parts, body) = made.into_parts();
    assert_eq!(parts.status.as_u16(), 201, "{:?}", body.collect().await.unwrap().to_bytes());
    let mut wrong = widget("w", 2);
    wrong["apiVersion"] = json!("example.org/v7");
    assert_eq!(server.patch(APPLY, &by("a"), wrong).await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn kubectls_move_to_server_side_apply_works() {
    let server = server();
    server
        .ask(
            "POST",
            &format!("{CONFIGS}?fieldManager=kubectl-client-side-apply"),
            &[],
            &config("a", "1"),
        )
        .await;
    let path = format!("{CONFIGS}/a");
    let applied =
        server.patch(APPLY, &format!("{path}?fieldManager=kubectl"), config("a", "1")).await;
    assert_eq!(applied.code, 200, "{}", applied.body);
    let managed = json!([applied.body["metadata"]["managedFields"][0]]);
    let patch = json!([
        {"op": "replace", "path": "/metadata/managedFields", "value": managed},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": rv(&applied.body)},
    ]);
    let moved = server.patch(JSON_PATCH, &path, patch).await;
    assert_eq!(moved.code, 200, "{}", moved.body);
    assert_eq!(moved.body["metadata"]["managedFields"].as_array().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_namespace_has_a_default_account() {
    let server = server();
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}});
    server.made("/api/v1/namespaces", space).await;
    for namespace in ["default", "kube-system", "new"] {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        assert_eq!(server.get(&path).await.code, 200, "{namespace}");
    }
}
