//! Lives of one canary under faults: one seed, one life, the unchanged operator, virtual time.
//!
//! `SERIN_SEEDS=1000 cargo test -p serin --test it simulation` runs more lives, `SERIN_SEED=7` one of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use serin::outside::OutsideError;
use serin_apiserver::http::{Api, Body};
use serin_apiserver::registry::ResourceId;
use tower::Service;

use crate::bed::{Bed, CANARIES, DEPLOYMENTS, ROUTES, value};

/// Lives in the gate; more at night.
const SEEDS: u64 = 40;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// The API with faults: refused, failed, conflicting, slow, and carried out without saying so.
#[derive(Clone)]
struct Faulty {
    api: Api,
    dice: Arc<Mutex<Dice>>,
    on: Arc<AtomicBool>,
    faults: Arc<Mutex<u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Refused(u16),
    /// Carried out, but the answer is lost.
    AnswerLost,
    Slow(u64),
}

impl Faulty {
    fn fault(&self, method: &Method, watch: bool) -> Option<Fault> {
        if !self.on.load(Ordering::Relaxed) {
            return None;
        }
        let mut dice = self.dice.lock().unwrap();
        if dice.roll(100) >= 12 {
            return None;
        }
        *self.faults.lock().unwrap() += 1;
        let write = *method != Method::GET;
        Some(match dice.roll(6) {
            0 => Fault::Refused(500),
            1 => Fault::Refused(503),
            2 => Fault::Refused(429),
            3 if write => Fault::Refused(409),
            4 if write => Fault::AnswerLost,
            _ if watch => Fault::Refused(410),
            _ => Fault::Slow(1 + dice.roll(20)),
        })
    }
}

fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "a fault of the simulation", "metadata": {},
    });
    let body = Full::new(status.to_string().into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

impl Service<Request<kube::client::Body>> for Faulty {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        let fault = self.fault(request.method(), watch);
        let api = self.api.clone();
        Box::pin(async move {
            match fault {
                Some(Fault::Refused(code)) => return Ok(refusal(code)),
                Some(Fault::Slow(secs)) => tokio::time::sleep(Duration::from_secs(secs)).await,
                Some(Fault::AnswerLost) | None => {}
            }
            let answer = api.handle(request).await;
            Ok(if fault == Some(Fault::AnswerLost) { refusal(500) } else { answer })
        })
    }
}

/// Watches the store and knows the laws; shares nothing with what it watches. Every change is judged by the state of its
/// own moment, which is rebuilt from the changes themselves.
#[derive(Default)]
struct Watcher {
    seen: u64,
    broken: Vec<String>,
    timeline: String,
    routed: i64,
    stated: i64,
    phase: String,
    image: String,
    /// Ready endpoints by slice, and the Service that the slice is of.
    ready: BTreeMap<String, (String, usize)>,
    /// Images whose analysis failed.
    rejected: Vec<String>,
}

const SLICES: (&str, &str) = ("discovery.k8s.io", "endpointslices");

impl Watcher {
    /// Everything as it is now, before anything is judged.
    fn start(bed: &Bed) -> Self {
        let mut watcher = Self { seen: bed.store.version(), ..Self::default() };
        for slice in bed.store.list(&ResourceId::new(SLICES.0, SLICES.1), Some("develop")) {
            watcher.slice(&slice, false);
        }
        let target = bed.get(DEPLOYMENTS, "backend").unwrap();
        image(&target).clone_into(&mut watcher.image);
        watcher
    }

    fn look(&mut self, bed: &Bed) {
        let mut changes = Vec::new();
        for id in [ROUTES, CANARIES, SLICES, DEPLOYMENTS] {
            let (new, _) =
                bed.store.changes_since(&ResourceId::new(id.0, id.1), self.seen).unwrap();
            changes.extend(new.into_iter().map(|change| (change.version, id, change)));
        }
        changes.sort_by_key(|(version, ..)| *version);
        for (version, id, change) in changes {
            self.seen = version;
            let name = change.new["metadata"]["name"].as_str().unwrap_or_default();
            match id {
                ROUTES if !change.deleted => self.route(&change.new),
                CANARIES if !change.deleted => self.canary(&change.new["status"]),
                SLICES => self.slice(&change.new, change.deleted),
                DEPLOYMENTS if name == "backend" => image(&change.new).clone_into(&mut self.image),
                _ => {}
            }
        }
    }

    fn endpoints(&self, service: &str) -> usize {
        self.ready.values().filter(|(of, _)| of == service).map(|(_, ready)| ready).sum()
    }

