//! From what a spec asks to the guard's questions, and what of a rollout's guard is kept in its status.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Analysis, Bad, GuardSpec, Margin, Objective};
use serin_judge::monitor::Source;
use serin_judge::{Attribution, GuardConfig, METRICS_MAX, Question, Tolerance, digest};

/// The guard of one rollout, before its first request.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    pub config: GuardConfig,
    pub sources: Vec<Source>,
    /// The bucket bounds to be read, in milliseconds, as [`Source::Slower`] numbers them.
    pub bounds: Vec<f64>,
}

/// What of a spec can be judged in this rollout: chosen once, as other questions would spend alpha again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Places of the objectives that can be measured.
    pub objectives: Vec<usize>,
    /// How many requests share one fate in each of them; empty where none do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dispersion: Vec<f64>,
    /// The bounds at which the shape of latencies is compared, in milliseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shape: Vec<f64>,
}

impl Measured {
    /// `known` is how many requests share one fate, by objective, as releases before have shown.
    pub fn new(
        spec: &GuardSpec,
        objectives: Vec<usize>,
        known: &BTreeMap<String, f64>,
        shape: Vec<f64>,
    ) -> Self {
        let names = objectives.iter().filter_map(|place| spec.objectives.get(*place));
        let all: Vec<f64> = names.map(|o| known.get(&o.name).copied().unwrap_or(1.0)).collect();
        let alone = all.iter().all(|dispersion| *dispersion <= 1.0);
        Self { objectives, dispersion: if alone { Vec::new() } else { all }, shape }
    }
}

/// What one release has shown, for the next one. What could not be seen this time is left as it was.
pub fn learn(known: &mut BTreeMap<String, f64>, seen: &BTreeMap<String, f64>) {
    for (name, dispersion) in seen {
        if *dispersion > 1.0 {
            known.insert(name.clone(), (dispersion * 100.0).round() / 100.0);
        } else {
            known.remove(name);
        }
    }
    while known.len() > METRICS_MAX {
        known.pop_first();
    }
}

/// At more bounds the shape of latencies is not compared: each takes room in the status, and time at each look.
pub const SHAPE_BOUNDS_MAX: usize = 16;

/// The bounds at which to compare the shape of latencies, of `all` that the histogram has: evenly among them, and fewer beside
/// many objectives, which take the room.
pub fn shape_bounds(spec: &GuardSpec, all: &[f64]) -> Vec<f64> {
    let others = spec.objectives.iter().filter(|objective| objective.bad != Bad::Shape).count();
    let most = SHAPE_BOUNDS_MAX.saturating_sub(others * 4 / 3).max(4);
    if all.len() <= most {
        return all.to_vec();
    }
    // From the middle of each part of the list.
    (0..most).filter_map(|i| all.get((2 * i + 1) * all.len() / (2 * most)).copied()).collect()
}

