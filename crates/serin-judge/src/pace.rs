//! How fast the weight may rise: as fast as a mistake would stay small.

use std::fmt;

/// Weights in percent that evidence-paced rollouts climb, unless told otherwise.
pub const LADDER: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 100.0];

/// What a rollout under evidence may risk and must wait for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceLimits {
    /// Requests that may be hurt beyond the objective in one reaction time.
    pub blast_radius: f64,
    /// Every share is kept for so long.
    pub min_dwell_secs: f64,
    /// No promotion sooner after the first request.
    pub min_bake_secs: f64,
    /// Canary requests every step must have seen.
    pub min_requests: u64,
    /// The highest share to start with: beyond it the relative check loses more than time is gained.
    pub first_share_max: f64,
}

impl Default for PaceLimits {
    fn default() -> Self {
        Self {
            blast_radius: 25.0,
            min_dwell_secs: 10.0,
            min_bake_secs: 0.0,
            min_requests: 20,
            first_share_max: 0.10,
        }
    }
}

/// What is known when the next weight is decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceFacts {
    /// Requests per second of both sides together.
    pub rate: f64,
    /// From the first bad response to the last: two scrapes and the time a route takes.
    pub reaction_secs: f64,
    /// The highest rate above an objective that cannot be excluded, `p_U - p0`; 1 before the first request.
    pub excess: f64,
    /// For how long the share is what it is.
    pub step_secs: f64,
    /// For how long the canary has had requests.
    pub rollout_secs: f64,
    /// Canary requests since the share was changed.
    pub step_requests: u64,
    /// Something speaks against the canary.
    pub held: bool,
    /// Clean requests still needed to say that the rate is tolerable.
    pub requests_to_go: u64,
}

/// Why a weight does not rise yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Wait {
    /// The evidence leans against the canary.
    Held,
    /// The share is too new.
    Dwell {
        /// For so much longer.
        secs: f64,
    },
    /// The rollout is too young to be promoted.
    Bake {
        /// For so much longer.
        secs: f64,
    },
    /// The share has seen too few requests.
    Requests {
        /// How many are missing.
        more: u64,
    },
    /// The worst rate that cannot be excluded would hurt too many at the next share.
    BlastRadius {
        /// Requests hurt in one reaction time.
        expected: f64,
        /// How many may be.
        allowed: f64,
    },
    /// The rate may still be intolerable.
    GoEvidence {
        /// Good requests that are missing.
        requests: u64,
    },
}

/// What the evidence allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// The canary may get more.
    Raise {
        /// So much.
        share: f64,
    },
    /// The evidence suffices for all of the traffic.
    Promote,
    /// Not yet.
    Wait(Wait),
}

/// `tau = 2 scrapes + actuation`.
pub fn reaction_secs(scrape_secs: f64, actuation_secs: f64) -> f64 {
    2.0 * scrape_secs + actuation_secs
}

/// Requests hurt beyond the objective in one reaction time: `lambda w tau max(p_U - p0, 0)`.
pub fn expected_hurt(rate: f64, share: f64, reaction_secs: f64, excess: f64) -> f64 {
    rate * share * reaction_secs * excess.max(0.0)
}

/// The first share: nothing is known, so `p_U = 1`, hence `w_1 = min(10 %, B/(lambda tau))`, down to a rung of `ladder`.
///
/// The lowest rung is used when even that is too much, because a rollout has to start somewhere.
pub fn first_share(ladder: &[f64], rate: f64, reaction_secs: f64, limits: &PaceLimits) -> f64 {
    let safe = limits.blast_radius / (rate * reaction_secs).max(f64::MIN_POSITIVE);
    let most = safe.min(limits.first_share_max);
    let mut lowest = 1.0_f64;
    let mut best: Option<f64> = None;
    for &share in ladder {
        lowest = lowest.min(share);
        if share <= most {
            best = Some(best.map_or(share, |b| b.max(share)));
        }
    }
    best.unwrap_or(lowest)
}

