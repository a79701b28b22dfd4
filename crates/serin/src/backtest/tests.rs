//! Whole backtests over generated histories whose truth is known.

use std::path::PathBuf;

use clap::Parser;
use jiff::SignedDuration;
use serde_json::{Value, json};
use serin_local::prometheus::history::History as Recorded;

use super::chance::Coin;
use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: BacktestArgs,
}

const RELEASE: &str = "2026-11-01T10:00:00Z";
const SCRAPE_SECS: i64 = 5;
const LADDER: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5];

/// A gateway's counters before and during a release.
struct World {
    rps: f64,
    interval_secs: i64,
    /// Whether a release happens, and how many of its requests fail so many seconds after its beginning.
    canary: Option<fn(i64) -> f64>,
    primary: fn(i64) -> f64,
    secs: i64,
    seed: u64,
}

impl World {
    fn new() -> Self {
        let primary = |_| 0.001;
        Self { rps: 100.0, interval_secs: 60, canary: None, primary, secs: 600, seed: 1 }
    }

    fn lines(&self) -> String {
        let start: Timestamp = RELEASE.parse().unwrap();
        let mut coin = Coin::new(self.seed);
        let mut text = String::new();
        let mut counters = [[0_u64; 2]; 2];
        for k in -120 / SCRAPE_SECS..self.secs / SCRAPE_SECS {
            let since = k * SCRAPE_SECS;
            let rung = usize::try_from(since / self.interval_secs).unwrap_or(0).min(5);
            let share = if since > 0 && self.canary.is_some() { LADDER[rung] } else { 0.0 };
            let all = coin.binomial((2.0 * self.rps) as u64 * SCRAPE_SECS as u64, 0.5);
            let canary = coin.binomial(all, share);
            let rates = [self.canary.map_or(0.0, |rate| rate(since)), (self.primary)(since)];
            for (side, n) in [canary, all - canary].into_iter().enumerate() {
                let bad = coin.binomial(n, rates[side]);
                counters[side][0] += n - bad;
                counters[side][1] += bad;
            }
            let at = start + SignedDuration::from_secs(since);
            for (side, name) in ["canary", "primary"].into_iter().enumerate() {
                for (code, count) in [("200", counters[side][0]), ("500", counters[side][1])] {
                    // A series begins with its first request.
                    if count > 0 {
                        text += &lines(name, code, count, at.as_second());
                    }
                }
            }
        }
        text
    }

    fn history(&self) -> History {
        let mut recorded = Recorded::default();
        for line in self.lines().lines() {
            recorded.read_line(line).unwrap();
        }
        History::recorded(recorded).unwrap()
    }
}

fn lines(side: &str, code: &str, count: u64, at: i64) -> String {
    let labels = format!(
        "code=\"{code}\",instance=\"gateway:9100\",method=\"GET\",protocol=\"http\",service=\"develop-backend-{side}-80@kubernetescrd\""
    );
    let name = "traefik_service_request";
    let bucket =
        |le: &str| format!("{name}_duration_seconds_bucket{{{labels},le=\"{le}\"}} {count} {at}\n");
    format!(
        "{name}s_total{{{labels}}} {count} {at}\n{name}_duration_seconds_count{{{labels}}} {count} {at}\n{}{}",
        bucket("0.5"),
        bucket("+Inf")
    )
}

fn policy_of(interval: &str, threshold: u32) -> Policy {
    let object = json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": "backend", "namespace": "develop"},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
            "service": {"port": 80},
            "analysis": {
                "interval": interval, "threshold": threshold, "stepWeights": [5, 10, 20, 30, 40, 50],
                "metrics": [
                    {"name": "request-success-rate", "thresholdRange": {"min": 99}, "interval": "1m"},
                    {"name": "request-duration", "thresholdRange": {"max": 500}, "interval": "1m"},
                ],
            },
        },
    });
    let canary = parse::canary(&object, &Limits::default()).unwrap();
    Policy { canary, templates: BTreeMap::new() }
}

fn args(more: &[&str]) -> BacktestArgs {
    let all = ["backtest", "-f", "canary.yaml", "--history", "history.om"];
    Line::parse_from(all.iter().chain(more)).args
}

