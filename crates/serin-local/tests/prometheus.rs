//! Holds the embedded query API against the real Prometheus (`SERIN_PROMETHEUS`) over the same scraped series.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(clippy::print_stderr, reason = "a test that skips says so")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serin_local::prometheus::{Options, Prometheus, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};

const STEPS: i64 = 12;

const QUERIES: &[&str] = &[
    "vector(1)",
    "scalar(vector(3))",
    "time()",
    "1 + 2 * 3 ^ 2",
    "hits_total",
    "rate(hits_total[8s])",
    "increase(hits_total[8s])",
    "irate(hits_total[8s])",
    "sum(rate(hits_total[8s]))",
    "sum by (code) (rate(hits_total[8s]))",
    "sum without (code) (rate(hits_total[8s]))",
    "avg(hits_total)",
    "max(hits_total)",
    "min by (service) (hits_total)",
    "count(hits_total)",
    "topk(1, hits_total)",
    "hits_total > bool 10",
    "hits_total > 10",
    "absent(nothing)",
    "absent(hits_total)",
    "label_replace(hits_total, \"short\", \"$1\", \"service\", \"develop-(.*)-80.*\")",
    "hits_total offset 3s",
    "clamp(hits_total, 5, 20)",
    "hits_total or vector(0)",
    "nothing or vector(0)",
    "hits_total and hits_total{code=\"500\"}",
    "hits_total unless hits_total{code=\"500\"}",
    "sum(rate(nothing[8s])) or vector(0)",
    // A version that answers only 5xx.
    "(sum(rate(hits_total{service=~\"develop-bad-.*\",code!~\"5..\"}[8s])) or vector(0)) / sum(rate(hits_total{service=~\"develop-bad-.*\"}[8s])) * 100",
    "sum(rate(hits_total{service=~\"develop-bad-.*\",code!~\"5..\"}[8s])) / sum(rate(hits_total{service=~\"develop-bad-.*\"}[8s])) * 100",
    // Series without traffic: NaN, and not an empty answer.
    "sum(rate(hits_total{service=\"develop-idle-80@kubernetescrd\",code!~\"5..\"}[8s])) / sum(rate(hits_total{service=\"develop-idle-80@kubernetescrd\"}[8s])) * 100",
    "histogram_quantile(0.99, sum(rate(took_seconds_bucket[8s])) by (le)) * 1000",
    "1000 * histogram_quantile(0.99, sum by (le) (rate(took_seconds_bucket{service=~\"develop-web-[0-9a-zA-Z-]+@kubernetescrd\"}[8s])))",
    "histogram_quantile(0.99, sum(rate(took_seconds_bucket{service=\"none\"}[8s])) by (le))",
    "100 * (sum(rate(hits_total{service=~\"develop-web-[0-9a-zA-Z-]+@kubernetescrd\",code=~\"5..\"}[8s])) or vector(0)) / sum(rate(hits_total{service=~\"develop-web-[0-9a-zA-Z-]+@kubernetescrd\"}[8s]))",
    // Word for word what we and Flagger ask of Traefik, for backend in develop, with a window of eight seconds.
    "(sum(rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-(80|http)@kubernetescrd\",le=\"+Inf\",code!~\"5..\"}[8s])) or vector(0)) / sum(rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-(80|http)@kubernetescrd\",le=\"+Inf\"}[8s])) * 100",
    "sum(rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\",le=\"+Inf\",code!~\"5..\"}[8s])) / sum(rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\",le=\"+Inf\"}[8s])) * 100",
    "histogram_quantile(0.99, sum(rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\"}[8s])) by (le)) * 1000",
    // The templates of examples/sre.
    "100 * (\n  sum(rate(traefik_service_requests_total{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\",code=~\"5..\"}[8s]))\n  or vector(0)\n) / sum(rate(traefik_service_requests_total{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\"}[8s]))",
    "1000 * histogram_quantile(0.99,\n  sum by (le) (rate(traefik_service_request_duration_seconds_bucket{service=~\"develop-backend-canary-[0-9a-zA-Z-]+@kubernetescrd\"}[8s]))\n)",
    // The application's own metrics: provider kubernetes and Gateway API.
    "sum(rate(http_request_duration_seconds_count{kubernetes_namespace=\"develop\",kubernetes_pod_name=~\"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\",status!~\"5.*\"}[8s])) / sum(rate(http_request_duration_seconds_count{kubernetes_namespace=\"develop\",kubernetes_pod_name=~\"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\"}[8s])) * 100",
    "histogram_quantile(0.99, sum(rate(http_request_duration_seconds_bucket{kubernetes_namespace=\"develop\",kubernetes_pod_name=~\"backend-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\"}[8s])) by (le))",
];

