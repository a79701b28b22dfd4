//! What is wrong with the metrics is said before the first release, with the first thing to put right.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::bed::{Bed, CANARIES, value};
use super::sources::{
    Counts, guarded, metrics_ready, page, recorded, recorded_beside, with_gateways,
};

const EVERY: Duration = Duration::from_secs(5);

/// Traefik's page with this in it, and everything fine at the metric server.
fn told(lines: impl Fn(&Counts) -> String + Send + Sync + 'static) -> Bed {
    let bed = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&bed, EVERY, move |url, counts| match url {
        "http://gateway:9100/metrics" => Ok((200, lines(counts))),
        _ => value(99.9),
    });
    bed
}

fn state(bed: &Bed) -> String {
    let conditions = bed.status()["conditions"].clone();
    let all = conditions.as_array().cloned().unwrap_or_default();
    let ready = all.into_iter().find(|c| c["type"] == "MetricsReady").unwrap_or_default();
    ready["status"].as_str().unwrap_or_default().to_owned()
}

fn warned(bed: &Bed) -> Vec<String> {
    let mut events = bed.events();
    events.retain(|event| event.contains("MetricsNotReady"));
    events
}

/// Applies the canary and waits for what is said of its metrics.
async fn said(bed: &Bed, spec: Value) -> (String, String) {
    bed.apply("local/app:v1", spec);
    bed.until("a word on the metrics", |bed| !state(bed).is_empty()).await;
    assert_ne!(bed.phase(), "Progressing");
    metrics_ready(bed)
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
    let bed = told(|counts| page(counts, 1.7e9));
    said(&bed, guarded(Value::Null)).await;
    bed.until("fit", |bed| state(bed) == "True").await;
    assert_eq!(metrics_ready(&bed).0, "Measured");
    let asked = bed.script.asked.lock().unwrap().len();
    bed.pass(3600).await;
    assert_eq!(bed.script.asked.lock().unwrap().len(), asked, "nothing more to find out");
    // A changed spec is looked at again.
    bed.modify(CANARIES, "backend", |object| object["spec"]["analysis"]["threshold"] = json!(6));
    bed.pass(60).await;
    assert!(bed.script.asked.lock().unwrap().len() > asked);
    assert!(warned(&bed).is_empty(), "{:?}", warned(&bed));
}

#[tokio::test(start_paused = true)]
async fn a_window_of_less_than_two_scrapes_is_no_window() {
    let bed = Bed::start();
    recorded(&bed, Duration::from_secs(40));
    said(&bed, guarded(Value::Null)).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    let (reason, message) = metrics_ready(&bed);
    assert_eq!(reason, "WindowTooShort", "{message}");
    assert!(message.contains("looks back 60 s") && message.contains("every 40.0 s"), "{message}");
    assert!(message.contains("79 s or more"), "{message}");
    assert_eq!(warned(&bed).len(), 1, "{:?}", bed.events());
    bed.modify(CANARIES, "backend", |object| {
        object["spec"]["analysis"]["metrics"][0]["interval"] = json!("2m");
    });
    bed.until("fit", |bed| state(bed) == "True").await;
}

#[tokio::test(start_paused = true)]
async fn no_traffic_yet_is_neither_good_nor_bad() {
    let bed = Bed::start();
    let recorder = recorded(&bed, EVERY);
    recorder.lock().unwrap().scraping = false;
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert_eq!((reason.as_str(), state(&bed).as_str()), ("NoTrafficYet", "Unknown"), "{message}");
    assert!(message.contains("TraefikService backend"), "{message}");
    recorder.lock().unwrap().scraping = true;
    let began = Instant::now();
    bed.until("fit", |bed| state(bed) == "True").await;
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(warned(&bed).is_empty());
}

#[tokio::test(start_paused = true)]
async fn bounds_that_are_missing_are_told_with_those_that_exist() {
    let bed = told(|counts| page(counts, 1.7e9));
    let guard = json!({"latency": [{"threshold": 300, "slo": 1}]});
    let (reason, message) = said(&bed, guarded(guard)).await;
    assert_eq!(reason, "NoSuchBucket");
    assert!(
        message.contains("slower than 300 ms") && message.contains("the bounds 500 ms"),
        "{message}"
    );
    assert!(warned(&bed).iter().any(|event| event.contains("500 ms")), "{:?}", bed.events());
}

