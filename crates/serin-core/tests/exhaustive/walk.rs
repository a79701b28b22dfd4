//! Walks through the small world that no number of faults bounds: seeded, replayable, as many as one likes.
//!
//! What is walked is the decision core under a model of the cluster: the operator's own `step`, `ApplyOrder` and `fence`, and
//! the laws of the search. The shell, the routers and the guard's statistics are not in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::key::key;
use crate::laws::{self, Broken};
use crate::moves::{Event, Move, State, Verdict};
use crate::search::tells;
use crate::world::{Fate, Kind, World, template};
use serin_core::model::{Canary, Phase};

/// Moves of one walk before everything is left alone.
const MOVES: usize = 400;
/// Calm moves within which the world must have come to rest.
const REST_MAX: usize = 400;

/// Chance from a seed (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        let index = self.roll(of.len() as u64);
        of.get(usize::try_from(index).unwrap())
    }
}

/// How many different states there were, by HyperLogLog: 16,384 registers, a standard error of 0.8 %.
#[derive(Clone)]
pub(super) struct Distinct(Vec<u8>);

const REGISTER_BITS: u32 = 14;

impl Default for Distinct {
    fn default() -> Self {
        Self(vec![0; 1 << REGISTER_BITS])
    }
}

impl Distinct {
    fn add(&mut self, hash: u64) {
        let register = usize::try_from(hash >> (64 - REGISTER_BITS)).unwrap();
        let zeros = (hash << REGISTER_BITS).leading_zeros().min(64 - REGISTER_BITS);
        let rank = u8::try_from(zeros + 1).unwrap();
        let known = &mut self.0[register];
        *known = rank.max(*known);
    }

    fn join(&mut self, other: &Self) {
        for (known, rank) in self.0.iter_mut().zip(&other.0) {
            *known = (*known).max(*rank);
        }
    }

    pub(super) fn estimate(&self) -> f64 {
        let count = self.0.len() as f64;
        let sum: f64 = self.0.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / count) * count * count / sum;
        let empty = self.0.iter().filter(|rank| **rank == 0).count() as f64;
        if raw <= 2.5 * count && empty > 0.0 { count * (count / empty).ln() } else { raw }
    }
}

/// What was walked.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) walks: u64,
    /// Analyses that began, those that began in the middle of another included.
    pub(super) releases: u64,
    pub(super) promoted: u64,
    pub(super) rolled_back: u64,
    pub(super) moves: u64,
    pub(super) virtual_secs: i64,
    pub(super) users: BTreeMap<&'static str, u64>,
    pub(super) faults: BTreeMap<&'static str, u64>,
    pub(super) states: Distinct,
}

impl Tally {
    pub(super) fn join(&mut self, other: &Self) {
        self.walks += other.walks;
        self.releases += other.releases;
        self.promoted += other.promoted;
        self.rolled_back += other.rolled_back;
        self.moves += other.moves;
        self.virtual_secs += other.virtual_secs;
        for (mine, theirs) in [(&mut self.users, &other.users), (&mut self.faults, &other.faults)] {
            for (name, count) in theirs {
                *mine.entry(name).or_default() += count;
            }
        }
        self.states.join(&other.states);
    }

    fn event(&mut self, before: &State, event: Event) {
        self.moves += 1;
        if let Move::Push(_) = event.what {
            *self.users.entry("versions brought or taken back").or_default() += 1;
        } else if event.what == Move::GuardCondemns {
            *self.users.entry("condemnations by the guard").or_default() += 1;
        }
        if let Some(name) = fault(before, event.what) {
            *self.faults.entry(name).or_default() += 1;
        }
        if let Some(kind) = event.unseen {
            *self.faults.entry(silence(kind)).or_default() += 1;
        }
    }

    fn change(&mut self, before: &State, after: &State) {
        let (old, new) = (&before.world.truth.status, &after.world.truth.status);
        let entered = old.phase != new.phase;
        let analysed = matches!(new.phase, Some(Phase::Progressing | Phase::Waiting));
        let begins = entered && !old.phase.is_some_and(Phase::is_releasing);
        let another = old.last_applied_spec != new.last_applied_spec;
        self.releases += u64::from(analysed && (begins || another));
        self.promoted += u64::from(entered && new.phase == Some(Phase::Succeeded));
        self.rolled_back += u64::from(entered && new.phase == Some(Phase::Failed));
        #[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
        self.states.add(key(after) as u64);
    }
}

