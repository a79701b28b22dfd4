//! The gateway's own counters, of every replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::{Request, StatusCode, Uri};
use serin_providers::gateway::{Scrape, Wanted};
use tokio::time::Instant;

use super::{Discovery, Look, Source};
use crate::controller::Context;
use crate::guard::ward::Scraped;
use crate::outside::{Manner, shown};

/// Replicas that come and go are noticed after this long.
const KNOWN: Duration = Duration::from_secs(10);
/// More replicas of a gateway than anyone runs.
pub(in crate::guard) const REPLICAS_MAX: usize = 256;
/// A gateway that needs longer has missed this look; the next one makes up for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// One that has missed the last look is waited for this long, but for every so manieth time.
const PATIENCE_AGAIN: Duration = Duration::from_millis(200);
const CHANCE: u32 = 10;

pub(super) struct Gateway {
    gateways: Arc<Discovery>,
    /// What the names in URLs stood for when they were looked up.
    named: Vec<String>,
    since: Option<Instant>,
    /// How often in a row those that do not answer have not.
    missed: BTreeMap<String, u32>,
    /// None of them answered the last look.
    blind: bool,
    /// So many were left out of the last look.
    beyond: usize,
}

/// Every replica that is looked at, how many are not, and what went wrong with one of the entries.
struct Replicas {
    gateways: Vec<String>,
    beyond: usize,
    failure: Option<String>,
}

impl Source for Gateway {
    fn look<'a>(&'a mut self, context: &'a Context, wanted: &'a Wanted) -> BoxFuture<'a, Look> {
        Box::pin(async move {
            let Replicas { gateways, beyond, mut failure } = self.replicas(context).await;
            let scrapes = gateways.iter().map(|gateway| {
                let patience = self.patience(gateway);
                scrape(context, gateway, wanted, patience)
            });
            let answers = join_all(scrapes).await;
            let mut pages = Vec::new();
            self.missed.retain(|gateway, _| gateways.contains(gateway));
            for (gateway, answer) in gateways.iter().zip(answers) {
                match answer {
                    Ok(scraped) => {
                        self.missed.remove(gateway);
                        pages.push(scraped);
                    }
                    Err(why) => {
                        *self.missed.entry(gateway.clone()).or_default() += 1;
                        let gateway = shown(gateway);
                        context.metrics.count_scrape_failure(&gateway);
                        tracing::debug!(gateway, error = %why, "the guard cannot see");
                        failure = Some(format!("{gateway}: {why}"));
                    }
                }
            }
            self.blind = pages.is_empty();
            if pages.is_empty() {
                failure.get_or_insert_with(|| "no replica of the gateway is known".to_owned());
            }
            Look { answered: !pages.is_empty(), pages, failure, beyond, ..Look::default() }
        })
    }
}

impl Gateway {
    pub(super) fn new(gateways: Arc<Discovery>) -> Self {
        let (named, missed) = (Vec::new(), BTreeMap::new());
        Self { gateways, named, since: None, missed, blind: true, beyond: 0 }
    }

    /// One that is gone keeps nobody waiting for those that are there, and is given a chance now and then.
    fn patience(&self, gateway: &str) -> Duration {
        let missed = self.missed.get(gateway).copied().unwrap_or_default();
        if self.blind || missed.is_multiple_of(CHANCE) { PATIENCE } else { PATIENCE_AGAIN }
    }

    /// Every replica that is known now.
    async fn replicas(&mut self, context: &Context) -> Replicas {
        let mut failure = self.look_up(context).await;
        let (mut all, unknown) = self.gateways.found().await;
        if let Some(why) = unknown {
            context.metrics.count_scrape_failure("discovery");
            failure = Some(why);
        }
        all.extend(self.named.iter().cloned());
        all.sort();
        // The same replica twice would count every request twice.
        all.dedup();
        let beyond = all.len().saturating_sub(REPLICAS_MAX);
        all.truncate(REPLICAS_MAX);
        if beyond != std::mem::replace(&mut self.beyond, beyond) && beyond > 0 {
            tracing::warn!(
                looked_at = REPLICAS_MAX,
                beyond,
                "more replicas of the gateway are running than the guard looks at"
            );
        }
        Replicas { gateways: all, beyond, failure }
    }

    /// Looks the names up again when it is time to. Returns what went wrong with one of them.
    async fn look_up(&mut self, context: &Context) -> Option<String> {
        if self.since.is_some_and(|since| since.elapsed() < KNOWN) {
            return None;
        }
        let mut failure = None;
        let mut named = Vec::new();
        for url in &self.gateways.urls {
            match replicas(context, url).await {
                Ok(replicas) => named.extend(replicas),
                Err(why) => {
                    context.metrics.count_scrape_failure(&shown(url));
                    failure = Some(format!("{}: {why}", shown(url)));
                }
            }
        }
        self.since = failure.is_none().then(Instant::now);
        if failure.is_none() || self.named.is_empty() {
            self.named = named;
        }
        failure
    }
}

/// The URLs of the replicas behind a URL.
async fn replicas(context: &Context, gateway: &str) -> Result<Vec<String>, String> {
    let uri: Uri = gateway.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        // Certificates speak of names.
        return Ok(vec![gateway.to_owned()]);
    };
    if host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[') {
        return Ok(vec![gateway.to_owned()]);
    }
    let port = uri.port_u16().unwrap_or(80);
    let found = context.outside.resolve(host, port).await.map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(vec![gateway.to_owned()]) };
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Ok(found.iter().map(|address| format!("http://{address}{path}")).collect())
}

/// One gateway's page, under a name that changes when the process behind the address does.
async fn scrape(
    context: &Context,
    gateway: &str,
    wanted: &Wanted,
    patience: Duration,
) -> Result<Scraped, String> {
    let request = Request::get(gateway).body(Bytes::new()).map_err(|error| error.to_string())?;
    let mut scrape = Scrape::new(wanted);
    let manner = Manner { trusted: true, framed: true, ..Manner::within(patience) };
    let status = context
        .outside
        .read(request, manner, &mut |piece| scrape.push(piece))
        .await
        .map_err(|error| error.to_string())?;
    // A part of a page (206) is a success, too.
    if status != StatusCode::OK {
        return Err(format!("it answers {status}"));
    }
    let mut page = scrape.finish();
    if page.foreign {
        return Err("what it answers is no page of metrics".to_owned());
    }
    // Zeros that are none would make it start over, and count everything once more.
    if !page.whole {
        return Err("its page is cut off".to_owned());
    }
    let name = format!("{gateway}#{}", page.started.unwrap_or_default());
    if page.started.is_none() {
        // Not to the second, and so no part of the name.
        let now = context.clock.now().as_second() as f64;
        page.started = page.uptime.map(|uptime| now - uptime);
    }
    Ok((name, page))
}
