//! The kinds of watches that kubectl, Traefik and kube open.

use super::*;

async fn set(server: &TestServer, name: &str, value: &str) {
    let answer = server.put(&format!("{CONFIGS}/{name}"), config(name, value)).await;
    assert_eq!(answer.code, 200, "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_a_version_begins_with_the_current_objects() {
    let server = server();
    server.made(CONFIGS, config("a", "1")).await;
    server.made(CONFIGS, config("b", "1")).await;
    for query in
        ["watch=true", "watch=1&resourceVersion=0", "&watch=true&", "watch=true&resourceVersion="]
    {
        let mut watch = server.watch(&format!("{CONFIGS}?{query}")).await;
        assert_eq!(watch.brief(), ["ADDED a", "ADDED b"], "{query}");
    }
    let one = "watch=true&resourceVersion=0&fieldSelector=metadata.name%3Db";
    assert_eq!(server.watch(&format!("{CONFIGS}?{one}")).await.brief(), ["ADDED b"]);
    assert_eq!(server.watch(&format!("{CONFIGS}/a?watch=true")).await.brief(), ["ADDED a"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_from_the_version_of_a_list() {
    let server = server();
    server.made(CONFIGS, config("a", "1")).await;
    let since = server.version().await;
    server.made(CONFIGS, config("b", "1")).await;
    let mut watch = server.watch(&format!("{CONFIGS}?watch=true&resourceVersion={since}")).await;
    assert_eq!(watch.brief(), ["ADDED b"]);
    set(&server, "a", "2").await;
    server.delete(&format!("{CONFIGS}/b")).await;
    server.made("/api/v1/namespaces/kube-system/configmaps", config("elsewhere", "1")).await;
    assert_eq!(watch.brief(), ["MODIFIED a", "DELETED b"]);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_ends_its_beginning_with_a_bookmark() {
    let server = server();
    let list = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    server.made(CONFIGS, config("a", "1")).await;
    let current = server.version().await;
    for version in
        ["", "&resourceVersion=0", &format!("&resourceVersion={current}"), "&resourceVersion=5"]
    {
        let mut watch = server.watch(&format!("{CONFIGS}?{list}{version}")).await;
        let lines = watch.ready();
        assert_eq!(
            (lines.len(), &lines[0]["type"], &lines[1]["type"]),
            (2, &json!("ADDED"), &json!("BOOKMARK"))
        );
        let mark = &lines[1]["object"];
        assert_eq!((&mark["kind"], &mark["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
        assert_eq!(rv(mark), current);
        assert_eq!(mark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    }
    let refused = server.get(&format!("{CONFIGS}?watch=true&sendInitialEvents=true")).await;
    assert_eq!((refused.code, text(&refused.body, "/reason")), (422, "Invalid".to_owned()));
    let future = format!("{CONFIGS}?{list}&resourceVersion=99999999999999999");
    let lines = server.watch(&future).await.ready();
    assert_eq!(lines[0]["object"]["code"], 410, "a version of before a restart");
}

#[tokio::test(start_paused = true)]
async fn expired_history_is_one_error_and_ends_the_watch() {
    let server = server();
    server.made(CONFIGS, config("a", "0")).await;
    let since = server.version().await;
    for number in 0..2100 {
        set(&server, "a", &(number + 1).to_string()).await;
    }
    for version in ["5", since.as_str(), "99999999999999999"] {
        let mut watch =
            server.watch(&format!("{CONFIGS}?watch=true&resourceVersion={version}")).await;
        let line = watch.next().await.unwrap();
        assert_eq!((&line["type"], &line["object"]["kind"]), (&json!("ERROR"), &json!("Status")));
        assert_eq!(
            (&line["object"]["code"], &line["object"]["reason"]),
            (&json!(410), &json!("Expired"))
        );
        assert!(watch.next().await.is_none());
    }
    assert_eq!(server.get(&format!("{CONFIGS}?watch=true&resourceVersion=x")).await.code, 400);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_server_does_not_take_old_versions_for_its_own() {
    let old = server();
    old.made(CONFIGS, config("a", "1")).await;
    let version = old.version().await;
    let new = server_at(START_SECS + 1);
    let mut watch = new.watch(&format!("{CONFIGS}?watch=true&resourceVersion={version}")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["code"], 410);
}

#[tokio::test(start_paused = true)]
async fn what_starts_to_match_is_added_and_what_stops_is_deleted() {
    let server = server();
    server.made(CONFIGS, config("a", "1")).await;
    let mut watch = server.watch(&format!("{CONFIGS}?watch=true&labelSelector=v%3D2")).await;
    assert!(watch.brief().is_empty());
    set(&server, "a", "2").await;
    let mut changed = config("a", "2");
    changed["data"]["k"] = json!("new");
    server.put(&format!("{CONFIGS}/a"), changed).await;
    set(&server, "a", "3").await;
    set(&server, "a", "4").await;
    server.delete(&format!("{CONFIGS}/a")).await;
    assert_eq!(watch.brief(), ["ADDED a", "MODIFIED a", "DELETED a"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_to_those_who_ask() {
    let server = server();
    server
        .made(
            "/api/v1/namespaces/default/secrets",
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}),
        )
        .await;
    let version = server.version().await;
    let watch = format!("{CONFIGS}?watch=true&resourceVersion={version}&timeoutSeconds=150");
    let mut plain = server.watch(&watch).await;
    assert!(plain.next().await.is_none());
    let mut marked = server.watch(&format!("{watch}&allowWatchBookmarks=true")).await;
    let mut marks = 0;
    while let Some(line) = marked.next().await {
        assert_eq!((&line["type"], rv(&line["object"])), (&json!("BOOKMARK"), version.clone()));
        assert_eq!(line["object"]["kind"], "ConfigMap");
        assert!(line["object"].pointer("/metadata/annotations").is_none());
        marks += 1;
    }
    assert_eq!(marks, 2);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_on_time_also_when_it_is_busy() {
    let server = server();
    server.made(CONFIGS, config("a", "0")).await;
    let mut watch = server.watch(&format!("{CONFIGS}?watch=true&timeoutSeconds=10")).await;
    let began = tokio::time::Instant::now();
    let mut lines = 0;
    while watch.next().await.is_some() {
        lines += 1;
        assert!(lines < 50, "it never ends");
        tokio::time::advance(Duration::from_secs(1)).await;
        set(&server, "a", &lines.to_string()).await;
    }
    assert!(began.elapsed() <= Duration::from_secs(11), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn each_version_is_watched_as_itself() {
    let server = TestServer::with_widgets().await;
    let beta = "/apis/example.org/v1beta1/namespaces/default/widgets";
    let mut old = server.watch(&format!("{beta}?watch=true")).await;
    let mut new = server.watch(&format!("{WIDGETS}?watch=true")).await;
    server.made(WIDGETS, widget("w", 1)).await;
    assert_eq!(old.ready()[0]["object"]["apiVersion"], "example.org/v1beta1");
    assert_eq!(new.ready()[0]["object"]["apiVersion"], "example.org/v1");
    assert_eq!(server.get(&format!("{beta}/w")).await.body["apiVersion"], "example.org/v1beta1");
    assert_eq!(server.get(beta).await.body["items"][0]["apiVersion"], "example.org/v1beta1");
}

#[tokio::test(start_paused = true)]
async fn a_watched_table_has_a_row_a_line() {
    let server = TestServer::with_widgets().await;
    let path = format!("{WIDGETS}?watch=true");
    let response = server.raw("GET", &path, &[("accept", TABLE)], "").await;
    let mut watch = Lines(response.into_body());
    server.made(WIDGETS, widget("w", 1)).await;
    server.patch(MERGE, &format!("{WIDGETS}/w"), json!({"spec": {"size": 2}})).await;
    server.delete(&format!("{WIDGETS}/w")).await;
    let lines = watch.ready();
    let seen: Vec<(String, &Value)> = lines
        .iter()
        .map(|line| (text(line, "/type"), &line["object"]["rows"][0]["cells"][1]))
        .collect();
    let row = |kind: &str| kind.to_owned();
    assert_eq!(
        seen,
        [(row("ADDED"), &json!(1)), (row("MODIFIED"), &json!(2)), (row("DELETED"), &json!(2))]
    );
    assert!(lines.iter().all(|line| line["object"]["kind"] == "Table"));
    assert!(lines[0]["object"]["columnDefinitions"].is_array());
    let meta = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    server.made(WIDGETS, widget("m", 1)).await;
    let mut watch = Lines(server.raw("GET", &path, &[("accept", meta)], "").await.into_body());
    let line = watch.ready().remove(0);
    assert_eq!(
        (&line["object"]["kind"], line["object"].get("spec")),
        (&json!("PartialObjectMetadata"), None)
    );
}
