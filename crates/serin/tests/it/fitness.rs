//! What is wrong with the metrics is said before the first release, with the first thing to put right.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::cluster::{CANARIES, TestCluster, value};
use super::sources::{
    Counts, guarded, metrics_ready, page, recorded, recorded_beside, with_gateways,
};

const EVERY: Duration = Duration::from_secs(5);

/// Traefik's page with this in it, and everything fine at the metric server.
fn told(lines: impl Fn(&Counts) -> String + Send + Sync + 'static) -> TestCluster {
    let cluster = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&cluster, EVERY, move |url, counts| match url {
        "http://gateway:9100/metrics" => Ok((200, lines(counts))),
        _ => value(99.9),
    });
    cluster
}

fn state(cluster: &TestCluster) -> String {
    let conditions = cluster.status()["conditions"].clone();
    let all = conditions.as_array().cloned().unwrap_or_default();
    let ready = all.into_iter().find(|c| c["type"] == "MetricsReady").unwrap_or_default();
    ready["status"].as_str().unwrap_or_default().to_owned()
}

fn warned(cluster: &TestCluster) -> Vec<String> {
    let mut events = cluster.events();
    events.retain(|event| event.contains("MetricsNotReady"));
    events
}

/// Applies the canary and waits for what is said of its metrics.
async fn said(cluster: &TestCluster, spec: Value) -> (String, String) {
    cluster.apply("local/app:v1", spec);
    cluster.until("a word on the metrics", |cluster| !state(cluster).is_empty()).await;
    assert_ne!(cluster.phase(), "Progressing");
    metrics_ready(cluster)
}

/// Lines of routers and entry points, which count what services do not.
fn around(routed: u64) -> String {
    format!(
        "traefik_entrypoint_requests_total{{code=\"200\",entrypoint=\"web\"}} {routed}\n\
         traefik_router_requests_total{{code=\"200\",router=\"r\",service=\"develop-backend@kubernetescrd\"}} {routed}\n"
    )
}

#[tokio::test(start_paused = true)]
async fn metrics_are_found_fit_before_the_first_release() {
    let cluster = told(|counts| page(counts, 1.7e9));
    said(&cluster, guarded(Value::Null)).await;
    cluster.until("fit", |cluster| state(cluster) == "True").await;
    assert_eq!(metrics_ready(&cluster).0, "Measured");
    let asked = cluster.script.asked.lock().unwrap().len();
    cluster.pass(3600).await;
    assert_eq!(cluster.script.asked.lock().unwrap().len(), asked, "nothing more to find out");
    // A changed spec is looked at again.
    cluster
        .modify(CANARIES, "backend", |object| object["spec"]["analysis"]["threshold"] = json!(6));
    cluster.pass(60).await;
    assert!(cluster.script.asked.lock().unwrap().len() > asked);
    assert!(warned(&cluster).is_empty(), "{:?}", warned(&cluster));
}

#[tokio::test(start_paused = true)]
async fn a_window_of_less_than_two_scrapes_is_no_window() {
    let cluster = TestCluster::start();
    recorded(&cluster, Duration::from_secs(40));
    said(&cluster, guarded(Value::Null)).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "WindowTooShort", "{message}");
    assert!(message.contains("looks back 60 s") && message.contains("every 40.0 s"), "{message}");
    assert!(message.contains("79 s or more"), "{message}");
    assert_eq!(warned(&cluster).len(), 1, "{:?}", cluster.events());
    cluster.modify(CANARIES, "backend", |object| {
        object["spec"]["analysis"]["metrics"][0]["interval"] = json!("2m");
    });
    cluster.until("fit", |cluster| state(cluster) == "True").await;
}

#[tokio::test(start_paused = true)]
async fn no_traffic_yet_is_neither_good_nor_bad() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, EVERY);
    recorder.lock().unwrap().scraping = false;
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert_eq!(
        (reason.as_str(), state(&cluster).as_str()),
        ("NoTrafficYet", "Unknown"),
        "{message}"
    );
    assert!(message.contains("TraefikService backend"), "{message}");
    recorder.lock().unwrap().scraping = true;
    let began = Instant::now();
    cluster.until("fit", |cluster| state(cluster) == "True").await;
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(warned(&cluster).is_empty());
}

