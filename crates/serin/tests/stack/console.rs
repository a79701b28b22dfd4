//! The console in the real Chromium: a promotion and a rollback watched live, and a fleet of a thousand; and the same release
//! on a terminal.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use serin::lab::local::{Cluster, Options, manifest};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, WriteOptions};
use serin_local::load;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::alone;
use crate::browser::Browser;
use crate::local::{PATIENCE, example, options, part, serves, until};

fn with_console() -> Options {
    Options { console: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))), ..options() }
}

/// This program, with the cluster's kubeconfig and nothing else of this environment.
async fn serin(cluster: &Cluster, args: &[&str]) -> (Option<i32>, String) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_serin"));
    command.args(args).env_clear().env("KUBECONFIG", cluster.kubeconfig()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

fn status(cluster: &Cluster) -> Value {
    let id = ResourceId::new("flagger.app", "canaries");
    let found = cluster.store().get(&id, "develop", "backend");
    found.map_or(Value::Null, |object| object["status"].clone())
}

fn set_image(cluster: &Cluster, version: &str) {
    let image = format!("local/backend:{version}");
    manifest::set_image(cluster.store(), "develop", "backend", "backend", &image).unwrap();
}

/// The example, three seconds a step; a busy machine's slow answers are no matter of this test.
fn apply(cluster: &Cluster) {
    let mut files: Vec<_> =
        std::fs::read_dir(example("")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for mut object in manifest::documents(&text).unwrap() {
            if object["kind"] == "Canary" {
                let analysis = &mut object["spec"]["analysis"];
                analysis["interval"] = json!("3s");
                analysis["threshold"] = json!(20);
                analysis["guard"] = json!({"errorRate": {"slo": 1}});
                for metric in analysis["metrics"].as_array_mut().unwrap() {
                    metric["interval"] = json!("5s");
                }
            }
            manifest::apply(cluster.store(), &object).unwrap();
        }
    }
}

/// No page is wider than its window, at any of these widths, in either scheme.
async fn shots(browser: &mut Browser, name: &str) {
    for (look, width, dark) in
        [("light", 1440, false), ("dark", 1440, true), ("narrow", 390, false)]
    {
        browser.look(width, 1000, dark).await;
        browser.until("document.documentElement.scrollWidth <= innerWidth").await;
        browser.shot(&format!("{name}-{look}")).await;
        if let Some(violations) = browser.violations().await {
            assert!(violations.is_empty(), "{name} {look}: {violations:#?}");
        }
    }
    browser.look(360, 800, false).await;
    browser.until("document.documentElement.scrollWidth <= innerWidth").await;
    browser.look(3840, 2000, false).await;
    browser.until("document.documentElement.scrollWidth <= innerWidth").await;
    browser.look(1440, 1000, false).await;
}

const CHIP: &str = "(document.querySelector('.chip')?.textContent ?? '')";

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_and_a_rollback_are_seen_live_in_a_browser() {
    let _alone = alone().await;
    let Some(chromium) = part("SERIN_CHROMIUM") else { return };
    let cluster = Cluster::start(with_console()).await.unwrap();
    apply(&cluster);
    until("the primary is ready", || async { status(&cluster)["phase"] == "Initialized" }).await;
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();
    let mut browser = Browser::start(&chromium, cluster.dir()).await;
    let url = cluster.console_url().unwrap();

    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('table.fleet tbody th[scope=row]').length === 1")
        .await;
    shots(&mut browser, "fleet").await;
    browser.value("document.querySelector('table.fleet a').click(); true").await;
    browser.until("location.pathname === '/release' && document.querySelectorAll('.plot svg').length === 3").await;

    // Live: the page is not loaded again.
    browser.value("window.opened = true").await;
    set_image(&cluster, "v2");
    browser.until(&format!("{CHIP} === 'Progressing'")).await;
    browser.until("parseInt(document.title) >= 5").await;
    browser.until("document.querySelector('.ev')?.getAttribute('d').split('L').length > 3").await;
    browser.until("/ of [1-9]/.test(document.querySelector('.rate .read .c').textContent)").await;
    shots(&mut browser, "promotion").await;
    slider_moves_the_numbers(&mut browser).await;
    browser.until(&format!("{CHIP} === 'Succeeded'")).await;
    numbers_are_the_operators(&mut browser, &cluster, "Promoted").await;

    set_image(&cluster, "v3-bad");
    browser.until(&format!("{CHIP} === 'Failed'")).await;
    browser
        .until(
            "document.querySelector('.banner.k-failed .what') && document.title.startsWith('0 %')",
        )
        .await;
    numbers_are_the_operators(&mut browser, &cluster, "NewRevision").await;
    let why = browser.value("document.querySelector('.banner .what').textContent").await;
    let decided = browser.value("[...document.querySelectorAll('.log .k-down')].map(g => g.closest('li').querySelector('button').textContent)").await;
    assert!(decided.as_array().unwrap().contains(&why), "{why} {decided}");
    shots(&mut browser, "rollback").await;

    assert_eq!(browser.value("window.opened").await, true);
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    browser.stop().await;
    drop(traffic.stop().await);
    cluster.stop().await;
}

async fn slider_moves_the_numbers(browser: &mut Browser) {
    browser.value("document.querySelector('input[type=range]').focus(); true").await;
    let told = "document.querySelector('input[type=range]').getAttribute('aria-valuetext')";
    let end = browser.value(told).await;
    browser.key("Home").await;
    browser.value("document.querySelector('input[type=range]').stepDown(1000), document.querySelector('input[type=range]').dispatchEvent(new Event('input')); true").await;
    let begin = browser.value(told).await;
    assert_ne!(begin, end);
    assert!(begin.as_str().unwrap().contains("weight 0 %"), "{begin}");
    // What was chosen stays, though there is news.
    let news = browser.value("document.querySelector('input[type=range]').max").await;
    browser.until(&format!("document.querySelector('input[type=range]').max !== {news}")).await;
    assert_eq!(browser.value(told).await, begin);
    browser.value("document.querySelector('.time button').click(); true").await;
    browser.until("document.querySelector('.time button').hidden").await;
}

/// Codes and counts of the page are those of the status and of the feed.
async fn numbers_are_the_operators(browser: &mut Browser, cluster: &Cluster, code: &str) {
    let has = format!(
        "[...document.querySelectorAll('.log code')].some(c => c.textContent === '{code}')"
    );
    browser.until(&has).await;
    let feed = "fetch('api/v1/releases/develop/backend').then(r => r.json())";
    let status = status(cluster);
    let feed = browser.value(feed).await;
    assert_eq!(feed["phase"], status["phase"]);
    assert_eq!(feed["reason"]["message"], status["lastReason"]["message"]);
    let check = &feed["guard"]["evidence"]["checks"][0];
    let (bad, requests) = (&check["canary"]["bad"], &check["canary"]["requests"]);
    let last = feed["looks"]["t"].as_array().unwrap().len() - 1;
    let seen = &feed["looks"]["objectives"][0]["canary"];
    assert_eq!((&seen["bad"][last], &seen["requests"][last]), (bad, requests));
    browser
        .until(&format!(
            "document.querySelector('.rate .read .c').textContent.replaceAll(' ', '').includes('{bad}of{requests},')"
        ))
        .await;
}

/// A canary at rest, as its operator has left it.
fn resting(number: usize) -> Value {
    json!({
        "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
        "metadata": {"name": format!("app-{number}"), "namespace": format!("team-{}", number % 10)},
        "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("app-{number}")},
            "service": {"port": 80},
            "analysis": {"interval": "10s", "threshold": 1, "stepWeights": [5, 10]},
        },
    })
}