async fn tried(world: &World, policy: &Policy, more: &[&str]) -> Value {
    let found = report(policy, &world.history(), &args(more)).await.unwrap();
    serde_json::to_value(&found).unwrap()
}

#[tokio::test]
async fn a_fifth_of_failures_is_found_by_both_and_earlier_by_the_guard() {
    let world = World { canary: Some(|_| 0.2), ..World::new() };
    let found = tried(&world, &policy_of("1m", 5), &["--release", RELEASE]).await;
    let (checks, guard) = (&found["releases"][0]["checks"], &found["releases"][0]["guard"]);
    assert_eq!(checks["outcome"], "rolledBack", "{found:#}");
    assert_eq!(guard["outcome"], "rolledBack", "{found:#}");
    assert_eq!(checks["seconds"], 300.0, "five checks, one a minute");
    let flagger = &found["releases"][0]["flagger"];
    assert_eq!(flagger["seconds"], 360.0, "and Flagger acts on the sixth: {flagger}");
    assert!(flagger["failed"].as_u64() > checks["failed"].as_u64(), "{found:#}");
    assert!(guard["seconds"].as_f64().unwrap() <= 30.0, "{guard}");
    let failed = |rule: &Value| rule["failed"].as_u64().unwrap();
    assert!(failed(guard) > 0 && 10 * failed(guard) < failed(checks), "{found:#}");
    assert!(guard["why"].as_str().unwrap().starts_with("error-rate against"), "{guard}");
    assert_eq!(found["stopped"]["guard"]["stopped"], 1);
}

#[tokio::test]
async fn a_healthy_release_goes_through() {
    let world = World { canary: Some(|_| 0.001), ..World::new() };
    let found = tried(&world, &policy_of("1m", 1), &["--release", RELEASE]).await;
    let release = &found["releases"][0];
    assert_eq!(release["started"], RELEASE);
    assert_eq!(release["scrapedEverySecs"], 5.0);
    assert_eq!(
        (&release["checks"]["outcome"], &release["guard"]["outcome"]),
        (&json!("passed"), &json!("passed")),
        "{found:#}"
    );
    assert_eq!(release["checks"]["seconds"], 360.0, "six steps, one a minute");
    let flagger = &release["flagger"];
    assert_eq!(flagger["outcome"], "passed");
    assert_eq!(flagger["seconds"], 360.0, "both promote on the same round");
}

#[tokio::test]
async fn a_release_is_judged_by_the_groups_of_errors_that_those_before_have_shown() {
    let groups = |since: i64| if since.rem_euclid(60) == 0 { 0.08 } else { 0.0 };
    let world = World { canary: Some(|_| 0.0), primary: groups, ..World::new() };
    let (policy, history) = (policy_of("1m", 5), world.history());
    let (time, mut known) = (RELEASE.parse().unwrap(), guarded::Groups::new());
    let first = release::replay(&policy, &history, time, &mut known).await.unwrap();
    assert_eq!(first.guard.unwrap().outcome, Outcome::Passed);
    let size = known["error-rate"];
    assert!((10.0..=50.0).contains(&size), "{known:?}");
    // A release that is stopped teaches nothing, as in the operator.
    let bad = World { canary: Some(|_| 0.5), ..world };
    let before = known.clone();
    let second = release::replay(&policy, &bad.history(), time, &mut known).await.unwrap();
    assert_eq!(second.guard.unwrap().outcome, Outcome::RolledBack);
    assert_eq!(known, before);
}

#[tokio::test]
async fn a_release_whose_history_ends_is_undecided_and_one_without_traffic_says_so() {
    let world = World { canary: Some(|_| 0.0), secs: 100, ..World::new() };
    let found = tried(&world, &policy_of("1m", 1), &["--release", RELEASE]).await;
    assert_eq!(found["releases"][0]["checks"]["outcome"], "undecided", "{found:#}");
    assert_eq!(found["releases"][0]["guard"]["outcome"], "undecided");
    let quiet = World { secs: 100, ..World::new() };
    let found = tried(&quiet, &policy_of("1m", 1), &["--release", RELEASE]).await;
    assert_eq!(found["releases"][0]["started"], Value::Null, "{found:#}");
    assert!(found["releases"][0]["notes"][0].as_str().unwrap().contains("no request"), "{found:#}");
}

