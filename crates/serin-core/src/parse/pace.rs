//! The pace of a guarded release: how fast the share may rise, how long it lasts at least, and what follows it.

use super::doc::Doc;
use super::duration;
use crate::model::{BlindDeadline, EvidencePace, GuardMode, Pace, Schedule, Weight};

/// Requests hurt beyond the objective in one reaction time.
const BLAST_RADIUS: i64 = 25;
/// More is no bound on anything.
const BLAST_RADIUS_MAX: i64 = 1_000_000;
const MIN_DWELL_SECS: i64 = 10;
const MAX_DURATION_SECS: i64 = 30 * 60;
/// What a release under evidence visits below the first weight of its analysis, in percent.
const LADDER: [u32; 7] = [1, 2, 5, 10, 20, 30, 40];
/// Shorter, and the gateways have hardly been read.
const SOAK_SECS_MIN: i64 = 10;
/// Longer, and the revision before is no place to go back to.
const SOAK_SECS_MAX: i64 = 24 * 3600;

/// What fresh pods need for their first connections.
const WARM_UP_SECS: i64 = 5;
/// More is no warming up.
const WARM_UP_SECS_MAX: i64 = 600;

/// A gateway that is started anew is back by then.
const BLIND_SECS: i64 = 60;
/// The guard needs five seconds to call itself blind.
const BLIND_SECS_MIN: i64 = 10;
const BLIND_SECS_MAX: i64 = 24 * 3600;

/// Fields that mean something with pace `evidence` only.
const OF_EVIDENCE: [&str; 3] = ["blastRadius", "minDwell", "maxDuration"];

/// `pace`, `blastRadius`, `minDwell` and `maxDuration`. `mode` is none when the guard is off.
pub(super) fn read(doc: &Doc<'_>, mode: Option<GuardMode>) -> Pace {
    let evidence = match doc.text("pace") {
        None | Some("fixed") => false,
        Some("evidence") => true,
        Some(other) => {
            doc.error("pace", format!("{other:?} is none of fixed, evidence"));
            false
        }
    };
    if !evidence {
        for field in OF_EVIDENCE.into_iter().filter(|field| doc.raw(field).is_some()) {
            doc.error_use(field, "belongs to pace evidence", "set that, or remove it");
        }
        return Pace::Fixed;
    }
    if mode != Some(GuardMode::Enforce) {
        doc.error("pace", "evidence lets the guard decide: it needs mode enforce");
    }
    let pace = EvidencePace {
        blast_radius: doc.within("blastRadius", 1, BLAST_RADIUS_MAX).unwrap_or(BLAST_RADIUS) as f64,
        min_dwell_secs: seconds(doc, "minDwell", MIN_DWELL_SECS),
        max_duration_secs: seconds(doc, "maxDuration", MAX_DURATION_SECS),
    };
    if pace.min_dwell_secs > pace.max_duration_secs {
        let (dwell, duration) = (pace.min_dwell_secs, pace.max_duration_secs);
        doc.error("minDwell", format!("{dwell}s is more than maxDuration {duration}s"));
    }
    Pace::Evidence(pace)
}

/// `minBake` and `soak`, in seconds.
pub(super) fn around(doc: &Doc<'_>, mode: Option<GuardMode>) -> (i64, Option<i64>) {
    if mode.is_none() {
        for field in ["minBake", "soak"].into_iter().filter(|field| doc.raw(field).is_some()) {
            doc.error_use(field, "has no effect with mode off", "remove one of them");
        }
    }
    (seconds(doc, "minBake", 0), soak(doc))
}

/// `warmUp`, in seconds.
pub(super) fn warm_up(doc: &Doc<'_>) -> i64 {
    let secs = seconds(doc, "warmUp", WARM_UP_SECS);
    if secs > WARM_UP_SECS_MAX {
        doc.error("warmUp", format!("must be at most 10m, not {secs}s"));
    }
    secs
}

/// `blindDeadline`.
pub(super) fn blind(doc: &Doc<'_>) -> BlindDeadline {
    let default = BlindDeadline::AboveFirst(BLIND_SECS);
    let Some(text) = doc.text("blindDeadline") else { return default };
    match duration::seconds(text) {
        Some(0) => BlindDeadline::Never,
        Some(secs) if (BLIND_SECS_MIN..=BLIND_SECS_MAX).contains(&secs) => {
            BlindDeadline::Always(secs)
        }
        Some(_) | None => {
            let message = format!("{text:?} is neither 0s, for never, nor between 10s and 24h");
            doc.error("blindDeadline", message);
            default
        }
    }
}

fn soak(doc: &Doc<'_>) -> Option<i64> {
    let soak = doc.object("soak")?;
    let text = soak.required("duration");
    if text.is_empty() {
        return None;
    }
    match duration::seconds(text) {
        Some(secs) if (SOAK_SECS_MIN..=SOAK_SECS_MAX).contains(&secs) => Some(secs),
        Some(_) | None => {
            soak.error("duration", format!("{text:?} is no duration between 10s and 24h"));
            None
        }
    }
}

fn seconds(doc: &Doc<'_>, field: &str, default: i64) -> i64 {
    let Some(text) = doc.text(field) else { return default };
    duration::seconds(text).unwrap_or_else(|| {
        doc.error(field, format!("{text:?} is no duration such as 30s or 10m"));
        default
    })
}

/// The weights that the evidence climbs: smaller ones come first, so that little is at stake while little is known.
pub(super) fn climb(doc: &Doc<'_>, schedule: Schedule) -> Schedule {
    let Some(shares) = schedule.ladder() else {
        doc.error("guard.pace", "evidence raises weights: it needs stepWeight or stepWeights");
        return schedule;
    };
    let first = shares.first().copied().unwrap_or(Weight::FULL);
    let below = LADDER.map(Weight::saturating).into_iter().filter(|share| *share < first);
    let copies = schedule.copies();
    let climbing = Schedule::weighted(below.chain(shares), schedule.promotion_step);
    match copies {
        Some(copies) => climbing.mirrored(copies),
        None => climbing,
    }
}
