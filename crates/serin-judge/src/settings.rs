//! Every constant of the method that is a choice and not a proof, with the values that the figures were made with.

use crate::error::GuardError;

/// How a guard weighs time, silence and the past. Any values within [`Settings::check`] keep the guarantee; the defaults are
/// those that the golden values and the figures belong to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// What [`crate::Guard::requests_to_go`] has to rule out, as a multiple of the objective.
    pub go_limit: f64,
    /// Counts of the baseline wait so many seconds for a request of the canary to close their block, and a silent baseline
    /// excuses nobody after it, if its silence is surprising as well.
    pub patience_secs: f64,
    /// Silence of a baseline that is there is rarer than `e^-surprise` when it counts as gone.
    pub surprise: f64,
    /// The canary's share of the requests as long as it is not known.
    pub canary_share_unknown: f64,
    /// Fewer requests of both sides do not tell how they are shared.
    pub share_known_from: u64,
    /// When faults begin.
    pub onset: Onset,
    /// The baseline's rate of bad requests fades with this half-life.
    pub baseline_half_life_secs: f64,
    /// Before it was ever seen, the baseline is taken to fail this part of the objective ...
    pub baseline_prior_share: f64,
    /// ... with the certainty of so many bad requests.
    pub baseline_prior_errors: f64,
    /// The past counts for half after this long where requests per second are told to people.
    pub recent_half_life_secs: f64,
    /// Log evidence from which on a scrape ahead of time is worth it.
    pub look_again: f64,
    /// The short-memory alarm on the objective.
    pub brake: Brake,
    /// How groups of bad requests are told from chance.
    pub groups: GroupSettings,
    /// What raw counters are believed.
    pub counters: CounterSettings,
}

/// The prior on when a fault begins; the masses sum to at most one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Onset {
    /// With the first block.
    pub at_start: f64,
    /// Shared by the weight changes that were announced.
    pub at_steps: f64,
    /// With any later block, the k-th with `H / ((k+H-1)(k+H))`.
    pub any_time: f64,
    /// `H`, in blocks.
    pub half_life_blocks: f64,
}

/// A log-likelihood ratio that is kept between zero and a bound, so that it forgets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Brake {
    /// The alternative's step above the objective in log-odds.
    pub shift: f64,
    /// The alarm is raised from here on.
    pub holds: f64,
    /// It is held at this bound.
    pub most: f64,
}

/// When the spread of bad requests counts as groups with one fate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupSettings {
    /// Fewer windows say nothing about their spread.
    pub windows_min: f64,
    /// Fewer bad requests do not tell groups from chance.
    pub bad_min: f64,
    /// Standard deviations above chance that the release under test goes by at once.
    pub deviations_now: f64,
    /// Standard deviations above chance that the next release goes by.
    pub deviations_next: f64,
    /// Dispersion up to this is noise and counts as 1.
    pub ignored: f64,
    /// What is measured beside one release may make the guard of the next one this much slower, and no more.
    pub most_learned: f64,
    /// No dispersion beyond this is told.
    pub most: f64,
    /// So many requests with fewer bad ones than that are clean: what was learned before fades by half of what is above 1.
    pub clean_requests: f64,
    /// Where more of the baseline's requests are slower, a latency bound is no tail: the shares there move with the hour,
    /// which is not the size of groups.
    pub tail: f64,
}

/// What raw counters are believed, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterSettings {
    /// A series that was not seen for this long starts over from a new base.
    pub forgotten_after_millis: u64,
    /// Requests that bad ones are counted ahead of come within this time, or never.
    pub owed_millis: u64,
    /// Counters that stay below what they were for this long cannot be read; one scrape without a series is no more than a
    /// longer block.
    pub fallen_millis: u64,
    /// Start times that are told as a time since then differ by less than this from scrape to scrape.
    pub start_secs_apart: u64,
}

impl Default for CounterSettings {
    fn default() -> Self {
        Self {
            forgotten_after_millis: 600_000,
            owed_millis: 60_000,
            fallen_millis: 5_000,
            start_secs_apart: 5,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            go_limit: 2.0,
            patience_secs: 30.0,
            surprise: 14.0,
            canary_share_unknown: 0.99,
            share_known_from: 100,
            onset: Onset::default(),
            baseline_half_life_secs: 300.0,
            baseline_prior_share: 0.2,
            baseline_prior_errors: 0.25,
            recent_half_life_secs: 15.0,
            look_again: 0.7,
            brake: Brake::default(),
            groups: GroupSettings::default(),
            counters: CounterSettings::default(),
        }
    }
}

