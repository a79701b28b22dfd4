//! The real stack under SIGKILL: the operator, Traefik, Prometheus and the API server, each a process of its own, are killed
//! at moments of a seed during twenty releases, while somebody uses the application.
//!
//! What a killed component takes with it is its own: Traefik the requests that it carries until it is back; the API server,
//! which is the node as well, its pods, until they are ready again and Traefik has heard of it. The operator and Prometheus
//! carry no request and take none. Every other request that is lost fails the test.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::lab::local::get::get;

use crate::alone;
use crate::local::part as program;

/// Far more than any wait needs; a test that comes here has failed.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two requests of the user.
const PACE: Duration = Duration::from_millis(25);
/// Requests in a row that must be answered before a component counts as back.
const WELL: usize = 30;
/// A request that Traefik sent to a pod that was about to go may end this long after everything is well.
const SETTLE: Duration = Duration::from_secs(2);

/// A process that is killed and started again as it was.
struct Part {
    command: Box<dyn Fn() -> Command + Send>,
    child: Child,
}

impl Part {
    fn start(command: impl Fn() -> Command + Send + 'static) -> Self {
        let child = command().spawn().unwrap();
        Self { command: Box::new(command), child }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = (self.command)().spawn().unwrap();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Operator,
    Traefik,
    Prometheus,
    ApiServer,
}

const NAMES: [Name; 4] = [Name::Operator, Name::Traefik, Name::Prometheus, Name::ApiServer];

/// One request of the user.
#[derive(Clone, Debug)]
struct Shot {
    began: Instant,
    ended: Instant,
    /// Who answered; none when it is lost.
    version: Option<String>,
}

struct Stack {
    dir: PathBuf,
    api: SocketAddr,
    traffic: SocketAddr,
    admin: SocketAddr,
    prometheus: SocketAddr,
    parts: Vec<Part>,
    shots: Arc<Mutex<Vec<Shot>>>,
    /// From when to when a component's own losses fall.
    windows: Vec<(Name, Instant, Instant)>,
}

/// A port that was free a moment ago, for programs that must be told theirs.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn until<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    let found = async {
        let mut looks = tokio::time::interval(PACE);
        while !look().await {
            looks.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn answers(url: &str) -> bool {
    matches!(get(url).await, Ok((status, _)) if status.is_success())
}

fn quiet(program: &Path, log: PathBuf) -> Command {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    let mut command = Command::new(program);
    command
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
}

impl Stack {
    async fn start(traefik: PathBuf, prometheus: PathBuf) -> Self {
        let dir = std::env::temp_dir().join(format!("serin-kill-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (api, traffic, admin, metrics) = (free(), free(), free(), free());
        let mut stack = Self {
            dir: dir.clone(),
            api,
            traffic,
            admin,
            prometheus: metrics,
            parts: Vec::new(),
            shots: Arc::default(),
            windows: Vec::new(),
        };
        stack.write_files();
        let server = stack.api_server();
        until("the API answers", || answers_owned(format!("http://{api}/version"))).await;
        let gateway = stack.gateway(traefik);
        let prometheus = stack.metrics(prometheus);
        let operator = stack.operator();
        stack.parts = vec![operator, gateway, prometheus, server];
        stack
    }

    fn write_files(&self) {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "x",
            "clusters": [{"name": "x", "cluster": {"server": format!("http://{}", self.api)}}],
            "users": [{"name": "x", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        });
        std::fs::write(self.dir.join("kubeconfig"), kubeconfig.to_string()).unwrap();
        let scrape = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [
                {"job_name": "traefik", "static_configs": [{"targets": [self.admin.to_string()]}]},
            ],
        });
        std::fs::write(self.dir.join("prometheus.yml"), scrape.to_string()).unwrap();
    }

    /// With the pods as its children, and everything it knows in a file.
    fn api_server(&self) -> Part {
        let (dir, api) = (self.dir.clone(), self.api);
        Part::start(move || {
            let mut command = quiet(Path::new(env!("CARGO_BIN_EXE_serin")), dir.join("api.log"));
            command
                .env("TMPDIR", &dir)
                .args(["local", "--no-operator"])
                .args(["--gateway=127.0.0.1:0", "--gateway-admin=127.0.0.1:0"])
                .arg("--metrics=127.0.0.1:0")
                .arg(format!("--api={api}"))
                .arg(format!("--data={}", dir.join("cluster.json").display()));
            command
        })
    }

    fn gateway(&self, program: PathBuf) -> Part {
        let (dir, api, traffic, admin) = (self.dir.clone(), self.api, self.traffic, self.admin);
        Part::start(move || {
            let mut command = quiet(&program, dir.join("traefik.log"));
            command
                .arg(format!("--entryPoints.web.address={traffic}"))
                .arg(format!("--entryPoints.traefik.address={admin}"))
                .args(["--ping=true", "--api.insecure=true", "--metrics.prometheus=true"])
                .args(["--metrics.prometheus.addRoutersLabels=true", "--log.level=ERROR"])
                .arg("--metrics.prometheus.buckets=0.05,0.1,0.25,0.5,1,2.5")
                .args(["--providers.kubernetesCRD=true", "--global.checkNewVersion=false"])
                .arg(format!("--providers.kubernetesCRD.endpoint=http://{api}"))
                .arg("--providers.kubernetesCRD.allowEmptyServices=true")
                .arg("--providers.kubernetesCRD.safeNaming=false")
                .arg("--providers.providersThrottleDuration=100ms")
                .arg("--global.sendAnonymousUsage=false");
            command
        })
    }

    fn metrics(&self, program: PathBuf) -> Part {
        let (dir, address) = (self.dir.clone(), self.prometheus);
        Part::start(move || {
            let mut command = quiet(&program, dir.join("prometheus.log"));
            command
                .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
                .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
                .arg(format!("--web.listen-address={address}"));
            command
        })
    }

    fn operator(&self) -> Part {
        let (dir, prometheus, admin) = (self.dir.clone(), self.prometheus, self.admin);
        let port = free().port();
        Part::start(move || {
            let log = dir.join("operator.log");
            let mut command = quiet(Path::new(env!("CARGO_BIN_EXE_serin")), log);
            command
                .arg("controller")
                .arg(format!("--kubeconfig={}", dir.join("kubeconfig").display()))
                .arg(format!("--metrics-server=http://{prometheus}"))
                .arg(format!("--gateway-metrics=http://{admin}/metrics"))
                .args(["--min-interval=1", "--drain=2", "--enable-leader-election=false"])
                .args(["--address=127.0.0.1", &format!("--port={port}")]);
            command
        })
    }

    fn part(&mut self, name: Name) -> &mut Part {
        let at = NAMES.iter().position(|other| *other == name).unwrap();
        &mut self.parts[at]
    }

    /// kubectl, as users do it, until the API has taken it.
    async fn kubectl(&self, program: &Path, args: &[&str]) {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.dir.join("kubeconfig"))
            .env("HOME", &self.dir)
            .args(args)
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {args:?}: {errors}");
    }

    async fn read(&self, path: &str) -> Option<Value> {
        let (status, body) = get(&format!("http://{}{path}", self.api)).await.ok()?;
        status.is_success().then(|| serde_json::from_slice(&body).ok())?
    }

    async fn canary(&self) -> Option<Value> {
        self.read("/apis/flagger.app/v1beta1/namespaces/develop/canaries/backend").await
    }

    async fn phase(&self) -> String {
        let canary = self.canary().await.unwrap_or(Value::Null);
        canary["status"]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// All pods that are wanted are ready.
    async fn pods_are_ready(&self) -> bool {
        let Some(list) = self.read("/apis/apps/v1/namespaces/develop/deployments").await else {
            return false;
        };
        let items = list["items"].as_array().cloned().unwrap_or_default();
        !items.is_empty()
            && items.iter().all(|item| {
                let wanted = item["spec"]["replicas"].as_i64().unwrap_or(1);
                item["status"]["readyReplicas"].as_i64().unwrap_or(0) >= wanted
            })
    }

    fn fired(&self) -> usize {
        self.shots.lock().unwrap().len()
    }

    /// The last requests were all answered.
    fn is_well(&self, since: usize) -> bool {
        let shots = self.shots.lock().unwrap();
        let last = shots.get(since..).unwrap_or_default();
        last.len() >= WELL && last[last.len() - WELL..].iter().all(|shot| shot.version.is_some())
    }

    /// Kills a component, starts it again, and waits until what goes with it is back.
    async fn strike(&mut self, name: Name, away: usize) {
        let (began, fired) = (Instant::now(), self.fired());
        self.part(name).kill();
        // How long it stays away is counted in requests.
        until("requests go on", || std::future::ready(self.fired() >= fired + away)).await;
        self.part(name).restart();
        let api = self.api;
        until("the API answers", || answers_owned(format!("http://{api}/version"))).await;
        if name == Name::ApiServer {
            until("the pods are ready again", || self.pods_are_ready()).await;
        }
        let prometheus = self.prometheus;
        until("Prometheus is ready", || answers_owned(format!("http://{prometheus}/-/ready")))
            .await;
        let from = self.fired();
        until("the application answers", || std::future::ready(self.is_well(from))).await;
        match name {
            Name::Traefik | Name::ApiServer => {
                self.windows.push((name, began, Instant::now() + SETTLE));
            }
            Name::Operator | Name::Prometheus => {}
        }
    }

    /// Requests that nobody answered and that no killed component took with it.
    fn lost(&self) -> Vec<Shot> {
        let shots = self.shots.lock().unwrap();
        let excused = |shot: &Shot| {
            self.windows.iter().any(|(_, from, to)| shot.ended >= *from && shot.began <= *to)
        };
        shots.iter().filter(|shot| shot.version.is_none() && !excused(shot)).cloned().collect()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.parts.clear();
        if !std::thread::panicking() {
            drop(std::fs::remove_dir_all(&self.dir));
        }
    }
}

async fn answers_owned(url: String) -> bool {
    answers(&url).await
}

/// Requests at a steady pace, each with a connection of its own, until dropped.
fn fire(traffic: SocketAddr, shots: Arc<Mutex<Vec<Shot>>>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut beat = tokio::time::interval(PACE);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let shots = Arc::clone(&shots);
            tokio::spawn(async move {
                let began = Instant::now();
                let answer = get(&format!("http://{traffic}/")).await;
                let version = answer.ok().and_then(|(_, body)| {
                    // A gateway's own error has no version: that request is lost.
                    let body: Value = serde_json::from_slice(&body).ok()?;
                    Some(body["version"].as_str()?.to_owned())
                });
                shots.lock().unwrap().push(Shot { began, ended: Instant::now(), version });
            });
        }
    })
}

