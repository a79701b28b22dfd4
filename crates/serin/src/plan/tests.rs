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

#[tokio::test]
async fn tells_what_would_be_written_and_how_it_goes() {
    let (text, code) = planned(&format!("{DEPLOYMENT}{CANARY}"), &["--rps", "200"]).await;
    assert_eq!(code, ExitCode::SUCCESS);
    for line in [
        "  create Canary develop/backend\n",
        "  create Deployment develop/backend-primary\n",
        "  create ConfigMap develop/settings-primary\n",
        "  create Service develop/backend\n",
        "  create Service develop/backend-canary\n",
        "  create TraefikService develop/backend\n",
        "      0:00    5 %\n      1:00   50 %\n      2:00  promotion, at the earliest\n",
        // Two rounds of a minute at 5 % of 200 requests per second; Flagger needs a third.
        "    100 %  with its first request (5 %)            3:00, 1800      2:00, 1200",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let guard = text.lines().find(|line| line.contains("100 %  with its first")).unwrap();
    let last = guard.rsplit_once(", ").unwrap();
    assert!(last.1.parse::<u32>().unwrap() < 60 && last.0.contains("0:0"), "{guard}");
}

#[tokio::test]
async fn a_target_that_nobody_has_shown_is_said() {
    let (text, _) = planned(CANARY, &[]).await;
    assert!(text.contains("Deployment develop/backend is not there yet"), "{text}");
    assert!(text.contains("  create Service develop/backend-primary\n"), "{text}");
}

#[tokio::test]
async fn evidence_sets_another_schedule() {
    let paced = CANARY.replace(
        "    metrics:",
        "    guard: {pace: evidence, minBake: 3m, soak: {duration: 5m}}\n    metrics:",
    );
    let (text, _) = planned(&format!("{DEPLOYMENT}{paced}"), &["--rps", "100", "-o", "json"]).await;
    let plan: Value = serde_json::from_str(&text).unwrap();
    let steps = plan["canaries"][0]["schedule"]["steps"].as_array().unwrap();
    let weights: Vec<_> = steps.iter().map(|step| step["weight"].as_u64().unwrap()).collect();
    assert_eq!(weights, [5, 50]);
    let promotion = plan["canaries"][0]["schedule"]["promotionSecs"].as_f64().unwrap();
    assert!((180.0..190.0).contains(&promotion), "{promotion}");
    let (text, _) = planned(&format!("{DEPLOYMENT}{paced}"), &["--rps", "0.01"]).await;
    assert!(
        text.contains("the evidence does not suffice for a promotion within an hour"),
        "{text}"
    );
}

#[tokio::test]
async fn what_is_wrong_has_a_path_and_fails() {
    let bad = CANARY
        .replace(
            "stepWeights: [5, 50]",
            "stepWeights: [50, 5]\n    mirror: true\n    stepWieght: 3",
        )
        .replace("interval: 1m,", "interval: soon,");
    let (text, code) = planned(&bad, &[]).await;
    assert_eq!(code, ExitCode::FAILURE);
    for line in [
        "error: spec.analysis.stepWeights[1]: must be more than 50",
        "error: spec.analysis.mirror: mirroring is not supported",
        "error: spec.analysis.stepWieght: there is no such field",
        "error: spec.analysis.metrics[0].interval:",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    assert!(!text.contains("schedule"), "{text}");
}

#[tokio::test]
async fn blue_green_and_skipped_analyses_have_plans_too() {
    let green =
        CANARY.replace("stepWeights: [5, 50]", "iterations: 3").replace("traefik", "kubernetes");
    let (text, _) = planned(&green, &[]).await;
    assert!(text.contains("3:00  promotion, at the earliest"), "{text}");
    let skipped = CANARY.replace("  service:", "  skipAnalysis: true\n  service:");
    let (text, code) = planned(&skipped, &[]).await;
    assert!(text.contains("skipAnalysis: promoted as soon as it is ready"), "{text}");
    assert_eq!(code, ExitCode::SUCCESS);
}