fn set_status(cluster: &Cluster, number: usize, phase: &str, code: &str) {
    let status = json!({
        "phase": phase, "canaryWeight": if phase == "Progressing" { 5 } else { 0 }, "failedChecks": 0, "iterations": 0,
        "phaseTime": "2026-11-28T12:00:00Z",
        "lastReason": {"code": code, "message": format!("This is number {number}."), "time": "2026-11-28T12:00:00Z"},
    });
    let id = ResourceId::new("flagger.app", "canaries");
    let (namespace, name) = (format!("team-{}", number % 10), format!("app-{number}"));
    let options = WriteOptions::by("test");
    let change = |object: &mut Value| object["status"] = status;
    cluster.store().modify(&id, &namespace, &name, Sub::Status, &options, change).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_a_thousand_changes_in_place() {
    let _alone = alone().await;
    let Some(chromium) = part("SERIN_CHROMIUM") else { return };
    let cluster = Cluster::start(Options { operator: false, ..with_console() }).await.unwrap();
    for number in 0..10 {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": format!("team-{number}")}});
        manifest::apply(cluster.store(), &namespace).unwrap();
    }
    for number in 0..1000 {
        manifest::apply(cluster.store(), &resting(number)).unwrap();
        set_status(&cluster, number, "Succeeded", "AtRest");
    }
    set_status(&cluster, 7, "Progressing", "GuardHolds");
    let mut browser = Browser::start(&chromium, cluster.dir()).await;
    browser.open(&cluster.console_url().unwrap()).await;
    browser
        .until("document.querySelector('.bar [role=status]').textContent === '1000 of 1000'")
        .await;
    let rows = "document.querySelectorAll('table.fleet tbody th[scope=row]').length";
    assert_eq!(browser.value(rows).await, 31, "what moves, and a few of those at rest");
    browser.value("[...document.querySelectorAll('button')].find(b => b.textContent.startsWith('Show')).click(); true").await;
    assert_eq!(browser.value(rows).await, 1000);

    // One that changes is drawn anew, the others are left alone.
    browser.value("window.before = new Map([...document.querySelectorAll('table.fleet tbody tr')].map(r => [r.querySelector('a')?.textContent, r])); true").await;
    set_status(&cluster, 500, "Failed", "GuardRolledBack");
    browser
        .until("document.querySelector('.pick[data-state=failed] b')?.textContent === '1'")
        .await;
    let made = "[...document.querySelectorAll('table.fleet tbody tr')].filter(r => r.querySelector('a') && before.get(r.querySelector('a').textContent) !== r).map(r => r.querySelector('a').textContent)";
    assert_eq!(browser.value(made).await, json!(["team-0 / app-500"]));
    let first = browser
        .value("document.querySelector('table.fleet tbody th[scope=row]').textContent")
        .await;
    assert_eq!(first, "team-0 / app-500", "what needs somebody comes first");

    let filter = |text: &str| {
        format!(
            "(b => {{ b.value = '{text}'; b.dispatchEvent(new Event('input')) }})(document.querySelector('input[type=search]')); true"
        )
    };
    browser.value(&filter("team-3/ succeeded")).await;
    browser
        .until("document.querySelector('.bar [role=status]').textContent === '100 of 1000'")
        .await;
    browser.value(&filter("nothing-like-it")).await;
    browser.until("document.body.innerText.includes('No canary fits this filter')").await;
    browser.value(&filter("")).await;
    browser.value("(s => { s.value = 'ns'; s.dispatchEvent(new Event('change')) })(document.querySelector('select')); true").await;
    browser
        .until("document.querySelectorAll('table.fleet th[scope=rowgroup]').length === 10")
        .await;
    shots(&mut browser, "thousand").await;
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
    browser.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_release_says_its_end_with_its_code() {
    let _alone = alone().await;
    let cluster = Cluster::start(options()).await.unwrap();
    apply(&cluster);
    until("the primary is ready", || async { status(&cluster)["phase"] == "Initialized" }).await;
    serves(&cluster).await;
    let traffic =
        load::run(load::Options::new(cluster.gateway_url().parse().unwrap(), 100.0)).unwrap();
    // At once after the change: the end of what was before is not taken for this one's.
    set_image(&cluster, "v2");
    let (code, told) = serin(&cluster, &["status", "backend", "-n", "develop"]).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.contains("5 %  Advanced: The canary gets 5 %.")
            && told.contains("develop/backend promoted: "),
        "{told}"
    );

    set_image(&cluster, "v3-bad");
    let (code, told) = serin(&cluster, &["status", "develop/backend", "--timeout", "90s"]).await;
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("develop/backend rolled back: ") && told.contains("  Now: Look at"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'), "no colours where nobody looks: {told}");

    let (code, told) = serin(&cluster, &["status", "develop/backend", "-o", "json"]).await;
    let view: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((code, &view["version"], &view["state"]), (Some(1), &json!(1), &json!("failed")));
    let (code, told) = serin(&cluster, &["status", "nobody", "-n", "develop"]).await;
    assert!(code == Some(3) && told.contains("there is no Canary nobody"), "{code:?} {told}");

    let (_, told) = serin(&cluster, &["get", "-A"]).await;
    assert!(told.starts_with("NAMESPACE") && told.contains("rolled back"), "{told}");
    let (_, told) = serin(&cluster, &["get", "-n", "develop", "-o", "name"]).await;
    assert_eq!(told, "canary.flagger.app/backend\n");
    let (_, told) = serin(&cluster, &["get", "-n", "develop", "-o", "wide"]).await;
    assert!(told.contains("local/backend:v2") && told.contains("local/backend:v3-bad"), "{told}");
    let (_, told) = serin(&cluster, &["get", "-A", "-o", "yaml"]).await;
    assert!(told.contains("version: 1") && told.contains("name: backend"), "{told}");

    // The terminal gives lines where there is no screen.
    let mut watch = tokio::process::Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(["watch", "backend", "-n", "develop"])
        .env_clear()
        .env("KUBECONFIG", cluster.kubeconfig())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let first = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(first.contains("0 %  "), "{first}");
    watch.kill().await.unwrap();
    drop(traffic.stop().await);
    cluster.stop().await;
}
