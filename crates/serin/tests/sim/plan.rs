//! A life as data: who lives in the world, and what happens to them when. Nothing in it depends on how it is run, so that it
//! can be replayed, shrunk and enumerated.

use std::time::Duration;

use serin_core::model::provider::TRAEFIK;
use serin_core::model::{HookKind, Provider, TargetKind};

use crate::wide::Extra;

/// One life of one world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Random for what the moves leave open: the faults of a storm, jitter, uids.
    pub(crate) seed: u64,
    /// Replicas of the operator; more than one elect a leader.
    pub(crate) replicas: usize,
    pub(crate) canaries: Vec<Shape>,
    /// In order.
    pub(crate) moves: Vec<Move>,
}

/// One canary of the world: `app0`, `app1` and so on.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) provider: &'static Provider,
    pub(crate) target: TargetKind,
    /// An A/B test, until somebody edits the strategy.
    pub(crate) tests: bool,
    /// Number in [`crate::world::strategies`].
    pub(crate) strategy: usize,
    pub(crate) checks: Checks,
    pub(crate) threshold: u32,
    pub(crate) interval_secs: u64,
    pub(crate) hooks: Vec<HookKind>,
    pub(crate) autoscaler: bool,
    /// The pods use a ConfigMap and a Secret.
    pub(crate) configs: bool,
    pub(crate) skip_analysis: bool,
    pub(crate) revert_on_deletion: bool,
    /// A guard with counters of the gateway.
    pub(crate) guard: bool,
    pub(crate) extra: Extra,
}

impl Shape {
    /// Three steps, one metric, nothing else: the smallest world.
    pub(crate) fn small() -> Self {
        Self {
            provider: &TRAEFIK,
            target: TargetKind::Deployment,
            tests: false,
            strategy: 0,
            checks: Checks::Inline,
            threshold: 1,
            interval_secs: 10,
            hooks: Vec::new(),
            autoscaler: false,
            configs: false,
            skip_analysis: false,
            revert_on_deletion: true,
            guard: false,
            extra: Extra::default(),
        }
    }
}

/// Where the analysis gets its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checks {
    Inline,
    Builtin,
    /// A MetricTemplate with a Secret.
    Template,
}

/// Something that happens, `after` the one before.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) after: Duration,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The user of a canary does something.
    User(usize, Act),
    /// Somebody who should not.
    Foe(usize, Foe),
    Trouble(Trouble),
    /// Nobody does anything until a canary is where the next move is to meet it, or for five minutes.
    Await(usize, Sight),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The status gives the canary a share.
    Traffic,
    Promotion,
    /// A release is over.
    Rest,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// A new image.
    Release(Quality),
    /// Back to what the primary runs.
    Revert,
    Edit(Edit),
    RotateConfig,
    RotateSecret,
    Suspend(bool),
    Delete,
    Recreate,
    /// All gates of the canary open or shut.
    Gates(bool),
    /// The rollback hook says yes, or no again.
    AskRollback(bool),
    Scale(u64),
    Autoscaler {
        min: u64,
        max: u64,
    },
    /// A younger Canary of the same target comes.
    Twin,
    /// Pods of another workload come in behind the primary's Service, or go.
    Stray(bool),
    /// Whoever has names that the canary needs gives them up.
    MakeRoom,
    /// All of it was Flagger's so far: the status has nothing of ours, and hashes that nobody can recompute.
    WasFlagger,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit {
    Strategy(usize),
    Threshold(u32),
    Interval(u64),
    SkipAnalysis(bool),
    /// Is invalid, until the next edit.
    Nonsense,
}

/// Hands in what is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Foe {
    DeletePrimary,
    DeleteServices,
    DeleteRoute,
    /// Another controller sets the canary's share, again and again.
    Fight {
        share: i64,
        times: u32,
        every: Duration,
    },
    EditPrimary,
}

/// How a release turns out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quality {
    Healthy,
    /// Fails from the first request on.
    Bad,
    /// Fails once it has a real share.
    Late,
    Slow,
    /// The primary suffers too, for a while.
    Shared,
    /// Nobody comes.
    Mute,
    /// Its pods crash.
    Crash,
    /// Its pods do not get ready.
    Never,
    /// Fails some time after its promotion.
    Sours,
}

impl Quality {
    pub(crate) const ALL: [Quality; 9] = [
        Quality::Healthy,
        Quality::Bad,
        Quality::Late,
        Quality::Slow,
        Quality::Shared,
        Quality::Mute,
        Quality::Crash,
        Quality::Never,
        Quality::Sours,
    ];

    /// As it ends an image's name: the world reads it there, so that a pod is as good as its image.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Quality::Healthy => "healthy",
            Quality::Bad => "bad",
            Quality::Late => "late",
            Quality::Slow => "slow",
            Quality::Shared => "shared",
            Quality::Mute => "mute",
            Quality::Crash => "crash",
            Quality::Never => "never",
            Quality::Sours => "sours",
        }
    }

    pub(crate) fn of(image: &str) -> Self {
        let of = |quality: &&Quality| image.ends_with(quality.name());
        Self::ALL.iter().find(of).copied().unwrap_or(Quality::Healthy)
    }

    /// Whether an analysis that works as promised can never end in a promotion.
    pub(crate) fn is_rotten(self) -> bool {
        match self {
            Quality::Bad | Quality::Late | Quality::Slow | Quality::Crash | Quality::Never => true,
            Quality::Healthy | Quality::Shared | Quality::Mute | Quality::Sours => false,
        }
    }
}

/// What goes wrong around the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The call of this kind after `skip` others, from now on, meets this fault. To crash the operator at its n-th write,
    /// put `Next { call: Call::Write, skip: n, fault: Fault::Crash { .. } }` at the beginning of the plan.
    Next {
        call: Call,
        skip: u64,
        fault: Fault,
    },
    /// Every call may meet a fault of any kind.
    Storm {
        secs: u64,
        percent: u64,
    },
    /// The API server is gone, and comes back without its history.
    ApiRestart {
        secs: u64,
    },
    /// All watches break.
    Tear,
    /// All watches break, and what they were at is forgotten: everything is listed again.
    Compact,
    /// Connections are half open: what watches would tell is lost, and then they break and have to list everything again.
    Deaf {
        secs: u64,
    },
    /// What watches tell comes late, each kind with a delay of its own.
    Lag {
        secs: u64,
        millis: u64,
    },
    /// Lists answer with what they answered before.
    StaleLists {
        secs: u64,
    },
    SecretsUnreadable {
        secs: u64,
    },
    Metrics {
        secs: u64,
        how: Outage,
    },
    Hooks {
        secs: u64,
        how: Outage,
    },
    ClockJump {
        replica: usize,
        secs: i64,
    },
    Crash {
        replica: usize,
        down: u64,
    },
}

/// Calls of the operator to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    List,
    Watch,
    Write,
    /// Writes of a user's workload.
    Target,
    /// Writes of a workload that runs as the primary.
    Primary,
    /// Writes of the Lease, which go on for ever.
    Lease,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not carried out.
    Refused(u16),
    /// The connection breaks: before it is carried out, or after.
    Torn {
        carried_out: bool,
    },
    /// The caller hears that it failed, and it is carried out later all the same.
    Late {
        secs: u64,
    },
    Slow {
        millis: u64,
    },
    /// No answer for minutes, then a broken connection.
    Hang,
    /// The replica that calls is killed, before the call is carried out or after, and comes back.
    Crash {
        carried_out: bool,
        down: u64,
    },
}

/// How a server outside fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    Refuses,
    Hangs,
    Fails,
    Garbage,
    Slow,
}
