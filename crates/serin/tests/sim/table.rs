//! What was simulated: counted, printed, and kept in a file between one soak and the next.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::run::Outcome;

/// States that are told apart; from there on there are "at least" so many.
const STATES_MAX: usize = 1_000_000;
/// Broken lives that a file remembers.
const BROKEN_MAX: usize = 100;

/// What was simulated.
#[derive(Default)]
pub(crate) struct Table {
    /// All seeds below were lived.
    pub(crate) next: u64,
    lives: u64,
    releases: u64,
    writes: u64,
    virtual_time: Duration,
    took: Duration,
    states: BTreeSet<u64>,
    faults: BTreeMap<String, u64>,
    broken: BTreeSet<u64>,
    /// Programs that lived them, by their hash.
    builds: BTreeSet<u64>,
    /// Lengths of these lives, as `SERIN_LENGTH` has them.
    lengths: BTreeSet<u64>,
    /// Where the operator was killed: a state of a canary, a write, and whether before or after it.
    crash_points: BTreeSet<u64>,
}

impl Table {
    /// Nothing yet, beginning at this seed.
    pub(crate) fn from(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    /// What the file says, or nothing so far.
    pub(crate) fn load(path: &Path) -> Self {
        let Ok(text) = std::fs::read_to_string(path) else { return Self::default() };
        let kept: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{} is no table of a soak: {error}", path.display()));
        let count = |field: &str| kept[field].as_u64().unwrap_or(0);
        let set = |field: &str| {
            kept[field].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
        };
        let faults = kept["faults"].as_object().into_iter().flatten();
        Self {
            next: count("next"),
            lives: count("lives"),
            releases: count("releases"),
            writes: count("writes"),
            virtual_time: Duration::from_secs(count("virtualSecs")),
            took: Duration::from_millis(count("tookMillis")),
            states: set("states"),
            faults: faults.map(|(name, n)| (name.clone(), n.as_u64().unwrap_or(0))).collect(),
            broken: set("broken"),
            builds: set("builds"),
            lengths: set("lengths"),
            crash_points: set("crashPoints"),
        }
    }

    /// Beside the file first, then in its place: a soak that is killed loses minutes at most.
    pub(crate) fn save(&self, path: &Path) {
        let text = json!({
            "next": self.next, "lives": self.lives, "releases": self.releases, "writes": self.writes,
            "virtualSecs": self.virtual_time.as_secs(),
            "tookMillis": u64::try_from(self.took.as_millis()).unwrap(),
            "states": self.states, "faults": self.faults, "broken": self.broken, "builds": self.builds,
            "lengths": self.lengths, "crashPoints": self.crash_points,
        });
        let beside = path.with_extension("new");
        std::fs::write(&beside, text.to_string()).unwrap();
        std::fs::rename(&beside, path).unwrap();
    }

    /// This program lives what comes, and lives of this length.
    pub(crate) fn built(&mut self, length: u64) {
        self.lengths.insert(length);
        let mut hasher = DefaultHasher::new();
        std::fs::read(std::env::current_exe().unwrap()).unwrap().hash(&mut hasher);
        self.builds.insert(hasher.finish());
    }

    pub(crate) fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.lives += 1;
        self.releases += outcome.releases;
        self.writes += outcome.writes;
        self.virtual_time += outcome.virtual_time;
        distinct(&mut self.states, &outcome.states);
        distinct(&mut self.crash_points, &outcome.crash_points);
        for (fault, count) in &outcome.faults {
            *self.faults.entry((*fault).to_owned()).or_default() += count;
        }
        if outcome.broken.is_some() && self.broken.len() < BROKEN_MAX {
            self.broken.insert(seed);
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.took += time;
    }

    pub(crate) fn print(&self) {
        let secs = self.took.as_secs_f64();
        let rate = |count: u64| count as f64 / secs;
        let hours = self.virtual_time.as_secs() / 3600;
        println!("| what | how many |");
        println!("|---|---|");
        println!("| lives | {} ({:.1} a second) |", self.lives, rate(self.lives));
        println!("| releases | {} ({:.1} a second) |", self.releases, rate(self.releases));
        println!("| lives that broke a law | {} {:?} |", self.broken.len(), self.broken);
        println!("| hours of cluster time | {hours} |");
        println!("| writes of the operator | {} |", self.writes);
        println!("| moves of a life | 4 to {} |", 3 + self.lengths.last().copied().unwrap_or(0));
        println!("| distinct states of a canary | {} |", many(&self.states));
        println!(
            "| distinct crash points (state of a canary, write, before or after) | {} |",
            many(&self.crash_points)
        );
        for (fault, count) in &self.faults {
            println!("| {fault} | {count} |");
        }
        if self.builds.len() > 1 {
            println!("| versions of the program | {} |", self.builds.len());
        }
    }
}

fn distinct(known: &mut BTreeSet<u64>, more: &BTreeSet<u64>) {
    for one in more {
        if known.len() < STATES_MAX {
            known.insert(*one);
        }
    }
}

fn many(known: &BTreeSet<u64>) -> String {
    let least = if known.len() < STATES_MAX { "" } else { "at least " };
    format!("{least}{}", known.len())
}
