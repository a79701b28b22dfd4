//! `spec.analysis.guard`: the fast clock that rolls back on evidence.

use super::{Number, document};

document! {
    /// Watches the canary's traffic on a clock of its own and rolls back as soon as the evidence against it suffices.
    pub struct Guard {
        /// `enforce` rolls back, `observe` records what it would have done, `off` does nothing. Default
        /// `enforce`; for canaries taken over from Flagger `observe`.
        #[schemars(extend("enum" = ["enforce", "observe", "off"]))]
        mode: String,
        /// Where the counters come from: `gateway` (its own metrics endpoint, each second) or `prometheus` (the metrics
        /// server, as often as it scrapes). Default `gateway` where the operator knows one, else `prometheus`.
        #[schemars(extend("enum" = ["gateway", "prometheus"]))]
        source: String,
        /// Time between two looks, `250ms` to `1m`. Default `1s`.
        #[schemars(regex(pattern = "^[0-9]+(ms|s|m)$"))]
        interval: String,
        /// Bound on the chance that a healthy release is rolled back, over the whole release. Default 0.01.
        alpha: Number,
        /// How many requests may fail. Default: what the builtin check `request-success-rate` allows.
        error_rate: ErrorRate,
        /// How many requests may be slow. Default: one percent slower than the builtin check `request-duration` allows.
        #[schemars(length(max = 8))]
        latency: Vec<Latency>,
        /// Compares all durations with the primary's at every bound of the histogram, and so finds a version that became
        /// slower without breaking an objective. Off by default; `{}` turns it on.
        latency_shape: LatencyShape,
        /// `primary` blames the canary only for what the primary does not suffer too; `none` holds it to the limit alone.
        /// Default `primary`.
        #[schemars(extend("enum" = ["primary", "none"]))]
        attribution: String,
        /// `fixed` takes the steps of the analysis on its interval, and the guard only brakes; `evidence` raises the
        /// traffic as soon as the evidence allows, between `minDwell` and `maxDuration`: it begins with as little as
        /// `blastRadius` asks for and visits 1, 2, 5, 10, 20, 30 and 40 % below the first weight of the analysis. Default
        /// `fixed`.
        #[schemars(extend("enum" = ["fixed", "evidence"]))]
        pace: String,
        /// Requests beyond the objective that may be hurt in the time that a rollback takes, on average, at each weight
        /// change; with pace `evidence`. Default 25.
        #[schemars(range(min = 1, max = 1_000_000))]
        blast_radius: i32,
        /// Shortest time at one weight, with pace `evidence`; raise it where faults appear late. Default `10s`.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        min_dwell: String,
        /// Time with traffic after which a release with pace `evidence` calls for help: it keeps its weight, says what is
        /// known and what is missing, and goes on only when that is there. Default `30m`.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        max_duration: String,
        /// Latencies are not judged for this long after the canary's first request, and after pods were added to it;
        /// failures always are. `0s` to `10m`. Default `5s`.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        warm_up: String,
        /// Shortest time with traffic before the promotion. Default `0s`.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        min_bake: String,
        /// How long the canary keeps its share while the guard holds because it cannot measure; then the primary has all
        /// traffic, nothing is rejected, and the analysis begins again at its first step once the guard can see. `10s` to
        /// `24h`, or `0s` for never. Default `1m` above the first step, and at the first step where a check has failed or
        /// counters contradict each other.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        blind_deadline: String,
        /// Watch the primary after the promotion, and take it back to the revision before when it breaks an objective.
        /// Off by default.
        soak: Soak,
    }

    /// How many requests may fail.
    pub struct ErrorRate {
        /// Greatest percentage of requests that may fail; 0.01 or more.
        #[schemars(extend("minimum" = 0.01))]
        slo: Number,
        /// How much worse than the primary the canary may be.
        tolerance: Tolerance,
        /// What follows at a step at which no request of the canary was counted: `hold` advances nothing and counts nothing,
        /// `pass` goes on, `fail` counts a failed check. Default `hold`.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        no_data: String,
        /// What follows when the source of the counters does not answer, or does not have them: `hold`, `pass` or `fail`.
        /// Default `hold`.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        cannot_measure: String,
    }

    /// How many requests may be slow.
    pub struct Latency {
        /// What counts as slow, in milliseconds; must be a bound of the histogram's buckets.
        threshold: Number,
        /// Greatest percentage of requests that may be slower; 0.01 or more.
        #[schemars(extend("minimum" = 0.01))]
        slo: Number,
        /// How much worse than the primary the canary may be.
        tolerance: Tolerance,
        /// As for the failures.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        no_data: String,
        /// As for the failures.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        cannot_measure: String,
    }

    /// How much slower than the primary the canary may be, at every bound of the histogram.
    pub struct LatencyShape {
        /// Of the share of requests that are slower than a bound. Default: 1.25 times the primary's and half a point.
        tolerance: ShapeTolerance,
        /// As for the failures.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        no_data: String,
        /// As for the failures.
        #[schemars(extend("enum" = ["hold", "pass", "fail"]))]
        cannot_measure: String,
    }

    /// How much larger than the primary's the share of slower requests may be.
    pub struct ShapeTolerance {
        /// Percentage points, 0.01 or more. Default 0.5.
        #[schemars(extend("minimum" = 0.01, "maximum" = 100))]
        absolute: Number,
        /// Factor on the primary's share. Default 1.25.
        #[schemars(extend("minimum" = 0.1, "maximum" = 100))]
        relative: Number,
    }

    /// How much worse than the primary the canary may be.
    pub struct Tolerance {
        /// Percentage points. Default: half of the objective.
        #[schemars(extend("minimum" = 0, "maximum" = 100))]
        absolute: Number,
        /// Factor on the primary's rate. Default 1.
        #[schemars(extend("minimum" = 0.1, "maximum" = 100))]
        relative: Number,
    }

    /// Watching the primary after the promotion.
    pub struct Soak {
        /// How long, such as `10m`; `10s` to `24h`.
        #[schemars(regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
        duration: String,
    }
}
