//! The gateway's own counters, of every replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use http::header::ACCEPT as ACCEPT_HEADER;
use http::{Request, StatusCode, Uri};
use serin_providers::gateway::{ACCEPT, Scrape, Wanted, narrowed};
use tokio::time::Instant;

use super::Scraped;
use super::{Discovery, Look, Source};
use crate::guard::Environment;
use crate::http_client::{CallOptions, HttpError, shown};

/// Replicas that come and go are noticed after this long.
const KNOWN: Duration = Duration::from_secs(10);
/// More replicas of a gateway than anyone runs.
pub(in crate::guard) const REPLICAS_MAX: usize = 256;
/// A gateway that needs longer has missed this look; the next one makes up for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// One that cannot be reached is waited for this long, but once in so many times.
const PATIENCE_AGAIN: Duration = Duration::from_millis(200);
const CHANCE: u32 = 10;
/// One whose page takes longer than a second is given longer each time: as long as a Prometheus would wait where no other
/// answers, and less than it takes to call the guard blind where others do.
const PATIENCE_ALONE_MAX: Duration = Duration::from_secs(10);
const PATIENCE_BESIDE_MAX: Duration = Duration::from_secs(4);
/// A page that came to nothing after so many bytes is asked for again after twice as long each time.
const WASTE_MIN: u64 = 1 << 20;
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// No more than so many bytes a second are read of all pages together, over time.
const BYTES_A_SECOND: u64 = 16 << 20;

pub(super) struct Gateway {
    gateways: Arc<Discovery>,
    /// What the names in URLs stood for when they were looked up.
    named: Vec<String>,
    since: Option<Instant>,
    /// What is known of those that were looked at.
    replicas: BTreeMap<String, Replica>,
    /// None of them answered the last look.
    blind: bool,
    /// So many were left out of the last look.
    beyond: usize,
}

/// One replica, as the looks so far have found it.
#[derive(Default)]
struct Replica {
    /// How often in a row nothing could be read of it.
    missed: u32,
    /// How often in a row that was a matter of time.
    late: u32,
    /// How often in a row a long page of it has come to nothing.
    wasted: u32,
    /// It is not asked before, and why.
    resting: Option<(Instant, String)>,
    /// How long the last whole page took.
    took: Duration,
    /// It does not understand what a part of the page is asked for with.
    whole_page: bool,
}

/// A page that was asked for.
struct Asked {
    result: Result<Scraped, Failure>,
    bytes: u64,
    took: Duration,
    whole_page: bool,
}

struct Failure {
    why: String,
    kind: Unread,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unread {
    /// Nobody was reached.
    Nobody,
    /// Time was up.
    Late,
    /// The answer is invalid.
    Senseless,
}

/// Every replica that is looked at, how many are not, and what went wrong with one of the entries.
struct Replicas {
    gateways: Vec<String>,
    beyond: usize,
    failure: Option<String>,
}

impl Source for Gateway {
    fn look<'a>(&'a mut self, env: &'a Environment, wanted: &'a Wanted) -> BoxFuture<'a, Look> {
        Box::pin(async move {
            let Replicas { gateways, beyond, mut failure } = self.replicas(env).await;
            let now = Instant::now();
            self.replicas.retain(|gateway, _| gateways.contains(gateway));
            let (mut resting, mut due) = (Vec::new(), Vec::new());
            for gateway in gateways {
                let replica = self.replicas.entry(gateway.clone()).or_default();
                match replica.resting.as_ref().filter(|(until, _)| *until > now) {
                    Some((_, why)) => resting.push(format!("{}: {why}", shown(&gateway))),
                    None => due.push(gateway),
                }
            }
            let scrapes = due.iter().map(|gateway| {
                let narrow = self.replicas.get(gateway).is_none_or(|known| !known.whole_page);
                ask(env, gateway, wanted, self.patience(gateway), narrow)
            });
            let answers = join_all(scrapes).await;
            let (mut pages, mut bytes) = (Vec::new(), 0_u64);
            for (gateway, asked) in due.into_iter().zip(answers) {
                bytes = bytes.saturating_add(asked.bytes);
                match self.learn(&gateway, asked) {
                    Ok(scraped) => pages.push(scraped),
                    Err(why) => {
                        let gateway = shown(&gateway);
                        env.metrics.count_scrape_failure(&gateway);
                        tracing::debug!(gateway, error = %why, "the guard cannot see");
                        failure = Some(format!("{gateway}: {why}"));
                    }
                }
            }
            failure = failure.or_else(|| resting.pop());
            self.blind = pages.is_empty();
            if pages.is_empty() {
                failure.get_or_insert_with(|| "no replica of the gateway is known".to_owned());
            }
            let wait = Duration::from_millis(bytes.saturating_mul(1000) / BYTES_A_SECOND);
            Look { answered: !pages.is_empty(), pages, failure, beyond, wait, ..Look::default() }
        })
    }
}

impl Gateway {
    pub(super) fn new(gateways: Arc<Discovery>) -> Self {
        let (named, replicas) = (Vec::new(), BTreeMap::new());
        Self { gateways, named, since: None, replicas, blind: true, beyond: 0 }
    }

    /// One that is gone keeps nobody waiting for those that are there, and is given a chance now and then; one that is slow is
    /// given the time that it needs.
    fn patience(&self, gateway: &str) -> Duration {
        let Some(Replica { missed, late, wasted, took, .. }) = self.replicas.get(gateway) else {
            return PATIENCE;
        };
        let most = if self.blind { PATIENCE_ALONE_MAX } else { PATIENCE_BESIDE_MAX };
        let grown = |times: u32| {
            PATIENCE.saturating_mul(1 << times.min(4)).max(took.saturating_mul(2)).min(most)
        };
        if self.blind || *wasted > 0 || *missed == 0 {
            grown(*late)
        } else if missed.is_multiple_of(CHANCE) {
            grown(late / CHANCE)
        } else {
            PATIENCE_AGAIN
        }
    }