#[tokio::test]
async fn a_late_incident_is_caught_in_the_release_around_it() {
    let late = |since| if since > 200 { 0.5 } else { 0.001 };
    let world = World { canary: Some(late), secs: 900, ..World::new() };
    let incident = "database=2026-11-01T10:03:20Z";
    let more = ["--release", RELEASE, "--incident", incident];
    let found = tried(&world, &policy_of("1m", 2), &more).await;
    let incident = &found["incidents"][0];
    assert_eq!(incident["releaseStarted"], RELEASE, "{found:#}");
    assert_eq!(
        (&incident["checks"]["caught"], &incident["guard"]["caught"]),
        (&json!(true), &json!(true))
    );
    let seconds = |rule: &str| incident[rule]["seconds"].as_f64().unwrap();
    assert!(seconds("guard") <= 20.0 && seconds("checks") >= 40.0, "{found:#}");
    assert_eq!(found["stopped"], Value::Null, "the only release is the incident's");
}

#[tokio::test]
async fn what_both_suffer_holds_the_guard_and_fools_the_checks() {
    let both = |since| if (100..160).contains(&since) { 0.3 } else { 0.001 };
    let world = World { canary: Some(both), primary: both, ..World::new() };
    let found = tried(&world, &policy_of("1m", 1), &["--release", RELEASE]).await;
    assert_eq!(found["releases"][0]["checks"]["outcome"], "rolledBack", "{found:#}");
    assert_eq!(found["releases"][0]["guard"]["outcome"], "passed", "{found:#}");
}

#[tokio::test]
async fn no_data_is_a_failed_check_for_flagger_at_once() {
    let world = World { canary: Some(|_| 1.0), interval_secs: 10, secs: 200, ..World::new() };
    let mut policy = policy_of("10s", 1);
    policy.canary.spec.analysis.metrics.truncate(1);
    let found = tried(&world, &policy, &["--release", RELEASE]).await;
    let flagger = &found["releases"][0]["flagger"];
    assert_eq!((&flagger["outcome"], &flagger["seconds"]), (&json!("rolledBack"), &json!(20.0)));
    assert!(flagger["why"].as_str().unwrap().contains("1 of 1 allowed checks"), "{flagger}");
    assert_eq!(found["releases"][0]["guard"]["outcome"], "rolledBack");
}

#[tokio::test]
async fn failures_add_up_and_successes_take_none_back() {
    let bursts = |since: i64| if (since / 120) % 2 == 0 { 0.3 } else { 0.0 };
    let world = World { canary: Some(bursts), secs: 1200, ..World::new() };
    let found = tried(&world, &policy_of("1m", 3), &["--release", RELEASE]).await;
    let flagger = &found["releases"][0]["flagger"];
    // Rounds at 60, 120, 180 (a window half full of failures), ..., and the third failure is seen a round later.
    assert_eq!(flagger["outcome"], "rolledBack", "{flagger}");
    assert!(flagger["seconds"].as_f64().unwrap() >= 240.0, "{flagger}");
    let share = |rule: &str| found["stopped"][rule]["stopped"].clone();
    assert_eq!((share("flagger"), share("checks")), (json!(1), json!(1)), "{found:#}");
}

#[tokio::test]
async fn a_gap_is_named() {
    let world = World { canary: Some(|_| 0.001), ..World::new() };
    let start = RELEASE.parse::<Timestamp>().unwrap().as_second();
    let mut recorded = Recorded::default();
    for line in world.lines().lines() {
        let at: i64 = line.rsplit(' ').next().unwrap().parse().unwrap();
        if !(start + 100..start + 220).contains(&at) {
            recorded.read_line(line).unwrap();
        }
    }
    let history = History::recorded(recorded).unwrap();
    let found = report(&policy_of("1m", 1), &history, &args(&["--release", RELEASE])).await;
    let found = serde_json::to_value(found.unwrap()).unwrap();
    let note = found["releases"][0]["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("nothing was recorded for 125 s, from 2026-11-01T10:01:35Z"),
        "{note}"
    );
    assert_eq!(found["releases"][0]["flagger"]["outcome"], "rolledBack", "{found:#}");
    assert_eq!(found["releases"][0]["guard"]["outcome"], "passed", "{found:#}");
}

