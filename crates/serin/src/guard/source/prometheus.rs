//! What a Prometheus has read of the gateways: one query for all canaries, as often as it scrapes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{BoxFuture, try_join_all};
use serin_providers::gateway::Wanted;
use serin_providers::gateway::recorded::{self, Recorded};
use tokio::time::Instant;

use super::{Look, Source};
use crate::guard::Environment;
use crate::http_client::{CallOptions, shown};

/// A server that needs longer has missed this look.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer longer than this is none to a query of ours.
const ANSWER_MAX: usize = 32 << 20;
/// Bounds of histograms change with the gateway's flags only.
const BOUNDS_KNOWN: Duration = Duration::from_secs(60);
/// Scrapes that may fail in a row before the server counts as blind, and how late the next one may be.
const MISSED_MAX: u32 = 3;
const LATE_MAX: Duration = Duration::from_secs(5);

/// Samples that were seen are spoken of for this long after the last of them.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Why a look brought nothing.
struct Missed {
    why: String,
    /// The server has spoken, and has nothing for us.
    answered: bool,
    /// It has it under another label.
    renamed: bool,
}

impl Missed {
    fn answered(why: String) -> Self {
        Self { why, answered: true, renamed: false }
    }
}

impl From<String> for Missed {
    fn from(why: String) -> Self {
        Self { why, answered: false, renamed: false }
    }
}

pub(super) struct Prometheus {
    server: String,
    every_millis: Option<u64>,
    /// The times of the newest samples, and since when they are the newest.
    newest: Option<(Vec<i64>, Instant)>,
    bounds: Option<(Vec<f64>, Instant)>,
}

impl Source for Prometheus {
    fn look<'a>(&'a mut self, env: &'a Environment, wanted: &'a Wanted) -> BoxFuture<'a, Look> {
        Box::pin(async move {
            match self.read(env, wanted).await {
                Ok(look) => look,
                Err(Missed { why, answered, renamed }) => {
                    env.metrics.count_scrape_failure(&shown(&self.server));
                    tracing::debug!(server = shown(&self.server), error = %why, "the guard cannot see");
                    let failure = Some(format!("{}: {why}", shown(&self.server)));
                    Look { failure, answered, renamed, ..Look::default() }
                }
            }
        })
    }
}

impl Prometheus {
    pub(super) fn new(server: String) -> Self {
        Self { server, every_millis: None, newest: None, bounds: None }
    }

    async fn read(&mut self, env: &Environment, wanted: &Wanted) -> Result<Look, Missed> {
        let window = recorded::window_secs(self.every_millis);
        let bodies = self.ask(env, &recorded::queries(wanted, window)).await?;
        let mut recorded = Recorded::read(wanted, &bodies)?;
        if recorded.pages.is_empty() {
            if let Some((known, since)) =
                self.newest.as_ref().filter(|n| n.1.elapsed() < REMEMBERED)
            {
                return Err(Missed::answered(self.late(known.len(), since.elapsed())));
            }
            self.every_millis = None;
            let (some, renamed) = self.elsewhere(env, wanted).await?;
            let why = match (some, renamed) {
                (_, true) => "it keeps the gateway's label service as exported_service",
                (true, false) => "it has requests of other services only",
                (false, false) => {
                    "it has no requests of any service; does it scrape the gateway, and does the gateway count by service?"
                }
            };
            return Err(Missed { why: why.to_owned(), answered: true, renamed });
        }
        let mut renamed = false;
        if wanted.looks_around() && !wanted.is_known(&recorded.pages) {
            let some;
            (some, renamed) = self.elsewhere(env, wanted).await?;
            recorded.pages.values_mut().for_each(|page| page.services |= some);
        }
        if recorded.lacks_bounds(wanted) {
            recorded.add_bounds(wanted, &self.bounds(env, wanted).await?);
        }
        self.every_millis = recorded.every_millis().or(self.every_millis);
        let news = self.note(&recorded).map_err(Missed::answered)?;
        let wait = if news { self.wait(&recorded) } else { Duration::ZERO };
        let pages = recorded.pages.into_iter().collect();
        Ok(Look { pages, failure: None, answered: true, renamed, beyond: 0, wait })
    }