    /// Takes down what became of a page, for the next look.
    fn learn(&mut self, gateway: &str, asked: Asked) -> Result<Scraped, String> {
        let Asked { result, bytes, took, whole_page } = asked;
        let replica = self.replicas.entry(gateway.to_owned()).or_default();
        replica.whole_page = whole_page;
        let Failure { why, kind } = match result {
            Ok(scraped) => {
                *replica = Replica { took, whole_page, ..Replica::default() };
                return Ok(scraped);
            }
            Err(failure) => failure,
        };
        replica.missed = replica.missed.saturating_add(1);
        match kind {
            Unread::Late => replica.late = replica.late.saturating_add(1),
            Unread::Nobody | Unread::Senseless => replica.late = 0,
        }
        if bytes >= WASTE_MIN {
            let pause = PATIENCE.saturating_mul(1 << replica.wasted.min(5)).min(PAUSE_MAX);
            replica.wasted = replica.wasted.saturating_add(1);
            replica.resting = Some((Instant::now() + pause, why.clone()));
        }
        Err(why)
    }

    /// Every replica that is known now.
    async fn replicas(&mut self, env: &Environment) -> Replicas {
        let mut failure = self.look_up(env).await;
        let (mut all, unknown) = self.gateways.found().await;
        if let Some(why) = unknown {
            env.metrics.count_scrape_failure("discovery");
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
    async fn look_up(&mut self, env: &Environment) -> Option<String> {
        if self.since.is_some_and(|since| since.elapsed() < KNOWN) {
            return None;
        }
        let mut failure = None;
        let mut named = Vec::new();
        for url in &self.gateways.urls {
            match replicas(env, url).await {
                Ok(replicas) => named.extend(replicas),
                Err(why) => {
                    env.metrics.count_scrape_failure(&shown(url));
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
async fn replicas(env: &Environment, gateway: &str) -> Result<Vec<String>, String> {
    let uri: Uri = gateway.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
    let (Some("http"), Some(host)) = (uri.scheme_str(), uri.host()) else {
        // Certificates speak of names.
        return Ok(vec![gateway.to_owned()]);
    };
    if host.parse::<std::net::Ipv4Addr>().is_ok() || host.starts_with('[') {
        return Ok(vec![gateway.to_owned()]);
    }
    let port = uri.port_u16().unwrap_or(80);
    let found = env.http_client.resolve(host, port).await.map_err(|error| error.to_string())?;
    let Some(found) = found else { return Ok(vec![gateway.to_owned()]) };
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Ok(found.iter().map(|address| format!("http://{address}{path}")).collect())
}

/// One gateway's page: as little of it as the gateway can give, and else all of it.
async fn ask(
    env: &Environment,
    gateway: &str,
    wanted: &Wanted,
    patience: Duration,
    narrow: bool,
) -> Asked {
    let began = Instant::now();
    let mut bytes = 0;
    if narrow && let Some(address) = narrowed(gateway) {
        let result = scrape(env, gateway, &address, wanted, patience, &mut bytes).await;
        // It is not known before whether it understands.
        if !matches!(&result, Err(Failure { kind: Unread::Senseless, .. })) {
            return Asked { result, bytes, took: began.elapsed(), whole_page: false };
        }
    }
    let result = scrape(env, gateway, gateway, wanted, patience, &mut bytes).await;
    // Where neither can be read it may be something else.
    let whole_page = !narrow || result.is_ok();
    Asked { result, bytes, took: began.elapsed(), whole_page }
}

/// One gateway's page, under a name that changes when the process behind the address does.
async fn scrape(
    env: &Environment,
    gateway: &str,
    address: &str,
    wanted: &Wanted,
    patience: Duration,
    bytes: &mut u64,
) -> Result<Scraped, Failure> {
    let senseless = |why: String| Failure { why, kind: Unread::Senseless };
    let request = Request::get(address).header(ACCEPT_HEADER, ACCEPT).body(Bytes::new());
    let request = request.map_err(|error| senseless(error.to_string()))?;
    let mut scrape = Scrape::new(wanted);
    let options = CallOptions { trusted: true, framed: true, ..CallOptions::within(patience) };
    let mut take = |piece: &[u8]| {
        *bytes = bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        scrape.push(piece);
    };
    let status = env.http_client.read(request, options, &mut take).await.map_err(failure)?;
    // A part of a page (206) is a success, too.
    if status != StatusCode::OK {
        return Err(senseless(format!("it answers {status}")));
    }
    let mut page = scrape.finish();
    if page.foreign {
        return Err(senseless("what it answers is no page of metrics".to_owned()));
    }
    // Zeros that are none would make it start over, and count everything once more.
    if !page.whole {
        return Err(senseless("its page is cut off".to_owned()));
    }
    let name = format!("{gateway}#{}", page.started.unwrap_or_default());
    if page.started.is_none() {
        // Not to the second, and so no part of the name.
        let now = env.clock.now().as_second() as f64;
        page.started = page.uptime.map(|uptime| now - uptime);
    }
    Ok((name, page))
}

fn failure(error: HttpError) -> Failure {
    let kind = match &error {
        HttpError::Timeout(_) => Unread::Late,
        HttpError::TooLong | HttpError::Unframed => Unread::Senseless,
        HttpError::Connect { .. } | HttpError::Setup(_) | HttpError::NotAllowed { .. } => {
            Unread::Nobody
        }
    };
    Failure { why: error.to_string(), kind }
}
