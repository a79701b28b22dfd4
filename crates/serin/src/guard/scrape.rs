//! The loop of the guard clock: one scrape per gateway for all canaries, only while some canary has traffic.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use serin_providers::gateway::{Scrape, Wanted};
use tokio::time::Instant;

use super::lock;
use super::ward::{News, Scraped};
use crate::controller::Context;
use crate::outside::Manner;

/// Evidence that is growing is looked at again after this long.
const AGAIN: Duration = Duration::from_millis(250);
/// Whoever comes, the gateways are not asked more often.
const GAP: Duration = Duration::from_millis(100);
/// A gateway that needs longer has missed this look; the next one makes up for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks until dropped.
pub async fn run(context: Arc<Context>) {
    let guards = &context.guards;
    let mut last: Option<Instant> = None;
    let mut again = false;
    loop {
        let pause = match guards.interval() {
            Some(interval) if again => AGAIN.min(interval),
            Some(interval) => interval,
            None => {
                guards.came.notified().await;
                Duration::ZERO
            }
        };
        if let Some(last) = last {
            tokio::select! {
                () = tokio::time::sleep_until(last + pause) => {}
                () = guards.came.notified() => {}
            }
            tokio::time::sleep_until(last + GAP).await;
        }
        last = Some(Instant::now());
        again = look(&context).await;
    }
}

/// One look at everything. Says whether something is worth another one soon.
async fn look(context: &Context) -> bool {
    let wards = context.guards.all();
    let gateways = &context.settings.gateways;
    if wards.is_empty() || gateways.is_empty() {
        return false;
    }
    let mut wanted = Wanted::default();
    for (_, ward) in &wards {
        lock(ward).want(&mut wanted);
    }
    let answers = join_all(gateways.iter().map(|gateway| scrape(context, gateway, &wanted))).await;
    let (mut pages, mut failure) = (Vec::new(), None);
    for (gateway, answer) in gateways.iter().zip(answers) {
        match answer {
            Ok(scraped) => pages.push(scraped),
            Err(why) => {
                context.metrics.count_scrape_failure(gateway);
                tracing::debug!(gateway, error = %why, "the guard cannot see");
                failure = Some(format!("{gateway}: {why}"));
            }
        }
    }
    let now = context.clock.now();
    let (mut again, mut turned) = (false, false);
    for (key, ward) in &wards {
        let mut ward = lock(ward);
        let news: News = ward.look(&pages, failure.as_deref(), now);
        if let Some(log_e) = ward.log_evidence() {
            context.metrics.show_guard(ward.canary(), log_e);
        }
        again |= news.again;
        turned |= news.turned;
        drop(ward);
        if news.wake {
            context.wake.wake(key);
        }
    }
    if turned {
        context.guards.turned.notify_waiters();
    }
    again
}

/// One gateway's page, under a name that changes when the process behind the address does.
async fn scrape(context: &Context, gateway: &str, wanted: &Wanted) -> Result<Scraped, String> {
    let request = Request::get(gateway).body(Bytes::new()).map_err(|error| error.to_string())?;
    let mut scrape = Scrape::new(wanted);
    let manner = Manner::within(PATIENCE);
    let status = context
        .outside
        .read(request, manner, &mut |piece| scrape.push(piece))
        .await
        .map_err(|error| error.to_string())?;
    if !status.is_success() {
        return Err(format!("it answers {status}"));
    }
    let page = scrape.finish();
    let started = page.started.unwrap_or_default();
    Ok((format!("{gateway}#{started}"), page))
}