impl Default for Onset {
    fn default() -> Self {
        Self { at_start: 0.5, at_steps: 0.25, any_time: 0.25, half_life_blocks: 60.0 }
    }
}

impl Default for Brake {
    fn default() -> Self {
        Self { shift: 1.5, holds: 3.0, most: 9.2 }
    }
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            windows_min: 20.0,
            bad_min: 10.0,
            deviations_now: 4.0,
            deviations_next: 2.0,
            ignored: 1.2,
            most_learned: 50.0,
            most: 1000.0,
            clean_requests: 50_000.0,
            tail: 0.05,
        }
    }
}

impl Settings {
    /// Whether the guarantee holds with these values; an error names the first that breaks it.
    pub fn check(&self) -> Result<(), GuardError> {
        let Onset { at_start, at_steps, any_time, half_life_blocks } = self.onset;
        for (what, mass) in [("at_start", at_start), ("at_steps", at_steps), ("any_time", any_time)]
        {
            at_least(what, mass, if what == "at_start" { f64::MIN_POSITIVE } else { 0.0 })?;
        }
        let sum = at_start + at_steps + any_time;
        if sum > 1.0 + 1e-9 {
            return Err(GuardError::Weights { what: "the prior masses".into(), sum });
        }
        let positive = [
            ("half_life_blocks", half_life_blocks),
            ("patience_secs", self.patience_secs),
            ("surprise", self.surprise),
            ("baseline_half_life_secs", self.baseline_half_life_secs),
            ("baseline_prior_share", self.baseline_prior_share),
            ("baseline_prior_errors", self.baseline_prior_errors),
            ("recent_half_life_secs", self.recent_half_life_secs),
            ("brake.shift", self.brake.shift),
            ("brake.holds", self.brake.holds),
            ("brake.most", self.brake.most),
        ];
        for (what, value) in positive {
            at_least(what, value, f64::MIN_POSITIVE)?;
        }
        at_least("go_limit", self.go_limit, 1.0)?;
        at_least("look_again", self.look_again, 0.0)?;
        let share = self.canary_share_unknown;
        if !(share > 0.0 && share < 1.0) {
            return Err(GuardError::NoShare { what: "canary_share_unknown".into(), value: share });
        }
        self.groups.check()
    }
}

impl GroupSettings {
    fn check(&self) -> Result<(), GuardError> {
        let Self { windows_min, bad_min, deviations_now, deviations_next, .. } = *self;
        let Self { ignored, most_learned, most, clean_requests, tail, .. } = *self;
        at_least("groups.windows_min", windows_min, 2.0)?;
        at_least("groups.bad_min", bad_min, 1.0)?;
        at_least("groups.deviations_now", deviations_now, 0.0)?;
        at_least("groups.deviations_next", deviations_next, 0.0)?;
        at_least("groups.ignored", ignored, 1.0)?;
        at_least("groups.most_learned", most_learned, 1.0)?;
        at_least("groups.most", most, 1.0)?;
        at_least("groups.clean_requests", clean_requests, 1.0)?;
        at_least("groups.tail", tail, 0.0)
    }
}

fn at_least(what: &str, value: f64, least: f64) -> Result<(), GuardError> {
    if value.is_finite() && value >= least {
        return Ok(());
    }
    Err(GuardError::TooSmall { what: format!("the setting {what}"), value, least })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_break_the_guarantee_are_refused_by_name() {
        assert_eq!(Settings::default().check(), Ok(()));
        let with = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        for (got, want) in [
            (
                with(|s| s.onset.any_time = 0.5),
                "the prior masses sum to 1.25, which is more than 1",
            ),
            (
                with(|s| s.patience_secs = f64::NAN),
                "the setting patience_secs is NaN, but must be finite and at least",
            ),
            (
                with(|s| s.groups.ignored = 0.0),
                "the setting groups.ignored is 0, but must be finite and at least 1",
            ),
            (
                with(|s| s.canary_share_unknown = 1.0),
                "canary_share_unknown is 1, but must lie between 0 and 1, both excluded",
            ),
        ] {
            assert!(got.starts_with(want), "{got}");
        }
    }
}