/// Whether the weight may rise to `next`, or the canary be promoted when there is no higher weight.
///
/// With probability `1 - beta` the bound behind `excess` covers at all times at once, so at every weight change the number
/// of requests hurt beyond the objective in the time it takes to react is at most the blast radius on average.
pub fn decide(limits: &PaceLimits, facts: &PaceFacts, next: Option<f64>) -> Pace {
    if facts.held {
        return Pace::Wait(Wait::Held);
    }
    if facts.step_secs < limits.min_dwell_secs {
        return Pace::Wait(Wait::Dwell { secs: limits.min_dwell_secs - facts.step_secs });
    }
    if facts.step_requests < limits.min_requests {
        return Pace::Wait(Wait::Requests { more: limits.min_requests - facts.step_requests });
    }
    let Some(share) = next else {
        if facts.requests_to_go > 0 {
            return Pace::Wait(Wait::GoEvidence { requests: facts.requests_to_go });
        }
        if facts.rollout_secs < limits.min_bake_secs {
            return Pace::Wait(Wait::Bake { secs: limits.min_bake_secs - facts.rollout_secs });
        }
        return Pace::Promote;
    };
    let expected = expected_hurt(facts.rate, share, facts.reaction_secs, facts.excess);
    if expected > limits.blast_radius {
        return Pace::Wait(Wait::BlastRadius { expected, allowed: limits.blast_radius });
    }
    Pace::Raise { share }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => write!(f, "held while the evidence is being settled"),
            Self::Dwell { secs } => write!(f, "this weight is kept for another {secs:.0} s"),
            Self::Bake { secs } => write!(f, "the rollout lasts at least another {secs:.0} s"),
            Self::Requests { more } => {
                write!(f, "{more} more canary requests are needed at this weight")
            }
            Self::BlastRadius { expected, allowed } => write!(
                f,
                "the next weight could hurt about {expected:.0} requests before it is undone, {allowed:.0} are allowed"
            ),
            Self::GoEvidence { requests } => {
                write!(f, "about {requests} more good canary requests are needed to go on")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_share_follows_the_blast_radius() {
        let ladder = LADDER.map(|percent| percent / 100.0);
        let cases =
            [(10.0, 25.0, 0.1), (100.0, 5.0, 0.01), (100.0, 25.0, 0.05), (100.0, 100.0, 0.1)];
        let more =
            [(1000.0, 5.0, 0.005), (1000.0, 25.0, 0.005), (1000.0, 100.0, 0.02), (0.0, 5.0, 0.1)];
        for (rate, blast_radius, share) in cases.into_iter().chain(more) {
            let limits = PaceLimits { blast_radius, ..PaceLimits::default() };
            let first = first_share(&ladder, rate, reaction_secs(1.0, 1.0), &limits);
            assert_eq!(first, share, "{rate} {blast_radius}");
        }
    }

    #[test]
    fn waits_for_each_condition_by_name() {
        let good = PaceFacts {
            rate: 100.0,
            reaction_secs: 3.0,
            excess: 0.02,
            step_secs: 11.0,
            rollout_secs: 60.0,
            step_requests: 25,
            held: false,
            requests_to_go: 0,
        };
        let limits = PaceLimits { min_bake_secs: 90.0, ..PaceLimits::default() };
        let cases = [
            (good, Some(0.1), Pace::Raise { share: 0.1 }),
            (PaceFacts { held: true, ..good }, Some(0.1), Pace::Wait(Wait::Held)),
            (
                PaceFacts { step_secs: 4.0, ..good },
                Some(0.1),
                Pace::Wait(Wait::Dwell { secs: 6.0 }),
            ),
            (PaceFacts { step_requests: 5, ..good }, None, Pace::Wait(Wait::Requests { more: 15 })),
            (
                PaceFacts { excess: 1.0, ..good },
                Some(0.5),
                Pace::Wait(Wait::BlastRadius { expected: 150.0, allowed: 25.0 }),
            ),
            (
                PaceFacts { requests_to_go: 7, ..good },
                None,
                Pace::Wait(Wait::GoEvidence { requests: 7 }),
            ),
            (good, None, Pace::Wait(Wait::Bake { secs: 30.0 })),
            (PaceFacts { rollout_secs: 91.0, ..good }, None, Pace::Promote),
        ];
        for (i, (facts, next, want)) in cases.into_iter().enumerate() {
            assert_eq!(decide(&limits, &facts, next), want, "case {i}");
        }
    }
}