fn fault(before: &State, what: Move) -> Option<&'static str> {
    let name = match what {
        Move::Write(Fate::Refused) => "writes that fail",
        Move::Write(Fate::AnswerLost) => "writes whose answer is lost",
        Move::Crash if before.world.flight.is_some() => "crashes in the middle of a plan",
        Move::Crash => "crashes between plans",
        Move::StaleList(kind) => stale(kind),
        Move::Takeover => "leases lost in the middle of a plan",
        Move::ZombieWrites => "writes of who lost the lease",
        Move::TargetDies => "all canary pods die",
        Move::PrimaryDies => "all primary pods die",
        Move::EditSpec => "edits of the Canary",
        Move::EditRoute => "somebody else sets the share",
        Move::DeleteRoute => "somebody deletes the route",
        Move::ScaleAway => "somebody scales the canary to zero",
        Move::Tick { answer: Verdict::Away, .. } => "metric server out of reach",
        Move::Tick { answer: Verdict::NoData, .. } => "no data",
        Move::Tick { answer: Verdict::Pass | Verdict::Fail, .. }
        | Move::Write(Fate::Done)
        | Move::ZombieEnds
        | Move::CatchUp
        | Move::TargetRolls
        | Move::PrimaryRolls
        | Move::GuardLooks
        | Move::GuardCondemns
        | Move::Push(_) => return None,
    };
    Some(name)
}

/// Whether the operator may start with a list of the past, which the contract of the API excludes.
fn old_lists() -> bool {
    std::env::var_os("SERIN_OLD_LISTS").is_none_or(|value| value != "no")
}

fn stale(kind: Kind) -> &'static str {
    match kind {
        Kind::Canary => "restarts with an old list of Canaries",
        Kind::Target => "restarts with an old list of the target",
        Kind::Primary => "restarts with an old list of the primary",
        Kind::Endpoints => "restarts with an old list of endpoints",
        Kind::Route => "restarts with an old list of routes",
    }
}

fn silence(kind: Kind) -> &'static str {
    match kind {
        Kind::Canary => "silent watch of Canaries",
        Kind::Target => "silent watch of the target",
        Kind::Primary => "silent watch of the primary",
        Kind::Endpoints => "silent watch of endpoints",
        Kind::Route => "silent watch of routes",
    }
}

/// A Canary and where its walks begin.
pub(super) struct Policy {
    name: &'static str,
    canary: Canary,
    roots: Vec<State>,
}

/// Those that the small world knows.
pub(super) fn policies() -> Vec<Policy> {
    let hook = |kind: &str| json!({"name": kind, "type": kind, "url": "http://hook.test/"});
    let kinds = [
        "confirm-rollout",
        "pre-rollout",
        "rollout",
        "confirm-traffic-increase",
        "confirm-promotion",
        "post-rollout",
        "rollback",
    ];
    let hooks: Vec<serde_json::Value> = kinds.into_iter().map(hook).collect();
    let all = [
        ("three steps", json!({})),
        ("three steps, back in steps of 20", json!({"stepWeightPromotion": 20})),
        ("three steps with every hook", json!({"webhooks": hooks})),
        (
            "with every hook, back in steps of 20",
            json!({"webhooks": hooks, "stepWeightPromotion": 20}),
        ),
    ];
    all.into_iter()
        .map(|(name, more)| {
            let canary = template(more);
            let state = |world| State::new(world, 2, 1);
            let begin = |world| match old_lists() {
                true => tidy(state(world).with_stale_lists()),
                false => tidy(state(world)),
            };
            let rested = tidy(begin(World::plain()).rested(&canary));
            let roots =
                vec![rested.clone(), rested, begin(World::plain()), begin(World::of_flagger())];
            Policy { name, canary, roots }
        })
        .collect()
}

/// Nothing is ever used up, and the guard forgets whom it has condemned when another is analysed.
fn tidy(mut state: State) -> State {
    (state.faults_left, state.pushes_left, state.condemnations_left) = (2, 1, 1);
    let world = &mut state.world;
    if world.condemned != Some(laws::known(&world.truth.status.last_applied_spec)) {
        world.condemned = None;
    }
    state
}

