//! Plans of whole files, without a cluster.

use std::process::ExitCode;

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: PlanArgs,
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend, namespace: develop}
spec:
  replicas: 2
  selector: {matchLabels: {app: backend}}
  template:
    metadata: {labels: {app: backend}}
    spec:
      containers:
      - {name: app, image: 'backend:1', ports: [{containerPort: 8080}], envFrom: [{configMapRef: {name: settings}}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: develop}
data: {colour: green}
---
";

const CANARY: &str = "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: backend, namespace: develop}
spec:
  provider: traefik
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}
  service: {port: 80, targetPort: 8080}
  analysis:
    interval: 1m
    threshold: 2
    stepWeights: [5, 50]
    metrics:
    - {name: request-success-rate, interval: 1m, thresholdRange: {min: 99}}
";

async fn planned(text: &str, more: &[&str]) -> (String, ExitCode) {
    let dir = std::env::temp_dir().join(format!("serin-plan-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let name = format!("{:x}.yaml", text.len() * 31 + more.join(" ").len());
    let file = dir.join(name);
    std::fs::write(&file, text).unwrap();
    let line = ["plan", "-f", file.to_str().unwrap()];
    let Line { args } = Line::parse_from(line.iter().chain(more));
    let out = run(None, &args).await.unwrap();
    drop(std::fs::remove_file(file));
    out
}

async fn json(text: &str, more: &[&str]) -> Value {
    let more: Vec<&str> = more.iter().copied().chain(["-o", "json"]).collect();
    serde_json::from_str(&planned(text, &more).await.0).unwrap()
}

/// Every line, in this order, with columns as they are.
fn has(text: &str, lines: &[&str]) {
    let mut rest = text;
    for line in lines {
        let found = rest.find(line);
        assert!(found.is_some(), "{line:?} in\n{text}");
        rest = &rest[found.unwrap() + line.len()..];
    }
}

#[tokio::test]
async fn tells_what_would_be_written_and_how_it_goes() {
    let (text, code) = planned(&format!("{DEPLOYMENT}{CANARY}"), &["--rps", "200"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    has(
        &text,
        &[
            "applying the files, where nothing of them is yet\n",
            "  create  Deployment  develop/backend\n",
            "  create  ConfigMap   develop/settings\n",
            "  create  Canary      develop/backend\n",
            "\ndevelop/backend\n\nthen Serin writes\n",
            "  create  Service         develop/backend-canary\n",
            "  create  ConfigMap       develop/settings-primary\n",
            "  create  Deployment      develop/backend-primary\n",
            "  create  TraefikService  develop/backend\n",
            "  create  Service         develop/backend\n",
            "  - Deployment develop/backend is scaled to zero once the primary serves",
            "schedule of a release at 200 requests per second\n",
            "  pace fixed: one step per interval of 1 min while the checks pass; times count",
            "    weight     canary gets      at stake  pace fixed (set)  pace evidence  once",
            "       2 %    4 requests/s   12 requests                 -            0 s  unknown",
            "       5 %   10 requests/s   30 requests               0 s           10 s  at most",
            "      50 %  100 requests/s  300 requests             1 min   ",
        ],
    );
    has(
        &text,
        &[
            "  promoted",
            "             2 min",
            "rollback of a bad release at 200 requests per second",
            "  worst case: rolled back after ",
            // Two rounds of a minute at 5 % of 200 requests per second; Flagger needs a third.
            "    100 %  with its first request (5 %)  3 min 1 s   1810 requests  2 min 1 s   1210 requests",
        ],
    );
}

#[tokio::test]
async fn machines_get_the_same_in_fields_that_name_their_units() {
    let plan = json(&format!("{DEPLOYMENT}{CANARY}"), &["--rps", "200"]).await;
    assert_eq!(
        (&plan["comparedWith"], &plan["requestsPerSecond"]),
        (&"files".into(), &200.0.into())
    );
    let canary = &plan["canaries"][0];
    let first = &canary["schedule"]["steps"][1];
    let expected = json!({
        "weightPercent": 5, "canaryRequestsPerSecond": 10.0, "atStakeRequests": 30.0,
        "fixedSecs": 0.0, "evidenceSecs": 10.0, "badPointsAboveLimitMax": first["badPointsAboveLimitMax"],
    });
    assert_eq!(first, &expected);
    let points = first["badPointsAboveLimitMax"].as_f64().unwrap();
    // 25 of the 30 requests that are at stake may be hurt.
    assert!((points - 250.0 / 3.0).abs() < 1e-9, "{points}");
    assert_eq!(canary["schedule"]["promotion"]["fixedSecs"], 120.0);
    let radius = json!({"requests": 25.0, "reactionSecs": 3.0, "inForce": false});
    assert_eq!(canary["schedule"]["blastRadius"], radius);
    let write =
        json!({"verb": "create", "kind": "ConfigMap", "namespace": "develop", "name": "settings"});
    assert_eq!(plan["files"]["objects"][1], write);
    let rows = canary["rollback"]["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["failingPercent"]), (8, &100.0.into()));
    let guard = &rows[0]["guard"];
    assert!(guard["secs"].as_f64().unwrap() < 10.0 && guard["requests"].as_f64().unwrap() < 60.0);
    let slowest = canary["rollback"]["worstCase"]["rollbackSecs"].as_f64().unwrap();
    let ends = rows.iter().map(|row| {
        let secs = |who: &str| row[who]["secs"].as_f64().unwrap_or(f64::INFINITY);
        let missed = row["guard"]["missed"].as_u64().unwrap_or(0) > 2;
        if missed { secs("checks") } else { secs("checks").min(secs("guard")) }
    });
    assert_eq!(slowest, ends.fold(0.0, f64::max));
}

#[tokio::test]
async fn traffic_and_error_rates_are_the_users() {
    let text = format!("{DEPLOYMENT}{CANARY}");
    let rates = ["--error-rate", "50", "--error-rate", "1.5", "--base-error-rate", "0.5"];
    let plan = json(&text, &rates).await;
    let rows = plan["canaries"][0]["rollback"]["rows"].as_array().unwrap();
    let failing: Vec<f64> =
        rows.iter().map(|row| row["failingPercent"].as_f64().unwrap()).collect();
    assert_eq!(failing, [50.0, 50.0, 1.5, 1.5]);
    // What the limit allows is rolled back by nobody, and that is said.
    let (text, _) = planned(&text, &["--error-rate", "0.9"]).await;
    has(
        &text,
        &[
            "worst case: a fault of 0.9 % that begins with its first request is not rolled back for certain",
        ],
    );
    for bad in [["--rps", "0"], ["--error-rate", "101"], ["--error-rate", "few"]] {
        let line = ["plan", "-f", "-"].into_iter().chain(bad);
        assert!(Line::try_parse_from(line).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_target_that_nobody_has_shown_is_said() {
    let more = CANARY.replace(
        "    metrics:",
        "    alerts: [{name: call, severity: error, providerRef: {name: on-call}}]\n    metrics:\n    - {name: slow, templateRef: {name: p99, namespace: other}, interval: 1m, thresholdRange: {max: 1}}",
    );
    let (text, code) = planned(&more, &[]).await;
    has(
        &text,
        &[
            "warning: spec.analysis.metrics[0].templateRef: MetricTemplate other/p99 is not in the files, so",
            "warning: spec.analysis.alerts[0].providerRef: AlertProvider develop/on-call is not in the files, so these alerts are not sent; create it, or correct its name\n",
            "  create  Service         develop/backend-primary\n",
            "Deployment develop/backend is not there yet",
        ],
    );
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn templates_are_read_before_a_release_needs_them() {
    let template = "
apiVersion: v1
kind: List
items:
- apiVersion: flagger.app/v1beta1
  kind: MetricTemplate
  metadata: {name: p99}
  spec: {provider: {type: splunk}}
---
";
    let (text, code) = planned(&format!("{template}{CANARY}"), &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    has(
        &text,
        &[
            "unsupported: MetricTemplate default/p99: spec.provider.type: splunk is not supported yet; use prometheus, datadog, cloudwatch, newrelic, dynatrace or keptn",
            "error: MetricTemplate default/p99: spec.query: is required",
        ],
    );
}

#[tokio::test]
async fn evidence_sets_another_schedule() {
    let paced = CANARY.replace(
        "    metrics:",
        "    guard: {pace: evidence, minBake: 3m, soak: {duration: 5m}}\n    metrics:",
    );
    let text = format!("{DEPLOYMENT}{paced}");
    let plan = json(&text, &["--rps", "100"]).await;
    let schedule = &plan["canaries"][0]["schedule"];
    let steps = schedule["steps"].as_array().unwrap();
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (step["weightPercent"].as_u64().unwrap(), step["fixedSecs"].as_f64()))
        .collect();
    assert_eq!(steps, [(5, Some(0.0)), (50, Some(60.0))]);
    assert_eq!(
        (&schedule["pace"], &schedule["blastRadius"]["inForce"]),
        (&"evidence".into(), &true.into())
    );
    let promotion = schedule["promotion"]["evidenceSecs"].as_f64().unwrap();
    assert!((180.0..190.0).contains(&promotion), "{promotion}");
    let (text, _) = planned(&text, &["--rps", "0.01", "--error-rate", "100"]).await;
    has(
        &text,
        &[
            "pace fixed  pace evidence (set)  once",
            "  - the evidence does not suffice for a promotion within an hour",
            "  - the primary is watched for 5 min after the promotion",
        ],
    );
}

#[tokio::test]
async fn a_wider_blast_radius_begins_with_more() {
    for (radius, rps, first, stake) in
        [(25, "100", 5, 15.0), (5, "100", 1, 3.0), (5, "1000", 1, 30.0)]
    {
        let guard = format!("    guard: {{pace: evidence, blastRadius: {radius}}}\n    metrics:");
        let text = CANARY.replace("    metrics:", &guard);
        let plan = json(&text, &["--rps", rps]).await;
        let schedule = &plan["canaries"][0]["schedule"];
        assert_eq!(schedule["steps"][0]["weightPercent"], first, "{radius} at {rps}");
        assert_eq!(schedule["steps"][0]["atStakeRequests"], stake, "{radius} at {rps}");
        let said =
            schedule["notes"].to_string().contains("even the lowest weight puts 30 requests");
        assert_eq!(said, rps == "1000");
    }
}

#[tokio::test]
async fn what_is_wrong_has_a_path_and_fails() {
    let bad = CANARY
        .replace(
            "stepWeights: [5, 50]",
            "stepWeights: [50, 5]\n    match: [{headers: {a: {exact: b}}}]\n    stepWieght: 3",
        )
        .replace("interval: 1m,", "interval: soon,");
    let (text, code) = planned(&bad, &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    for line in [
        "error: spec.analysis.stepWeights[1]: must be more than 50",
        "unsupported: spec.analysis.match: a share of the matching requests only is not supported",
        "warning: spec.analysis.stepWieght: there is no such field",
        "error: spec.analysis.metrics[0].interval:",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    assert!(!text.contains("schedule"), "{text}");
}

#[tokio::test]
async fn every_obstacle_says_what_it_is() {
    let istio = CANARY.replace("traefik", "istio");
    let plan = json(&istio, &[]).await;
    let canary = &plan["canaries"][0];
    assert_eq!(canary["outcome"], "unsupported");
    let finding = &canary["findings"][0];
    assert_eq!(finding["field"], "spec.provider");
    assert_eq!(finding["severity"], "unsupported");
    assert_eq!(finding["code"], "NotSupported");
    assert_eq!(finding["message"], "istio is not supported yet");
    assert_eq!(finding["wayOut"], "use traefik, gatewayapi:v1 or kubernetes");
    let (text, code) = planned(&istio, &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    assert!(text.contains("would not be taken up"), "{text}");
    // An unknown name is refused to strict clients only, so there is a plan for the others.
    let (text, code) = planned(&CANARY.replace("  analysis:", "  sise: 3\n  analysis:"), &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    for part in ["as kubectl does", "warning: spec.sise: there is no such field", "schedule"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[tokio::test]
async fn queries_that_cannot_be_made_are_named() {
    let query = "    metrics:\n    - {name: a, interval: 1m, query: 'vector({{ workload }})', thresholdRange: {max: 1}}";
    let (text, code) = planned(&CANARY.replace("    metrics:", query), &[]).await;
    let line = "warning: spec.analysis.metrics[0].query: the query cannot be made: {{ workload }}";
    assert!(text.contains(line), "{text}");
    assert_eq!(code, ExitCode::SUCCESS);
}

#[tokio::test]
async fn small_steps_cost_no_more_than_large_ones() {
    let small = CANARY.replace("stepWeights: [5, 50]", "stepWeight: 1\n    maxWeight: 100");
    let plan = json(&small, &["--error-rate", "100"]).await;
    let rows = plan["canaries"][0]["rollback"]["rows"].as_array().unwrap();
    // A hundred minutes of healthy steps are imagined once, and the fault after them is found.
    let highest = rows.iter().find(|row| row["sharePercent"] == 100.0).unwrap();
    assert_eq!(highest["guard"]["missed"], Value::Null, "{highest:#}");
    assert!(highest["guard"]["secs"].as_f64().unwrap() < 120.0, "{highest:#}");
}

#[tokio::test]
async fn blue_green_and_skipped_analyses_have_plans_too() {
    let green =
        CANARY.replace("stepWeights: [5, 50]", "iterations: 3").replace("traefik", "kubernetes");
    let (text, _) = planned(&green, &[]).await;
    has(
        &text,
        &[
            "Blue/Green: the checks pass 3 times, once per 1 min, then everybody moves",
            "    weight  canary gets     at\n  promoted               3 min\n",
            "  - no user's request reaches the canary before its promotion",
        ],
    );
    assert!(!text.contains("worst case"), "{text}");
    let green = CANARY.replace("stepWeights: [5, 50]", "iterations: 3");
    let (text, _) = planned(&green, &["--error-rate", "100"]).await;
    has(
        &text,
        &[
            "    weight     canary gets     at\n     100 %  100 requests/s  3 min\n  promoted                  4 min\n",
            "worst case: rolled back after 2 min 1 s, with 12100 requests at risk",
            "    100 %  when everybody moves (100 %)  3 min 1 s  18100 requests",
        ],
    );
    let skipped = CANARY.replace("  service:", "  skipAnalysis: true\n  service:");
    let (text, code) = planned(&skipped, &[]).await;
    assert!(text.contains("skipAnalysis: promoted as soon as it is ready"), "{text}");
    assert_eq!(code, ExitCode::SUCCESS);
}