#[tokio::test(start_paused = true)]
async fn a_limit_above_all_buckets_can_never_be_passed() {
    let bed = told(|counts| page(counts, 1.7e9));
    let mut spec = guarded(json!({"latency": [{"threshold": 500, "slo": 1}]}));
    let slow =
        json!({"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 2000}});
    spec["analysis"]["metrics"].as_array_mut().unwrap().push(slow);
    said(&bed, spec).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    let (reason, message) = metrics_ready(&bed);
    assert_eq!(reason, "BucketsTooCoarse", "{message}");
    assert!(message.contains("ends at 500 ms"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn services_that_are_not_counted_are_told_by_the_entry_points() {
    let bed = told(|_| {
        "traefik_entrypoint_requests_total{code=\"200\",entrypoint=\"web\"} 9\n".to_owned()
    });
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(reason == "ServicesNotCounted" && message.contains("addServicesLabels"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_route_to_the_plain_service_is_told_by_its_hash() {
    let bed = told(|_| {
        "traefik_service_requests_total{code=\"200\",service=\"develop-backend-0123456789abcdef0123@kubernetescrd\"} 9\n".to_owned()
    });
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(
        reason == "PrimaryNotCounted" && message.contains("TraefikService backend"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn counters_that_stand_while_routers_count_are_told() {
    let began = Instant::now();
    let bed = told(move |_| {
        let primary = "traefik_service_requests_total{code=\"200\",service=\"develop-backend-primary-80@kubernetescrd\"} 9\n";
        around(began.elapsed().as_secs()) + primary
    });
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(reason == "CountersStand" && message.contains("backend-primary"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn queries_that_do_not_know_safe_names_are_told() {
    let bed = told(|counts| {
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
    let (reason, message) = said(&bed, spec).await;
    assert!(reason == "NamesDiffer" && message.contains("query of errors"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_told_before_it_matters() {
    let bed = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&bed, EVERY, |url, _| match url {
        "http://gateway:9100/metrics" => Ok((404, "no".to_owned())),
        _ => value(99.9),
    });
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(reason == "GatewayUnreachable" && message.contains("404"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_scrape_the_gateway_leaves_the_checks_without_data() {
    let bed = with_gateways("http://gateway:9100/metrics");
    let recorder = recorded_beside(&bed, EVERY, |url, counts| match url {
        "http://gateway:9100/metrics" => Ok((200, page(counts, 1.7e9))),
        _ => value(99.9),
    });
    recorder.lock().unwrap().scraping = false;
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(reason == "NotRecorded" && message.contains("request-success-rate"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_follows_the_spec() {
    let bed = told(|counts| page(counts, 1.7e9));
    let guard = |threshold: u32| json!({"latency": [{"threshold": threshold, "slo": 1}]});
    let (reason, message) = said(&bed, guarded(guard(400))).await;
    assert!(reason == "NoSuchBucket" && message.contains("slower than 400 ms"), "{message}");
    bed.modify(CANARIES, "backend", |object| object["spec"]["analysis"]["guard"] = guard(300));
    bed.until("the other bound", |bed| metrics_ready(bed).1.contains("slower than 300 ms")).await;
    assert_eq!(warned(&bed).len(), 2, "{:?}", warned(&bed));
}

#[tokio::test(start_paused = true)]
async fn a_limit_between_two_buckets_is_guessed() {
    let bed = told(|counts| page(counts, 1.7e9));
    let slow =
        json!([{"name": "request-duration", "interval": "1m", "thresholdRange": {"max": 400}}]);
    let mut spec =
        guarded(json!({"errorRate": {"slo": 1}, "latency": [{"threshold": 500, "slo": 1}]}));
    spec["analysis"]["metrics"] = slow;
    said(&bed, spec).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    let (reason, message) = metrics_ready(&bed);
    assert_eq!(reason, "BucketsTooCoarse", "{message}");
    assert!(message.contains("between the buckets of 0 and 500 ms"), "{message}");
    assert!(message.contains("add 400 ms"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn checks_are_looked_at_where_there_is_no_guard() {
    let bed = Bed::start();
    recorded(&bed, Duration::from_secs(40));
    said(&bed, guarded(json!({"mode": "off"}))).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    assert_eq!(metrics_ready(&bed).0, "WindowTooShort");
}

#[tokio::test(start_paused = true)]
async fn windows_and_buckets_of_written_queries_are_looked_at() {
    let bed = Bed::start();
    recorded(&bed, Duration::from_secs(20));
    let query = |window: &str| {
        format!(
            "sum(rate(traefik_service_requests_total{{service=~\"develop-backend-canary-[0-9a-z]+@kubernetescrd\"}}[{window}]))"
        )
    };
    let metric = |query: String, max: u32| json!({"name": "mine", "interval": "1m", "thresholdRange": {"max": max}, "query": query});
    let mut spec = guarded(json!({"errorRate": {"slo": 1}}));
    spec["analysis"]["metrics"] = json!([metric(query("30s"), 1)]);
    said(&bed, spec).await;
    bed.until("a verdict", |bed| metrics_ready(bed).0 == "WindowTooShort").await;
    let (_, message) = metrics_ready(&bed);
    assert!(message.contains("mine looks back 30 s"), "{message}");
    let quantile = |max: u32| {
        let text = "1000 * histogram_quantile(0.99, sum by (le) (rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-.+\"}[{{ interval }}])))";
        json!([metric(text.to_owned(), max)])
    };
    for (max, expected) in [(400, "False"), (500, "True")] {
        bed.modify(CANARIES, "backend", |o| o["spec"]["analysis"]["metrics"] = quantile(max));
        bed.pass(120).await;
        assert_eq!(state(&bed), expected, "{:?}", metrics_ready(&bed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_label_that_the_server_has_renamed_is_told() {
    for guard in [json!({"source": "prometheus"}), json!({"mode": "off"})] {
        let bed = Bed::start();
        recorded(&bed, EVERY).lock().unwrap().renamed = true;
        let (reason, message) = said(&bed, guarded(guard)).await;
        assert!(reason == "LabelsDiffer" && message.contains("honor_labels"), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_knows_of_routers_tells_what_is_wrong_with_the_route() {
    let bed = Bed::start();
    let recorder = recorded(&bed, EVERY);
    recorder.lock().unwrap().routers = true;
    // Nothing is counted for the services, though routers send requests to the apex.
    recorder.lock().unwrap().rate = 0.0;
    recorder.lock().unwrap().counts.insert("primary", [7.0, 0.0, 0.0]);
    bed.pass(30).await;
    let (reason, message) = said(&bed, guarded(json!({"source": "prometheus"}))).await;
    assert!(reason == "CountersStand" && message.contains("do its pods answer"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn one_replica_that_is_out_of_reach_is_told() {
    let bed = with_gateways("http://gateway-1:9100/metrics,http://gateway-2:9100/metrics");
    recorded_beside(&bed, EVERY, |url, counts| match url {
        "http://gateway-1:9100/metrics" => Ok((200, page(counts, 1.7e9))),
        "http://gateway-2:9100/metrics" => {
            Err(serin::http_client::OutsideError::Timeout(Duration::ZERO))
        }
        _ => value(99.9),
    });
    said(&bed, guarded(Value::Null)).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    let (reason, message) = metrics_ready(&bed);
    assert_eq!(reason, "ReplicaUnreachable");
    assert!(message.contains("gateway-2") && message.contains("no answer within"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn replicas_beyond_those_that_are_looked_at_are_told() {
    let all: Vec<String> = (0..300).map(|i| format!("http://gateway-{i}:9100/metrics")).collect();
    let bed = with_gateways(&all.join(","));
    recorded_beside(&bed, EVERY, |url, counts| match url {
        url if url.starts_with("http://gateway-0:9100/metrics") => Ok((200, page(counts, 1.7e9))),
        url if url.contains(":9100") => Ok((200, "process_start_time_seconds 1.7e9\n".to_owned())),
        _ => value(99.9),
    });
    said(&bed, guarded(json!({"errorRate": {"slo": 1}, "pace": "evidence"}))).await;
    bed.until("a verdict", |bed| state(bed) == "False").await;
    let (reason, message) = metrics_ready(&bed);
    assert_eq!(reason, "TooManyReplicas");
    assert!(message.contains("256 replicas") && message.contains("44 more"), "{message}");
    bed.set_image("local/app:v2");
    bed.until("traffic", |bed| bed.canary_share() > 0).await;
    bed.pass(30).await;
    assert_eq!(metrics_ready(&bed).0, "TooManyReplicas", "during a release as well");
    bed.until_phase("Succeeded").await;
}

#[tokio::test(start_paused = true)]
async fn a_template_that_names_its_server_is_looked_at_there() {
    for (guard, every, wanted) in [
        (json!({"errorRate": {"slo": 1}}), 40, "WindowTooShort"),
        (json!({"errorRate": {"slo": 1}}), 5, "Measured"),
        (Value::Null, 40, "WindowTooShort"),
    ] {
        let bed = with_gateways("http://gateway:9100/metrics");
        recorded_beside(&bed, Duration::from_secs(every), |url, counts| match url {
            "http://gateway:9100/metrics" => Ok((200, page(counts, 1.7e9))),
            _ => value(99.9),
        });
        let query = "sum(rate(traefik_service_requests_total{service=~\"develop-backend-.*\"}[{{ interval }}]))";
        bed.create(
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
        bed.apply("local/app:v1", spec);
        bed.until(wanted, |bed| !state(bed).is_empty() && metrics_ready(bed).0 == wanted).await;
        let asked = bed.script.asked.lock().unwrap().clone();
        assert!(asked.iter().any(|url| url == "http://elsewhere:9090/api/v1/query"), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_for_people_is_no_page_of_metrics() {
    let bed = told(|_| "<html>\n<p>Sign in</p>\n</html>\n".to_owned());
    let (reason, message) = said(&bed, guarded(Value::Null)).await;
    assert!(reason == "GatewayUnreachable" && message.contains("no page of metrics"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_release_without_data_keeps_the_cause_in_sight() {
    let bed = with_gateways("http://gateway:9100/metrics");
    recorded_beside(&bed, EVERY, |url, _| {
        match url {
        "http://gateway:9100/metrics" => Ok((
            200,
            "traefik_service_requests_total{code=\"200\",service=\"develop_web_0_lb@kubernetescrd\"} 9\n".to_owned(),
        )),
        _ => Ok((200, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned())),
    }
    });
    let (reason, _) = said(&bed, guarded(Value::Null)).await;
    assert_eq!(reason, "PrimaryNotCounted");
    bed.set_image("local/app:v2");
    bed.until("no data", |bed| bed.status()["lastReason"]["code"] == "NoData").await;
    bed.pass(30).await;
    assert_eq!(metrics_ready(&bed).0, "PrimaryNotCounted");
}