#[tokio::test(start_paused = true)]
async fn bounds_that_are_missing_are_told_with_those_that_exist() {
    let cluster = told(|counts| page(counts, 1.7e9));
    let guard = json!({"latency": [{"threshold": 300, "slo": 1}]});
    let (reason, message) = said(&cluster, guarded(guard)).await;
    assert_eq!(reason, "NoSuchBucket");
    assert!(
        message.contains("slower than 300 ms") && message.contains("the bounds 500 ms"),
        "{message}"
    );
    assert!(
        warned(&cluster).iter().any(|event| event.contains("500 ms")),
        "{:?}",
        cluster.events()
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_above_all_buckets_can_never_be_passed() {
    let cluster = told(|counts| page(counts, 1.7e9));
    let mut spec = guarded(json!({"latency": [{"threshold": 500, "slo": 1}]}));
    let slow =
        json!({"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 2000}});
    spec["analysis"]["metrics"].as_array_mut().unwrap().push(slow);
    said(&cluster, spec).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "BucketsTooCoarse", "{message}");
    assert!(message.contains("ends at 500 ms"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn services_that_are_not_counted_are_told_by_the_entry_points() {
    let cluster = told(|_| {
        "traefik_entrypoint_requests_total{code=\"200\",entrypoint=\"web\"} 9\n".to_owned()
    });
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(reason == "ServicesNotCounted" && message.contains("addServicesLabels"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_route_to_the_plain_service_is_told_by_its_hash() {
    let cluster = told(|_| {
        "traefik_service_requests_total{code=\"200\",service=\"develop-backend-0123456789abcdef0123@kubernetescrd\"} 9\n".to_owned()
    });
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(
        reason == "PrimaryNotCounted" && message.contains("TraefikService backend"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn counters_that_stand_while_routers_count_are_told() {
    let began = Instant::now();
    let cluster = told(move |_| {
        let primary = "traefik_service_requests_total{code=\"200\",service=\"develop-backend-primary-80@kubernetescrd\"} 9\n";
        around(began.elapsed().as_secs()) + primary
    });
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(reason == "CountersStand" && message.contains("backend-primary"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn queries_that_do_not_know_safe_names_are_told() {
    let cluster = told(|counts| {
        page(counts, 1.7e9).replace(
            "develop-backend-primary-80@",
            "develop_backend_wrr_0_develop_backend-primary_80@",
        )
    });
    let mut spec = guarded(json!({"errorRate": {"slo": 1}}));
    spec["analysis"]["metrics"] = json!([{
        "name": "errors", "interval": "1m", "thresholdRange": {"max": 1},
        "query": "sum(rate(traefik_service_requests_total{service=~\"develop-backend-canary-.+@kubernetescrd\",code=~\"5..\"}[1m]))",
    }]);
    let (reason, message) = said(&cluster, spec).await;
    assert!(reason == "NamesDiffer" && message.contains("query of errors"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_told_before_it_matters() {
    let cluster = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&cluster, EVERY, |url, _| match url {
        "http://gateway:9100/metrics" => Ok((404, "no".to_owned())),
        _ => value(99.9),
    });
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(reason == "GatewayUnreachable" && message.contains("404"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_scrape_the_gateway_leaves_the_checks_without_data() {
    let cluster = with_gateways("http://gateway:9100/metrics");
    let recorder = recorded_beside(&cluster, EVERY, |url, counts| match url {
        "http://gateway:9100/metrics" => Ok((200, page(counts, 1.7e9))),
        _ => value(99.9),
    });
    recorder.lock().unwrap().scraping = false;
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(reason == "NotRecorded" && message.contains("request-success-rate"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_follows_the_spec() {
    let cluster = told(|counts| page(counts, 1.7e9));
    let guard = |threshold: u32| json!({"latency": [{"threshold": threshold, "slo": 1}]});
    let (reason, message) = said(&cluster, guarded(guard(400))).await;
    assert!(reason == "NoSuchBucket" && message.contains("slower than 400 ms"), "{message}");
    cluster.modify(CANARIES, "backend", |object| object["spec"]["analysis"]["guard"] = guard(300));
    cluster
        .until("the other bound", |cluster| metrics_ready(cluster).1.contains("slower than 300 ms"))
        .await;
    assert_eq!(warned(&cluster).len(), 2, "{:?}", warned(&cluster));
}

#[tokio::test(start_paused = true)]
async fn a_limit_between_two_buckets_is_guessed() {
    let cluster = told(|counts| page(counts, 1.7e9));
    let slow =
        json!([{"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 400}}]);
    let mut spec =
        guarded(json!({"errorRate": {"slo": 1}, "latency": [{"threshold": 500, "slo": 1}]}));
    spec["analysis"]["metrics"] = slow;
    said(&cluster, spec).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "BucketsTooCoarse", "{message}");
    assert!(message.contains("between the buckets of 0 and 500 ms"), "{message}");
    assert!(message.contains("add 400 ms"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn checks_are_looked_at_where_there_is_no_guard() {
    let cluster = TestCluster::start();
    recorded(&cluster, Duration::from_secs(40));
    said(&cluster, guarded(json!({"mode": "off"}))).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    assert_eq!(metrics_ready(&cluster).0, "WindowTooShort");
}

#[tokio::test(start_paused = true)]
async fn windows_and_buckets_of_written_queries_are_looked_at() {
    let cluster = TestCluster::start();
    recorded(&cluster, Duration::from_secs(20));
    let query = |window: &str| {
        format!(
            "sum(rate(traefik_service_requests_total{{service=~\"develop-backend-canary-[0-9a-z]+@kubernetescrd\"}}[{window}]))"
        )
    };
    let metric = |query: String, max: u32| json!({"name": "mine", "interval": "1m", "thresholdRange": {"max": max}, "query": query});
    let mut spec = guarded(json!({"errorRate": {"slo": 1}}));
    spec["analysis"]["metrics"] = json!([metric(query("30s"), 1)]);
    said(&cluster, spec).await;
    cluster.until("a verdict", |cluster| metrics_ready(cluster).0 == "WindowTooShort").await;
    let (_, message) = metrics_ready(&cluster);
    assert!(message.contains("mine looks back 30 s"), "{message}");
    let quantile = |max: u32| {
        let text = "1000 * histogram_quantile(0.99, sum by (le) (rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-.+\"}[{{ interval }}])))";
        json!([metric(text.to_owned(), max)])
    };
    for (max, expected) in [(400, "False"), (500, "True")] {
        cluster.modify(CANARIES, "backend", |o| o["spec"]["analysis"]["metrics"] = quantile(max));
        cluster.pass(120).await;
        assert_eq!(state(&cluster), expected, "{:?}", metrics_ready(&cluster));
    }
}

#[tokio::test(start_paused = true)]
async fn a_label_that_the_server_has_renamed_is_told() {
    for guard in [json!({"source": "prometheus"}), json!({"mode": "off"})] {
        let cluster = TestCluster::start();
        recorded(&cluster, EVERY).lock().unwrap().renamed = true;
        let (reason, message) = said(&cluster, guarded(guard)).await;
        assert!(reason == "LabelsDiffer" && message.contains("honor_labels"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_knows_of_routers_tells_what_is_wrong_with_the_route() {
    let cluster = TestCluster::start();
    let recorder = recorded(&cluster, EVERY);
    recorder.lock().unwrap().routers = true;
    // Nothing is counted for the services, though routers send requests to the apex.
    recorder.lock().unwrap().rate = 0.0;
    recorder.lock().unwrap().counts.insert("primary", [7.0, 0.0, 0.0]);
    cluster.pass(30).await;
    let (reason, message) = said(&cluster, guarded(json!({"source": "prometheus"}))).await;
    assert!(reason == "CountersStand" && message.contains("do its pods answer"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn one_replica_that_is_out_of_reach_is_told() {
    let cluster = with_gateways("http://gateway-1:9100/metrics,http://gateway-2:9100/metrics");
    recorded_beside(&cluster, EVERY, |url, counts| match url {
        "http://gateway-1:9100/metrics" => Ok((200, page(counts, 1.7e9))),
        "http://gateway-2:9100/metrics" => {
            Err(serin::http_client::HttpError::Timeout(Duration::ZERO))
        }
        _ => value(99.9),
    });
    said(&cluster, guarded(Value::Null)).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "ReplicaUnreachable");
    assert!(message.contains("gateway-2") && message.contains("no answer within"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn replicas_beyond_those_that_are_looked_at_are_told() {
    let all: Vec<String> = (0..300).map(|i| format!("http://gateway-{i}:9100/metrics")).collect();
    let cluster = with_gateways(&all.join(","));
    recorded_beside(&cluster, EVERY, |url, counts| match url {
        url if url.starts_with("http://gateway-0:9100/metrics") => Ok((200, page(counts, 1.7e9))),
        url if url.contains(":9100") => Ok((200, "process_start_time_seconds 1.7e9\n".to_owned())),
        _ => value(99.9),
    });
    said(&cluster, guarded(json!({"errorRate": {"slo": 1}, "pace": "evidence"}))).await;
    cluster.until("a verdict", |cluster| state(cluster) == "False").await;
    let (reason, message) = metrics_ready(&cluster);
    assert_eq!(reason, "TooManyReplicas");
    assert!(message.contains("256 replicas") && message.contains("44 more"), "{message}");
    cluster.set_image("local/app:v2");
    cluster.until("traffic", |cluster| cluster.canary_share() > 0).await;
    cluster.pass(30).await;
    assert_eq!(metrics_ready(&cluster).0, "TooManyReplicas", "during a release as well");
    cluster.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_template_that_names_its_server_is_looked_at_there() {
    for (guard, every, wanted) in [
        (json!({"errorRate": {"slo": 1}}), 40, "WindowTooShort"),
        (json!({"errorRate": {"slo": 1}}), 5, "Measured"),
        (Value::Null, 40, "WindowTooShort"),
    ] {
        let cluster = with_gateways("http://gateway:9100/metrics");
        recorded_beside(&cluster, Duration::from_secs(every), |url, counts| match url {
            "http://gateway:9100/metrics" => Ok((200, page(counts, 1.7e9))),
            _ => value(99.9),
        });
        let query = "sum(rate(traefik_service_requests_total{service=~\"develop-backend-.*\"}[{{ interval }}]))";
        cluster.create(
            ("flagger.app", "metrictemplates"),
            json!({
                "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
                "metadata": {"name": "mine"},
                "spec": {
                    "provider": {"type": "prometheus", "address": "http://elsewhere:9090/"},
                    "query": query,
                },
            }),
        );
        let metric = json!({
            "name": "mine", "interval": "1m", "templateRef": {"name": "mine"},
            "thresholdRange": {"max": 1},
        });
        let mut spec = guarded(guard);
        spec["analysis"]["metrics"] = json!([metric]);
        cluster.apply("local/app:v1", spec);
        cluster
            .until(wanted, |cluster| {
                !state(cluster).is_empty() && metrics_ready(cluster).0 == wanted
            })
            .await;
        let asked = cluster.script.asked.lock().unwrap().clone();
        assert!(asked.iter().any(|url| url == "http://elsewhere:9090/api/v1/query"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_for_people_is_no_page_of_metrics() {
    let cluster = told(|_| "<html>\n<p>Sign in</p>\n</html>\n".to_owned());
    let (reason, message) = said(&cluster, guarded(Value::Null)).await;
    assert!(reason == "GatewayUnreachable" && message.contains("no page of metrics"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_release_without_data_keeps_the_cause_in_sight() {
    let cluster = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&cluster, EVERY, |url, _| {
        match url {
        "http://gateway:9100/metrics" => Ok((
            200,
            "traefik_service_requests_total{code=\"200\",service=\"develop_web_0_lb@kubernetescrd\"} 9\n".to_owned(),
        )),
        _ => Ok((200, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned())),
    }
    });
    let (reason, _) = said(&cluster, guarded(Value::Null)).await;
    assert_eq!(reason, "PrimaryNotCounted");
    cluster.set_image("local/app:v2");
    cluster.until("no data", |cluster| cluster.status()["lastReason"]["code"] == "NoData").await;
    cluster.pass(30).await;
    assert_eq!(metrics_ready(&cluster).0, "PrimaryNotCounted");
}