/// The example, with steps of a second.
fn objects() -> String {
    let file = |name: &str| {
        let path = format!("{}/../../examples/sre/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let canary = file("40-canary")
        .replace("interval: 10s", "interval: 1s")
        .replace("interval: 30s", "interval: 5s")
        // A server that is away for a while is no reason to reject anything.
        .replace("threshold: 1\n", "threshold: 40\n")
        .replace("stepWeights: [5, 10, 20, 30, 40, 50]", "stepWeights: [10, 30, 50]");
    let files = ["00-namespace", "10-backend", "20-route", "30-metrics"].map(file);
    format!("{}\n---\n{canary}", files.join("\n---\n"))
}

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

/// Has the release of this image come to its end?
async fn ended(stack: &Stack, image: &str) -> bool {
    let Some(canary) = stack.canary().await else { return false };
    let phase = canary["status"]["phase"].as_str().unwrap_or_default();
    if !matches!(phase, "Succeeded" | "Failed") {
        return false;
    }
    let path = "/apis/apps/v1/namespaces/develop/deployments/backend";
    let Some(target) = stack.read(path).await else { return false };
    let now = &target["spec"]["template"]["spec"]["containers"][0]["image"];
    // At rest the target is scaled away; before the release began it was as well, but with another generation.
    let seen = &canary["status"]["targetGeneration"];
    now == image && target["spec"]["replicas"] == 0 && seen.as_i64() >= Some(1) && {
        let routed = canary["status"]["canaryWeight"].as_i64().unwrap_or(0);
        routed == 0 && canary["status"]["lastAppliedSpec"] != Value::Null
    }
}

/// The kill falls at a share of the canary, and some requests later.
async fn moment(stack: &Stack, dice: &mut Dice, before: &str) {
    let share = [0, 10, 10, 30, 50][dice.roll(5)];
    let later = dice.roll(60);
    let reached = || async {
        let canary = stack.canary().await.unwrap_or(Value::Null);
        let status = &canary["status"];
        let taken_up = status["lastAppliedSpec"] != before;
        let weight = status["canaryWeight"].as_i64().unwrap_or(0);
        let over = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
        taken_up && (weight >= share || over)
    };
    until("the release has come so far", reached).await;
    let fired = stack.fired();
    until("requests go on", || std::future::ready(stack.fired() >= fired + later)).await;
}

#[tokio::test]
async fn no_kill_hurts_anybody() {
    let (Some(kubectl), Some(traefik), Some(prometheus)) =
        (program("SERIN_KUBECTL"), program("SERIN_TRAEFIK"), program("SERIN_PROMETHEUS"))
    else {
        return;
    };
    let releases = std::env::var("SERIN_KILLS").ok().and_then(|text| text.parse().ok());
    let Some(releases) = releases else {
        drop(writeln!(std::io::stderr(), "skipped: SERIN_KILLS is not set; make kill sets it"));
        return;
    };
    let _alone = alone().await;
    let seed = std::env::var("SERIN_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let mut dice = Dice(seed);
    let mut stack = Stack::start(traefik, prometheus).await;
    let file = stack.dir.join("objects.yaml");
    std::fs::write(&file, objects()).unwrap();
    stack.kubectl(&kubectl, &["apply", "-f", file.to_str().unwrap()]).await;
    until("it is adopted", || async { stack.phase().await == "Initialized" }).await;
    let url = format!("http://{}/", stack.traffic);
    until("the application answers", || answers_owned(url.clone())).await;
    let load = fire(stack.traffic, Arc::clone(&stack.shots));

    let mut tale = String::new();
    for number in 0..releases {
        let bad = dice.roll(3) == 0;
        let name = NAMES[(number + dice.roll(2)) % NAMES.len()];
        let image = format!("local/backend:r{number}{}", if bad { "-bad" } else { "" });
        let canary = stack.canary().await.unwrap();
        let before = canary["status"]["lastAppliedSpec"].as_str().unwrap_or_default().to_owned();
        let set = format!("backend={image}");
        let began = Instant::now();
        stack
            .kubectl(&kubectl, &["set", "image", "-n", "develop", "deployment/backend", &set])
            .await;
        moment(&stack, &mut dice, &before).await;
        let at = stack.canary().await.unwrap_or(Value::Null)["status"].clone();
        let away = 1 + dice.roll(80);
        stack.strike(name, away).await;
        until("the release ends", || ended(&stack, &image)).await;
        let phase = stack.phase().await;
        writeln!(
            tale,
            "{image}: {name:?} killed in {} at {} %, away for {away} requests; it ended as {phase} after {:.0} s",
            at["phase"], at["canaryWeight"], began.elapsed().as_secs_f64()
        )
        .unwrap();
        assert!(!bad || phase == "Failed", "{image} was promoted\n{tale}");
        let from = stack.fired();
        until("nobody sees a bad version", || {
            let shots = stack.shots.lock().unwrap();
            let last = shots.get(from..).unwrap_or_default();
            let seen = last.iter().rev().take(WELL).filter_map(|shot| shot.version.as_ref());
            let clean = seen.clone().count() == WELL && !seen.clone().any(|v| v.contains("bad"));
            std::future::ready(clean)
        })
        .await;
        let lost = stack.lost();
        assert!(lost.is_empty(), "{} requests are lost: {lost:?}\n{tale}", lost.len());
    }
    load.abort();
    let shots = stack.shots.lock().unwrap().clone();
    let unanswered = shots.iter().filter(|shot| shot.version.is_none()).count();
    let bad = shots.iter().filter(|s| s.version.as_ref().is_some_and(|v| v.contains("bad")));
    writeln!(
        tale,
        "seed {seed}: {} requests, {unanswered} lost with a killed component, {} seen by a bad version, none lost otherwise",
        shots.len(),
        bad.count()
    )
    .unwrap();
    drop(std::io::stderr().write_all(tale.as_bytes()));
}