#[tokio::test]
async fn what_the_history_cannot_know_is_refused() {
    let world = World { canary: Some(|_| 0.0), secs: 100, ..World::new() };
    let history = world.history();
    let now = RELEASE.parse().unwrap();
    let checked = |more: &[&str], history: &History| {
        past::check(&args(more), history, now).map_err(|error| error.to_string())
    };
    let (later, early) = ("2026-11-01T12:00:00Z", "2026-10-01..2026-10-02");
    let said = checked(&["--release", later], &history).unwrap_err();
    assert_eq!(
        said,
        format!(
            "--release {later}: the recording is from 2026-11-01T09:58:00Z to 2026-11-01T10:01:35Z"
        )
    );
    assert!(checked(&["--quiet", early], &history).unwrap_err().starts_with("--quiet 2026-10-01T"));
    assert_eq!(checked(&["--quiet", "2026-11-01..2026-11-02"], &history), Ok(()));
    let server = History::server("http://prometheus:9090", None).unwrap();
    let said = checked(&["--incident", &format!("x={later}")], &server).unwrap_err();
    assert_eq!(said, format!("--incident x={later}: that is yet to come, it is {RELEASE}"));
    assert_eq!(checked(&["--release", RELEASE], &server), Ok(()));
    let mut policy = policy_of("1m", 1);
    policy.canary.spec.service.name = "frontend".to_owned();
    let said = report(&policy, &history, &args(&["--release", RELEASE])).await.unwrap_err();
    let said = format!("{said:#}");
    assert!(said.contains("develop-(frontend|frontend-primary|frontend-canary)-"), "{said}");
    assert!(said.contains("there is: develop-backend-canary-80@kubernetescrd, develop-"), "{said}");
    let empty = History::recorded(Recorded::default()).unwrap();
    let said = report(&policy, &empty, &args(&["--quiet", "2026-11-01..2026-11-02"])).await;
    assert!(format!("{:#}", said.unwrap_err()).contains("is Traefik scraped"));
}

#[tokio::test]
async fn quiet_days_count_false_alarms() {
    let world = World { primary: |_| 0.008, rps: 50.0, secs: 1600, ..World::new() };
    let quiet = |to: &str| format!("{RELEASE}..2026-11-01T{to}Z");
    let (long, short) = (quiet("10:24:00"), quiet("10:04:00"));
    let more = ["--quiet", &long, "--quiet", &short, "--quiet", &short, "--seed", "7"];
    let found = tried(&world, &policy_of("10s", 1), &more).await;
    let quiet = &found["quiet"][0];
    assert_eq!(quiet["releaseSecs"], 90, "{found:#}");
    let guard = &quiet["guard"];
    assert_eq!((&guard["releases"], &guard["falseAlarms"]), (&json!(16), &json!(0)), "{found:#}");
    let alarms = |rule: &str| quiet[rule]["falseAlarms"].as_u64().unwrap();
    assert!(alarms("flagger") >= 4, "{found:#}");
    // What fails in the first minute is not counted: its window reaches back before the release.
    assert!(alarms("checks") >= 1 && alarms("checks") < alarms("flagger"), "{found:#}");
    assert!(guard["high"].as_f64().unwrap() < 0.25, "{found:#}");
    assert!(quiet["flagger"]["low"].as_f64().unwrap() > 0.05, "{found:#}");
    assert_eq!(found["quiet"][1], found["quiet"][2], "the same seed, the same requests");
}

