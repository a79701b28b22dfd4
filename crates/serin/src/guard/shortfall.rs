//! Whether the gateway counts as many requests of the canary as its share: an answer that breaks off in its body, and a request that
//! finds no endpoint, are in none of its counters.
//!
//! The share is tested only where a shortfall can mean nothing else that is healthy: each request is drawn anew, and counted
//! soon. It never rolls back, for nobody can tell from counters whether requests failed or went another way; it is a reason
//! not to know how many failed.

use jiff::{SignedDuration, Timestamp};
use serin_core::model::Exposure;
use serin_judge::ShareTest;
use serin_judge::counters::Increase;
use serin_judge::words::Percent;
use serin_providers::gateway::{Pair, Traits};

use super::source::Scraped;

/// The part of the canary's requests that may be missing: what starts and ends in a burst is counted a little later.
const TOLERANCE: f64 = 0.1;
/// A new weight takes up to some seconds to reach every replica of the gateway: Traefik takes changes in every two at most.
const GRACE_SECS: f64 = 5.0;
/// Requests that are under way when the weight changes are counted when they end: after so many mean durations the part of them
/// that is still to come is below the tolerance.
const DURATIONS: f64 = 10.0;
/// A longer time to wait than this is none that a share is kept for.
const GRACE_SECS_MAX: f64 = 86_400.0;

/// Why the share is not tested, where somebody should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) enum Untested {
    /// Clients stay with a version, whatever its share.
    Sticky,
    /// Some requests stay open and are counted when they end.
    Streams,
    /// Samples of somebody else are of other times than the changes of the weight.
    Recorded,
}

pub(super) struct Shortfall {
    test: ShareTest,
    /// What the canary is to get, and since when.
    exposure: Exposure,
    since: Option<Timestamp>,
    sticky: bool,
    untested: Option<Untested>,
    /// Counted requests of the canary and of both since the share was settled.
    counted: (u64, u64),
    /// How the shortfall was when it was last seen.
    told: String,
}

impl Shortfall {
    pub(super) fn new(alpha: f64, exposure: Exposure) -> Self {
        Self {
            test: ShareTest::new(alpha, TOLERANCE),
            exposure,
            since: None,
            sticky: false,
            untested: None,
            counted: (0, 0),
            told: String::new(),
        }
    }

    /// What the canary is to get from now on.
    pub(super) fn follow(&mut self, exposure: Exposure) {
        if exposure != self.exposure {
            self.exposure = exposure;
            self.since = None;
            self.counted = (0, 0);
        }
    }

    /// Whether the route keeps clients with a version.
    pub(super) fn stick(&mut self, sticky: bool) {
        self.sticky = sticky;
    }

    /// Takes in what a look has brought.
    pub(super) fn take(
        &mut self,
        pair: &Pair,
        pages: &[Scraped],
        increase: &Increase,
        now: Timestamp,
    ) {
        let since = *self.since.get_or_insert(now);
        let share = f64::from(self.exposure.share.percent()) / 100.0;
        let (canary, primary) = (traits(pages, pair, true), traits(pages, pair, false));
        let streams = canary.streams || primary.streams;
        self.untested = match (self.sticky, streams) {
            (true, _) => Some(Untested::Sticky),
            (false, true) => Some(Untested::Streams),
            (false, false) => None,
        };
        let shared = self.exposure == Exposure::share(self.exposure.share) && share > 0.0;
        // It is not known how long requests take that have never been timed.
        let Some(grace) = grace(pages, pair).filter(|_| shared && self.untested.is_none()) else {
            return;
        };
        if now.duration_since(since) < grace {
            return;
        }
        let (n, m) = (increase.canary.requests, increase.primary.requests);
        self.counted.0 = self.counted.0.saturating_add(n);
        self.counted.1 = self.counted.1.saturating_add(n).saturating_add(m);
        if self.test.observe(n, m, share) {
            let (n, all) = self.counted;
            let seen = Percent(n as f64 / all.max(1) as f64);
            self.told = format!(
                "of {all} requests the gateway has counted {n} for the canary, {seen}, and it is to get {}",
                Percent(share)
            );
        }
    }

    /// How far the counted share is below the one that the canary has; none while it is not.
    ///
    /// A canary whose share was taken back for it has no requests that could show anything else: that stays as it was.
    pub(super) fn told(&self) -> Option<&str> {
        (self.test.is_short() && self.untested.is_none()).then_some(self.told.as_str())
    }

    pub(super) fn untested(&self) -> Option<Untested> {
        self.untested
    }

    /// The counters are somebody else's samples.
    pub(super) fn skip(&mut self) {
        self.untested = Some(Untested::Recorded);
    }
}

/// What the requests of one side are like on all pages together.
fn traits(pages: &[Scraped], pair: &Pair, of_canary: bool) -> Traits {
    let counted = if of_canary { &pair.canary } else { &pair.primary };
    pages.iter().map(|(_, page)| page.traits(counted)).fold(Traits::default(), |all, one| Traits {
        secs: all.secs.zip(one.secs).map(|(a, b)| a + b).or(all.secs).or(one.secs),
        streams: all.streams || one.streams,
        ambiguous: all.ambiguous || one.ambiguous,
    })
}

/// Whether calls are counted that may be healthy or not.
pub(in crate::guard) fn is_ambiguous(pages: &[Scraped], pair: &Pair) -> bool {
    traits(pages, pair, true).ambiguous || traits(pages, pair, false).ambiguous
}

/// How long after a change of the weight requests are under way that began before it.
fn grace(pages: &[Scraped], pair: &Pair) -> Option<SignedDuration> {
    let secs = traits(pages, pair, false).secs?;
    let timed: u64 = pages.iter().map(|(_, page)| page.timed_requests(&pair.primary)).sum();
    let mean = secs / timed.max(1) as f64;
    let grace = (DURATIONS * mean).clamp(GRACE_SECS, GRACE_SECS_MAX);
    SignedDuration::try_from_secs_f64(grace).ok()
}
