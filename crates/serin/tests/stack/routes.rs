//! The Gateway API and A/B tests on the real Traefik and on the embedded gateway, seen from the requests.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, Part, manifest};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};
use serin_local::load;

use crate::alone;
use crate::local::{options, part, serves, until};

/// The example as it is, but three seconds a step.
pub(crate) fn apply(cluster: &Cluster, file: &str) {
    let path = format!("{}/../../examples/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    for mut document in manifest::documents(&std::fs::read_to_string(path).unwrap()).unwrap() {
        if document["kind"] == "Canary" {
            document["spec"]["analysis"]["interval"] = json!("3s");
        }
        manifest::apply(cluster.store(), &document).unwrap();
    }
}

fn object(cluster: &Cluster, group: &str, plural: &str) -> Value {
    let found = cluster.store().get(&ResourceId::new(group, plural), "develop", "backend");
    found.map_or(Value::Null, |object| object.as_ref().clone())
}

pub(crate) fn status(cluster: &Cluster) -> Value {
    object(cluster, "flagger.app", "canaries")["status"].clone()
}

pub(crate) async fn until_phase(cluster: &Cluster, phase: &str) {
    until(phase, || async { status(cluster)["phase"] == phase }).await;
}

pub(crate) fn set_image(cluster: &Cluster, plural: &str, version: &str) {
    let id = ResourceId::new("apps", plural);
    let change = |object: &mut Value| {
        let image = json!(format!("local/backend:{version}"));
        object["spec"]["template"]["spec"]["containers"][0]["image"] = image;
    };
    let options = WriteOptions::by("test");
    cluster.store().modify(&id, "develop", "backend", Sub::Main, &options, change).unwrap();
}

/// Which versions answer these requests, and how often.
async fn answers(
    client: &reqwest::Client,
    cluster: &Cluster,
    header: Option<(&str, &str)>,
    count: usize,
) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        let mut request = client.get(cluster.gateway_url());
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        let version = answer.headers().get("x-version").map(|v| v.to_str().unwrap().to_owned());
        *seen.entry(version.unwrap_or_default()).or_insert(0) += 1;
    }
    seen
}

fn only(seen: &BTreeMap<String, usize>, version: &str) -> bool {
    seen.keys().eq([version])
}

/// A good version and a dead one, which only insiders meet, while everybody else keeps `before`, and then the good one.
async fn test_with_insiders(client: &reqwest::Client, cluster: &Cluster, before: &str) {
    set_image(cluster, "deployments", "v3");
    let insider = Some(("x-canary", "insider"));
    until("v3 for insiders", || async { only(&answers(client, cluster, insider, 10).await, "v3") })
        .await;
    let cookie = Some(("cookie", "a=b; canary=always"));
    assert!(only(&answers(client, cluster, cookie, 10).await, "v3"));
    for others in [None, Some(("x-canary", "outsider")), Some(("cookie", "canary=never"))] {
        assert!(only(&answers(client, cluster, others, 10).await, before), "{others:?}");
    }
    let state = status(cluster);
    assert_eq!((&state["matched"], &state["canaryWeight"]), (&json!(true), &json!(0)));
    until("its end", || async {
        answers(client, cluster, insider, 5).await;
        status(cluster)["phase"] == "Succeeded"
    })
    .await;

    // Insiders meet a bad version; their failures are enough to end the test.
    set_image(cluster, "deployments", "v4-dead");
    until("the failures", || async { !only(&answers(client, cluster, insider, 10).await, "v3") })
        .await;
    until("the rollback", || async {
        answers(client, cluster, insider, 5).await;
        status(cluster)["phase"] == "Failed"
    })
    .await;
    let reason = status(cluster)["lastReason"].clone();
    assert_eq!(reason["code"], "GuardRolledBack", "{reason}");
    until("v3 for insiders again", || async {
        only(&answers(client, cluster, insider, 10).await, "v3")
    })
    .await;
}

async fn beside_an_ingress_route(options: Options) {
    let cluster = Cluster::start(options).await.unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    for file in ["00-namespace", "10-backend", "20-route"] {
        apply(&cluster, &format!("ab-test/{file}"));
    }
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 50.0)).unwrap();
    apply(&cluster, "ab-test/40-canary");
    until_phase(&cluster, "Initialized").await;
    test_with_insiders(&client, &cluster, "v1").await;
    let figures = tokio::time::timeout(Duration::from_secs(60), traffic.stop()).await.unwrap();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "others were hurt: {figures:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ab_test_beside_an_ingress_route_of_the_real_traefik() {
    let _alone = alone().await;
    let (Some(traefik), Some(prometheus)) = (part("SERIN_TRAEFIK"), part("SERIN_PROMETHEUS"))
    else {
        return;
    };
    let options =
        Options { router: Part::Real(traefik), metrics: Part::Real(prometheus), ..options() };
    beside_an_ingress_route(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ab_test_beside_an_ingress_route_of_the_embedded_gateway() {
    let _alone = alone().await;
    beside_an_ingress_route(options()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_routes_on_the_real_traefik() {
    let _alone = alone().await;
    let (Some(traefik), Some(prometheus)) = (part("SERIN_TRAEFIK"), part("SERIN_PROMETHEUS"))
    else {
        return;
    };
    let options =
        Options { router: Part::Real(traefik), metrics: Part::Real(prometheus), ..options() };
    on_http_routes(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_routes_on_the_embedded_gateway() {
    let _alone = alone().await;
    on_http_routes(options()).await;
}

async fn on_http_routes(options: Options) {
    let cluster = Cluster::start(options).await.unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    for file in ["00-namespace", "10-backend", "40-canary"] {
        apply(&cluster, &format!("gateway-api/{file}"));
    }
    until_phase(&cluster, "Initialized").await;
    serves(&cluster).await;
    assert!(only(&answers(&client, &cluster, None, 20).await, "v1"));

    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 50.0)).unwrap();
    set_image(&cluster, "deployments", "v2");
    let both = |seen: &BTreeMap<String, usize>| {
        let part = seen.get("v2").copied().unwrap_or(0);
        (1..40).contains(&part)
    };
    until("a share for v2", || async { both(&answers(&client, &cluster, None, 40).await) }).await;
    until_phase(&cluster, "Succeeded").await;
    until("v2 for everybody", || async { only(&answers(&client, &cluster, None, 20).await, "v2") })
        .await;
    let figures = traffic.snapshot();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "{figures:?}");

    apply(&cluster, "gateway-api/50-ab-test");
    test_with_insiders(&client, &cluster, "v2").await;
    let figures = tokio::time::timeout(Duration::from_secs(60), traffic.stop()).await.unwrap();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "others were hurt: {figures:?}");
    cluster.stop().await;
}
