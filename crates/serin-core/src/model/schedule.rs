//! How a release exposes its canary, stage by stage, as data: weighted, Blue/Green and A/B testing, with or
//! without copies of requests first, are lists of stages.

use super::{Exposure, Weight};

/// A canary stays as exposed as this until so many rounds of checks have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    pub exposure: Exposure,
    /// At least 1.
    pub rounds: u32,
    /// Who must approve that the stage begins.
    pub gate: Gate,
}

/// The hooks that are asked before a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nobody.
    Open,
    /// `confirm-traffic-increase`.
    TrafficIncrease,
    /// `confirm-promotion`: everybody meets the canary at once, on evidence that was gathered before.
    Promotion,
}

/// The stages of an analysis, and how traffic returns to the primary after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Never empty; no two have the same exposure.
    pub stages: Vec<Stage>,
    /// Step of the ramp back to the primary while promoting; none jumps.
    pub promotion_step: Option<Weight>,
}

/// What a schedule is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The canary's share of all requests rises from stage to stage.
    Weighted,
    /// Checks without users, then everybody at once where there is a router.
    BlueGreen,
    /// Users whose requests match meet the canary, and no others.
    Matched,
}

impl Schedule {
    /// Rising shares, one round of checks each; an empty list is everything at once.
    pub fn weighted(
        shares: impl IntoIterator<Item = Weight>,
        promotion_step: Option<Weight>,
    ) -> Self {
        let stage = |share| Stage {
            exposure: Exposure::share(share),
            rounds: 1,
            gate: Gate::TrafficIncrease,
        };
        let mut stages: Vec<Stage> = shares.into_iter().map(stage).collect();
        if stages.is_empty() {
            stages.push(stage(Weight::FULL));
        }
        Self { stages, promotion_step }
    }

    /// Rounds of checks on a canary without users, and one round with all of them where a router can send them there.
    pub fn blue_green(rounds: u32, router: bool) -> Self {
        let idle = Stage { exposure: Exposure::NONE, rounds, gate: Gate::Open };
        let switch = Stage { exposure: Exposure::FULL, rounds: 1, gate: Gate::Promotion };
        let stages = if router { vec![idle, switch] } else { vec![idle] };
        Self { stages, promotion_step: None }
    }

    /// Rounds of checks while the requests that match go to the canary.
    pub fn matched(rounds: u32) -> Self {
        let stage = Stage { exposure: Exposure::MATCHED, rounds, gate: Gate::Open };
        Self { stages: vec![stage], promotion_step: None }
    }

    /// Copies of so many requests reach the canary before any user meets it: as a stage of its own where shares rise, during
    /// the rounds without users of Blue/Green. A test by matching requests has users from the beginning and stays as it is.
    pub fn mirrored(mut self, copies: Weight) -> Self {
        let exposure = Exposure::mirrored(copies);
        match self.form() {
            Form::Weighted => {
                let gate = Gate::TrafficIncrease;
                self.stages.insert(0, Stage { exposure, rounds: 1, gate });
            }
            Form::BlueGreen => {
                for stage in self.stages.iter_mut().filter(|stage| stage.exposure.is_none()) {
                    stage.exposure = exposure;
                }
            }
            Form::Matched => {}
        }
        self
    }

    /// By the first stage with users.
    pub fn form(&self) -> Form {
        match self.stages.iter().find(|stage| stage.exposure.has_users()) {
            Some(first) if first.exposure.matched => Form::Matched,
            Some(first) => match first.gate {
                Gate::TrafficIncrease => Form::Weighted,
                Gate::Open | Gate::Promotion => Form::BlueGreen,
            },
            None => Form::BlueGreen,
        }
    }

    /// Percent of the requests that are copied at some stage; none where none are.
    pub fn copies(&self) -> Option<Weight> {
        self.stages
            .iter()
            .map(|stage| stage.exposure.mirrored)
            .find(|copies| *copies > Weight::ZERO)
    }

    /// The stage that a release begins with, where no user meets the canary but copies reach it.
    pub fn first_copies(&self) -> Option<&Stage> {
        self.stages.first().filter(|stage| stage.exposure.mirrored > Weight::ZERO)
    }

    /// The stage of a canary that is as exposed as this; none where the spec has changed since.
    pub fn stage(&self, at: Exposure) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.exposure == at)
    }

    /// The stage that follows. Where the spec has changed since, it is the first that gives the users of the canary more.
    pub fn after(&self, at: Exposure) -> Option<&Stage> {
        if let Some(place) = self.stages.iter().position(|stage| stage.exposure == at) {
            return self.stages.get(place + 1);
        }
        let more = |stage: &&Stage| match at.has_users() {
            true => stage.exposure.share > at.share,
            false => !stage.exposure.is_within(at),
        };
        self.stages.iter().find(more)
    }

    /// As little as a canary with users starts with.
    pub fn first_with_users(&self) -> Exposure {
        let first = self.stages.iter().map(|stage| stage.exposure).find(|one| one.has_users());
        first.unwrap_or(Exposure::NONE)
    }

    /// The shares that it visits, in order; none with A/B testing.
    pub fn shares(&self) -> impl Iterator<Item = Weight> + '_ {
        self.stages.iter().map(|stage| stage.exposure.share).filter(|share| *share > Weight::ZERO)
    }

    /// The shares of a release whose share rises step by step; none of another form.
    pub fn ladder(&self) -> Option<Vec<Weight>> {
        (self.form() == Form::Weighted).then(|| self.shares().collect())
    }

    /// The next share above `share`; none when it is at or above the last.
    pub fn next_share(&self, share: Weight) -> Option<Weight> {
        self.shares().find(|next| *next > share)
    }

    /// Rounds of checks from the first to the last, one after another.
    pub fn rounds(&self) -> u32 {
        let rounds = self.stages.iter().map(|stage| stage.rounds);
        rounds.fold(0, u32::saturating_add)
    }

    /// Rounds of checks that Flagger counts as iterations; none where shares rise.
    pub fn iterations(&self) -> Option<u32> {
        let first = self.stages.first()?;
        (self.form() != Form::Weighted).then_some(first.rounds)
    }
}