/// What a move leaves behind. Whoever lost the lease has heard of it by the time that its successor has carried a plan out.
fn after(event: Event, state: State) -> State {
    let mut state = tidy(state);
    let acts = matches!(event.what, Move::Tick { .. } | Move::Write(_));
    if acts && state.world.flight.is_none() {
        state.world.zombie = None;
    }
    state
}

/// Everything that may happen now, what the user brings included.
///
/// As in the search, a lease is lost in the middle of a plan that nothing else disturbs; see docs/reliability.md.
fn offers(state: &State) -> Vec<Event> {
    let mut events = state.moves();
    events.retain(|event| !matches!(event.what, Move::Push(_)));
    let world = &state.world;
    if world.zombie.is_some() {
        let quiet = |what| matches!(what, Move::Tick { .. }) || fault(state, what).is_none();
        let late = |what| what == Move::ZombieWrites;
        let condemns = |what| what == Move::GuardCondemns;
        events.retain(|event| {
            let Event { what, unseen } = *event;
            unseen.is_none() && (quiet(what) || late(what)) && !condemns(what)
        });
        return events;
    }
    if world.silent.is_some() || world.flight.as_ref().is_some_and(|flight| flight.disturbed) {
        events.retain(|event| event.what != Move::Takeover);
    }
    for revision in ["s1:v1", "s1:v2", "s1:v3"] {
        if state.world.truth.target.revision != revision {
            let what = Move::Push(revision);
            events.push(Event { what, unseen: None });
            if state.world.silent.is_none() {
                events.push(Event { what, unseen: Some(Kind::Target) });
            }
        }
    }
    events
}

/// A walk: where it began, what happened, and how it ended.
pub(super) struct Walk<'a> {
    policy: &'a Policy,
    root: &'a State,
    story: Vec<Event>,
    pub(super) broken: Option<Broken>,
}

/// How things tend to go in one walk.
struct Temper {
    dice: Dice,
    natural: u64,
    passes: u64,
    patience: u64,
}

impl Temper {
    fn of(mut dice: Dice) -> Self {
        let natural = *dice.pick(&[97, 93, 88, 75, 50]).unwrap_or(&90);
        let passes = *dice.pick(&[100, 97, 90, 60]).unwrap_or(&90);
        let patience = *dice.pick(&[5, 20, 50]).unwrap_or(&20);
        Self { dice, natural, passes, patience }
    }

    fn verdict(&mut self) -> Verdict {
        if self.dice.chance(self.passes) {
            return Verdict::Pass;
        }
        *self.dice.pick(&[Verdict::Fail, Verdict::NoData, Verdict::Away]).unwrap_or(&Verdict::Fail)
    }

    fn next(&mut self, state: &State) -> Option<Event> {
        let offers = offers(state);
        let rests = state.world.flight.is_none()
            && !state.world.truth.status.phase.is_some_and(Phase::is_releasing);
        let idle = rests && self.dice.chance(20);
        if idle || !self.dice.chance(self.natural) {
            let brings = idle || self.dice.chance(15);
            let condemns = self.dice.chance(10);
            let wanted: Vec<Event> = offers
                .iter()
                .filter(|event| {
                    if let Move::Push(_) = event.what {
                        brings
                    } else if event.what == Move::GuardCondemns {
                        condemns && !brings
                    } else {
                        !brings && !condemns && fault(state, event.what).is_some()
                    }
                })
                .copied()
                .collect();
            if let Some(event) = self.dice.pick(&wanted) {
                return Some(*event);
            }
        }
        self.natural(state, &offers)
    }

    /// What happens anyway, in whatever order.
    fn natural(&mut self, state: &State, offers: &[Event]) -> Option<Event> {
        let verdict = self.verdict();
        let patient = !self.dice.chance(self.patience);
        let natural = |what: Move| match what {
            Move::Tick { answer, .. } => answer == verdict,
            Move::CatchUp | Move::ZombieEnds => !patient,
            Move::ZombieWrites
            | Move::Write(Fate::Done)
            | Move::TargetRolls
            | Move::PrimaryRolls
            | Move::GuardLooks => true,
            Move::Write(Fate::Refused | Fate::AnswerLost)
            | Move::Crash
            | Move::StaleList(_)
            | Move::Takeover
            | Move::TargetDies
            | Move::PrimaryDies
            | Move::GuardCondemns
            | Move::Push(_)
            | Move::EditSpec
            | Move::EditRoute
            | Move::DeleteRoute
            | Move::ScaleAway => false,
        };
        let wanted: Vec<Event> = offers
            .iter()
            .filter(|event| event.unseen.is_none() && natural(event.what))
            .copied()
            .collect();
        let calm = Event { what: state.calm(), unseen: None };
        Some(self.dice.pick(&wanted).copied().unwrap_or(calm))
    }
}

