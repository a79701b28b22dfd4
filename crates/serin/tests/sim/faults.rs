//! What lies between the operator and the API: a line that breaks, delays, lies and kills as the plan says.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Full, StreamBody};
use serde_json::json;
use serin_apiserver::http::Api;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tower::Service;

use crate::manifests::FOREIGN;
use crate::plan::{Call, Fault};
use crate::random;
use crate::switches::{Kind, Kinds};

/// Longer than anybody waits.
const HANG: Duration = Duration::from_secs(120);
/// Lists that may be told once more.
const STALE_MAX: usize = 64;

/// Who changed something: attribution of every version of the store that the cluster's own controllers did not make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Operator,
    User,
    Foe,
    Controllers,
}

/// Whether a replica of the operator is alive; one that is not neither sends nor hears.
#[derive(Clone)]
pub(crate) struct Lifeline(Arc<AtomicBool>);

impl Lifeline {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub(crate) fn cut(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(crate) async fn or_never(&self) {
        if !self.0.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// A replica that is to be killed, and for how long it stays away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) replica: usize,
    pub(crate) down: u64,
    /// Of the write that it was killed at, and the side of it.
    pub(crate) at: u64,
}

struct Armed {
    call: Call,
    skip: u64,
    fault: Fault,
}

#[derive(Default)]
struct State {
    kinds: Kinds,
    calls: u64,
    writes: u64,
    armed: Vec<Armed>,
    storm: Option<(Instant, u64)>,
    down_until: Option<Instant>,
    lag: Option<(Instant, u64)>,
    deaf_until: Option<Instant>,
    stale_until: Option<Instant>,
    secrets_until: Option<Instant>,
    /// Watches that begin at an older version than this have lost their history.
    forgotten: u64,
    lists: BTreeMap<String, Bytes>,
    tally: BTreeMap<&'static str, u64>,
    /// Versions of the store after `.0` and up to `.1`.
    made: Vec<(u64, u64, By)>,
    last_fault: Option<Instant>,
    digest: u64,
    /// The operator was sent data of objects that no canary refers to.
    foreign: Option<String>,
}

/// The weather over all lines.
pub(crate) struct Weather {
    seed: u64,
    state: Mutex<State>,
    torn: Notify,
    crashes: mpsc::UnboundedSender<Crash>,
}

/// What happens to one call.
enum Fate {
    Well,
    Meets(Fault),
    /// Told what was told before.
    Stale(Bytes),
}

impl Weather {
    pub(crate) fn new(seed: u64) -> (Arc<Self>, mpsc::UnboundedReceiver<Crash>) {
        let (crashes, told) = mpsc::unbounded_channel();
        let state = Mutex::default();
        (Arc::new(Self { seed, state, torn: Notify::new(), crashes }), told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn arm(&self, call: Call, skip: u64, fault: Fault) {
        self.state().armed.push(Armed { call, skip, fault });
    }

    pub(crate) fn storm(&self, until: Instant, percent: u64) {
        self.state().storm = Some((until, percent));
    }

    pub(crate) fn down(&self, until: Instant, version: u64) {
        {
            let mut state = self.state();
            (state.down_until, state.forgotten) = (Some(until), version);
            *state.tally.entry("API server restarts").or_default() += 1;
            state.last_fault = Some(until);
        }
        self.torn.notify_waiters();
    }

    pub(crate) fn tear(&self) {
        *self.state().tally.entry("all watches torn").or_default() += 1;
        self.torn.notify_waiters();
    }

    pub(crate) fn compact(&self, version: u64) {
        self.state().forgotten = version;
        self.tear();
    }

    pub(crate) fn lag(&self, until: Instant, millis: u64) {
        self.state().lag = Some((until, millis));
    }

    /// The kinds of faults that a storm may have.
    pub(crate) fn permit(&self, kinds: Kinds) {
        self.state().kinds = kinds;
    }

    pub(crate) fn deafen(&self, until: Instant) {
        self.state().deaf_until = Some(until);
    }

    /// Until when nothing comes through that is on its way now. What is lost then is not to be had again.
    fn deaf(&self, version: u64) -> Option<Instant> {
        let mut state = self.state();
        let until = state.deaf_until.filter(|until| Instant::now() < *until)?;
        state.forgotten = state.forgotten.max(version);
        *state.tally.entry("lost watch event").or_default() += 1;
        state.last_fault = Some(state.last_fault.map_or(until, |last| last.max(until)));
        Some(until)
    }

    pub(crate) fn stale(&self, until: Instant) {
        self.state().stale_until = Some(until);
    }

    pub(crate) fn hide_secrets(&self, until: Instant) {
        self.state().secrets_until = Some(until);
    }

    /// No fault from now on.
    pub(crate) fn calm(&self) {
        {
            let mut state = self.state();
            state.armed.clear();
            (state.storm, state.down_until, state.lag) = (None, None, None);
            (state.stale_until, state.secrets_until, state.deaf_until) = (None, None, None);
        }
        // What is still held back by a line that lags would be a fault after the last.
        self.torn.notify_waiters();
    }

    pub(crate) fn tally(&self) -> BTreeMap<&'static str, u64> {
        self.state().tally.clone()
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.state().tally.entry(what).or_default() += 1;
    }

    pub(crate) fn writes(&self) -> u64 {
        self.state().writes
    }

    pub(crate) fn digest(&self) -> u64 {
        self.state().digest
    }

    /// Looks whether what the operator gets is anybody's business.
    fn inspect(&self, path: &str, sent: &[u8]) {
        if sent.windows(FOREIGN.len()).any(|window| window == FOREIGN.as_bytes()) {
            self.state().foreign.get_or_insert_with(|| path.to_owned());
        }
    }

    /// Where the operator has read what no canary refers to.
    pub(crate) fn take_foreign(&self) -> Option<String> {
        self.state().foreign.take()
    }

    /// How long ago the last fault was met; none before the first.
    pub(crate) fn since_fault(&self) -> Option<Duration> {
        let last = self.state().last_fault?;
        Some(Instant::now().saturating_duration_since(last))
    }

    /// These versions were made by `by`.
    pub(crate) fn made(&self, after: u64, upto: u64, by: By) {
        if upto > after {
            self.state().made.push((after, upto, by));
        }
    }

    pub(crate) fn maker(&self, version: u64) -> By {
        let state = self.state();
        let of =
            state.made.iter().rev().find(|(after, upto, _)| version > *after && version <= *upto);
        of.map_or(By::Controllers, |(.., by)| *by)
    }

    /// Forgets who made versions up to this one.
    pub(crate) fn settled(&self, version: u64) {
        self.state().made.retain(|(_, upto, _)| *upto > version);
    }

    /// What happens to a call for `path`; `asked` is all of what it asks for.
    fn fate(&self, call: Call, path: &str, asked: &str) -> Fate {
        let mut state = self.state();
        state.calls += 1;
        state.digest = random::digest(state.digest, path.as_bytes());
        if call == Call::Write {
            state.writes += 1;
        }
        let now = Instant::now();
        let within = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if within(state.down_until) {
            return Fate::Meets(Fault::Torn { carried_out: false });
        }
        if within(state.secrets_until)
            && path.contains("/secrets")
            && matches!(call, Call::Get | Call::List | Call::Watch)
        {
            return Self::meet(&mut state, Fault::Refused(403));
        }
        let mut hit = None;
        state.armed.retain_mut(|armed| {
            if hit.is_some() || !is_meant(armed.call, call, path) {
                return true;
            }
            if armed.skip > 0 {
                armed.skip -= 1;
                return true;
            }
            hit = Some(armed.fault);
            false
        });
        if let Some(fault) = hit {
            return Self::meet(&mut state, fault);
        }
        if let Some((until, percent)) = state.storm
            && now < until
        {
            let mut random = random::of(self.seed, state.calls);
            if random.chance(percent) {
                let fault = any(&mut random, call);
                if state.kinds.has(Kind::of_fault(fault)) {
                    return Self::meet(&mut state, fault);
                }
            }
        }
        if call == Call::List
            && within(state.stale_until)
            && let Some(before) = state.lists.get(asked).cloned()
        {
            *state.tally.entry("stale list").or_default() += 1;
            state.last_fault = Some(now);
            return Fate::Stale(before);
        }
        Fate::Well
    }

    fn meet(state: &mut State, fault: Fault) -> Fate {
        let name = match fault {
            Fault::Refused(403) => "403",
            Fault::Refused(409) => "409",
            Fault::Refused(410) => "410",
            Fault::Refused(429) => "429",
            Fault::Refused(503) => "503",
            Fault::Refused(_) => "500",
            Fault::Torn { carried_out: false } => "connection torn before",
            Fault::Torn { carried_out: true } => "connection torn after",
            Fault::Late { .. } => "carried out late",
            Fault::Slow { .. } => "slow answer",
            Fault::Hang => "no answer",
            Fault::Crash { carried_out: false, .. } => "crash before a write",
            Fault::Crash { carried_out: true, .. } => "crash after a write",
        };
        *state.tally.entry(name).or_default() += 1;
        let lasts = match fault {
            Fault::Late { secs } => Duration::from_secs(secs),
            Fault::Slow { millis } => Duration::from_millis(millis),
            Fault::Hang => HANG,
            Fault::Crash { down, .. } => Duration::from_secs(down),
            Fault::Refused(_) | Fault::Torn { .. } => Duration::ZERO,
        };
        let until = Instant::now() + lasts;
        state.last_fault = Some(state.last_fault.map_or(until, |last| last.max(until)));
        Fate::Meets(fault)
    }

    fn lag_of(&self, path: &str) -> Duration {
        let mut state = self.state();
        let Some((until, millis)) = state.lag.filter(|(until, _)| Instant::now() < *until) else {
            return Duration::ZERO;
        };
        let mut random = Random::of_text(self.seed, path);
        *state.tally.entry("late watch event").or_default() += 1;
        state.last_fault = Some(until);
        Duration::from_millis(random.0.roll(millis))
    }
}

struct Random(random::Random);

impl Random {
    fn of_text(seed: u64, text: &str) -> Self {
        Self(random::of(seed, random::digest(0, text.as_bytes())))
    }
}

/// A fault that fits the call.
fn any(random: &mut random::Random, call: Call) -> Fault {
    let write = matches!(call, Call::Write | Call::Lease);
    match random.roll(12) {
        0 => Fault::Refused(500),
        1 => Fault::Refused(503),
        2 => Fault::Refused(429),
        3 if write => Fault::Refused(409),
        4 | 5 if write => Fault::Torn { carried_out: true },
        6 if write => Fault::Late { secs: 1 + random.roll(15) },
        7 if write => Fault::Crash { carried_out: random.chance(50), down: random.roll(40) },
        3 | 4 if call == Call::Watch => Fault::Refused(410),
        8 => Fault::Torn { carried_out: false },
        9 if random.chance(20) => Fault::Hang,
        _ => Fault::Slow { millis: 100 + random.roll(15_000) },
    }
}

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The line of one replica.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) api: Api,
    pub(crate) weather: Arc<Weather>,
    pub(crate) replica: usize,
    pub(crate) life: Lifeline,
}

fn torn() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "a fault of the simulation")
}