#[tokio::test]
async fn a_day_with_a_release_in_it_is_quiet_around_it() {
    let world = World { canary: Some(|_| 0.001), secs: 900, ..World::new() };
    let from = |minute: &str| format!("2026-11-01T09:58:00Z..2026-11-01T{minute}:00Z");
    let (all, after) = (from("10:16"), "2026-11-01T10:14:00Z..2026-11-01T10:20:00Z".to_owned());
    let found = tried(&world, &policy_of("10s", 1), &["--quiet", &all, "--quiet", &after]).await;
    let quiet = &found["quiet"][0];
    assert_eq!((&quiet["releaseSecs"], &quiet["tried"]), (&json!(90), &json!(1)), "{found:#}");
    assert!(quiet["unquiet"].as_u64().unwrap() >= 9, "{found:#}");
    assert_eq!(found["quiet"][1]["tried"], 0, "{found:#}");
}

#[tokio::test]
async fn a_metric_that_the_history_does_not_have_is_named() {
    let world = World { canary: Some(|_| 0.001), ..World::new() };
    let mut policy = policy_of("1m", 1);
    policy.canary.spec.analysis.metrics[0].sources =
        vec![serin_core::model::MetricSource::Query("no_such_metric".to_owned())];
    let found = tried(&world, &policy, &["--release", RELEASE]).await;
    let note = found["releases"][0]["notes"][0].as_str().unwrap();
    assert!(note.starts_with("metric request-success-rate had no data at any time"), "{note}");
    assert_eq!(found["releases"][0]["flagger"]["outcome"], "rolledBack", "{found:#}");
}

#[test]
fn files_that_are_no_objects_are_refused() {
    let path = std::env::temp_dir().join(format!("serin-no-canary-{}.yaml", std::process::id()));
    for text in ["a word", "- 1\n- 2", "metadata: 3", "{kind: Canary}", "kind: Canary\nmetadata: x"]
    {
        std::fs::write(&path, text).unwrap();
        assert!(policy(std::slice::from_ref(&path), 10).is_err(), "{text}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn a_recording_says_the_same_again() {
    let world = World { canary: Some(|_| 0.05), ..World::new() };
    let path = std::env::temp_dir().join(format!("serin-backtest-{}.om", std::process::id()));
    let (policy, args) = (policy_of("1m", 5), args(&["--release", RELEASE]));
    let history = world.history();
    let first = report(&policy, &history, &args).await.unwrap();
    record::write(&policy, &history, &args, &path).await.unwrap();
    let read = History::file(&path);
    std::fs::remove_file(&path).unwrap();
    let again = report(&policy, &read.unwrap(), &args).await.unwrap();
    let plain = |report: &Report| {
        let mut value = serde_json::to_value(report).unwrap();
        value["history"] = Value::Null;
        value
    };
    assert_eq!(plain(&first), plain(&again));
}

#[tokio::test]
async fn mistakes_are_named() {
    let failed = |more: &[&str]| Line::try_parse_from(["backtest"].iter().chain(more)).is_err();
    assert!(failed(&["-f", "c.yaml"]), "neither server nor file");
    assert!(failed(&["-f", "c.yaml", "--history", "h", "--prometheus", "http://p"]));
    assert!(failed(&["-f", "c.yaml", "--history", "h", "--quiet", "2026-11-02..2026-11-01"]));
    assert!(failed(&["-f", "c.yaml", "--history", "h", "--incident", "2026-11-02"]));
    let said = |error: anyhow::Error| format!("{error:#}");
    let missing = History::file(&PathBuf::from("/nowhere/h.om")).map(drop);
    assert!(said(missing.unwrap_err()).starts_with("--history /nowhere/h.om"));
    let server = History::server("prometheus:9090", None).map(drop);
    assert!(said(server.unwrap_err()).contains("http://"));
    let mut policy = policy_of("1m", 1);
    policy.canary.spec.analysis.metrics[0].sources =
        vec![serin_core::model::MetricSource::Query("sum(".to_owned())];
    let world = World { canary: Some(|_| 0.0), secs: 100, ..World::new() };
    let broken = report(&policy, &world.history(), &args(&["--release", RELEASE])).await;
    let broken = said(broken.unwrap_err());
    assert!(
        broken.starts_with(&format!(
            "--release {RELEASE}: metric request-success-rate: the query sum("
        )),
        "{broken}"
    );
}
