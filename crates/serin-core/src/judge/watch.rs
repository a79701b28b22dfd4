//! One canary under guard: raw readings in, a verdict out, and a memory that fits a status.

use serde::{Deserialize, Serialize};

use super::evidence::{Evidence, Reading};
use super::ledger;
use super::paper::{Damaged, Paper, Pen};
use super::sequential::{
    CheckReason, Decision, DispersionMeter, Explanation, Guard, GuardConfig, GuardError, Hold,
    Metric, Question, RestoreError, Sample, Verdict,
};
use crate::observed;
use crate::status::CheckRecord;

/// What is kept in a status stays below this; raw counters that do not fit are left out.
pub const KEPT_BYTES_MAX: usize = 1400;

/// Where more of the primary's requests are slower, a bound is no tail: the shares there move with the hour, which is not the
/// size of groups.
const TAIL: f64 = 0.05;

/// The first byte of what is kept: whether the raw counters follow. Another way to write it takes other numbers.
const WITH_COUNTERS: u8 = 3;
const WITHOUT_COUNTERS: u8 = 4;

/// Where a sample of the guard comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Failed requests among all.
    Errors,
    /// Requests slower than the watched bound with this number.
    Slower(usize),
}

/// Why a canary cannot be watched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WatchError {
    #[error("the guard's configuration is not valid: {0}")]
    Config(#[from] GuardError),
    #[error("{sources} sources are named for {samples} samples")]
    Sources { sources: usize, samples: usize },
    #[error("what was kept cannot be read, {0}")]
    Unreadable(#[from] Damaged),
    #[error("what was kept cannot be continued: {0}")]
    Restore(#[from] RestoreError),
}

/// The evidence and the guard of one rollout, moving together.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    evidence: Evidence,
    guard: Guard,
    sources: Vec<Source>,
    /// The samples of a scrape, kept so that a scrape allocates nothing.
    samples: Vec<Sample>,
    /// How the primary's bad requests come, one for each sample; not kept.
    meters: Vec<DispersionMeter>,
}

impl Watch {
    /// Watches from the first request on; `bounds` cumulative buckets come with every reading, and `sources` name for each
    /// sample of the guard what it counts.
    pub fn new(
        config: GuardConfig,
        bounds: usize,
        sources: Vec<Source>,
    ) -> Result<Self, WatchError> {
        Self::with(Guard::new(config)?, Evidence::new(bounds), sources)
    }

    /// Goes on where [`Watch::kept`] was taken; the gap becomes one longer block.
    ///
    /// On an error the caller must not start anew within the same rollout: that would spend alpha a second time.
    pub fn restore(
        config: GuardConfig,
        bounds: usize,
        sources: Vec<Source>,
        kept: &str,
    ) -> Result<Self, WatchError> {
        let mut paper = Paper::sealed(kept)?;
        let counters = match paper.byte()? {
            WITH_COUNTERS => true,
            WITHOUT_COUNTERS => false,
            _ => return Err(Damaged("it was written by another release").into()),
        };
        let guard = Guard::read(config, &mut paper)?;
        let evidence = match counters {
            true => Evidence::read(bounds, &mut paper)?,
            false => Evidence::new(bounds),
        };
        Self::with(guard, evidence, sources)
    }

    fn with(guard: Guard, evidence: Evidence, sources: Vec<Source>) -> Result<Self, WatchError> {
        let (named, samples) = (sources.len(), guard.samples());
        if named != samples {
            return Err(WatchError::Sources { sources: named, samples });
        }
        let meters = vec![DispersionMeter::new(1); samples];
        Ok(Self { evidence, guard, sources, samples: Vec::with_capacity(samples), meters })
    }

    /// Takes in one scrape; nothing when its time is not after the last one's.
    pub fn observe<'a>(
        &mut self,
        at_millis: u64,
        readings: impl IntoIterator<Item = Reading<'a>, IntoIter: Clone>,
    ) -> Option<Verdict> {
        let increase = self.evidence.observe(at_millis, readings)?;
        self.samples.clear();
        self.samples.extend(self.sources.iter().map(|source| match source {
            Source::Errors => increase.errors(),
            Source::Slower(bound) => increase.slower(*bound),
        }));
        let verdict = self.guard.observe(increase.secs, &self.samples);
        // Only what came before a scrape may tell what it is worth.
        for (sample, meter) in self.samples.iter().zip(&mut self.meters) {
            meter.observe(0, sample.m, sample.y);
        }
        self.assume();
        Some(verdict)
    }

    /// Goes by the groups of errors that the primary shows, from the next scrape on.
    fn assume(&mut self) {
        let mut meters = self.meters.iter();
        for metric in 0..self.guard.config().metrics.len() {
            let groups = match &self.guard.config().metrics[metric].question {
                Question::Share { slo, .. } => meters.next().map_or(1.0, |m| m.beyond_doubt(*slo)),
                Question::Dominance { bounds, .. } => {
                    let each = meters.by_ref().take(bounds.len());
                    each.map(|meter| meter.beyond_doubt(TAIL)).fold(1.0, f64::max)
                }
            };
            self.guard.assume(metric, groups);
        }
    }

    /// How many of the primary's requests shared one fate, by metric, where that could be seen.
    pub fn dispersion(&self) -> impl Iterator<Item = (&str, f64)> {
        let mut meters = self.meters.iter();
        self.guard.config().metrics.iter().filter_map(move |metric| {
            let Metric { name, question, weight: _, dispersion: _ } = metric;
            let seen = match question {
                Question::Share { slo, .. } => meters.next()?.usual(*slo),
                Question::Dominance { bounds, .. } => {
                    let each = meters.by_ref().take(bounds.len()).map(|meter| meter.usual(TAIL));
                    // In order, as a fold has to come by all of them.
                    each.fold(None, |most: Option<f64>, seen| {
                        most.into_iter().chain(seen).reduce(f64::max)
                    })
                }
            };
            Some((name.as_str(), seen?))
        })
    }

    /// Tells that the canary's weight was changed.
    pub fn weight_changed(&mut self) {
        self.guard.weight_changed();
    }

    /// Tells which share of the requests the canary is to get, see [`Guard::at_share`].
    pub fn at_share(&mut self, share: f64) {
        self.guard.at_share(share);
    }

    /// Rounds the evidence as it is kept, so that whoever reads it later finds the figures that were told before.
    pub fn settle(&mut self) {
        self.guard.settle();
    }

    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    pub fn explain(&self) -> Explanation {
        self.guard.explain()
    }

    /// What the ledger is told.
    pub fn records(&self, source: &str) -> Vec<CheckRecord> {
        if self.guard.is_silent() {
            return Vec::new();
        }
        ledger::records(&self.guard.explain(), source)
    }

    /// What the next step is told.
    pub fn opinion(&self) -> observed::Guard {
        match self.guard.decision() {
            Decision::Continue => observed::Guard::Quiet,
            Decision::Hold(why) => {
                let main = match why {
                    Hold::Suspicion => self.main_reason(),
                    Hold::ObjectiveBurning => self.burning(),
                };
                observed::Guard::Hold(format!("{why}: {main}"))
            }
            Decision::RollBack => observed::Guard::RollBack(self.main_reason()),
        }
    }

    /// The check with the largest part of the evidence, in words.
    fn main_reason(&self) -> String {
        self.guard.explain().checks.first().map(ToString::to_string).unwrap_or_default()
    }

    /// The objective that is furthest from being kept, in words: where both versions suffer, the evidence speaks of others.
    fn burning(&self) -> String {
        let checks = self.guard.explain().checks;
        let missing =
            |check: &&CheckReason| check.missing.as_ref().map_or(0, |missing| missing.requests);
        checks.iter().max_by_key(missing).map(ToString::to_string).unwrap_or_default()
    }

    /// What to keep in the status: the guard's memory, and the raw counters of the same scrape if they fit.
    pub fn kept(&self) -> String {
        let mut counters = Pen::default();
        self.evidence.write(&mut counters);
        let paper = |fine: bool, counted: bool| {
            let mut pen = Pen::default();
            pen.byte(if counted { WITH_COUNTERS } else { WITHOUT_COUNTERS });
            self.guard.write(fine, &mut pen);
            if counted {
                pen.append(&counters);
            }
            pen.seal();
            pen.text()
        };
        let kinds = [(true, true), (false, true), (true, false)];
        let mut papers = kinds.iter().map(|(fine, counted)| paper(*fine, *counted));
        papers.find(|text| text.len() <= KEPT_BYTES_MAX).unwrap_or_else(|| paper(false, false))
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Born, Side};
    use super::super::sequential::{Attribution, Question, Tolerance};
    use super::*;

    fn config() -> GuardConfig {
        let tolerance = Tolerance { rho: 1.0, delta: 0.005 };
        let ask = || Question::Share { slo: 0.01, attribution: Attribution::Primary, tolerance };
        GuardConfig::new(
            vec![("error-rate".into(), ask()), ("slower than 500 ms".into(), ask())],
            6,
        )
    }

    fn sources() -> Vec<Source> {
        vec![Source::Errors, Source::Slower(0)]
    }

    fn reading<'a>(
        side: Side,
        series: &'a str,
        requests: u64,
        errors: u64,
        within: &'a [u64],
    ) -> Reading<'a> {
        let (born, warm, timed, started) = (Born::Before, true, requests, None);
        Reading { side, series, born, started, warm, requests, errors, timed, within }
    }

    fn scrape(watch: &mut Watch, k: u64, bad: u64) -> Verdict {
        let fast = [10 * k, 190 * k];
        let both = [
            reading(Side::Canary, "gateway-1", 10 * k, bad, &fast[..1]),
            reading(Side::Primary, "gateway-1", 190 * k, k / 10, &fast[1..]),
        ];
        watch.observe(1000 * k, both).unwrap()
    }

    #[test]
    fn watches_over_a_restart_and_tells_why() {
        let mut watch = Watch::new(config(), 1, sources()).unwrap();
        for k in 1..60 {
            assert_ne!(scrape(&mut watch, k, 0).decision, Decision::RollBack);
        }
        assert_eq!(watch.opinion(), observed::Guard::Quiet);
        let kept = watch.kept();
        assert!(kept.len() < 400, "{}", kept.len());
        let mut watch = Watch::restore(config(), 1, sources(), &kept).unwrap();
        // The gap of five scrapes is one block, with the errors in it.
        let gap = scrape(&mut watch, 65, 10);
        assert_eq!((gap.requests, gap.decision), (60, Decision::Hold(Hold::ObjectiveBurning)));
        assert!(matches!(watch.opinion(), observed::Guard::Hold(_)));
        for k in 66..69 {
            scrape(&mut watch, k, 10 * (k - 64));
        }
        let observed::Guard::RollBack(why) = watch.opinion() else {
            panic!("{:?}", watch.opinion())
        };
        assert!(why.starts_with("error-rate against "), "{why}");
        // What is told of a decision is what is read of it later, to the digit.
        watch.settle();
        let told = watch.explain().to_string();
        let read = Watch::restore(config(), 1, sources(), &watch.kept()).unwrap();
        let without_rate = |text: &str| text.replace(", and none come", "");
        assert_eq!(without_rate(&read.explain().to_string()), without_rate(&told));
        assert!(watch.observe(1000, []).is_none(), "an old scrape is ignored");
    }

    #[test]
    fn what_both_suffer_holds_for_the_objective_that_burns() {
        let mut watch = Watch::new(config(), 1, sources()).unwrap();
        for k in 1..40 {
            let fast = [10 * k, 190 * k];
            let both = [
                reading(Side::Canary, "gateway-1", 10 * k, 3 * k, &fast[..1]),
                reading(Side::Primary, "gateway-1", 190 * k, 57 * k, &fast[1..]),
            ];
            watch.observe(1000 * k, both).unwrap();
        }
        let observed::Guard::Hold(why) = watch.opinion() else { panic!("{:?}", watch.opinion()) };
        let said = "the canary breaks its objective now: error-rate against its objective of 1 %";
        assert!(why.starts_with(said), "{why}");
    }

    #[test]
    fn memory_leaves_the_counters_out_when_there_are_too_many() {
        let mut watch = Watch::new(config(), 1, sources()).unwrap();
        let names: Vec<String> = (0..60).map(|i| format!("gateway-{i}")).collect();
        let fast = [1 << 40];
        let readings =
            names.iter().map(|name| reading(Side::Canary, name, 1 << 41, 1 << 30, &fast));
        watch.observe(1, readings).unwrap();
        let kept = watch.kept();
        assert!(kept.len() <= KEPT_BYTES_MAX, "{}", kept.len());
        assert_eq!(Watch::restore(config(), 1, sources(), &kept).unwrap().evidence().series(), 0);
    }

    #[test]
    fn what_cannot_be_continued_is_an_error() {
        let watch = Watch::new(config(), 1, sources()).unwrap();
        for broken in ["", "7", "AAAA", "no base64", &watch.kept()[..20]] {
            let unreadable = Watch::restore(config(), 1, sources(), broken).unwrap_err();
            assert!(unreadable.to_string().starts_with("what was kept cannot be"), "{unreadable}");
        }
        let other = GuardConfig { weight_steps: 3, ..config() };
        let refused = Watch::restore(other, 1, sources(), &watch.kept()).unwrap_err();
        assert_eq!(refused, WatchError::Restore(RestoreError::OtherQuestions));
        let missing = Watch::new(config(), 1, vec![Source::Errors]).unwrap_err();
        assert_eq!(missing, WatchError::Sources { sources: 1, samples: 2 });
    }
}