/// The walk that this seed stands for.
pub(super) fn walk<'a>(policies: &'a [Policy], seed: u64, tally: &mut Tally) -> Walk<'a> {
    let mut dice = Dice::new(seed);
    let policy = dice.pick(policies).unwrap();
    let root = dice.pick(&policy.roots).unwrap();
    let mut temper = Temper::of(dice);
    let mut walk = Walk { policy, root, story: Vec::new(), broken: None };
    let mut state = root.clone();
    tally.walks += 1;
    while walk.story.len() < MOVES {
        let Some(event) = temper.next(&state) else { break };
        walk.story.push(event);
        tally.event(&state, event);
        match state.play(&policy.canary, event) {
            Ok(next) => {
                let next = after(event, next);
                tally.change(&state, &next);
                state = next;
            }
            Err(broken) => {
                walk.broken = Some(broken);
                return walk;
            }
        }
    }
    match rest(&policy.canary, state) {
        Ok(secs) => tally.virtual_secs += secs,
        Err(broken) => walk.broken = Some(broken),
    }
    walk
}

/// Left alone, the world comes to the right rest. Says when.
fn rest(canary: &Canary, mut state: State) -> Result<i64, Broken> {
    for _ in 0..REST_MAX {
        let calm = Event { what: state.calm(), unseen: None };
        let next = after(calm, state.play(canary, calm)?);
        if key(&next) == key(&state) {
            laws::at_rest(&next.world, &next.ghost)?;
            return Ok(next.world.now);
        }
        state = next;
    }
    laws::broken(9, "left alone, it does not come to rest")?;
    Ok(state.world.now)
}

impl Walk<'_> {
    /// The same walk with these events only; what cannot happen then is left out.
    fn again(&self, events: &[Event]) -> (Vec<Event>, Option<Broken>) {
        let mut state = self.root.clone();
        let mut played = Vec::new();
        for event in events {
            if !offers(&state).contains(event) {
                continue;
            }
            played.push(*event);
            match state.play(&self.policy.canary, *event) {
                Ok(next) => state = after(*event, next),
                Err(broken) => return (played, Some(broken)),
            }
        }
        let broken = rest(&self.policy.canary, state).err();
        (played, broken)
    }

    /// Takes out whatever the law is broken without.
    fn shrunk(&self) -> Vec<Event> {
        let law = self.broken.as_ref().map(|broken| broken.law);
        let mut story = self.story.clone();
        let mut piece = story.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < story.len() {
                let mut fewer = story.clone();
                fewer.drain(at..(at + piece).min(story.len()));
                let (played, broken) = self.again(&fewer);
                if broken.map(|broken| broken.law) == law && played.len() < story.len() {
                    story = played;
                } else {
                    at += piece;
                }
            }
            piece /= 2;
        }
        story
    }

    /// What a person needs: the law, and the shortest story that still breaks it.
    pub(super) fn report(&self, seed: u64) -> String {
        let story = if self.broken.is_some() { self.shrunk() } else { self.story.clone() };
        let (_, broken) = self.again(&story);
        let mut text = format!("walk {seed}, {}", self.policy.name);
        if let Some(Broken { law, what }) = &broken {
            let _ = write!(text, ", breaks law {law}: {what}");
        }
        let _ = writeln!(text, "\n{} moves instead of {}:", story.len(), self.story.len());
        let mut state = self.root.clone();
        let _ = writeln!(text, "    {}", tells(&state));
        for event in story {
            let _ = writeln!(text, "{}", event.tells());
            if let Ok(next) = state.play(&self.policy.canary, event) {
                state = after(event, next);
                let _ = writeln!(text, "    {}", tells(&state));
            }
        }
        for _ in 0..REST_MAX {
            let calm = Event { what: state.calm(), unseen: None };
            let _ = writeln!(text, "... {}", calm.tells());
            match state.play(&self.policy.canary, calm).map(|next| after(calm, next)) {
                Ok(next) if key(&next) != key(&state) => state = next,
                Ok(_) | Err(_) => break,
            }
            let _ = writeln!(text, "    {}", tells(&state));
        }
        text
    }
}
