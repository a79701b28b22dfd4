//! Backtests as users run them: the commands of the guide, and the same history in a file and in the real Prometheus.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use serin::lab::local::get::get;
use serin_local::prometheus::{Options, Prometheus, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::lab;

const SERIN: &str = env!("CARGO_BIN_EXE_serin");
const POLICY: &str = "examples/backtest/canary.yaml";
const HISTORY: &str = "examples/backtest/history.om";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_guide_prints_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/guides/backtest.md")).unwrap();
    let blocks = lab::blocks(&page);
    assert!(blocks.len() >= 2, "{} blocks", blocks.len());
    let beside = Path::new(SERIN).parent().unwrap().display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &lab::script(&blocks)])
        .current_dir(root())
        .env("PATH", format!("{beside}:{path}"))
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    lab::compare(&blocks, &printed);
}

/// A process that ends with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn report(more: &[&str]) -> Value {
    let tried = [
        "--release",
        "2026-11-01T10:00:00Z",
        "--incident",
        "checkout=2026-11-01T10:20:00Z",
        "--quiet",
        "2026-11-01T09:00:00Z..2026-11-01T09:20:00Z",
    ];
    let output = Command::new(SERIN)
        .args(["backtest", "-o", "json", "-f", POLICY])
        .args(more)
        .args(tried)
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["history"] = Value::Null;
    report
}

/// The recording becomes blocks of a real Prometheus, which is then asked: the answers must be the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_prometheus_says_the_same() {
    let Some(prometheus) = super::local::part("SERIN_PROMETHEUS") else { return };
    let promtool = prometheus.with_file_name("promtool");
    let dir = std::env::temp_dir().join(format!("serin-backtest-{}", std::process::id()));
    let blocks = dir.display().to_string();
    let made = Command::new(promtool)
        .args(["tsdb", "create-blocks-from", "openmetrics", HISTORY, &blocks])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    std::fs::write(dir.join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}");
    let _server = Running(
        Command::new(prometheus)
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={blocks}"))
            .arg("--storage.tsdb.retention.time=100y")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    until(&format!("{url}/-/ready"), |_| true).await;
    let server = tokio::task::spawn_blocking(move || report(&["--prometheus", &url]));
    let server = server.await.unwrap();
    let file = report(&["--history", HISTORY]);
    drop(std::fs::remove_dir_all(&dir));
    assert_eq!(server["incidents"][0]["guard"]["caught"], true, "{server:#}");
    assert_eq!(server, file);
}

/// Asks until the answer is as wanted.
async fn until(url: &str, so: impl Fn(&[u8]) -> bool) {
    let asked = async {
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        while !matches!(get(url).await, Ok((status, body)) if status.is_success() && so(&body)) {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), asked).await.unwrap();
}

/// The recording is scraped by the embedded Prometheus, as a page that brings its own times.
#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_prometheus_says_the_same() {
    let text = std::fs::read_to_string(root().join(HISTORY)).unwrap();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let page: String = samples.map(|line| format!("{line}000\n")).collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/metrics", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move {
        let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
        let answer = format!("{head}: {}\r\n\r\n{page}", page.len());
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            drop(stream.read(&mut request).await);
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let targets = vec![Target { url: target, labels: std::collections::BTreeMap::new() }];
    let (_publish, wanted) = tokio::sync::watch::channel(targets);
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        scrape_interval: Duration::from_secs(1),
        retention: Duration::from_secs(100 * 365 * 24 * 3600),
    };
    let server = Prometheus::start(options, wanted).await.unwrap();
    let url = format!("http://{}", server.address());
    let last = format!("{url}/api/v1/query?query=traefik_service_requests_total&time=1793529000");
    until(&last, |body| body.windows(5).any(|part| part == b"value")).await;
    let asked = tokio::task::spawn_blocking(move || report(&["--prometheus", &url]));
    let asked = asked.await.unwrap();
    serving.abort();
    assert_eq!(asked, report(&["--history", HISTORY]));
}
