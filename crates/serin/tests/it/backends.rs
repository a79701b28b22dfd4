//! Whole releases that are judged by MetricTemplates of other backends than Prometheus, against servers that answer as theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use serde_json::{Value, json};
use serin_providers::Aws;

use crate::cluster::{CANARIES, ROUTES, TestCluster};
use crate::log_capture::LogCapture;

const TEMPLATES: (&str, &str) = ("flagger.app", "metrictemplates");
/// Of what is kept in Secrets and files here.
const HIDDEN: &str = "hunter2";

/// What the canary does, from which second on.
#[derive(Clone, Default)]
struct Course(Arc<Mutex<Vec<(i64, f64)>>>);

impl Course {
    fn turn(&self, cluster: &TestCluster, value: f64) {
        self.0.lock().unwrap().push((cluster.now().as_second(), value));
    }

    /// Buckets of so many seconds in a window, the last of them not over yet.
    fn buckets(&self, from: i64, to: i64, secs: i64) -> Vec<(i64, f64)> {
        let turns = self.0.lock().unwrap();
        let at = |second: i64| {
            let turn = turns.iter().rev().find(|(since, _)| *since <= second);
            turn.map(|(_, value)| *value)
        };
        let begins = (from..=to).filter(|second| second % secs == 0);
        begins.filter_map(|second| Some((second, at(second)?))).collect()
    }
}

fn query(url: &str) -> BTreeMap<String, String> {
    let pairs = url.split_once('?').unwrap().1.split('&');
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap();
            let value = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
            (key.to_owned(), value.into_owned())
        })
        .collect()
}

fn second(text: &str) -> i64 {
    text.parse().unwrap()
}

fn secret(cluster: &TestCluster, name: &str, pairs: &[(&str, &str)]) {
    let data: BTreeMap<&str, String> =
        pairs.iter().map(|(key, value)| (*key, STANDARD.encode(value))).collect();
    let metadata = json!({"name": name});
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    cluster.create(("", "secrets"), object);
}

fn template(cluster: &TestCluster, provider: Value, query: &str) {
    cluster.create(
        TEMPLATES,
        json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "MetricTemplate",
            "metadata": {"name": "errors"}, "spec": {"provider": provider, "query": query},
        }),
    );
}

/// A canary that is judged by the template alone.
async fn at_rest(cluster: &TestCluster) {
    cluster.apply(
        "app:v1",
        json!({"analysis": {"metrics": [
            {"name": "errors", "interval": "10s", "templateRef": {"name": "errors"}, "thresholdRange": {"max": 1}},
        ]}}),
    );
    cluster.until_phase("Initialized").await;
}

/// One release that does so from its first request on, and how it ends.
async fn release(cluster: &TestCluster, course: &Course, image: &str, value: f64) -> String {
    cluster.set_image(image);
    cluster.until("traffic", |cluster| cluster.canary_share() == 5).await;
    course.turn(cluster, value);
    cluster
        .until("an end", |cluster| ["Succeeded", "Failed"].contains(&cluster.phase().as_str()))
        .await;
    cluster.pass(60).await;
    cluster.phase()
}

/// Nothing that is hidden is in what anybody can read.
fn clean(cluster: &TestCluster, log_capture: &LogCapture) {
    let canary = cluster.get(CANARIES, "backend").unwrap().to_string();
    let route = cluster.get(ROUTES, "backend").unwrap().to_string();
    let texts =
        [canary, route, cluster.events().join("\n"), log_capture.heard(), cluster.metrics()];
    for text in texts {
        assert!(!text.contains(HIDDEN), "{text}");
    }
}

fn last_head(cluster: &TestCluster) -> HeaderMap {
    cluster.script.heads.lock().unwrap().last().unwrap().clone()
}

/// One series in buckets of five seconds.
fn series(course: &Course, from: i64, to: i64) -> String {
    let points: Vec<Value> = course
        .buckets(from, to, 5)
        .into_iter()
        .map(|(at, value)| json!([at * 1000, value]))
        .collect();
    let series = json!({"interval": 5, "scope": "service:backend", "pointlist": points});
    json!({"status": "ok", "error": "", "series": [series]}).to_string()
}