/// What the target shows at a step, every sample with its time.
fn exposition(base: i64, step: i64) -> String {
    let at = base + step * 1000;
    let mut text = String::new();
    let mut hits = |service: &str, code: &str, value: i64| {
        let _ = writeln!(
            text,
            "hits_total{{service=\"develop-{service}-80@kubernetescrd\",code=\"{code}\"}} {value} {at}"
        );
    };
    // Resets in the middle.
    hits("web", "200", if step < 7 { 10 * step } else { 3 * (step - 7) });
    if step >= 5 {
        hits("web", "500", 2 * (step - 4));
    }
    hits("bad", "500", 5 * step);
    hits("idle", "200", 7);
    for (le, share) in [("0.1", 4), ("0.3", 8), ("1.2", 9), ("+Inf", 10)] {
        let _ = writeln!(
            text,
            "took_seconds_bucket{{service=\"develop-web-80@kubernetescrd\",le=\"{le}\"}} {} {at}",
            share * step
        );
        for (code, count) in [("200", 9), ("500", 1)] {
            let _ = writeln!(
                text,
                "traefik_service_request_duration_seconds_bucket{{code=\"{code}\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\",le=\"{le}\"}} {} {at}",
                share * count * step
            );
        }
        let _ = writeln!(
            text,
            "http_request_duration_seconds_bucket{{kubernetes_namespace=\"develop\",kubernetes_pod_name=\"backend-5c9f-x1\",status=\"200\",le=\"{le}\"}} {} {at}",
            share * step
        );
    }
    for (code, count) in [("200", 90), ("500", 10)] {
        let _ = writeln!(
            text,
            "traefik_service_requests_total{{code=\"{code}\",method=\"GET\",protocol=\"http\",service=\"develop-backend-canary-80@kubernetescrd\"}} {} {at}",
            count * step
        );
        let _ = writeln!(
            text,
            "http_request_duration_seconds_count{{kubernetes_namespace=\"develop\",kubernetes_pod_name=\"backend-5c9f-x1\",status=\"{code}\"}} {} {at}",
            count * step
        );
    }
    text
}

/// Serves step after step; the next one only when both have read this one.
async fn serve(listener: TcpListener, base: i64, done: watch::Sender<bool>) {
    let seen = Arc::new(Mutex::new((0_i64, BTreeMap::<String, ()>::new())));
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let (seen, done) = (Arc::clone(&seen), done.clone());
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut state = seen.lock().await;
            let body = exposition(base, state.0);
            state.1.insert(path, ());
            if state.1.len() == 2 {
                if state.0 < STEPS {
                    *state = (state.0 + 1, BTreeMap::new());
                } else {
                    done.send_replace(true);
                }
            }
            drop(state);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes()).await;
        });
    }
}

async fn get(address: &str, path: &str) -> Option<Value> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

fn encoded(query: &str) -> String {
    form_urlencoded::byte_serialize(query.as_bytes()).collect()
}

/// The type, and per series its labels and its values; `job` and `instance` differ by nature.
fn normal(answer: &Value) -> (String, BTreeMap<String, Vec<f64>>) {
    let data = &answer["data"];
    let number = |point: &Value| -> f64 {
        point[1].as_str().map_or(f64::NAN, |text| text.parse().unwrap_or(f64::NAN))
    };
    let mut found = BTreeMap::new();
    if data["resultType"] == "scalar" {
        found.insert(String::new(), vec![number(&data["result"])]);
    } else {
        for series in data["result"].as_array().into_iter().flatten() {
            let mut values: Vec<f64> =
                series["values"].as_array().into_iter().flatten().map(number).collect();
            if let Some(point) = series.get("value") {
                values.push(number(point));
            }
            found.insert(series["metric"].to_string(), values);
        }
    }
    (format!("{}/{}", answer["status"], data["resultType"]), found)
}

fn same(ours: &Value, real: &Value) -> bool {
    let (ours, real) = (normal(ours), normal(real));
    let near = |a: &f64, b: &f64| {
        (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
    };
    ours.0 == real.0
        && ours.1.len() == real.1.len()
        && ours.1.iter().zip(&real.1).all(|((a, x), (b, y))| {
            a == b && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| near(x, y))
        })
}

struct Real(Child, std::path::PathBuf);

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn start_real(binary: &str, target: &str, address: &str) -> Real {
    let dir = std::env::temp_dir().join(format!("serin-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let config = dir.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: local\n  metrics_path: /real\n  static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let child = Command::new(binary)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Real(child, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_like_the_real_one() {
    let Ok(binary) = std::env::var("SERIN_PROMETHEUS") else {
        eprintln!("skipped: SERIN_PROMETHEUS names no Prometheus");
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let address = {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        free.local_addr().unwrap().to_string()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let base = i64::try_from(now.as_secs()).unwrap() * 1000 - 30_000;
    let (done, mut finished) = watch::channel(false);
    let serving = tokio::spawn(serve(listener, base, done));
    let _real = start_real(&binary, &target, &address);
    let labels = [("job", "local"), ("instance", target.as_str())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let (_targets, receiver) =
        watch::channel(vec![Target { url: format!("http://{target}/ours"), labels }]);
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        scrape_interval: Duration::from_secs(1),
        retention: Duration::from_secs(3600),
    };
    let ours = Prometheus::start(options, receiver).await.unwrap();
    let embedded = ours.address().to_string();
    tokio::time::timeout(Duration::from_secs(90), finished.wait_for(|done| *done))
        .await
        .expect("both scrape every step")
        .unwrap();
    let mut wrong = String::new();
    for query in QUERIES {
        let q = encoded(query);
        // Between two samples: whether a window holds the sample on its very edge differs between Prometheus 2 and 3.
        let mut paths: Vec<String> = [4, 9, 11]
            .map(|s| format!("/api/v1/query?query={q}&time={}.5", base / 1000 + s))
            .into();
        let (from, to) = (base / 1000 + 2, base / 1000 + 11);
        paths.push(format!("/api/v1/query_range?query={q}&start={from}.5&end={to}.5&step=1"));
        for path in paths {
            let (a, b) = (get(&embedded, &path).await, get(&address, &path).await);
            let (a, b) = (a.unwrap_or_default(), b.unwrap_or_default());
            if !same(&a, &b) {
                let kind = path.split_once("&").map_or("", |(_, rest)| rest);
                let _ = writeln!(wrong, "{query}\n  at   {kind}\n  ours {a}\n  real {b}");
            }
        }
    }
    serving.abort();
    assert!(wrong.is_empty(), "answers differ:\n{wrong}");
}
