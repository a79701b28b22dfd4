//! The route beside a user's has no say in the TLS of a host, seen from connections to the real Traefik.

use std::net::SocketAddr;

use reqwest::tls::Version;
use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, Part, manifest};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};

use crate::alone;
use crate::local::{options, part, until};
use crate::routes::{apply, status, until_phase};

const HOST: &str = "a.test";

/// TLS of a version that no host of this test takes, or of the one that it demands.
fn client(cluster: &Cluster, version: Version) -> reqwest::Client {
    let address: SocketAddr = cluster.gateway_url().trim_start_matches("http://").parse().unwrap();
    reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .tls_version_min(version)
        .tls_version_max(version)
        .resolve(HOST, address)
        // Options hold for connections, and are to be asked for each time.
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

fn demands_tls_13(name: &str) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "TLSOption",
        "metadata": {"name": name, "namespace": "develop"},
        "spec": {"minVersion": "VersionTLS13"},
    })
}

fn shop(options: Option<&str>) -> Value {
    let tls = options.map_or(json!({}), |name| json!({"options": {"name": name}}));
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute",
        "metadata": {"name": "shop", "namespace": "develop"},
        "spec": {
            "entryPoints": ["web"],
            "tls": tls,
            "routes": [{
                "kind": "Rule", "match": format!("Host(`{HOST}`)"),
                "services": [{"kind": "TraefikService", "name": "backend"}],
            }],
        },
    })
}

/// What Traefik answers over a connection of this version, with the header of the test or without; none where it does not
/// take the connection.
async fn answer(client: &reqwest::Client, cluster: &Cluster, matches: bool) -> Option<u16> {
    let url = cluster.gateway_url().replace("http://127.0.0.1", &format!("https://{HOST}"));
    let mut request = client.get(url);
    if matches {
        request = request.header("x-canary", "insider");
    }
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

/// Which options the user's route has by now, in Traefik's own words.
async fn options_of_route(http: &reqwest::Client, cluster: &Cluster) -> String {
    let url = format!("{}/api/http/routers", cluster.gateway_admin_url());
    let routers: Value =
        serde_json::from_str(&http.get(url).send().await.unwrap().text().await.unwrap()).unwrap();
    let users =
        |router: &&Value| router["name"].as_str().unwrap_or_default().starts_with("develop-shop-");
    let found = routers.as_array().unwrap().iter().find(users).cloned().unwrap_or_default();
    found["tls"]["options"].as_str().unwrap_or_default().to_owned()
}

/// What others get, and what the test's requests get, over TLS 1.2 and over TLS 1.3.
async fn answers(cluster: &Cluster) -> [[Option<u16>; 2]; 2] {
    let (old, new) = (client(cluster, Version::TLS_1_2), client(cluster, Version::TLS_1_3));
    [
        [answer(&old, cluster, false).await, answer(&old, cluster, true).await],
        [answer(&new, cluster, false).await, answer(&new, cluster, true).await],
    ]
}

/// Suspended, Serin follows no change: the time between a user's write and ours, for as long as the test looks at it.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_tls_options_opens_no_gap_while_it_is_followed() {
    let _alone = alone().await;
    let Some(traefik) = part("SERIN_TRAEFIK") else { return };
    let options = Options { router: Part::Real(traefik), ..options() };
    let cluster = Cluster::start(options).await.unwrap();
    let http = reqwest::Client::builder().build().unwrap();
    for file in ["00-namespace", "10-backend"] {
        apply(&cluster, &format!("ab-test/{file}"));
    }
    for object in [demands_tls_13("strict"), demands_tls_13("stricter"), shop(None)] {
        manifest::apply(cluster.store(), &object).unwrap();
    }
    apply(&cluster, "ab-test/40-canary");
    until_phase(&cluster, "Initialized").await;
    let new = client(&cluster, Version::TLS_1_3);
    until("the way in", || async { answer(&new, &cluster, false).await == Some(200) }).await;
    until("the test's", || async { answer(&new, &cluster, true).await == Some(200) }).await;
    let good = Some(200);
    assert_eq!(answers(&cluster).await, [[good, good], [good, good]]);

    let id = ResourceId::new("flagger.app", "canaries");
    let by = WriteOptions::by("test");
    let suspend = |suspend: bool| {
        let change = move |object: &mut Value| object["spec"]["suspend"] = json!(suspend);
        cluster.store().modify(&id, "develop", "backend", Sub::Main, &by, change).unwrap();
    };
    let change = async |options: &str| {
        suspend(true);
        until("suspended", || async {
            status(&cluster).to_string().contains("spec.suspend is set")
        })
        .await;
        manifest::apply(cluster.store(), &shop(Some(options))).unwrap();
        until("the new options", || async {
            options_of_route(&http, &cluster).await == format!("develop-{options}")
        })
        .await;
    };
    // The host begins to demand something: nobody gets around it. Traefik answers nothing on a route whose options are not
    // those of the connection, so what matches is misdirected until the change is followed.
    change("strict").await;
    assert_eq!(answers(&cluster).await, [[None, None], [good, Some(421)]]);
    suspend(false);
    until("the test's again", || async { answer(&new, &cluster, true).await == good }).await;
    assert_eq!(answers(&cluster).await, [[None, None], [good, good]]);
    // It demands something else, while no test goes on.
    change("stricter").await;
    assert_eq!(answers(&cluster).await, [[None, None], [good, good]]);
    cluster.stop().await;
}
