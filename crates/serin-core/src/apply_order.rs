//! In which order a plan is carried out, and what a write that fails means for the rest: shared by the operator and by
//! the search of the small world, so that what is searched is what runs.

use crate::plan::{Action, Plan};

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// The route gets less, which waits for nothing.
    Lower,
    /// The whole status, in one write with the version of the object that was decided about.
    Record,
    /// People hear of it: it is decided now, even where the rest takes another try.
    Tell,
    /// The action of this index.
    Act(usize),
    /// The plan is carried out.
    Done,
    /// The rest is left to the next tick.
    GivenUp,
}

/// A plan on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApplyOrder {
    actions: usize,
    at: Next,
    /// What was to be lowered was not; the status is still right, and the rest waits for the next tick.
    lowered: bool,
    /// The first action that brings the new version to more users.
    raises: usize,
    /// It was decided on what may not be so any more.
    overtaken: bool,
}

impl ApplyOrder {
    pub fn of(plan: &Plan) -> Self {
        Self {
            actions: plan.actions.len(),
            at: Self::first(plan),
            lowered: true,
            raises: plan.actions.iter().position(raises).unwrap_or(plan.actions.len()),
            overtaken: false,
        }
    }

    fn first(plan: &Plan) -> Next {
        match plan.lower {
            Some(_) => Next::Lower,
            None => Next::Record,
        }
    }

    pub fn next(&self) -> Next {
        self.at
    }

    /// It succeeded.
    pub fn done(&mut self) {
        self.at = match self.at {
            Next::Lower => Next::Record,
            Next::Record => Next::Tell,
            Next::Tell if !self.lowered => Next::GivenUp,
            Next::Tell => self.act(0),
            Next::Act(index) => self.act(index + 1),
            ended @ (Next::Done | Next::GivenUp) => ended,
        };
    }

    /// It failed, or it is not known.
    pub fn failed(&mut self) {
        self.at = match self.at {
            // What could not be lowered is no reason to keep silent about the decision.
            Next::Lower => {
                self.lowered = false;
                Next::Record
            }
            Next::Record | Next::Act(_) => Next::GivenUp,
            // Telling cannot fail.
            Next::Tell => self.act(0),
            ended @ (Next::Done | Next::GivenUp) => ended,
        };
    }

    /// Law 2: something else was found, or too much time has passed, since it was decided. The status says what is wanted,
    /// and the next tick raises on what there is by then; what does not raise goes on.
    pub fn overtaken(&mut self) {
        self.overtaken = true;
    }

    fn act(&self, index: usize) -> Next {
        if self.overtaken && index >= self.raises && index < self.actions {
            return Next::GivenUp;
        }
        if index < self.actions { Next::Act(index) } else { Next::Done }
    }
}

/// Whether this brings the new version to more users.
fn raises(action: &Action) -> bool {
    match action {
        Action::Route(exposure) => !exposure.is_none(),
        Action::PromotePrimary { .. } => true,
        Action::Services
        | Action::ApexToPrimary
        | Action::ApexToTarget
        | Action::CreatePrimary { .. }
        | Action::RepairCopies
        | Action::KeepPrimary { .. }
        | Action::UndoPrimary { .. }
        | Action::PrimaryScaler
        | Action::HoldPrimary(_)
        | Action::ScaleTarget(_)
        | Action::EnsureRoute(_)
        | Action::RestoreRoute
        | Action::Finalizer(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Running;
    use jiff::Timestamp;

    use super::*;
    use crate::model::{Exposure, Status, Weight};
    use crate::plan::Explanation;
    use crate::reason::Reason;

    fn done(actions: Vec<Action>, overtaken: bool) -> Vec<Next> {
        let explanation = Explanation { reason: Reason::Advanced, message: String::new() };
        let (next, status) = (Timestamp::UNIX_EPOCH, Status::default());
        let (lower, calls, notices, handled) = Default::default();
        let plan = Plan { lower, status, actions, calls, notices, handled, explanation, next };
        let mut order = ApplyOrder::of(&plan);
        let mut path = Vec::new();
        while !matches!(order.next(), Next::Done | Next::GivenUp) {
            path.push(order.next());
            if overtaken && order.next() == Next::Record {
                order.overtaken();
            }
            order.done();
        }
        path.push(order.next());
        path
    }

    #[test]
    fn what_was_overtaken_does_not_raise_and_does_the_rest() {
        let raise = Action::Route(Exposure::share(Weight::saturating(20)));
        let promote = Action::PromotePrimary { revision: "s1:1".to_owned() };
        for raise in [raise, promote] {
            let actions = vec![Action::Services, raise, Action::HoldPrimary(None)];
            let (record, tell, act) = (Next::Record, Next::Tell, Next::Act);
            assert_eq!(
                done(actions.clone(), false),
                [record, tell, act(0), act(1), act(2), Next::Done]
            );
            assert_eq!(done(actions, true), [record, tell, act(0), Next::GivenUp]);
        }
        let lowers = vec![Action::Route(Exposure::NONE), Action::ScaleTarget(Running::Off)];
        assert_eq!(done(lowers.clone(), true), done(lowers, false));
    }
}