    fn slice(&mut self, slice: &Value, deleted: bool) {
        let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
        let of = slice["metadata"]["labels"]["kubernetes.io/service-name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
        let ready =
            endpoints.iter().filter(|endpoint| endpoint["conditions"]["ready"] == true).count();
        self.ready.insert(name, (of, if deleted { 0 } else { ready }));
    }

    fn route(&mut self, route: &Value) {
        let services =
            route["spec"]["weighted"]["services"].as_array().cloned().unwrap_or_default();
        let weight = |name: &str| {
            let entry = services.iter().find(|service| service["name"] == name);
            entry.map_or(0, |service| service["weight"].as_i64().unwrap_or(1))
        };
        let (share, stated) = (weight("backend-canary"), self.stated);
        writeln!(self.timeline, "route {share} (status {stated}, {})", self.phase).unwrap();
        let raised = share > self.routed;
        if raised && share > stated {
            self.broken.push(format!(
                "law 2: the route was raised to {share} while the status says {stated}"
            ));
        }
        if raised && self.endpoints("backend-canary") == 0 {
            self.broken.push(format!("law 5: {share} % go to a canary without endpoints"));
        }
        if weight("backend-primary") > 0 && self.endpoints("backend-primary") == 0 {
            self.broken.push("law 5: the primary gets traffic and has no endpoints".to_owned());
        }
        if raised && self.rejected.contains(&self.image) {
            self.broken.push(format!("a rejected version gets traffic again: {}", self.image));
        }
        self.routed = share;
    }

    fn canary(&mut self, status: &Value) {
        let phase = status["phase"].as_str().unwrap_or_default();
        if phase == "Failed" && self.phase != "Failed" {
            self.rejected.push(self.image.clone());
        }
        phase.clone_into(&mut self.phase);
        self.stated = status["canaryWeight"].as_i64().unwrap_or(0);
        let reason = &status["lastReason"];
        writeln!(
            self.timeline,
            "status {phase} {} {}: {}",
            self.stated, reason["code"], reason["message"]
        )
        .unwrap();
    }
}

impl Watcher {
    /// What must be so once the faults are over and time has passed.
    fn end(&mut self, bed: &Bed, bad: bool) {
        let (phase, primary, share) = (bed.phase(), bed.primary_image(), bed.canary_share());
        if !matches!(phase.as_str(), "Succeeded" | "Failed") || share > 0 {
            self.broken.push(format!("law 9: it ends as {phase} with {share} % at the canary"));
        }
        let right = match phase.as_str() {
            "Succeeded" => primary == "app:v2",
            _ => primary == "app:v1",
        };
        if !right || (bad && phase == "Succeeded") {
            self.broken.push(format!("it ended as {phase}, and the primary runs {primary}"));
        }
    }
}

fn image(target: &Value) -> &str {
    target["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap()
}

/// Lets time pass, watching every change.
async fn watch(bed: &Bed, watcher: &mut Watcher, time: Duration) {
    let deadline = tokio::time::Instant::now() + time;
    let mut changed = bed.store.changed();
    while let Ok(Ok(())) = tokio::time::timeout_at(deadline, changed.changed()).await {
        watcher.look(bed);
    }
}

/// One life; returns how many faults it met.
async fn life(seed: u64) -> u64 {
    let on = Arc::new(AtomicBool::new(false));
    let faults = Arc::new(Mutex::new(0));
    let shared = (Arc::clone(&on), Arc::clone(&faults));
    let mut bed = Bed::start_with(move |api| {
        let dice = Arc::new(Mutex::new(Dice(seed ^ 0x5eed)));
        kube::Client::new(Faulty { api, dice, on: shared.0, faults: shared.1 }, "default")
    });
    let mut dice = Dice(seed);
    bed.apply("app:v1", json!({"analysis": {"threshold": 2}}));
    bed.until_phase("Initialized").await;
    let mut watcher = Watcher::start(&bed);
    let bad = dice.roll(2) == 0;
    let outages = dice.roll(3) == 0;
    let asked = Mutex::new(Dice(seed ^ 0xa5));
    bed.answer(move |_, _| {
        if outages && asked.lock().unwrap().roll(8) == 0 {
            return Err(OutsideError::Connect { host: "prometheus".into(), why: "refused".into() });
        }
        value(if bad { 7.0 } else { 0.0 })
    });
    on.store(true, Ordering::Relaxed);
    let new = if bad { "app:v2-bad" } else { "app:v2" };
    bed.set_image(new);
    for _ in 0..4 + dice.roll(6) {
        watch(&bed, &mut watcher, Duration::from_millis(500 + dice.roll(25_000))).await;
        match dice.roll(4) {
            0 => {
                writeln!(watcher.timeline, "the operator is killed").unwrap();
                bed.kill_operator();
                watch(&bed, &mut watcher, Duration::from_secs(dice.roll(60))).await;
                bed.start_operator();
            }
            1 => {
                writeln!(watcher.timeline, "somebody scales the canary").unwrap();
                // Not to zero: a write that is under way cannot know of it. See docs/reliability.md.
                let replicas = 1 + dice.roll(4);
                bed.modify(DEPLOYMENTS, "backend", |target| {
                    target["spec"]["replicas"] = json!(replicas)
                });
            }
            _ => {}
        }
    }
    writeln!(watcher.timeline, "the faults end").unwrap();
    on.store(false, Ordering::Relaxed);
    watch(&bed, &mut watcher, Duration::from_secs(1800)).await;
    let version = bed.store.version();
    watch(&bed, &mut watcher, Duration::from_secs(3600)).await;

    if bed.store.version() != version {
        watcher.broken.push("it does not come to rest".to_owned());
    }
    watcher.end(&bed, bad);
    assert!(
        watcher.broken.is_empty(),
        "seed {seed} (SERIN_SEED={seed} runs it alone)\n{}\n\n{}",
        watcher.broken.join("\n"),
        watcher.timeline
    );
    *faults.lock().unwrap()
}

#[test]
fn no_life_breaks_a_law() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds: Vec<u64> = match number("SERIN_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SERIN_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut faults = 0;
    for seed in &seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        faults += runtime.block_on(life(*seed));
    }
    assert!(faults > seeds.len() as u64, "the faults were not switched on");
}
