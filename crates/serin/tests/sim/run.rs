//! Carries a plan out: one thread, a paused clock, no chance but the plan's seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::Change;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::faults::Crash;
use crate::invariants::{Broken, Watcher};
use crate::oracle::Oracle;
use crate::plan::{Act, Foe, Move, Plan, Trouble, What};
use crate::random;
use crate::switches::{Kind, Kinds};
use crate::world::World;

/// How long a world may take to come to rest once everything is well again.
const SETTLE: Duration = Duration::from_secs(2400);
/// A world in which so long nothing has changed is at rest: longer than the time between two looks.
const STILL: Duration = Duration::from_secs(400);
/// For how long nothing may be written then.
const REST: Duration = Duration::from_secs(700);

/// How long a move waits for its moment.
const AWAITED: Duration = Duration::from_secs(300);

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Go on after the first broken law.
    pub(crate) to_the_end: bool,
    /// What may go wrong.
    pub(crate) faults: Kinds,
}

impl Default for Options {
    fn default() -> Self {
        Self { to_the_end: false, faults: Kinds::wanted() }
    }
}

/// What came of a plan.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    /// The timeline, one line for each thing that happened.
    pub(crate) history: Vec<String>,
    /// Of everything that happened: equal for two runs of one plan.
    pub(crate) digest: u64,
    /// Writes that the operator tried: points at which it can be crashed.
    pub(crate) writes: u64,
    pub(crate) releases: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) virtual_time: Duration,
    /// Phases of the canaries in the end; empty for one that is gone.
    pub(crate) ends: Vec<String>,
    /// States of canaries that were seen.
    pub(crate) states: BTreeSet<u64>,
    /// States in which the operator was killed, with the write it was killed at and the side of it.
    pub(crate) crash_points: BTreeSet<u64>,
}

/// One life. Everything that is not in the plan is the same in every run.
pub(crate) fn run(plan: &Plan, options: &Options) -> Outcome {
    // Jitter in the clients' back-offs.
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life(plan, options))
}

struct Run<'a> {
    world: World,
    watcher: Watcher,
    crashes: mpsc::UnboundedReceiver<Crash>,
    /// Replicas that come back.
    back: Vec<(Instant, usize)>,
    /// Hands that come again.
    foes: Vec<(Instant, usize, Foe)>,
    crash_points: BTreeSet<u64>,
    options: &'a Options,
}

async fn life(plan: &Plan, options: &Options) -> Outcome {
    let began = Instant::now();
    let (world, crashes) = World::new(plan);
    world.weather.permit(options.faults);
    let watcher = Watcher::start(&world);
    let (back, foes, crash_points) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut run = Run { world, watcher, crashes, back, foes, crash_points, options };
    for Move { after, what } in &plan.moves {
        run.pass(*after, Run::over).await;
        if run.over() {
            break;
        }
        if !options.faults.allow(what) {
            continue;
        }
        if let What::Await(canary, sight) = *what {
            let there =
                |run: &Run<'_>| run.watcher.oracles.get(canary).is_none_or(|b| b.is_at(sight));
            run.pass(AWAITED, |run| run.over() || there(run)).await;
            continue;
        }
        run.watcher.agreed(&run.world);
        run.watcher.say(&format!("        {what:?}"));
        run.make(what);
    }
    if !run.over() {
        run.calm().await;
    }
    let Run { world, watcher, crash_points, .. } = run;
    let digest = watcher.digest ^ world.weather.digest();
    Outcome {
        digest,
        writes: world.weather.writes(),
        releases: watcher.oracles.iter().map(|oracle| oracle.releases).sum(),
        faults: world.weather.tally(),
        virtual_time: began.elapsed(),
        ends: (0..plan.canaries.len()).map(|canary| world.phase(canary)).collect(),
        states: watcher.states().clone(),
        crash_points,
        broken: watcher.broken,
        history: watcher.history,
    }
}

