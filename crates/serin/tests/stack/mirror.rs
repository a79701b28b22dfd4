//! Copies of requests on the real Traefik and on the embedded gateway, seen from the requests and from the pods.

use std::time::Duration;

use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, Part};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};
use serin_local::load;

use crate::alone;
use crate::local::{PATIENCE, options, part, serves, until};
use crate::routes::{apply, set_image, status};

/// Longer than the test looks at one stage.
const LONG: &str = "60s";
const SHORT: &str = "3s";

/// With the whole status where it never comes.
async fn until_phase(cluster: &Cluster, phase: &str) {
    let seen = || async { status(cluster)["phase"] == phase };
    let told = tokio::time::timeout(PATIENCE - Duration::from_secs(5), until(phase, seen)).await;
    assert!(told.is_ok(), "never {phase}: {}", status(cluster));
}

/// Changes `spec.analysis` of the Canary; null takes a field away.
fn change_analysis(cluster: &Cluster, patch: &Value) {
    let id = ResourceId::new("flagger.app", "canaries");
    let change = |object: &mut Value| {
        let analysis = object["spec"]["analysis"].as_object_mut().unwrap();
        for (field, value) in patch.as_object().unwrap() {
            match value.is_null() {
                true => drop(analysis.remove(field)),
                false => drop(analysis.insert(field.clone(), value.clone())),
            }
        }
    };
    let options = WriteOptions::by("test");
    cluster.store().modify(&id, "develop", "backend", Sub::Main, &options, change).unwrap();
}

/// Requests that the pods behind a Service have answered, by their own counters.
async fn counted(client: &reqwest::Client, cluster: &Cluster, service: &str) -> u64 {
    let id = ResourceId::new("discovery.k8s.io", "endpointslices");
    let slices = cluster.store().list(&id, Some("develop"));
    let of = |slice: &&std::sync::Arc<Value>| {
        slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
    };
    let mut sum = 0;
    for slice in slices.iter().filter(of) {
        let port = slice["ports"][0]["port"].as_u64().unwrap_or_default();
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let address = endpoint["addresses"][0].as_str().unwrap();
            let url = format!("http://{address}:{port}/metrics");
            let Ok(answer) = client.get(url).send().await else { continue };
            let page = answer.text().await.unwrap();
            let counts = page.lines().filter(|line| line.starts_with("http_requests_total{"));
            let numbers = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            sum += numbers.sum::<f64>() as u64;
        }
    }
    sum
}

async fn ask(client: &reqwest::Client, cluster: &Cluster, body: Option<usize>) -> (u16, String) {
    let request = match body {
        Some(bytes) => client.post(cluster.gateway_url()).body(vec![b'x'; bytes]),
        None => client.get(cluster.gateway_url()),
    };
    let answer = request.send().await.unwrap();
    let version = answer.headers().get("x-version").map(|v| v.to_str().unwrap().to_owned());
    (answer.status().as_u16(), version.unwrap_or_default())
}

async fn until_copied(cluster: &Cluster, percent: u64) {
    until("copies", || async { status(cluster)["mirrorWeight"] == percent }).await;
    let state = status(cluster);
    assert_eq!((&state["canaryWeight"], &state["phase"]), (&json!(0), &json!("Progressing")));
}

/// Every request is copied, the users meet only the primary, and long bodies are left out.
async fn copies_reach_the_canary_and_no_user(client: &reqwest::Client, cluster: &Cluster) {
    until_copied(cluster, 100).await;
    // What was routed a moment ago is seen by the gateway a moment later.
    until("a copy", || async {
        ask(client, cluster, None).await;
        counted(client, cluster, "backend-canary").await > 0
    })
    .await;
    for (body, copied) in [(None, true), (Some(1000), true), (Some(3 << 20), false)] {
        let before = counted(client, cluster, "backend-canary").await;
        for _ in 0..40 {
            assert_eq!(ask(client, cluster, body).await, (200, "v1".to_owned()), "{body:?}");
        }
        if copied {
            until("40 copies", || async {
                counted(client, cluster, "backend-canary").await >= before + 40
            })
            .await;
        } else {
            // A copy that comes after it shows that none of the long ones is still under way.
            let after = counted(client, cluster, "backend-canary").await;
            ask(client, cluster, None).await;
            until("one copy", || async {
                counted(client, cluster, "backend-canary").await > after
            })
            .await;
            let more = counted(client, cluster, "backend-canary").await - before;
            assert!(more < 40, "{more} copies of long bodies");
        }
    }
}

