//! The laws, as somebody sees them who has nothing but the stream of changes and the questions that were asked. Shares no
//! code with what it judges: it reads documents as `kubectl` would print them.
//!
//! Every change is judged by the state of its own moment, which is rebuilt from the changes themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::external::{Asked, Question};
use crate::faults::By;
use crate::manifests::{self, NAMESPACE};
use crate::oracle::Oracle;
use crate::other_owners::Neighbourhood;
use crate::random;
use crate::routes::{HTTP_ROUTES, TRAEFIK_SERVICES, is_route};
use crate::world::{
    AUTOSCALERS, CANARIES, DAEMON_SETS, DEPLOYMENTS, EVENTS, SERVICES, SLICES, World, image_of,
};

/// Kinds whose changes are judged.
const WATCHED: [(&str, &str); 11] = [
    TRAEFIK_SERVICES,
    HTTP_ROUTES,
    CANARIES,
    SLICES,
    DAEMON_SETS,
    DEPLOYMENTS,
    SERVICES,
    AUTOSCALERS,
    EVENTS,
    ("", "configmaps"),
    ("", "secrets"),
];
/// Events that one canary may cause in ten minutes; the liveliest release has a few dozen.
const EVENTS_MAX: usize = 150;
const EVENTS_WITHIN: Duration = Duration::from_secs(600);
/// Writes of the operator to all canaries within one instant; the liveliest plan has a dozen.
const WRITES_MAX: u32 = 1_000;
/// Objects in the operator's cache that one canary accounts for.
const HELD_MAX: usize = 40;

/// A law that was broken, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Short and without numbers: the same bug has the same law in every life.
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

/// Follows a world.
pub(crate) struct Watcher {
    began: Instant,
    seen: u64,
    pub(crate) oracles: Vec<Oracle>,
    pub(crate) broken: Option<Broken>,
    pub(crate) history: Vec<String>,
    pub(crate) digest: u64,
    /// Ready endpoints and the Service they are of, by slice.
    slices: BTreeMap<String, (String, usize)>,
    /// Since when a Service has as many ready endpoints as now.
    ready: BTreeMap<String, (usize, Instant)>,
    events: BTreeMap<String, Vec<Instant>>,
    states: BTreeSet<u64>,
    last_change: Instant,
    neighbourhood: Neighbourhood,
    /// Writes of the operator in this instant.
    writes: (Instant, u32),
}

/// What a judge may know besides the documents.
#[derive(Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) by: By,
    /// No fault lately: what was written is known.
    pub(crate) clear: bool,
}