impl Run<'_> {
    fn over(&self) -> bool {
        self.watcher.broken.is_some() && !self.options.to_the_end
    }

    /// Lets time pass, judging every change, until it is `enough`.
    async fn pass(&mut self, time: Duration, enough: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + time;
        let mut changed = self.world.store.changed();
        self.watcher.look(&self.world);
        while !enough(self) {
            let back = self.back.iter().map(|(at, _)| *at).min();
            let foe = self.foes.iter().map(|(at, ..)| *at).min();
            let next = [back, foe].into_iter().flatten().chain([deadline]).min();
            let next = next.unwrap_or(deadline).min(deadline);
            tokio::select! {
                biased;
                crash = self.crashes.recv() => {
                    if let Some(crash) = crash {
                        self.watcher.look(&self.world);
                        self.crash(crash);
                    }
                }
                _ = changed.changed() => self.watcher.look(&self.world),
                () = tokio::time::sleep_until(next) => {
                    self.watcher.look(&self.world);
                    if next == deadline {
                        return;
                    }
                    self.come_back();
                }
            }
        }
    }

    fn crash(&mut self, Crash { replica, down, at }: Crash) {
        let state = |oracle: &Oracle| random::digest(at, &oracle.state().to_le_bytes());
        self.crash_points.extend(self.watcher.oracles.iter().map(state));
        self.watcher.say(&format!("        replica {replica} is killed"));
        self.world.weather.count("crashes of the operator");
        self.world.kill(replica);
        self.back.push((Instant::now() + Duration::from_secs(down), replica));
    }

    /// What is due: replicas start again, hands come again.
    fn come_back(&mut self) {
        let now = Instant::now();
        let due: Vec<usize> =
            self.back.iter().filter(|(at, _)| *at <= now).map(|(_, replica)| *replica).collect();
        self.back.retain(|(at, _)| *at > now);
        for replica in due {
            self.watcher.say(&format!("        replica {replica} starts again"));
            self.world.start(replica);
        }
        let due: Vec<(usize, Foe)> =
            self.foes.iter().filter(|(at, ..)| *at <= now).map(|(_, n, foe)| (*n, *foe)).collect();
        self.foes.retain(|(at, ..)| *at > now);
        for (canary, foe) in due {
            self.hurt(canary, foe);
        }
    }

    fn hurt(&mut self, canary: usize, foe: Foe) {
        self.world.weather.count("hands of others");
        self.world.hurt(canary, &foe);
        if let Foe::Fight { share, times, every } = foe
            && times > 1
        {
            let again = Foe::Fight { share, times: times - 1, every };
            self.foes.push((Instant::now() + every, canary, again));
        }
    }

    fn make(&mut self, what: &What) {
        match what {
            What::User(canary, Act::WasFlagger) => self.take_over(*canary),
            What::User(canary, act) => self.world.act(*canary, act),
            What::Foe(canary, foe) => self.hurt(*canary, *foe),
            What::Trouble(trouble) => self.trouble(*trouble),
            What::Await(..) => {}
        }
    }

    /// Whoever was at work until now was Flagger, unless it never had such a release.
    fn take_over(&mut self, canary: usize) {
        let name = crate::manifests::name(canary);
        let Some(object) = self.world.get(crate::world::CANARIES, &name) else { return };
        let soaks = object.pointer("/status/soak").is_some();
        let begun = object.pointer("/status/lastAppliedSpec").is_some();
        let quiet = !self.options.faults.has(Kind::Crash);
        if quiet || soaks || !begun || object.pointer("/metadata/deletionTimestamp").is_some() {
            return;
        }
        for replica in 0..self.world.replicas() {
            self.crash(Crash { replica, down: 5, at: 0 });
        }
        self.world.weather.count("takeovers from Flagger");
        self.world.act(canary, &Act::WasFlagger);
    }

    fn trouble(&mut self, trouble: Trouble) {
        let at = |secs: u64| Instant::now() + Duration::from_secs(secs);
        let weather = &self.world.weather;
        let version = self.world.store.version();
        match trouble {
            Trouble::Next { call, skip, fault } => weather.arm(call, skip, fault),
            Trouble::Storm { secs, percent } => weather.storm(at(secs), percent),
            Trouble::ApiRestart { secs } => weather.down(at(secs), version),
            Trouble::Tear => weather.tear(),
            Trouble::Compact => weather.compact(version),
            Trouble::Deaf { secs } => weather.deafen(at(secs)),
            Trouble::Lag { secs, millis } => weather.lag(at(secs), millis),
            Trouble::StaleLists { secs } => weather.stale(at(secs)),
            Trouble::SecretsUnreadable { secs } => weather.hide_secrets(at(secs)),
            Trouble::Metrics { secs, how } => {
                weather.count("outage of the metric server");
                self.world.external.metrics_fail(at(secs), how);
            }
            Trouble::Hooks { secs, how } => {
                weather.count("outage of the hooks");
                self.world.external.hooks_fail(at(secs), how);
            }
            Trouble::ClockJump { replica, secs } => {
                weather.count("clock jump");
                self.world.jump(replica, secs);
            }
            Trouble::Crash { replica, down } => self.crash(Crash { replica, down, at: 0 }),
        }
    }

    /// Everything is well from now on: the world must come to rest, and be as it should.
    async fn calm(&mut self) {
        self.back.clear();
        self.foes.clear();
        self.world.calm();
        self.world.start_all();
        self.watcher.look(&self.world);
        self.watcher.say("        all is well from here on");
        // A world that was still before has not looked yet at how well everything is now.
        let began = Instant::now();
        self.pass(SETTLE, |run| run.over() || (run.settled() && began.elapsed() > STILL)).await;
        let written = self.written();
        if !self.over() {
            self.pass(REST, Run::over).await;
            let after = self.written();
            let moved = after.iter().filter(|(kind, version)| written.get(*kind) != Some(*version));
            let moved: Vec<&str> = moved.map(|(kind, _)| kind.as_str()).collect();
            if !moved.is_empty() && !self.over() {
                self.watcher
                    .fail("law 9: everything comes to rest", format!("still written: {moved:?}"));
            }
        }
        if !self.over() {
            self.watcher.end(&self.world);
        }
    }

    /// Versions of everything but Leases, which are renewed for ever, and Pods with their Events, which may crash for
    /// ever.
    fn written(&self) -> BTreeMap<String, u64> {
        let restless = [ResourceId::new("coordination.k8s.io", "leases"), ResourceId::core("pods")];
        let last = |id: &ResourceId| {
            let (changes, _) = self.world.store.changes_since(id, self.world.first).ok()?;
            let of_pods = |change: &Change| change.new["involvedObject"]["kind"] == "Pod";
            changes.iter().rfind(|change| !of_pods(change)).map(|change| change.version)
        };
        let all = self.world.store.resources();
        all.iter()
            .filter(|resource| !restless.contains(&resource.id))
            .filter_map(|resource| Some((resource.id.plural.clone(), last(&resource.id)?)))
            .collect()
    }

    /// Nothing has happened for so long that nothing more is to be expected.
    fn settled(&self) -> bool {
        self.watcher.still() > STILL
    }
}

/// What a person needs to find the reason: the law, the moves, the timeline.
pub(crate) fn report(plan: &Plan, outcome: &Outcome) -> String {
    let broken = outcome.broken.as_ref().map_or("nothing is broken", |broken| broken.law);
    let what = outcome.broken.as_ref().map_or("", |broken| &broken.what);
    let moves: Vec<String> = plan
        .moves
        .iter()
        .map(|Move { after, what }| format!("  after {after:?}: {what:?}"))
        .collect();
    let shapes: Vec<String> = plan.canaries.iter().map(|shape| format!("  {shape:?}")).collect();
    format!(
        "seed {}: {broken}\n  {what}\n\n{} replicas, canaries:\n{}\n\nmoves:\n{}\n\ntimeline (seconds):\n{}\n",
        plan.seed,
        plan.replicas,
        shapes.join("\n"),
        moves.join("\n"),
        outcome.history.join("\n")
    )
}

/// A move of a user, for plans written by hand.
pub(crate) fn user(after: u64, canary: usize, act: Act) -> Move {
    Move { after: Duration::from_secs(after), what: What::User(canary, act) }
}