impl Design {
    /// The guard of what can be measured.
    pub fn new(spec: &GuardSpec, measured: &Measured, weight_steps: u32) -> Self {
        let Measured { objectives, dispersion, shape } = measured;
        let attribution = if spec.attributed { Attribution::Primary } else { Attribution::None };
        let (mut questions, mut sources, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        let mut slower = |millis: f64| {
            let place = bounds.iter().position(|bound| *bound == millis).unwrap_or(bounds.len());
            if place == bounds.len() {
                bounds.push(millis);
            }
            Source::Slower(place)
        };
        for place in objectives {
            let Some(objective) = spec.objectives.get(*place) else { continue };
            let Objective { name, bad, slo, margin, .. } = objective;
            let Margin { absolute, relative } = *margin;
            let tolerance = Tolerance { rho: relative, delta: absolute };
            let share = Question::Share { slo: *slo, attribution, tolerance };
            let question = match bad {
                Bad::Failed => {
                    sources.push(Source::Errors);
                    share
                }
                Bad::SlowerThan(millis) => {
                    sources.push(slower(*millis));
                    share
                }
                Bad::Shape => {
                    sources.extend(shape.iter().map(|millis| slower(*millis)));
                    let bounds = shape.iter().map(|millis| format!("{millis} ms")).collect();
                    Question::Dominance { bounds, tolerance, scale: *slo }
                }
            };
            questions.push((name.clone(), question));
        }
        let mut config =
            GuardConfig { alpha: spec.alpha, ..GuardConfig::new(questions, weight_steps.max(1)) };
        for (metric, dispersion) in config.metrics.iter_mut().zip(dispersion) {
            metric.dispersion = dispersion.max(1.0);
        }
        Self { config, sources, bounds }
    }
}

/// How often the canary's share is expected to change before the promotion.
pub fn weight_steps(analysis: &Analysis) -> u32 {
    match analysis.schedule.ladder() {
        Some(shares) => u32::try_from(shares.len()).unwrap_or(1).max(1),
        None => 1,
    }
}

/// What is kept in `status.guard` is not longer than this.
pub const MEMORY_BYTES_MAX: usize = 2000;

/// What is said of damage repeats what is damaged, which may be anything.
fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What is kept in `status.guard`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// When it was like this.
    pub time: Timestamp,
    /// The canary's share back then: another one now is a change that the guard was not told of.
    pub weight: u8,
    /// Weight changes that were expected when the rollout began.
    pub steps: u32,
    #[serde(flatten)]
    pub measured: Measured,
    /// Why it rolled back, or would have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// See [`serin_judge::monitor::Monitor::save`].
    pub watch: String,
}

/// Another way to write a memory, or to read its numbers, takes another number.
const VERSION: u8 = 2;

/// A memory as it is written: what was changed since says so.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: u8,
    #[serde(flatten)]
    memory: Memory,
    /// A digest of all the rest.
    #[serde(rename = "seal")]
    digest: String,
}