impl Watcher {
    pub(crate) fn start(world: &World) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            seen: 0,
            oracles: world
                .shapes
                .iter()
                .enumerate()
                .map(|(n, shape)| Oracle::new(n, shape))
                .collect(),
            broken: None,
            history: Vec::new(),
            digest: 0,
            slices: BTreeMap::new(),
            ready: BTreeMap::new(),
            events: BTreeMap::new(),
            states: BTreeSet::new(),
            last_change: now,
            neighbourhood: Neighbourhood::default(),
            writes: (now, 0),
        }
    }

    pub(crate) fn say(&mut self, text: &str) {
        let millis = self.began.elapsed().as_millis();
        self.history.push(format!("{:>9}.{:03}  {text}", millis / 1000, millis % 1000));
        self.digest = random::digest(self.digest, text.as_bytes());
        self.digest = random::digest(self.digest, &millis.to_le_bytes());
    }

    pub(crate) fn fail(&mut self, law: &'static str, what: String) {
        self.say(&format!("BROKEN {law}: {what}"));
        self.broken.get_or_insert(Broken { law, what });
    }

    pub(crate) fn states(&self) -> &BTreeSet<u64> {
        &self.states
    }

    /// How long nothing has changed.
    pub(crate) fn still(&self) -> Duration {
        self.last_change.elapsed()
    }

    /// Everything that happened since the last look, in order.
    pub(crate) fn look(&mut self, world: &World) {
        let mut changes = Vec::new();
        for id in WATCHED {
            let resource = serin_apiserver::registry::ResourceId::new(id.0, id.1);
            let since = self.seen.max(world.first);
            let (new, _) = world.store.changes_since(&resource, since).unwrap();
            changes.extend(new.into_iter().map(|change| (change.version, id, change)));
        }
        changes.sort_by_key(|(version, ..)| *version);
        let clear = world.weather.since_fault().is_none_or(|since| since > Duration::from_secs(60));
        let now = Instant::now();
        let seen = clear && world.external.counts_are_told();
        let lingering: Vec<Broken> =
            self.oracles.iter_mut().filter_map(|oracle| oracle.lingers(seen, now)).collect();
        self.note(lingering);
        let hidden = clear && world.external.counts_are_hidden();
        let unseen: Vec<Broken> =
            self.oracles.iter_mut().filter_map(|oracle| oracle.goes_unseen(hidden, now)).collect();
        self.note(unseen);
        let mut asked = world.external.take_asked().into_iter().peekable();
        for (version, id, change) in changes {
            // A question may follow in the very instant of the change that it is about.
            while let Some(asked) = asked.next_if(|asked| asked.version < version) {
                self.asked(&asked, clear);
            }
            self.seen = version;
            let by = world.weather.maker(version);
            self.count(by);
            let moment = Moment { now: Instant::now(), by, clear };
            self.change(id, change.old.as_ref(), &change.new, change.deleted, moment);
        }
        for asked in asked {
            self.asked(&asked, clear);
        }
        let told: Vec<Broken> = self.oracles.iter().filter_map(Oracle::told).collect();
        self.note(told);
        world.weather.settled(self.seen);
        if let Some(path) = world.weather.take_foreign() {
            self.fail("law 8: what no canary refers to costs nothing", format!("read by {path}"));
        }
        let held = world.held();
        if held > HELD_MAX * self.oracles.len() + 10 {
            self.fail("caches are bounded", format!("{held} objects are held"));
        }
    }

    /// Who writes for ever within one instant would do so in real time as fast as the API answers.
    fn count(&mut self, by: By) {
        let now = Instant::now();
        if self.writes.0 != now {
            self.writes = (now, 0);
        }
        self.writes.1 += u32::from(by == By::Operator);
        if self.writes.1 == WRITES_MAX {
            self.fail("no storm of writes", format!("{WRITES_MAX} writes within one instant"));
        }
    }

    fn asked(&mut self, asked: &Asked, clear: bool) {
        let Some(oracle) = self.oracles.get_mut(asked.canary) else { return };
        let verdict = if asked.passed { "yes" } else { "no" };
        let text = match &asked.what {
            Question::Metric(_) => format!("{} metric: {verdict}", oracle.name),
            Question::Hook(kind, phase) => {
                format!("{} hook {kind} ({phase}): {verdict}", oracle.name)
            }
        };
        let broken = oracle.asked(asked, clear);
        self.say(&text);
        self.note(broken);
    }

    fn note(&mut self, broken: Vec<Broken>) {
        for Broken { law, what } in broken {
            self.fail(law, what);
        }
    }

    fn change(
        &mut self,
        id: (&str, &str),
        old: Option<&Arc<Value>>,
        new: &Arc<Value>,
        deleted: bool,
        moment: Moment,
    ) {
        let text = |pointer: &str| new.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if text("/metadata/namespace") != NAMESPACE {
            return;
        }
        let name = text("/metadata/name").to_owned();
        self.last_change = moment.now;
        if id == SLICES {
            self.neighbourhood.slice(&name, new, deleted, moment.now);
            return self.slice(&name, new, deleted, moment.now);
        }
        if id == EVENTS {
            return self.event(new, moment);
        }
        let (theirs, wrong) = self.neighbourhood.change(id, old, new, deleted, moment);
        self.note(wrong);
        let of = self.oracles.iter().position(|oracle| oracle.owns(&name));
        let Some(number) = of.filter(|_| !theirs) else { return };
        let ready: BTreeMap<String, (usize, Instant)> = self.ready.clone();
        let oracle = &mut self.oracles[number];
        let before = oracle.led();
        let (line, broken) = match id {
            CANARIES => oracle.canary(old, new, deleted, moment, &ready),
            TRAEFIK_SERVICES | HTTP_ROUTES if is_route(&name) => {
                oracle.route(new, deleted, moment, &ready)
            }
            DAEMON_SETS | DEPLOYMENTS => oracle.deployment(&name, old, new, deleted, moment),
            SERVICES => oracle.service(&name, new, deleted, moment, &ready),
            _ => oracle.others(id, &name, old, new, moment),
        };
        let (canary, after) = (oracle.name.clone(), oracle.led());
        self.states.insert(oracle.state());
        let ends: &[&str] = match (after.0 > before.0, after.1 && !before.1) {
            (true, _) => &["primary", "canary"],
            (false, true) => &["primary"],
            (false, false) => &[],
        };
        self.note(self.neighbourhood.moves(&canary, ends, moment).into_iter().collect());
        if let Some(line) = line {
            let who = match moment.by {
                By::Operator => "serin",
                By::User => "user",
                By::Foe => "foe",
                By::Controllers => "cluster",
            };
            self.say(&format!("{who:<7} {line}"));
        }
        self.note(broken);
    }

    fn slice(&mut self, name: &str, slice: &Value, deleted: bool, now: Instant) {
        let of = slice["metadata"]["labels"]["kubernetes.io/service-name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = endpoints.iter().filter(|one| one["conditions"]["ready"] == true).count();
        self.slices.insert(name.to_owned(), (of.clone(), if deleted { 0 } else { ready }));
        let total: usize =
            self.slices.values().filter(|(service, _)| *service == of).map(|(_, n)| n).sum();
        let known = self.ready.entry(of.clone()).or_insert((usize::MAX, now));
        if known.0 != total {
            *known = (total, now);
            self.say(&format!("cluster endpoints of {of}: {total}"));
        }
    }

    fn event(&mut self, event: &Value, moment: Moment) {
        if moment.by != By::Operator {
            return;
        }
        let of = event["involvedObject"]["name"].as_str().unwrap_or_default().to_owned();
        let times = self.events.entry(of.clone()).or_default();
        times.retain(|time| moment.now.duration_since(*time) < EVENTS_WITHIN);
        times.push(moment.now);
        if times.len() > EVENTS_MAX {
            let count = times.len();
            self.fail("no storm of Events", format!("{count} Events on {of} within ten minutes"));
        }
    }

    /// After a while without faults, what is routed is what is stated.
    pub(crate) fn agreed(&mut self, world: &World) {
        let calm = world.weather.since_fault().is_none_or(|since| since > Duration::from_secs(150));
        if !calm || !world.all_up() || self.still() < Duration::from_secs(5) {
            return;
        }
        let mut broken: Vec<Broken> = self.oracles.iter().filter_map(Oracle::disagrees).collect();
        broken.extend(self.lag_behind(world));
        self.note(broken);
    }

    /// Statuses at rest that say what is not so.
    fn lag_behind(&self, world: &World) -> Vec<Broken> {
        let lags = |oracle: &Oracle| {
            let object = world.get(CANARIES, &oracle.name)?;
            let blocked = self.neighbourhood.in_the_way(&oracle.name, oracle.shape());
            let serves = self.ready.get(&format!("{}-primary", oracle.name));
            let serves = serves.is_some_and(|(count, _)| *count > 0 && *count != usize::MAX);
            oracle.lags_behind(&object["status"], blocked.as_deref(), serves)
        };
        self.oracles.iter().filter_map(lags).collect()
    }

    /// What must be so when the faults are long over.
    pub(crate) fn end(&mut self, world: &World) {
        let broken: Vec<Broken> = self
            .oracles
            .iter()
            .flat_map(|oracle| {
                let name = oracle.name.clone();
                let workloads = manifests::workloads(oracle.shape.target);
                let image = |name: &str| {
                    world.get(workloads, name).map(|object| image_of(&object).to_owned())
                };
                oracle.end(image(&name), image(&format!("{name}-primary")))
            })
            .chain(self.lag_behind(world))
            .collect();
        self.note(broken);
    }
}
