//! A real Prometheus that scrapes the operator's pods and knows the chart's alerts, and what the dashboards ask of it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use serin::lab::local::get::get;

use crate::chart::root;
use crate::local::{PATIENCE, part, until};

pub(crate) struct Monitoring {
    process: Child,
    url: String,
}

impl Drop for Monitoring {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Every query of a dashboard, with what Grafana would put in for its variables.
fn queries(file: &str) -> Vec<String> {
    let path = root().join("charts/serin/files/dashboards").join(file);
    let board: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let targets = board["panels"].as_array().unwrap().iter().flat_map(|panel| {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        targets.iter().map(|target| &target["expr"])
    });
    let notes = board["annotations"]["list"].as_array().unwrap().iter().map(|note| &note["expr"]);
    let put_in = |text: &Value| {
        let text = text.as_str().unwrap().replace("$__rate_interval", "20s");
        let text = text.replace("$namespace", "develop").replace("$name", "backend");
        // A zero that stands for nothing is no answer, but for what only goes up when something is broken.
        if text.contains("scrape_failures") { text } else { text.replace(" or vector(0)", "") }
    };
    targets.chain(notes).map(put_in).collect()
}

impl Monitoring {
    /// Scrapes these addresses every second, and weighs the alerts as often.
    pub(crate) async fn start(program: &Path, folder: &Path, addresses: &[String]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let targets: Vec<_> = addresses.iter().map(|address| format!("'{address}:8080'")).collect();
        let rules = root().join("charts/serin/files/alerts.yaml");
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n  - job_name: serin\n    honor_labels: true\n    static_configs: [{{targets: [{}]}}]\n",
            rules.display(),
            targets.join(", "),
        );
        let file = folder.join("monitoring.yml");
        std::fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("monitoring").display()))
            .arg(format!("--web.listen-address={free}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self { process, url: format!("http://{free}") };
        until("Prometheus scrapes the operator", || async {
            this.values("serin_leader == 1").await == 1
        })
        .await;
        this
    }

    async fn ask(&self, path: &str) -> Option<Value> {
        let (status, answer) = get(&format!("{}{path}", self.url)).await.ok()?;
        let answer: Value = serde_json::from_slice(&answer).ok()?;
        assert!(status.is_success(), "{path}: {answer}");
        Some(answer)
    }

    /// How many series the query has now.
    async fn values(&self, query: &str) -> usize {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query))).await;
        answer.map_or(0, |answer| answer["data"]["result"].as_array().map_or(0, Vec::len))
    }

    /// How many series it had at some time of the test.
    async fn history(&self, query: &str) -> usize {
        let ended = jiff::Timestamp::now().as_second();
        let path = format!(
            "/api/v1/query_range?query={}&start={}&end={ended}&step=1",
            encoded(query),
            ended - 600
        );
        let answer = self.ask(&path).await.unwrap();
        answer["data"]["result"].as_array().unwrap().len()
    }

    /// What was there for the last scrape alone is seen a second later: a range ends at a whole second.
    pub(crate) async fn every_query_has_an_answer(&self) {
        let mut empty: Vec<_> = ["serin-fleet.json", "serin-canary.json"]
            .into_iter()
            .flat_map(|file| queries(file).into_iter().map(move |query| (file, query)))
            .collect();
        assert!(empty.len() > 30, "only {}", empty.len());
        let answered = async {
            let mut looks = tokio::time::interval(Duration::from_millis(500));
            while !empty.is_empty() {
                looks.tick().await;
                let mut still = Vec::new();
                for (file, query) in &empty {
                    if self.history(query).await == 0 {
                        still.push((*file, query.clone()));
                    }
                }
                empty = still;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, answered).await.is_ok();
        assert!(in_time, "no data for {empty:#?}");
    }

    pub(crate) async fn fires(&self, alert: &str) {
        let query = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"}}");
        until(alert, || async { self.values(&query).await > 0 }).await;
    }
}

#[test]
fn the_stories_of_the_alerts_are_true() {
    let Some(promtool) = part("SERIN_PROMTOOL") else { return };
    for args in [
        ["check", "rules", "charts/serin/files/alerts.yaml"],
        ["test", "rules", "deploy/monitoring/alerts.test.yaml"],
    ] {
        let output = Command::new(&promtool).args(args).current_dir(root()).output().unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "promtool {args:?}: {said}{errors}");
    }
}