fn whole(code: u16, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(code).header("content-type", "application/json").body(body).unwrap()
}

fn status(code: u16) -> serde_json::Value {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": "a fault of the simulation", "metadata": {},
    })
}

fn refusal(code: u16) -> Response<Body> {
    whole(code, status(code).to_string().into())
}

/// The history that a watch asks for is gone: as the API server says it, which is not with a status line.
fn gone() -> Response<Body> {
    let event = json!({"type": "ERROR", "object": status(410)});
    whole(200, format!("{event}\n").into())
}

/// Whether a fault that is armed for `armed` may meet this call.
fn is_meant(armed: Call, call: Call, path: &str) -> bool {
    let workload = || {
        let plurals = ["/deployments/", "/daemonsets/", "/statefulsets/"];
        call == Call::Write && plurals.iter().any(|plural| path.contains(plural))
    };
    match armed {
        Call::Primary => workload() && path.contains("-primary"),
        Call::Target => workload() && !path.contains("-primary"),
        Call::Get | Call::List | Call::Watch | Call::Write | Call::Lease => armed == call,
    }
}

fn kind_of(request: &Request<kube::client::Body>) -> Call {
    if *request.method() != Method::GET {
        let lease = request.uri().path().contains("/leases");
        return if lease { Call::Lease } else { Call::Write };
    }
    let query = request.uri().query().unwrap_or_default();
    let path = request.uri().path().trim_start_matches('/');
    // What names a group and a version, and then [namespaces, namespace] plural [name].
    let prefix = if path.starts_with("api/") { 2 } else { 3 };
    let list = (path.split('/').count() - prefix) % 2 == 1;
    match (query.contains("watch=true"), list) {
        (true, _) => Call::Watch,
        (false, true) => Call::List,
        (false, false) => Call::Get,
    }
}

