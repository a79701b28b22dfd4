//! One rollout under test: raw readings of counters in, verdicts out, and a state of little more than a kilobyte.

use crate::codec::{Damaged, Decoder, Encoder};
use crate::counters::{Reading, Tracker};
use crate::{
    DispersionMeter, Explanation, Guard, GuardConfig, GuardError, Metric, Question, RestoreError,
    Sample, Unjudged, Verdict,
};

/// What is kept in a status stays below this; raw counters that do not fit are left out.
pub const KEPT_BYTES_MAX: usize = 1400;

/// The first byte of what is kept: whether the raw counters follow. Another way to write it takes other numbers.
const WITH_COUNTERS: u8 = 3;
const WITHOUT_COUNTERS: u8 = 4;
/// Counters of which some have not measured every bound.
const WITH_UNEVEN_COUNTERS: u8 = 5;

/// Where a sample of the guard comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Failed requests among all.
    Errors,
    /// Requests slower than the watched bound with this number.
    Slower(usize),
}

/// Why a canary cannot be watched.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MonitorError {
    /// The guard cannot be asked this.
    #[error("the guard's configuration is not valid: {0}")]
    Config(#[from] GuardError),
    /// Every sample needs one source.
    #[error("{sources} sources are named for {samples} samples")]
    Sources {
        /// How many were named.
        sources: usize,
        /// How many are needed.
        samples: usize,
    },
    /// What was kept was changed, or written by another release.
    #[error("what was kept cannot be read, {0}")]
    Unreadable(#[from] Damaged),
    /// What was kept is about something else.
    #[error("what was kept cannot be continued: {0}")]
    Restore(#[from] RestoreError),
}

/// The evidence and the guard of one rollout, moving together.
#[derive(Debug, Clone, PartialEq)]
pub struct Monitor {
    counters: Tracker,
    guard: Guard,
    sources: Vec<Source>,
    /// The samples of a scrape, kept so that a scrape allocates nothing.
    samples: Vec<Sample>,
    /// How the primary's bad requests come, one for each sample; not kept.
    meters: Vec<DispersionMeter>,
}

impl Monitor {
    /// Watches from the first request on; `bounds` cumulative buckets come with every reading, and `sources` name for each
    /// sample of the guard what it counts.
    pub fn new(
        config: GuardConfig,
        bounds: usize,
        sources: Vec<Source>,
    ) -> Result<Self, MonitorError> {
        let counters = Tracker::with(bounds, config.settings.counters);
        Self::with(Guard::new(config)?, counters, sources)
    }

    /// Goes on where [`Monitor::save`] was taken; the gap becomes one longer block.
    ///
    /// On an error the caller must not start anew within the same rollout: that would spend alpha a second time.
    pub fn restore(
        config: GuardConfig,
        bounds: usize,
        sources: Vec<Source>,
        kept: &str,
    ) -> Result<Self, MonitorError> {
        let mut decoder = Decoder::sealed(kept)?;
        let counted = match decoder.byte()? {
            WITH_COUNTERS | WITH_UNEVEN_COUNTERS => true,
            WITHOUT_COUNTERS => false,
            _ => return Err(Damaged("it was written by another release").into()),
        };
        let settings = config.settings.counters;
        let guard = Guard::read(config, &mut decoder)?;
        let counters = match counted {
            true => Tracker::read(bounds, settings, &mut decoder)?,
            false => Tracker::with(bounds, settings),
        };
        Self::with(guard, counters, sources)
    }

    fn with(guard: Guard, counters: Tracker, sources: Vec<Source>) -> Result<Self, MonitorError> {
        let (named, samples) = (sources.len(), guard.samples());
        if named != samples {
            return Err(MonitorError::Sources { sources: named, samples });
        }
        let meters = vec![DispersionMeter::with(1, guard.config().settings.groups); samples];
        Ok(Self { counters, guard, sources, samples: Vec::with_capacity(samples), meters })
    }

    /// Takes in one scrape, with the time when it was taken.
    pub fn observe<'a>(
        &mut self,
        at_millis: u64,
        readings: impl IntoIterator<Item = Reading<'a>, IntoIter: Clone>,
    ) -> Result<Verdict, Unjudged> {
        let increase = self.counters.observe(at_millis, readings)?;
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
        Ok(verdict)
    }

    /// Goes by the groups of errors that the primary shows, from the next scrape on.
    fn assume(&mut self) {
        let tail = self.guard.config().settings.groups.tail;
        let mut meters = self.meters.iter();
        for metric in 0..self.guard.config().metrics.len() {
            let groups = match &self.guard.config().metrics[metric].question {
                Question::Share { slo, .. } => meters.next().map_or(1.0, |m| m.beyond_doubt(*slo)),
                Question::Dominance { bounds, .. } => {
                    let each = meters.by_ref().take(bounds.len());
                    each.map(|meter| meter.beyond_doubt(tail)).fold(1.0, f64::max)
                }
            };
            self.guard.assume(metric, groups);
        }
    }

    /// How many of the primary's requests shared one fate, by metric, where that could be seen, or what is left of what was
    /// known where hardly any was bad.
    pub fn dispersion(&self) -> impl Iterator<Item = (&str, f64)> {
        let mut meters = self.meters.iter();
        let tail = self.guard.config().settings.groups.tail;
        self.guard.config().metrics.iter().filter_map(move |metric| {
            let Metric { name, question, weight: _, dispersion } = metric;
            let seen = match question {
                Question::Share { slo, .. } => {
                    let meter = meters.next()?;
                    meter.usual(*slo).or_else(|| meter.faded(*dispersion))
                }
                Question::Dominance { bounds, .. } => {
                    let each = meters.by_ref().take(bounds.len()).map(|meter| meter.usual(tail));
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

    /// The guard, to be asked for its evidence.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// See [`Tracker::set_idle`].
    pub fn set_idle(&mut self, idle: bool) {
        self.counters.set_idle(idle);
    }

    /// The counters of the last scrape.
    pub fn counters(&self) -> &Tracker {
        &self.counters
    }

    /// See [`Guard::explain`].
    pub fn explain(&self) -> Explanation {
        self.guard.explain()
    }

    /// What to keep in the status: the guard's memory, and the raw counters of the same scrape if they fit.
    pub fn save(&self) -> String {
        let mut counters = Encoder::default();
        self.counters.write(&mut counters);
        let text = |fine: bool, counted: bool| {
            let mut encoder = Encoder::default();
            encoder.byte(match (counted, self.counters.is_even()) {
                (true, true) => WITH_COUNTERS,
                (true, false) => WITH_UNEVEN_COUNTERS,
                (false, _) => WITHOUT_COUNTERS,
            });
            self.guard.write(fine, &mut encoder);
            if counted {
                encoder.append(&counters);
            }
            encoder.with_digest();
            encoder.text()
        };
        let kinds = [(true, true), (false, true), (true, false)];
        let mut texts = kinds.iter().map(|(fine, counted)| text(*fine, *counted));
        texts.find(|text| text.len() <= KEPT_BYTES_MAX).unwrap_or_else(|| text(false, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::{Born, Side};
    use crate::{Attribution, Decision, Hold, Tolerance};

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
        within: &'a [Option<u64>],
    ) -> Reading<'a> {
        let (born, warm, timed, started) = (Born::Before, true, requests, None);
        Reading { side, series, born, started, warm, requests, errors, timed, within }
    }

    fn scrape(watch: &mut Monitor, k: u64, bad: u64) -> Verdict {
        let fast = [Some(10 * k), Some(190 * k)];
        let both = [
            reading(Side::Canary, "gateway-1", 10 * k, bad, &fast[..1]),
            reading(Side::Primary, "gateway-1", 190 * k, k / 10, &fast[1..]),
        ];
        watch.observe(1000 * k, both).unwrap()
    }

    #[test]
    fn watches_over_a_restart_and_tells_why() {
        let mut watch = Monitor::new(config(), 1, sources()).unwrap();
        for k in 1..60 {
            assert_ne!(scrape(&mut watch, k, 0).decision, Decision::RollBack);
        }
        assert_eq!(watch.guard().decision(), Decision::Continue);
        let kept = watch.save();
        assert!(kept.len() < 400, "{}", kept.len());
        let mut watch = Monitor::restore(config(), 1, sources(), &kept).unwrap();
        // The gap of five scrapes is one block, with the errors in it.
        let gap = scrape(&mut watch, 65, 10);
        assert_eq!((gap.requests, gap.decision), (60, Decision::Hold(Hold::ObjectiveBurning)));
        for k in 66..69 {
            scrape(&mut watch, k, 10 * (k - 64));
        }
        assert_eq!(watch.guard().decision(), Decision::RollBack);
        // What is told of a decision is what is read of it later, to the digit.
        watch.settle();
        let told = watch.explain().to_string();
        let read = Monitor::restore(config(), 1, sources(), &watch.save()).unwrap();
        let without_rate = |text: &str| text.replace(", and none come", "");
        assert_eq!(without_rate(&read.explain().to_string()), without_rate(&told));
        let old = watch.observe(1000, []);
        assert_eq!(old, Err(Unjudged::ClockWentBack { millis: 67_000 }));
        assert_eq!(watch.observe(68_000, []), Err(Unjudged::Duplicate));
        assert_eq!(watch.observe(69_000, []), Err(Unjudged::NotMeasured));
    }

    #[test]
    fn memory_leaves_the_counters_out_when_there_are_too_many() {
        let mut watch = Monitor::new(config(), 1, sources()).unwrap();
        let names: Vec<String> = (0..60).map(|i| format!("gateway-{i}")).collect();
        let fast = [Some(1 << 40)];
        let readings =
            names.iter().map(|name| reading(Side::Canary, name, 1 << 41, 1 << 30, &fast));
        watch.observe(1, readings).unwrap();
        let kept = watch.save();
        assert!(kept.len() <= KEPT_BYTES_MAX, "{}", kept.len());
        assert_eq!(Monitor::restore(config(), 1, sources(), &kept).unwrap().counters().series(), 0);
    }

    #[test]
    fn what_cannot_be_continued_is_an_error() {
        let watch = Monitor::new(config(), 1, sources()).unwrap();
        for broken in ["", "7", "AAAA", "no base64", &watch.save()[..20]] {
            let unreadable = Monitor::restore(config(), 1, sources(), broken).unwrap_err();
            assert!(unreadable.to_string().starts_with("what was kept cannot be"), "{unreadable}");
        }
        let other = GuardConfig { weight_steps: 3, ..config() };
        let refused = Monitor::restore(other, 1, sources(), &watch.save()).unwrap_err();
        assert_eq!(refused, MonitorError::Restore(RestoreError::OtherQuestions));
        let missing = Monitor::new(config(), 1, vec![Source::Errors]).unwrap_err();
        assert_eq!(missing, MonitorError::Sources { sources: 1, samples: 2 });
    }

    /// What the version before this crate wrote of the release below.
    const BEFORE: &str = "AziqNQxxUcZk3gJkAa6UA08m0bywjsUSAAH8ArQ4vgGaHORA2EUAAAAAAAAAgRUAhAOLCNYQ4RqMI7QuiEOgdOnMAd8IAHb6AtQH6RCYIIMryzP-PuNRtQQBAOoBzQfhE9Mh2Sy7Pa1o278B_QkAvQHABNEKzhT8IaQroDOxPpRRFJhHQQAAAAAFDQNU3sYD81AAjgSCkwH2mALyrwLB1wK4jgO4jgO4jgOyGzZEAAAAAHL4BTlUiLkB6yXXAgDrN_iJAaibAdC4Ae6BAriOA7iOA7IbNkMAAAAAJr4BEwLY0PPCsTQCADfhtq54gkKfgOLPqgYAhgMFAOoBTgUA8jkNAJgMhgORNAaSjoYDKg";

    #[test]
    fn what_the_version_before_wrote_is_read_and_written_alike() {
        let tolerance = Tolerance { rho: 1.25, delta: 0.005 };
        let attribution = Attribution::Primary;
        let share = Question::Share { slo: 0.01, attribution, tolerance };
        let bounds = vec!["100 ms".to_owned(), "500 ms".to_owned()];
        let shape = Question::Dominance { bounds, tolerance, scale: 0.01 };
        let questions = vec![("error-rate".to_owned(), share), ("shape".to_owned(), shape)];
        let mut config = GuardConfig::new(questions, 6);
        config.metrics[0].dispersion = 3.5;
        let sources = vec![Source::Errors, Source::Slower(0), Source::Slower(1)];
        let mut watch = Monitor::new(config.clone(), 2, sources.clone()).unwrap();
        for k in 1..40_u64 {
            let (canary, primary) = ([7 * k, 9 * k].map(Some), [170 * k, 185 * k].map(Some));
            let reading = |side, requests, errors, within| Reading {
                started: Some(1_700_000_000),
                ..reading(side, "gateway-1", requests, errors, within)
            };
            let both = [
                reading(Side::Canary, 10 * k, k / 7, &canary[..]),
                reading(Side::Primary, 190 * k, k / 3, &primary[..]),
            ];
            let verdict = watch.observe(1_800_000_000_000 + 1000 * k, both).unwrap();
            if k == 20 {
                watch.weight_changed();
            }
            if k == 39 {
                assert!((verdict.log_e - 25.878_523_987_045_224).abs() < 1e-9);
            }
        }
        assert_eq!(watch.save(), BEFORE);
        let read = Monitor::restore(config, 2, sources, BEFORE).unwrap();
        let less = watch.guard().log_evidence() - read.guard().log_evidence();
        assert!((0.0..0.01).contains(&less), "{less}");
    }
}
