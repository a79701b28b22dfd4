//! The world outside the cluster: a Prometheus, webhooks, a chat and a gateway that counts. They answer by what the cluster
//! runs, and fail when the plan says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use serde_json::{Value, json};
use serin::http_client::{CallOptions, HttpClient, HttpError};
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::Store;
use serin_core::model::TargetKind;
use tokio::time::Instant;

use crate::faults::Lifeline;
use crate::manifests::{self, NAMESPACE, name};
use crate::plan::{Outage, Quality};
use crate::routes;
use crate::world::image_of;

/// Requests per second to each canary's route.
const RATE: f64 = 50.0;
/// How long a primary is well that goes bad after its promotion.
const SOURS_AFTER: Duration = Duration::from_secs(20);

/// How far back metrics look, unless their query says so: Flagger's default.
const WINDOW: Duration = Duration::from_secs(60);

/// What a canary's users and receivers do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) gates_shut: bool,
    pub(crate) asks_rollback: bool,
    /// Its hooks take a question and say nothing.
    pub(crate) hooks_hang: bool,
    /// Both versions fail until then.
    pub(crate) incident_until: Option<Instant>,
}

/// One question about a canary, as it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) time: Instant,
    /// The last change that was made before.
    pub(crate) version: u64,
    pub(crate) canary: usize,
    pub(crate) what: Question,
    pub(crate) passed: bool,
    /// Why nothing is known.
    pub(crate) lack: Option<Lack>,
}

/// Two ways of not knowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    NoData,
    CannotMeasure,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    Metric(String),
    /// Kind of the hook and the phase it was told.
    Hook(String, String),
}

#[derive(Default)]
struct State {
    receivers: BTreeMap<usize, Receiver>,
    metrics: Option<(Instant, Outage)>,
    hooks: Option<(Instant, Outage)>,
    /// Requests and failures of primary and canary.
    counts: BTreeMap<usize, [(f64, f64); 2]>,
    /// Requests of the canary that took long.
    slowness: BTreeMap<usize, f64>,
    counted: Option<Instant>,
    /// When a version that fails or is slow last had requests, and which of both: metrics look back.
    ailing: BTreeMap<usize, (Instant, Health)>,
    /// What each primary runs, and since when.
    primaries: BTreeMap<usize, (String, Instant)>,
    asked: Vec<Asked>,
    chats: u64,
    calm: bool,
}

/// Shared by all replicas of the operator.
pub(crate) struct ExternalServices {
    store: Store,
    canaries: usize,
    /// Lives have what was added later.
    wide: bool,
    state: Mutex<State>,
}

fn id(group: &str, plural: &str) -> ResourceId {
    ResourceId::new(group, plural)
}