/// The gateway takes the counters of a canary that is gone off its page a look later, and the guard of the next release must
/// not begin with them.
async fn until_forgotten(client: &reqwest::Client, cluster: &Cluster) {
    let url = format!("{}/metrics", cluster.gateway_admin_url().trim_end_matches('/'));
    until("a page without the canary", || async {
        let page = client.get(&url).send().await.unwrap().text().await.unwrap();
        !page.contains("backend-canary")
    })
    .await;
}

async fn copied_releases(options: Options, provider: &str) {
    let cluster = Cluster::start(options).await.unwrap();
    let client = reqwest::Client::builder().build().unwrap();
    for file in ["00-namespace", "10-backend"] {
        apply(&cluster, &format!("sre/{file}"));
    }
    if !provider.contains("gateway") {
        apply(&cluster, "sre/20-route");
    }
    apply(&cluster, provider);
    change_analysis(&cluster, &json!({"interval": LONG}));
    until_phase(&cluster, "Initialized").await;
    serves(&cluster).await;

    // A good version: copies first, then shares.
    set_image(&cluster, "deployments", "v2");
    copies_reach_the_canary_and_no_user(&client, &cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 50.0)).unwrap();
    change_analysis(&cluster, &json!({"interval": SHORT}));
    until_phase(&cluster, "Succeeded").await;
    until("v2 for everybody", || async { ask(&client, &cluster, None).await.1 == "v2" }).await;
    assert_eq!(status(&cluster)["mirrorWeight"].as_u64().unwrap_or(0), 0);

    until_forgotten(&client, &cluster).await;
    // A bad one fails on copies, and no user has met it.
    set_image(&cluster, "deployments", "v3-dead");
    until_phase(&cluster, "Failed").await;
    let figures = traffic.snapshot();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "users were hurt: {figures:?}");

    until_forgotten(&client, &cluster).await;
    // Blue/Green on copies of a part of the requests.
    let blue_green = json!({"stepWeights": null, "iterations": 2, "mirrorWeight": 40});
    change_analysis(&cluster, &blue_green);
    set_image(&cluster, "deployments", "v4");
    until_copied(&cluster, 40).await;
    until_phase(&cluster, "Succeeded").await;
    until("v4 for everybody", || async { ask(&client, &cluster, None).await.1 == "v4" }).await;
    let figures = tokio::time::timeout(Duration::from_secs(60), traffic.stop()).await.unwrap();
    assert_eq!((figures.total.bad, figures.failed), (0, 0), "users were hurt: {figures:?}");
    cluster.stop().await;
}

fn real() -> Option<Options> {
    let (traefik, prometheus) = (part("SERIN_TRAEFIK")?, part("SERIN_PROMETHEUS")?);
    Some(Options { router: Part::Real(traefik), metrics: Part::Real(prometheus), ..options() })
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_the_real_traefik() {
    let _alone = alone().await;
    let Some(options) = real() else { return };
    copied_releases(options, "mirror/40-canary").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_on_the_embedded_gateway() {
    let _alone = alone().await;
    copied_releases(options(), "mirror/40-canary").await;
}

/// Traefik does not do what its class does not list: copies come about by a service of its own, and a time limit is refused
/// in the words of its field.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_an_http_route_on_the_real_traefik() {
    let _alone = alone().await;
    let Some(options) = real() else { return };
    copied_releases(options, "mirror/50-gateway-api").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_an_http_route_on_the_embedded_gateway() {
    let _alone = alone().await;
    copied_releases(options(), "mirror/50-gateway-api").await;
}

async fn a_time_limit_is_refused(options: Options) {
    let cluster = Cluster::start(options).await.unwrap();
    for file in ["gateway-api/00-namespace", "gateway-api/10-backend", "gateway-api/40-canary"] {
        apply(&cluster, file);
    }
    let id = ResourceId::new("flagger.app", "canaries");
    let change = |object: &mut Value| object["spec"]["service"]["timeout"] = json!("5s");
    let options = WriteOptions::by("test");
    cluster.store().modify(&id, "develop", "backend", Sub::Main, &options, change).unwrap();
    until("the refusal", || async {
        let said = status(&cluster)["lastReason"]["message"].clone();
        let said = said.as_str().unwrap_or_default();
        said.contains("spec.service.timeout needs HTTPRouteRequestTimeout")
            && said.contains("GatewayClass traefik")
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_real_traefik_does_not_do_is_refused() {
    let _alone = alone().await;
    let Some(options) = real() else { return };
    a_time_limit_is_refused(options).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_embedded_gateway_does_not_do_is_refused() {
    let _alone = alone().await;
    a_time_limit_is_refused(options()).await;
}
