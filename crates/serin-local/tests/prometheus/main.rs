//! Holds the embedded query API against the real Prometheus (`SERIN_PROMETHEUS`) over the same scraped series.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]
#![expect(clippy::print_stderr, reason = "a test that skips says so")]

mod flagger;
mod pages;
mod queries;
mod random;

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
/// What is asked about series without times of their own, after some of them have ended.
const ENDED: &[&str] = &[
    "vanishing",
    "absent(vanishing)",
    "leaving",
    "returning",
    "staying",
    "max_over_time(vanishing[1h])",
    "absent(returning)",
    "count({half!=\"\"})",
];
/// Random queries, unless `SERIN_QUERIES` says otherwise.
const RANDOM: u64 = 250;

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
            let body = pages::exposition(base, state.0.min(STEPS));
            state.1.insert(path, ());
            if state.1.len() == 2 {
                // Who comes again after the last step has taken it in.
                if state.0 <= STEPS {
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

/// Status and body; nothing if there is no answer.
async fn get(address: &str, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?))
}

fn encoded(query: &str) -> String {
    form_urlencoded::byte_serialize(query.as_bytes()).collect()
}

/// `path?name=value&name=value`, with the values encoded.
fn encoded_path(path: &str) -> String {
    let Some((path, params)) = path.split_once('?') else { return format!("/api/v1/{path}") };
    let params: Vec<String> = params
        .split('&')
        .map(|param| {
            let (name, value) = param.split_once('=').unwrap_or((param, ""));
            format!("{}={}", encoded(name), encoded(value))
        })
        .collect();
    format!("/api/v1/{path}?{}", params.join("&"))
}

/// Times and values.
type Values = Vec<(f64, f64)>;

/// Whether results come in an order: sorted for a range, and for an instant as the query says.
fn ordered(query: &str, path: &str) -> bool {
    // Prometheus gives the quantiles of several histograms, and the series of a subquery, in an order of chance.
    let subquery = query
        .split('[')
        .skip(1)
        .any(|rest| rest.split(']').next().is_some_and(|r| r.contains(':')));
    !(path.contains("/query?") && (subquery || query.contains("histogram_quantile")))
}

/// The type, and per series its labels and its values.
fn normal(answer: &(u16, Value), ordered: bool) -> (String, Vec<(String, Values)>) {
    let (status, answer) = answer;
    let data = &answer["data"];
    let number = |point: &Value| -> (f64, f64) {
        let value = point[1].as_str().map_or(f64::NAN, |text| text.parse().unwrap_or(f64::NAN));
        (point[0].as_f64().unwrap_or(f64::NAN), value)
    };
    let mut found = Vec::new();
    if data["resultType"] == "scalar" {
        found.push((String::new(), vec![number(&data["result"])]));
    } else if data["resultType"] == "string" {
        found.push((data["result"].to_string(), Vec::new()));
    } else {
        for series in data["result"].as_array().into_iter().flatten() {
            let mut values: Values =
                series["values"].as_array().into_iter().flatten().map(number).collect();
            if let Some(point) = series.get("value") {
                values.push(number(point));
            }
            found.push((series["metric"].to_string(), values));
        }
    }
    if !ordered {
        found.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let kind =
        format!("{status}/{}/{}/{}", answer["status"], data["resultType"], answer["errorType"]);
    (kind, found)
}

fn same(ours: &(u16, Value), real: &(u16, Value), ordered: bool) -> bool {
    let (ours, real) = (normal(ours, ordered), normal(real, ordered));
    let near = |a: f64, b: f64| {
        (a.is_nan() && b.is_nan())
            || a == b
            || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
    };
    ours.0 == real.0
        && ours.1.len() == real.1.len()
        && ours.1.iter().zip(&real.1).all(|((a, x), (b, y))| {
            let same_points = x.iter().zip(y).all(|(x, y)| x.0 == y.0 && near(x.1, y.1));
            a == b && x.len() == y.len() && same_points
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
    let both = Both { embedded, real: address, base: base / 1000 };
    let mut wrong = String::new();
    let mut asked = 0;
    let mut answered = 0;
    let wanted = std::env::var("SERIN_QUERIES").ok().and_then(|count| count.parse().ok());
    let random = (0..wanted.unwrap_or(RANDOM)).map(|seed| random::Dice(seed).vector(3));
    let written = queries::QUERIES.iter().map(|query| (*query).to_owned());
    for query in written.chain(flagger::queries()).chain(random) {
        asked += 1;
        answered += usize::from(both.ask(&query, &mut wrong).await);
    }
    for path in queries::REFUSED.iter().chain(queries::CATALOGUE) {
        both.compare(&encoded_path(path), path, true, &mut wrong).await;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for query in ENDED {
        let path = format!("/api/v1/query?query={}&time={}", encoded(query), now.as_secs());
        both.compare(&path, query, true, &mut wrong).await;
    }
    serving.abort();
    eprintln!(
        "{asked} queries, each at 5 instants and as 2 ranges, {answered} of them with series to compare; {} refusals",
        queries::REFUSED.len()
    );
    assert!(wrong.is_empty(), "answers differ:\n{wrong}");
    assert!(answered > 300, "most queries find something: {answered} of {asked}");
}

struct Both {
    embedded: String,
    real: String,
    base: i64,
}

impl Both {
    /// Whether any answer had series.
    async fn ask(&self, query: &str, wrong: &mut String) -> bool {
        let (q, base) = (encoded(query), self.base);
        // Between two samples, exactly on one, and where the look-back of five minutes ends.
        let instants = ["4.5", "9", "11.5"].map(|after| {
            let (secs, part) = after.split_once('.').unwrap_or((after, "0"));
            format!("time={}.{part}", base + secs.parse::<i64>().unwrap())
        });
        let edges =
            [format!("time={}", base + STEPS + 300), format!("time={}.999", base + STEPS + 299)];
        let mut paths: Vec<String> = instants
            .iter()
            .chain(&edges)
            .map(|time| format!("/api/v1/query?query={q}&{time}"))
            .collect();
        for (from, to) in [("2.5", "11.5"), ("1", "12")] {
            let at = |text: &str| {
                let (secs, part) = text.split_once('.').unwrap_or((text, "0"));
                format!("{}.{part}", base + secs.parse::<i64>().unwrap())
            };
            paths.push(format!(
                "/api/v1/query_range?query={q}&start={}&end={}&step=1",
                at(from),
                at(to)
            ));
        }
        let mut found = false;
        for path in paths {
            found |= self.compare(&path, query, ordered(query, &path), wrong).await;
        }
        found
    }

    async fn compare(&self, path: &str, query: &str, ordered: bool, wrong: &mut String) -> bool {
        let ours = get(&self.embedded, path).await.unwrap_or_default();
        let real = get(&self.real, path).await.unwrap_or_default();
        let equal = if path.contains("/query") {
            same(&ours, &real, ordered)
        } else {
            ours.0 == real.0
                && ours.1["data"] == real.1["data"]
                && ours.1["errorType"] == real.1["errorType"]
        };
        if !equal {
            let kind = path.split_once('&').map_or("", |(_, rest)| rest);
            let _ = writeln!(wrong, "{query}\n  at   {kind}\n  ours {ours:?}\n  real {real:?}");
        }
        real.1["data"]["result"].as_array().is_some_and(|result| !result.is_empty())
    }
}