impl ExternalServices {
    pub(crate) fn new(store: Store, canaries: usize) -> Arc<Self> {
        let wide = crate::chance::is_wide();
        Arc::new(Self { store, canaries, wide, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn change(&self, canary: usize, change: impl FnOnce(&mut Receiver)) {
        change(self.state().receivers.entry(canary).or_default());
    }

    pub(crate) fn metrics_fail(&self, until: Instant, how: Outage) {
        self.state().metrics = Some((until, how));
    }

    /// Nobody who asks the gateway gets a page, however long it takes.
    pub(crate) fn counts_are_hidden(&self) -> bool {
        let outage = self.state().metrics;
        outage.is_some_and(|(until, how)| Instant::now() < until && how != Outage::Slow)
    }

    /// Whoever asks the gateway is answered.
    pub(crate) fn counts_are_told(&self) -> bool {
        self.state().metrics.is_none_or(|(until, _)| until <= Instant::now())
    }

    pub(crate) fn hooks_fail(&self, until: Instant, how: Outage) {
        self.state().hooks = Some((until, how));
    }

    /// From now on everybody answers, everybody approves, and somebody comes.
    pub(crate) fn calm(&self) {
        let mut state = self.state();
        (state.metrics, state.hooks, state.calm) = (None, None, true);
        for receiver in state.receivers.values_mut() {
            *receiver = Receiver::default();
        }
    }

    /// What was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().asked)
    }

    fn workload(&self, name: &str) -> Option<Arc<Value>> {
        let mut kinds = TargetKind::ALL.into_iter().map(manifests::workloads);
        kinds.find_map(|(group, plural)| self.store.get(&id(group, plural), NAMESPACE, name))
    }

    fn quality(&self, canary: usize) -> (Quality, bool) {
        let target = self.workload(&name(canary));
        let image = target
            .as_deref()
            .and_then(|target| target.pointer("/spec/template/spec/containers/0/image"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let object = self.store.get(&id("flagger.app", "canaries"), NAMESPACE, &name(canary));
        let number = |field: &str| {
            let value = object.as_deref().and_then(|object| object.pointer(field));
            value.and_then(Value::as_i64).unwrap_or(0)
        };
        let late = number("/status/canaryWeight") >= 20 || number("/status/iterations") >= 2;
        (Quality::of(&image), late)
    }

    /// Whether the new version fails, is slow, or shows nothing.
    fn health(&self, canary: usize) -> Health {
        let (quality, late) = self.quality(canary);
        let state = self.state();
        let incident = state
            .receivers
            .get(&canary)
            .and_then(|receiver| receiver.incident_until)
            .is_some_and(|until| Instant::now() < until);
        match quality {
            Quality::Bad => Health::Fails,
            Quality::Late if late => Health::Fails,
            Quality::Slow => Health::Slow,
            Quality::Mute if !state.calm => Health::Nothing,
            Quality::Shared if incident => Health::Fails,
            Quality::Healthy
            | Quality::Late
            | Quality::Mute
            | Quality::Shared
            | Quality::Crash
            | Quality::Never
            | Quality::Sours => Health::Well,
        }
    }

    /// Whether the primary fails: with everything, or by itself some time after its promotion.
    fn primary_fails(&self, canary: usize, health: Health) -> bool {
        let (quality, _) = self.quality(canary);
        if self.wide && quality == Quality::Shared && health == Health::Fails {
            return true;
        }
        let primary = format!("{}-primary", name(canary));
        let primary = self.workload(&primary);
        let image = primary.as_deref().map(image_of).unwrap_or_default();
        let mut state = self.state();
        let calm = state.calm;
        let runs = state.primaries.entry(canary).or_insert_with(|| (String::new(), Instant::now()));
        if runs.0 != image {
            *runs = (image.to_owned(), Instant::now());
        }
        Quality::of(image) == Quality::Sours && !calm && runs.1.elapsed() > SOURS_AFTER
    }

    /// The canary that a query asks for; the others ask what the server itself is like.
    fn asked_for(&self, query: &str) -> Option<usize> {
        let asked = (0..self.canaries).filter(|canary| query.contains(&name(*canary)));
        // The name of the first is in that of the tenth.
        asked.max_by_key(|canary| (name(*canary).len(), std::cmp::Reverse(*canary)))
    }

    /// A version with traffic is what it is, and metrics remember it.
    fn remembered(&self, canary: usize, health: Health) -> Health {
        let now = Instant::now();
        let mut state = self.state();
        match health {
            Health::Fails | Health::Slow => {
                state.ailing.insert(canary, (now, health));
                health
            }
            Health::Well if !state.calm => match state.ailing.get(&canary) {
                Some((seen, past)) if now.duration_since(*seen) < WINDOW => *past,
                Some(_) | None => health,
            },
            Health::Well | Health::Nothing => health,
        }
    }

    fn metric(&self, canary: usize, query: &str) -> (Option<f64>, bool) {
        let health = self.remembered(canary, self.health(canary));
        let slow = query.contains("histogram_quantile");
        let rate = query.contains("code!~") || query.contains("status!~");
        let (value, passed) = match health {
            Health::Nothing => (None, false),
            Health::Well if slow => (Some(20.0), true),
            Health::Well if rate => (Some(100.0), true),
            Health::Well => (Some(0.0), true),
            Health::Slow if slow => (Some(3000.0), false),
            Health::Slow | Health::Fails if rate => {
                let fails = health == Health::Fails;
                (Some(if fails { 50.0 } else { 100.0 }), !fails)
            }
            Health::Fails if slow => (Some(20.0), true),
            Health::Slow | Health::Fails => (Some(7.0), false),
        };
        (value, passed)
    }

    fn note(&self, canary: usize, what: Question, passed: bool, lack: Option<Lack>) {
        let (time, version) = (Instant::now(), self.store.version());
        self.state().asked.push(Asked { time, version, canary, what, passed, lack });
    }

    async fn prometheus(&self, query: &str, options: &CallOptions) -> Result<Answer, HttpError> {
        let of = self.asked_for(query);
        let note = |passed, lack| {
            if let Some(canary) = of {
                self.note(canary, Question::Metric(query.to_owned()), passed, lack);
            }
        };
        let outage = self.state().metrics.filter(|(until, _)| Instant::now() < *until);
        if let Some((_, how)) = outage
            && let Some(answer) = fail(how, options).await
        {
            note(false, Some(Lack::CannotMeasure));
            return answer;
        }
        let (value, passed) = self.metric(of.unwrap_or_default(), query);
        note(passed, value.is_none().then_some(Lack::NoData));
        let result = match value {
            Some(value) => json!([{"metric": {}, "value": [0, value.to_string()]}]),
            None => json!([]),
        };
        let body = json!({"status": "success", "data": {"resultType": "vector", "result": result}});
        Ok((200, body.to_string()))
    }

    async fn hook(
        &self,
        path: &str,
        body: &[u8],
        options: &CallOptions,
    ) -> Result<Answer, HttpError> {
        let mut parts = path.trim_start_matches('/').split('/');
        let (of, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let canary = of.strip_prefix("app").and_then(|n| n.parse().ok()).unwrap_or_default();
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        let phase = told["phase"].as_str().unwrap_or_default().to_owned();
        let question = Question::Hook(kind.to_owned(), phase);
        let outage = self.state().hooks.filter(|(until, _)| Instant::now() < *until);
        if let Some((_, how)) = outage
            && let Some(answer) = fail(how, options).await
        {
            // A hook's answer is its status: a body that nobody understands takes nothing back.
            self.note(canary, question, answer.as_ref().is_ok_and(|(code, _)| *code == 200), None);
            return answer;
        }
        let receiver = self.state().receivers.get(&canary).cloned().unwrap_or_default();
        if receiver.hooks_hang
            && let Some(answer) = fail(Outage::Hangs, options).await
        {
            self.note(canary, question, false, None);
            return answer;
        }
        let yes = match kind {
            "rollback" => receiver.asks_rollback,
            gate if gate.starts_with("confirm-") => !receiver.gates_shut,
            _ => true,
        };
        self.note(canary, question, yes, None);
        Ok((if yes { 200 } else { 403 }, String::new()))
    }

    /// The gateway's counters, brought up to now.
    fn page(&self) -> String {
        let now = Instant::now();
        let gone = {
            let mut state = self.state();
            let gone = state.counted.map_or(0.0, |then| (now - then).as_secs_f64());
            state.counted = Some(now);
            gone
        };
        let mut page = "process_start_time_seconds 1.7e+09\n".to_owned();
        for canary in 0..self.canaries {
            let share = self.share(canary);
            let health = self.health(canary);
            let fails = match health {
                Health::Fails => 0.5,
                Health::Well | Health::Slow | Health::Nothing => 0.0,
            };
            let primary = if self.primary_fails(canary, health) { 0.5 } else { 0.0 };
            let mut slow = 0.0;
            if share > 0.0 {
                self.remembered(canary, health);
            }
            let mut state = self.state();
            let counts = state.counts.entry(canary).or_default();
            for (side, part) in [(0, 1.0 - share), (1, share)] {
                let requests = RATE * gone * part;
                counts[side].0 += requests;
                counts[side].1 += requests * if side == 1 { fails } else { primary };
                slow += if side == 1 && health == Health::Slow { requests } else { 0.0 };
            }
            let counts = *counts;
            let slowness = state.slowness.entry(canary).or_default();
            *slowness += slow;
            let slow = [0.0, slowness.floor()];
            for ((side, (requests, failed)), slow) in
                ["primary", "canary"].iter().zip(counts).zip(slow)
            {
                let service = format!("{NAMESPACE}-{}-{side}-80@kubernetescrd", name(canary));
                let failed = failed.floor();
                for (code, count) in [("200", requests.floor() - failed), ("500", failed)] {
                    let labels = format!("code=\"{code}\",service=\"{service}\"");
                    let _ = writeln!(page, "traefik_service_requests_total{{{labels}}} {count}");
                }
                let all = requests.floor();
                for (le, count) in [("0.1", all - slow), ("0.5", all - slow), ("+Inf", all)] {
                    let labels = format!("code=\"200\",le=\"{le}\",service=\"{service}\"");
                    let count = count.max(0.0);
                    let _ = writeln!(
                        page,
                        "traefik_service_request_duration_seconds_bucket{{{labels}}} {count}"
                    );
                }
                let labels = format!("code=\"200\",service=\"{service}\"");
                let name = "traefik_service_request_duration_seconds_count";
                let _ = writeln!(page, "{name}{{{labels}}} {all}");
            }
        }
        page
    }

    fn share(&self, canary: usize) -> f64 {
        let name = name(canary);
        let kinds = [routes::TRAEFIK_SERVICES, routes::HTTP_ROUTES];
        let mut found = kinds
            .into_iter()
            .filter_map(|(group, plural)| self.store.get(&id(group, plural), NAMESPACE, &name));
        found.next().map_or(0.0, |route| routes::routed(&route, &name) as f64 / 100.0)
    }

    async fn answer(
        &self,
        request: Request<Bytes>,
        options: &CallOptions,
    ) -> Result<Answer, HttpError> {
        let uri = request.uri();
        match uri.host().unwrap_or_default() {
            "prometheus" => {
                let query = decoded(uri.query().unwrap_or_default());
                self.prometheus(&query, options).await
            }
            "hooks" => self.hook(uri.path(), request.body(), options).await,
            "gateway" => {
                let outage = self.state().metrics.filter(|(until, _)| Instant::now() < *until);
                match outage {
                    Some((_, how)) => match fail(how, options).await {
                        Some(answer) => answer,
                        None => Ok((200, self.page())),
                    },
                    None => Ok((200, self.page())),
                }
            }
            _ => {
                self.state().chats += 1;
                Ok((200, "ok".to_owned()))
            }
        }
    }
}

type Answer = (u16, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    Well,
    Fails,
    Slow,
    Nothing,
}

/// None when the answer only comes late.
async fn fail(how: Outage, options: &CallOptions) -> Option<Result<Answer, HttpError>> {
    match how {
        Outage::Refuses => {
            Some(Err(HttpError::Connect { host: "outside".into(), why: "refused".into() }))
        }
        Outage::Hangs => {
            tokio::time::sleep(options.timeout).await;
            Some(Err(HttpError::Timeout(options.timeout)))
        }
        Outage::Fails => Some(Ok((503, "busy".to_owned()))),
        Outage::Garbage => Some(Ok((200, "<html>\u{0}{\"status\":[]".to_owned()))),
        Outage::Slow => {
            tokio::time::sleep(options.timeout.mul_f64(0.7).min(Duration::from_secs(20))).await;
            None
        }
    }
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The external as one replica of the operator sees it: a replica that is dead hears nothing any more.
pub(crate) struct View {
    pub(crate) external: Arc<ExternalServices>,
    pub(crate) life: Lifeline,
}

impl HttpClient for View {
    fn send(
        &self,
        request: Request<Bytes>,
        options: CallOptions,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpError>> {
        Box::pin(async move {
            self.life.or_never().await;
            let answer = self.external.answer(request, &options).await;
            self.life.or_never().await;
            let (status, body) = answer?;
            Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
        })
    }
}
