//! `spec.analysis.guard`: the fast clock that rolls back on evidence.

use super::{Number, document};

document! {
    /// Watches the canary's traffic on a clock of its own and rolls back as soon as the evidence against it suffices.
    pub struct Guard {
        /// `enforce` rolls back, `observe` records what it would have done, `off` does nothing. Default
        /// `enforce`; for canaries taken over from Flagger `observe`.
        #[schemars(extend("enum" = ["enforce", "observe", "off"]))]
        mode: String,
        /// Where the counters come from: `gateway` (its own metrics endpoint) or `prometheus` (not available yet).
        /// Default `gateway`.
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
        /// `primary` blames the canary only for what the primary does not suffer too; `none` holds it to the limit alone.
        /// Default `primary`.
        #[schemars(extend("enum" = ["primary", "none"]))]
        attribution: String,
        /// Requests beyond the limit that may be hurt before a rollback takes effect; bounds the canary's share. Not available yet.
        blast_radius: i32,
        /// `fixed` takes the steps of the analysis; `evidence` raises the traffic as fast as the evidence allows (not
        /// available yet). Default `fixed`.
        #[schemars(extend("enum" = ["fixed", "evidence"]))]
        pace: String,
        /// Shortest time at one weight, with pace `evidence`. Not available yet.
        min_dwell: String,
        /// Longest time that a release may take, with pace `evidence`; then it holds and says what is known. Not
        /// available yet.
        max_duration: String,
        /// Shortest time before the promotion. Not available yet.
        min_bake: String,
        /// Watch the primary after the promotion and undo it by itself. Not available yet.
        soak: Soak,
    }

    /// How many requests may fail.
    pub struct ErrorRate {
        /// Greatest percentage of requests that may fail.
        slo: Number,
        /// How much worse than the primary the canary may be.
        tolerance: Tolerance,
    }

    /// How many requests may be slow.
    pub struct Latency {
        /// What counts as slow, in milliseconds; must be a bound of the histogram's buckets.
        threshold: Number,
        /// Greatest percentage of requests that may be slower.
        slo: Number,
        /// How much worse than the primary the canary may be.
        tolerance: Tolerance,
    }

    /// How much worse than the primary the canary may be.
    pub struct Tolerance {
        /// Percentage points. Default: half of the objective.
        absolute: Number,
        /// Factor on the primary's rate. Default 1.
        relative: Number,
    }

    /// Watching the primary after the promotion.
    pub struct Soak {
        /// How long, such as `10m`.
        duration: String,
    }
}