    /// Whether anything was scraped since the last look; an error when nothing has been for too long. By our own clock, as
    /// the server's may differ.
    fn note(&mut self, recorded: &Recorded) -> Result<bool, String> {
        let times = recorded.pages.values().filter_map(|page| page.sampled);
        let times: Vec<i64> = times.map(|sampled| sampled.at_millis).collect();
        let Some((known, since)) = self.newest.as_ref().filter(|(known, _)| *known == times) else {
            self.newest = Some((times, Instant::now()));
            return Ok(true);
        };
        let every = Duration::from_millis(self.every_millis.unwrap_or_default());
        // As long as the rhythm is not known, the server gives up on old samples itself.
        if self.every_millis.is_some() && since.elapsed() > every * MISSED_MAX + LATE_MAX {
            return Err(self.late(known.len(), since.elapsed()));
        }
        Ok(false)
    }

    fn late(&self, processes: usize, since: Duration) -> String {
        let every = Duration::from_millis(self.every_millis.unwrap_or_default());
        format!(
            "it has scraped none of {processes} gateways for {} s, though it does so every {} s",
            since.as_secs(),
            every.as_secs_f64()
        )
    }

    /// Until shortly before the next scrape of any gateway is due.
    fn wait(&self, recorded: &Recorded) -> Duration {
        let every = self.every_millis.unwrap_or_default();
        let due = recorded.due_millis().unwrap_or_default();
        Duration::from_millis(due.saturating_sub(every / 5))
    }

    /// Whether it has requests of any service, and whether it has those that are wanted under another label.
    async fn elsewhere(&self, env: &Environment, wanted: &Wanted) -> Result<(bool, bool), String> {
        let (some, renamed) = recorded::elsewhere_queries(wanted);
        let some = recorded::is_something(&self.ask_one(env, &some).await?)?;
        let mut other = false;
        for body in self.ask(env, &renamed).await? {
            other |= recorded::is_something(&body)?;
        }
        Ok((some, other))
    }

    async fn bounds(&mut self, env: &Environment, wanted: &Wanted) -> Result<Vec<f64>, String> {
        if let Some((bounds, since)) = &self.bounds
            && since.elapsed() < BOUNDS_KNOWN
        {
            return Ok(bounds.clone());
        }
        let mut found = Vec::new();
        for body in self.ask(env, &recorded::bounds_queries(wanted)).await? {
            found.extend(recorded::bounds(&body)?);
        }
        self.bounds = Some((found.clone(), Instant::now()));
        Ok(found)
    }

    async fn ask(&self, env: &Environment, queries: &[String]) -> Result<Vec<Bytes>, String> {
        try_join_all(queries.iter().map(|query| self.ask_one(env, query))).await
    }

    async fn ask_one(&self, env: &Environment, query: &str) -> Result<Bytes, String> {
        let request = recorded::request(&self.server, query)?;
        let mut body = BytesMut::new();
        let mut take = |piece: &[u8]| {
            let room = (ANSWER_MAX + 1).saturating_sub(body.len());
            body.extend_from_slice(piece.get(..room).unwrap_or(piece));
        };
        let status = env
            .http_client
            .read(request, CallOptions::within(PATIENCE), &mut take)
            .await
            .map_err(|error| error.to_string())?;
        if body.len() > ANSWER_MAX {
            return Err(format!("the answer is longer than {} MiB", ANSWER_MAX >> 20));
        }
        // A query that is refused is answered with the reason.
        if !status.is_success() && !body.starts_with(b"{") {
            return Err(format!("it answers {status}"));
        }
        Ok(body.freeze())
    }
}