#[tokio::test(start_paused = true)]
async fn datadog_judges_a_release_by_its_own_requests() {
    let log_capture = LogCapture::open();
    let cluster = TestCluster::start();
    let course = Course::default();
    secret(
        &cluster,
        "datadog",
        &[("datadog_api_key", "hunter2-api"), ("datadog_application_key", "hunter2-app")],
    );
    template(
        &cluster,
        json!({"type": "datadog", "secretRef": {"name": "datadog"}}),
        "sum:errors{service:{{ target }}}.as_rate()",
    );
    at_rest(&cluster).await;
    // What was there before says nothing of what comes; Flagger would judge by it, as it takes the oldest value.
    course.turn(&cluster, 50.0);
    let told = course.clone();
    cluster.answer(move |url, _| {
        assert!(url.starts_with("https://api.datadoghq.com/api/v1/query?"), "{url}");
        let query = query(url);
        assert_eq!(query["query"], "sum:errors{service:backend}.as_rate()");
        let (from, to) = (second(&query["from"]), second(&query["to"]));
        assert_eq!(to - from, 100, "ten intervals");
        Ok((200, series(&told, from, to)))
    });
    assert_eq!(
        release(&cluster, &course, "app:v2", 0.5).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    let head = last_head(&cluster);
    assert_eq!(head["dd-api-key"], "hunter2-api");
    assert_eq!(head["dd-application-key"], "hunter2-app");
    assert_eq!(release(&cluster, &course, "app:v3", 7.0).await, "Failed");
    assert_eq!(cluster.primary_image(), "app:v2");
    assert_eq!(cluster.status()["lastReason"]["code"], "ThresholdReached");
    // The next one is not blamed for the errors of the one before it.
    assert_eq!(
        release(&cluster, &course, "app:v4", 0.0).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    clean(&cluster, &log_capture);
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_refused_are_no_good_canary_and_are_not_shown() {
    let log_capture = LogCapture::open();
    let cluster = TestCluster::start();
    secret(
        &cluster,
        "datadog",
        &[("datadog_api_key", "hunter2-api"), ("datadog_application_key", "hunter2-app")],
    );
    template(&cluster, json!({"type": "datadog", "secretRef": {"name": "datadog"}}), "up");
    at_rest(&cluster).await;
    cluster.answer(|_, _| Ok((403, r#"{"errors": ["Forbidden"]}"#.to_owned())));
    assert_eq!(release(&cluster, &Course::default(), "app:v2", 0.0).await, "Failed");
    let events = cluster.events().join("\n");
    assert!(events.contains("the server answered 403: Forbidden"), "{events}");
    clean(&cluster, &log_capture);
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_its_keys_is_told_before_the_first_release() {
    let cluster = TestCluster::start();
    secret(&cluster, "datadog", &[("datadog_api_key", HIDDEN)]);
    template(&cluster, json!({"type": "datadog", "secretRef": {"name": "datadog"}}), "up");
    at_rest(&cluster).await;
    cluster.pass(60).await;
    let status = cluster.status();
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|condition| condition["type"] == "MetricsReady").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("ObjectUnusable")));
    let message = ready["message"].as_str().unwrap();
    assert!(message.contains("it needs datadog_api_key and datadog_application_key"), "{message}");
    assert!(cluster.script.asked.lock().unwrap().is_empty());
}

const METRIC_QUERY: &str = r#"[
  {"Id": "e1", "Expression": "m1 / m2", "Period": 10},
  {"Id": "m1", "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "Errors"}, "Period": 10, "Stat": "Sum"}},
  {"Id": "m2", "MetricStat": {"Metric": {"Namespace": "Shop", "MetricName": "{{ target }}"}, "Period": 10, "Stat": "Sum"}, "ReturnData": false}
]"#;

/// What GetMetricData answers: the newest first, another result before the one that is wanted, one page after the other.
fn metric_data(course: &Course, body: &str) -> String {
    let asked: Value = serde_json::from_str(body).unwrap();
    assert_eq!(asked["MaxDatapoints"], 20);
    assert_eq!(asked["MetricDataQueries"][2]["MetricStat"]["Metric"]["MetricName"], "backend");
    let (from, to) = (asked["StartTime"].as_i64().unwrap(), asked["EndTime"].as_i64().unwrap());
    assert_eq!(to - from, 100, "ten intervals");
    if asked.get("NextToken").is_none() {
        let other = json!({"Id": "m1", "Timestamps": [to - 10], "Values": [99.0], "StatusCode": "Complete"});
        return json!({"MetricDataResults": [other], "NextToken": "page two"}).to_string();
    }
    assert_eq!(asked["NextToken"], "page two");
    let (times, values): (Vec<i64>, Vec<f64>) =
        course.buckets(from, to, 10).into_iter().rev().unzip();
    let wanted =
        json!({"Id": "e1", "Timestamps": times, "Values": values, "StatusCode": "Complete"});
    json!({"MetricDataResults": [wanted]}).to_string()
}

#[tokio::test(start_paused = true)]
async fn cloudwatch_judges_a_release_page_by_page_and_with_patience() {
    let log_capture = LogCapture::open();
    let cluster = TestCluster::start();
    let course = Course::default();
    secret(
        &cluster,
        "cloudwatch",
        &[("aws_access_key_id", "AKIDEXAMPLE"), ("aws_secret_access_key", HIDDEN)],
    );
    template(
        &cluster,
        json!({"type": "cloudwatch", "region": "eu-west-1", "secretRef": {"name": "cloudwatch"}}),
        METRIC_QUERY,
    );
    at_rest(&cluster).await;
    course.turn(&cluster, 50.0);
    let (told, busy) = (course.clone(), Arc::new(Mutex::new(0_u32)));
    cluster.answer(move |url, body| {
        assert_eq!(url, "https://monitoring.eu-west-1.amazonaws.com/");
        let mut busy = busy.lock().unwrap();
        *busy += 1;
        if *busy % 3 == 0 {
            let throttled = r#"{"__type": "com.amazonaws.cloudwatch#ThrottlingException", "message": "Rate exceeded"}"#;
            return Ok((400, throttled.to_owned()));
        }
        Ok((200, metric_data(&told, body)))
    });
    assert_eq!(
        release(&cluster, &course, "app:v2", 0.5).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    let head = last_head(&cluster);
    let signed = head["authorization"].to_str().unwrap();
    let scope =
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/monitoring/aws4_request";
    assert!(signed.starts_with(scope), "{signed}");
    assert!(head["x-amz-date"].to_str().unwrap().starts_with("20260101T0"), "the virtual clock's");
    assert_eq!(release(&cluster, &course, "app:v3", 7.0).await, "Failed");
    assert_eq!(cluster.primary_image(), "app:v2");
    clean(&cluster, &log_capture);
}

/// A file that is gone with the test.
struct Token(std::path::PathBuf);

impl Token {
    fn new(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("serin-token-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_controller_shows_who_it_is_and_reads_its_token_anew() {
    let log_capture = LogCapture::open();
    let token = Token::new("first-hunter2\n");
    let mut cluster = TestCluster::start();
    cluster.kill_operator();
    let role = "arn:aws:iam::123456789012:role/serin".to_owned();
    cluster.aws = (Aws::WebIdentity { role, session: "serin".into() }, Some(token.0.clone()));
    cluster.start_operator();
    let course = Course::default();
    template(&cluster, json!({"type": "cloudwatch", "region": "eu-west-1"}), METRIC_QUERY);
    at_rest(&cluster).await;
    let (told, tokens) = (course.clone(), Arc::new(Mutex::new(Vec::new())));
    let shown = Arc::clone(&tokens);
    cluster.answer(move |url, body| match url {
        "https://sts.eu-west-1.amazonaws.com/" => {
            let token = body.rsplit_once("WebIdentityToken=").unwrap().1;
            shown.lock().unwrap().push(token.to_owned());
            let keys = json!({"AccessKeyId": "ASIA", "SecretAccessKey": HIDDEN, "SessionToken": "hunter2-session"});
            let result = json!({"AssumeRoleWithWebIdentityResult": {"Credentials": keys}});
            Ok((200, json!({"AssumeRoleWithWebIdentityResponse": result}).to_string()))
        }
        _ => Ok((200, metric_data(&told, body))),
    });
    assert_eq!(
        release(&cluster, &course, "app:v2", 0.5).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    assert_eq!(last_head(&cluster)["x-amz-security-token"], "hunter2-session");
    std::fs::write(&token.0, "second-hunter2\n").unwrap();
    assert_eq!(
        release(&cluster, &course, "app:v3", 0.5).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    let tokens = tokens.lock().unwrap().clone();
    assert_eq!(tokens.first().map(String::as_str), Some("first-hunter2"));
    assert_eq!(tokens.last().map(String::as_str), Some("second-hunter2"));
    // Without it nobody is asked for keys, and nothing is promoted.
    drop(token);
    assert_eq!(release(&cluster, &course, "app:v4", 0.5).await, "Failed");
    let events = cluster.events().join("\n");
    assert!(events.contains("the controller's own token cannot be read"), "{events}");
    clean(&cluster, &log_capture);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_talks_in_circles_is_left() {
    let cluster = TestCluster::start();
    secret(
        &cluster,
        "cloudwatch",
        &[("aws_access_key_id", "AKIDEXAMPLE"), ("aws_secret_access_key", HIDDEN)],
    );
    template(
        &cluster,
        json!({"type": "cloudwatch", "region": "eu-west-1", "secretRef": {"name": "cloudwatch"}}),
        METRIC_QUERY,
    );
    at_rest(&cluster).await;
    // Every page is asked for three times, and there is always one more.
    let count = Mutex::new(0_u32);
    cluster.answer(move |_, _| {
        let mut count = count.lock().unwrap();
        *count += 1;
        let more = r#"{"MetricDataResults": [], "NextToken": "more"}"#;
        Ok(if (*count).is_multiple_of(4) { (200, more.to_owned()) } else { (503, String::new()) })
    });
    assert_eq!(release(&cluster, &Course::default(), "app:v2", 0.0).await, "Failed");
    let events = cluster.events().join("\n");
    assert!(events.contains("no end within 30s"), "{events}");
}

const KEPTN_METRICS: (&str, &str) = ("metrics.keptn.sh", "keptnmetrics");

fn keptn_definition() -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({
        "name": "v1beta1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
    });
    let names = json!({
        "plural": "keptnmetrics", "singular": "keptnmetric", "kind": "KeptnMetric", "listKind": "KeptnMetricList",
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "keptnmetrics.metrics.keptn.sh"},
        "spec": {"group": "metrics.keptn.sh", "names": names, "scope": "Namespaced", "versions": [version]},
    })
}

#[tokio::test(start_paused = true)]
async fn a_keptn_metric_is_read_from_the_cluster() {
    let cluster = TestCluster::start();
    template(&cluster, json!({"type": "keptn"}), "keptnmetric/{{ namespace }}/errors");
    at_rest(&cluster).await;
    let none = Course::default();
    assert_eq!(release(&cluster, &none, "app:v2", 0.0).await, "Failed", "there is no such kind");
    cluster
        .create_cluster(("apiextensions.k8s.io", "customresourcedefinitions"), keptn_definition());
    cluster.create(
        KEPTN_METRICS,
        json!({
            "apiVersion": "metrics.keptn.sh/v1beta1", "kind": "KeptnMetric",
            "metadata": {"name": "errors"}, "status": {"value": "0.5"},
        }),
    );
    assert_eq!(
        release(&cluster, &none, "app:v3", 0.0).await,
        "Succeeded",
        "{:#}",
        cluster.status()
    );
    cluster.modify(KEPTN_METRICS, "errors", |object| object["status"]["value"] = json!("7"));
    assert_eq!(release(&cluster, &none, "app:v4", 0.0).await, "Failed");
    assert_eq!(cluster.primary_image(), "app:v3");
    assert!(cluster.script.asked.lock().unwrap().is_empty(), "nobody else is asked");
}