/// Why a memory cannot be gone on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("it was written by another release of Serin")]
    OtherVersion,
    #[error("it is not what was written")]
    Changed,
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl Memory {
    pub fn read(kept: &Value) -> Result<Self, MemoryError> {
        if kept.get("version").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
            return Err(MemoryError::OtherVersion);
        }
        let read = Kept::deserialize(kept);
        let Kept { version: _, memory, digest } =
            read.map_err(|error| MemoryError::Unreadable(bounded(&error.to_string())))?;
        if memory.digest() != digest {
            return Err(MemoryError::Changed);
        }
        Ok(memory)
    }

    fn digest(&self) -> String {
        let text = serde_json::to_string(self).expect("a memory is plain data");
        format!("{:016x}", digest(text.as_bytes()))
    }

    /// At most [`MEMORY_BYTES_MAX`]: a verdict that is too long is cut, as the ledger has it whole.
    pub fn to_value(&self) -> Value {
        let mut memory = self.clone();
        // Fractions of a millisecond are of no use to anybody.
        memory.time = Timestamp::from_millisecond(self.time.as_millisecond()).unwrap_or(self.time);
        loop {
            let kept = Kept { version: VERSION, digest: memory.digest(), memory: memory.clone() };
            let value = serde_json::to_value(&kept).expect("a memory is plain data");
            match memory.decided.take_if(|_| value.to_string().len() > MEMORY_BYTES_MAX) {
                Some(decided) if !decided.is_empty() => {
                    let keep = decided.chars().count() / 2;
                    memory.decided = Some(decided.chars().take(keep).collect());
                }
                Some(_) | None => return value,
            }
        }
    }

    /// When a kept memory was taken, and whether it had decided.
    pub fn glance(kept: &Value) -> (Option<Timestamp>, bool) {
        let time = kept.get("time").and_then(Value::as_str).and_then(|time| time.parse().ok());
        (time, kept.get("decided").is_some())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::Strategy;
    use serde_json::json;

    use super::{Design, MEMORY_BYTES_MAX, Measured, Memory, shape_bounds};
    use crate::model::GuardSpec;
    use jiff::Timestamp;
    use serde_json::Value;
    use serin_judge::counters::{Born, Reading, Side};
    use serin_judge::monitor::Monitor;

    /// A spec with failures, so many latencies and the shape.
    fn spec(latencies: usize) -> GuardSpec {
        let latency: Vec<Value> =
            (1..=latencies).map(|s| json!({"threshold": 1000 * s, "slo": 1})).collect();
        let object = json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": "backend", "namespace": "develop"},
            "spec": {
                "provider": "traefik",
                "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
                "service": {"port": 80},
                "analysis": {
                    "interval": "10s", "stepWeights": [5, 10],
                    "guard": {"errorRate": {"slo": 1}, "latency": latency, "latencyShape": {}},
                },
            },
        });
        let canary = crate::parse::canary(&object, &crate::parse::Limits::default()).unwrap();
        canary.spec.analysis.guard.unwrap()
    }

    fn count() -> impl Strategy<Value = u64> {
        prop_oneof![0..50_u64, 0..1_000_000_u64, any::<u64>()]
    }

    fn page() -> impl Strategy<Value = (u64, u64, u64, u64, [Option<u64>; 24])> {
        (any::<u64>(), count(), count(), count(), prop::array::uniform24(count().prop_map(Some)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        /// Law: whatever was counted, by however many replicas, the status keeps it in less than 2 kB.
        #[test]
        fn memory_stays_below_two_kilobytes(
            pages in prop::collection::vec(prop::collection::vec(page(), 0..40), 1..30),
            gap in prop_oneof![Just(1000_u64), 1..100_000_u64, Just(u64::from(u32::MAX))],
            dispersion in prop_oneof![Just(1.0), Just(7.77), Just(1000.0)],
            decided in prop::option::of(".{0,600}"),
            weight: u8,
            steps in 1..10_000_u32,
            latencies in prop_oneof![Just(0_usize), Just(8), 1..8_usize],
            shaped: bool,
        ) {
            let spec = spec(latencies);
            let every: Vec<f64> = (0..64).map(|i| 1234.5 * f64::from(i) + 0.125).collect();
            let all: Vec<usize> = (0..=latencies + usize::from(shaped)).collect();
            let shape = if shaped { shape_bounds(&spec, &every) } else { Vec::new() };
            let measured = Measured { dispersion: vec![dispersion; all.len()], objectives: all, shape };
            let Design { config, sources, bounds } = Design::new(&spec, &measured, steps);
            let mut watch = Monitor::new(config.clone(), bounds.len(), sources.clone()).unwrap();
            let mut at = 1_800_000_000_000;
            for page in &pages {
                let names: Vec<String> = page.iter().map(|(name, ..)| name.to_string()).collect();
                let readings = page.iter().zip(&names).map(|((seed, requests, errors, timed, within), name)| Reading {
                    side: if seed % 2 == 0 { Side::Canary } else { Side::Primary },
                    series: name.as_str(),
                    born: if seed % 3 == 0 { Born::Before } else { Born::After },
                    started: None,
                    warm: seed % 7 != 0,
                    requests: *requests,
                    errors: *errors,
                    timed: *timed,
                    within: within.get(..bounds.len()).unwrap(),
                });
                let _ = watch.observe(at, readings);
                at += gap;
                if at % 3 == 0 {
                    watch.weight_changed();
                }
            }
            let time = Timestamp::from_nanosecond(1_800_000_000_123_456_789).unwrap();
            let memory = Memory { time, weight, steps, measured, decided, watch: watch.save() };
            let value = memory.to_value();
            prop_assert!(value.to_string().len() <= MEMORY_BYTES_MAX, "{} bytes", value.to_string().len());
            let back = Memory::read(&value).unwrap();
            let back = Monitor::restore(config, bounds.len(), sources, &back.watch).unwrap();
            // Whichever few characters are changed, it is refused.
            let text = value.to_string();
            for place in (weight as usize % 17..text.len()).step_by(17) {
                let mut damaged = text.clone().into_bytes();
                damaged[place] = if damaged[place] == b'4' { b'7' } else { b'4' };
                let Ok(damaged) = serde_json::from_slice::<Value>(&damaged) else { continue };
                prop_assert!(damaged == value || Memory::read(&damaged).is_err(), "{damaged}");
            }
            let (was, is) = (watch.guard().log_evidence(), back.guard().log_evidence());
            prop_assert!(is <= was + 1e-6 && is >= was - 0.05, "{} became {}", was, is);
        }
    }
}