impl Line {
    /// Carries a call out and notes who made what came of it.
    async fn pass(&self, request: Request<kube::client::Body>, call: Call) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let asked = request.uri().to_string();
        let before = self.api.store().version();
        let response = self.api.handle(request).await;
        self.weather.made(before, self.api.store().version(), By::Operator);
        if call == Call::Watch {
            return self.watched(&path, response);
        }
        let (parts, body) = response.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        self.weather.inspect(&path, &body);
        if call == Call::List && parts.status == 200 {
            let mut state = self.weather.state();
            if state.lists.len() < STALE_MAX || state.lists.contains_key(&asked) {
                state.lists.insert(asked, body.clone());
            }
        }
        let body = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        Response::from_parts(parts, body)
    }

    /// A watch that breaks with the weather, and lags.
    fn watched(
        &self,
        path: &str,
        response: Response<serin_apiserver::http::Body>,
    ) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let frames = BodyDataStream::new(body);
        let store = self.api.store().clone();
        let state = (frames, Arc::clone(&self.weather), path.to_owned(), self.life.clone(), false);
        let stream =
            futures::stream::unfold(state, move |(mut frames, weather, path, life, over)| {
                let store = store.clone();
                async move {
                    if over {
                        return None;
                    }
                    let next = {
                        let torn = weather.torn.notified();
                        tokio::pin!(torn);
                        torn.as_mut().enable();
                        tokio::select! {
                            biased;
                            () = &mut torn => None,
                            frame = async {
                                let frame = frames.next().await;
                                if let Some(until) = weather.deaf(store.version()) {
                                    tokio::time::sleep_until(until).await;
                                    return None;
                                }
                                let lag = weather.lag_of(&path);
                                if !lag.is_zero() {
                                    tokio::time::sleep(lag).await;
                                }
                                Some(frame)
                            } => frame,
                        }
                    };
                    life.or_never().await;
                    match next {
                        None => Some((Err(torn()), (frames, weather, path, life, true))),
                        Some(None) => None,
                        Some(Some(frame)) => {
                            if let Ok(sent) = &frame {
                                weather.inspect(&path, sent);
                            }
                            let frame = frame.map(Frame::data).map_err(|never| match never {});
                            Some((frame, (frames, weather, path, life, false)))
                        }
                    }
                }
            });
        Response::from_parts(parts, StreamBody::new(stream).boxed_unsync())
    }

    /// Whether this watch goes on from something that was forgotten.
    fn expired(&self, request: &Request<kube::client::Body>) -> bool {
        let query = request.uri().query().unwrap_or_default();
        let from = query.split('&').find_map(|part| part.strip_prefix("resourceVersion="));
        let from = from.and_then(|version| version.parse::<u64>().ok()).unwrap_or(u64::MAX);
        from < self.weather.state().forgotten
    }

    fn crash(&self, down: u64, at: u64) {
        self.life.cut();
        // Nobody hears it when the life is over.
        let _ = self.weather.crashes.send(Crash { replica: self.replica, down, at });
    }

    async fn meet(
        self,
        request: Request<kube::client::Body>,
        call: Call,
        fault: Fault,
    ) -> Result<Response<Body>, io::Error> {
        match fault {
            Fault::Refused(410) => Ok(gone()),
            Fault::Refused(code) => Ok(refusal(code)),
            Fault::Torn { carried_out } => {
                if carried_out {
                    self.pass(request, call).await;
                }
                Err(torn())
            }
            Fault::Late { secs } => {
                let line = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(secs)).await;
                    line.pass(request, call).await;
                });
                Err(torn())
            }
            Fault::Slow { millis } => {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                self.life.or_never().await;
                Ok(self.pass(request, call).await)
            }
            Fault::Hang => {
                tokio::time::sleep(HANG).await;
                Err(torn())
            }
            Fault::Crash { carried_out, down } => {
                let write = format!("{} {} {carried_out}", request.method(), request.uri().path());
                let at = random::digest(0, write.as_bytes());
                if carried_out {
                    self.pass(request, call).await;
                }
                self.crash(down, at);
                std::future::pending().await
            }
        }
    }
}

impl Service<Request<kube::client::Body>> for Line {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<kube::client::Body>) -> Self::Future {
        let line = self.clone();
        Box::pin(async move {
            line.life.or_never().await;
            let call = kind_of(&request);
            if call == Call::Watch && line.expired(&request) {
                return Ok(gone());
            }
            let path = request.uri().path().to_owned();
            let answer = match line.weather.fate(call, &path, &request.uri().to_string()) {
                Fate::Well => Ok(line.pass(request, call).await),
                Fate::Stale(before) => Ok(whole(200, before)),
                Fate::Meets(fault) => line.clone().meet(request, call, fault).await,
            };
            line.life.or_never().await;
            answer
        })
    }
}
