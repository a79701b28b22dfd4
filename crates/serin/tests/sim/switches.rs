//! Kinds of faults, each of which can be switched off: `SERIN_FAULTS=none`, `SERIN_FAULTS=crash,lag`.

use std::sync::OnceLock;

use crate::plan::{Fault, Move, Plan, Trouble, What};

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Refused,
    Torn,
    Late,
    Slow,
    Hang,
    Crash,
    Restart,
    Tear,
    Relist,
    Deaf,
    Lag,
    Stale,
    Secrets,
    Metrics,
    Hooks,
    Clock,
    Hands,
}

impl Kind {
    pub(crate) const ALL: [Kind; 17] = [
        Kind::Refused,
        Kind::Torn,
        Kind::Late,
        Kind::Slow,
        Kind::Hang,
        Kind::Crash,
        Kind::Restart,
        Kind::Tear,
        Kind::Relist,
        Kind::Deaf,
        Kind::Lag,
        Kind::Stale,
        Kind::Secrets,
        Kind::Metrics,
        Kind::Hooks,
        Kind::Clock,
        Kind::Hands,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Refused => "refused",
            Kind::Torn => "torn",
            Kind::Late => "late",
            Kind::Slow => "slow",
            Kind::Hang => "hang",
            Kind::Crash => "crash",
            Kind::Restart => "restart",
            Kind::Tear => "tear",
            Kind::Relist => "relist",
            Kind::Deaf => "deaf",
            Kind::Lag => "lag",
            Kind::Stale => "stale",
            Kind::Secrets => "secrets",
            Kind::Metrics => "metrics",
            Kind::Hooks => "hooks",
            Kind::Clock => "clock",
            Kind::Hands => "hands",
        }
    }

    pub(crate) fn of_fault(fault: Fault) -> Self {
        match fault {
            Fault::Refused(_) => Kind::Refused,
            Fault::Torn { .. } => Kind::Torn,
            Fault::Late { .. } => Kind::Late,
            Fault::Slow { .. } => Kind::Slow,
            Fault::Hang => Kind::Hang,
            Fault::Crash { .. } => Kind::Crash,
        }
    }

    /// None for a storm, which is as many kinds as are switched on.
    fn of_trouble(trouble: Trouble) -> Option<Self> {
        Some(match trouble {
            Trouble::Storm { .. } => return None,
            Trouble::Next { fault, .. } => Kind::of_fault(fault),
            Trouble::ApiRestart { .. } => Kind::Restart,
            Trouble::Tear => Kind::Tear,
            Trouble::Compact => Kind::Relist,
            Trouble::Deaf { .. } => Kind::Deaf,
            Trouble::Lag { .. } => Kind::Lag,
            Trouble::StaleLists { .. } => Kind::Stale,
            Trouble::SecretsUnreadable { .. } => Kind::Secrets,
            Trouble::Metrics { .. } => Kind::Metrics,
            Trouble::Hooks { .. } => Kind::Hooks,
            Trouble::ClockJump { .. } => Kind::Clock,
            Trouble::Crash { .. } => Kind::Crash,
        })
    }

    fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// The kinds that are switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kinds(u32);

impl Kinds {
    pub(crate) const NONE: Kinds = Kinds(0);

    pub(crate) fn all() -> Self {
        Self::of(&Kind::ALL)
    }

    pub(crate) fn of(kinds: &[Kind]) -> Self {
        Self(kinds.iter().fold(0, |bits, kind| bits | kind.bit()))
    }

    pub(crate) fn has(self, kind: Kind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// `all`, `none`, or names with commas between them.
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self::all()),
            "none" => return Ok(Self::NONE),
            _ => {}
        }
        let known = |name: &str| {
            Kind::ALL.into_iter().find(|kind| kind.name() == name.trim()).ok_or_else(|| {
                let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
                format!("{name:?} is no kind of fault: all, none, or some of {}", names.join(","))
            })
        };
        let kinds: Result<Vec<Kind>, String> = text.split(',').map(known).collect();
        Ok(Self::of(&kinds?))
    }

    /// What `SERIN_FAULTS` says; all without it.
    pub(crate) fn wanted() -> Self {
        static WANTED: OnceLock<Kinds> = OnceLock::new();
        *WANTED.get_or_init(|| match std::env::var("SERIN_FAULTS") {
            Ok(text) => Self::parse(&text).unwrap(),
            Err(_) => Self::all(),
        })
    }

    /// Whether a move may be made.
    pub(crate) fn allow(self, what: &What) -> bool {
        match what {
            What::User(..) | What::Await(..) => true,
            What::Foe(..) => self.has(Kind::Hands),
            What::Trouble(trouble) => {
                Kind::of_trouble(*trouble).map_or(self != Self::NONE, |kind| self.has(kind))
            }
        }
    }
}

/// Moves that are left, in a plan written by hand.
#[cfg(test)]
fn kept(plan: &Plan, kinds: Kinds) -> usize {
    plan.moves.iter().filter(|Move { what, .. }| kinds.allow(what)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chance;
    use crate::run::{Options, run};

    #[test]
    fn every_kind_has_a_name_and_no_other_is_known() {
        let names: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        for (kind, name) in Kind::ALL.into_iter().zip(&names) {
            assert_eq!(Kinds::parse(name), Ok(Kinds::of(&[kind])));
        }
        assert_eq!(Kinds::parse(&names.join(",")), Ok(Kinds::all()));
        assert_eq!(Kinds::parse("none"), Ok(Kinds::NONE));
        let refused = Kinds::parse("crash,thunder").unwrap_err();
        assert!(refused.contains("\"thunder\"") && refused.contains("secrets"), "{refused}");
        let bits: std::collections::BTreeSet<u32> = Kind::ALL.into_iter().map(Kind::bit).collect();
        assert_eq!(bits.len(), Kind::ALL.len());
    }

    #[test]
    fn users_alone_are_left_when_everything_is_switched_off() {
        let lives: Vec<Plan> = (0..200).map(|seed| chance::plan(seed, 12)).collect();
        for plan in &lives {
            let users = plan.moves.iter().filter(|one| matches!(one.what, What::User(..)));
            assert_eq!(kept(plan, Kinds::NONE), users.count());
            assert_eq!(kept(plan, Kinds::all()), plan.moves.len());
        }
        for kind in Kind::ALL {
            let of = |what: &What| Kinds::of(&[kind]).allow(what) && !Kinds::NONE.allow(what);
            let moves = lives.iter().flat_map(|plan| &plan.moves);
            assert!(moves.clone().any(|one| of(&one.what)), "no life has {}", kind.name());
        }
    }

    #[test]
    fn what_is_switched_off_does_not_happen() {
        let options = |faults| Options { faults, ..Options::default() };
        let stormy = (0..)
            .map(|seed| chance::plan(seed, 12))
            .filter(|plan| {
                let storm = |one: &Move| matches!(one.what, What::Trouble(Trouble::Storm { .. }));
                plan.canaries.len() == 1 && plan.moves.iter().any(storm)
            })
            .take(2);
        for plan in stormy {
            let quiet = run(&plan, &options(Kinds::NONE));
            assert_eq!((quiet.broken, quiet.faults.into_keys().next()), (None, None));
            let torn = run(&plan, &options(Kinds::of(&[Kind::Torn])));
            assert_eq!(torn.broken, None);
            assert!(torn.faults.keys().all(|name| name.starts_with("connection torn")));
        }
    }
}
