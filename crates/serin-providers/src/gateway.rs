//! A gateway's own counters: a text exposition, read line by line, down to the few series that a guard asks for.
//!
//! Nothing is kept of the rest of the page, which on a large gateway is megabytes. What a process does not show it has not
//! counted: an absent series is zeros, not a gap. Which gateway it is, its names tell.

use std::collections::{BTreeMap, BTreeSet};

use serin_core::model::Canary;
use serin_judge::counters::{Born, Reading, Side};

use self::line::{Sample, Series};
pub(crate) use self::traefik::pattern as traefik_pattern;

mod envoy;
mod line;
mod nginx;
pub mod recorded;
#[cfg(test)]
mod tests;
mod traefik;

/// Longer lines than this are skipped: no series of a service is half as long.
const LINE_MAX: usize = 8192;
/// Bucket bounds that are remembered, to be named when none of them is the one asked for.
const BOUNDS_MAX: usize = 64;
/// Counters above this are no counters.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

const STARTED: &str = "process_start_time_seconds";
/// Envoy tells how long it runs instead of since when.
const UPTIME: &str = "envoy_server_uptime";

/// A Service as gateways count it, whatever its port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counted {
    namespace: String,
    service: String,
}

/// The services of one canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub canary: Counted,
    pub primary: Counted,
}

impl Pair {
    pub fn of(canary: &Canary) -> Self {
        let service = &canary.spec.service;
        let counted =
            |name: String| Counted { namespace: canary.key.namespace.clone(), service: name };
        Self { canary: counted(service.canary_name()), primary: counted(service.primary_name()) }
    }
}

/// What is looked for on a page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    services: BTreeSet<Counted>,
    /// The same services as `namespace-service-port`.
    joined: BTreeMap<String, Counted>,
    /// The same services as `namespace-service`.
    plain: BTreeMap<String, Counted>,
    /// The primary behind an apex, `namespace-service`.
    apexes: BTreeMap<String, Counted>,
    /// What Traefik calls them, as regular expressions in PromQL strings.
    patterns: BTreeSet<String>,
    /// Bucket bounds in milliseconds.
    bounds: Vec<f64>,
    /// Which bounds there are, whether or not any of them is wanted.
    all_bounds: bool,
    /// Also what goes on around the services, which tells why they have no requests.
    around: bool,
}

impl Wanted {
    /// Asks for routers, entry points and other names as well. A gateway's own page has them anyway.
    pub fn look_around(&mut self) {
        self.around = true;
    }

    /// Asks which bounds the histograms have. A gateway's own page tells anyway.
    pub fn ask_for_bounds(&mut self) {
        self.all_bounds = true;
    }

    pub fn looks_around(&self) -> bool {
        self.around
    }

    /// Whether a request of any primary is on one of these pages.
    pub fn is_known(&self, pages: &BTreeMap<String, Page>) -> bool {
        pages.values().any(|page| self.apexes.values().any(|primary| page.knows(primary)))
    }

    /// Both services of a canary and the bounds that its guard watches.
    pub fn add(&mut self, canary: &Canary, bounds: &[f64]) {
        let service = &canary.spec.service;
        let Pair { canary: of_canary, primary } = Pair::of(canary);
        self.apexes.insert(format!("{}-{}", primary.namespace, service.name), primary.clone());
        for counted in [of_canary, primary] {
            self.patterns.insert(traefik::pattern(canary, &counted.service));
            for port in [service.port.to_string(), service.port_name().to_owned()] {
                let name = format!("{}-{}-{port}", counted.namespace, counted.service);
                self.joined.insert(name, counted.clone());
            }
            let plain = format!("{}-{}", counted.namespace, counted.service);
            self.plain.insert(plain, counted.clone());
            self.services.insert(counted);
        }
        for bound in bounds {
            if !self.bounds.iter().any(|known| same(*known, *bound)) {
                self.bounds.push(*bound);
            }
        }
    }

    /// Whether this canary is among those that are looked for.
    pub fn has(&self, canary: &Canary) -> bool {
        let Pair { canary, primary } = Pair::of(canary);
        self.services.contains(&canary) && self.services.contains(&primary)
    }

    fn service(&self, namespace: &str, service: &str) -> Option<&Counted> {
        let counted = Counted { namespace: namespace.to_owned(), service: service.to_owned() };
        self.services.get(&counted)
    }
}

/// Whether two bounds in milliseconds are the same to a person.
fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * a.abs().max(b.abs())
}

/// The counters of one service in one process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub requests: u64,
    pub errors: u64,
    pub timed: u64,
    /// At or below each of the wanted bounds; none where that is not read.
    pub within: Vec<Option<u64>>,
}

/// What the requests of a service are like, as far as its process tells.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traits {
    /// Seconds that all of them took together, where that is counted.
    pub secs: Option<f64>,
    /// Some stay open, such as websockets, and are counted when they end.
    pub streams: bool,
    /// Some are calls of gRPC, counted under the status that stands for both a healthy one and an unknown failure.
    pub ambiguous: bool,
}

/// One process as it was scraped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    counters: BTreeMap<Counted, Counters>,
    traits: BTreeMap<Counted, Traits>,
    /// Bounds of the histogram in milliseconds, rising.
    pub bounds: Vec<f64>,
    /// When the process started, in seconds since 1970.
    pub started: Option<f64>,
    /// For how many seconds it has run, from a process that does not say since when.
    pub uptime: Option<f64>,
    /// When a server has read it, where it was not read just now.
    pub sampled: Option<Sampled>,
    /// Services are counted at all, whichever.
    pub services: bool,
    /// Routers are counted, whichever.
    pub routers: bool,
    /// Requests that came in, whatever became of them, but for those that no route was found for.
    pub entries: u64,
    /// Services have the names that `safeNaming` gives them.
    pub safe: bool,
    /// The page ends where a line does. One that was cut off would show zeros where there are none.
    pub whole: bool,
    /// It is no exposition, but a page for people or an answer to another question.
    pub foreign: bool,
    /// Namespaces in which requests are counted by router, as for routes to a plain Service.
    hashed: BTreeSet<String>,
    /// Requests that routers sent to an apex, by the primary behind it.
    routed: BTreeMap<Counted, u64>,
    wanted: Vec<f64>,
    zeros: Counters,
}

/// A scrape by another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// By that server's clock, since 1970.
    pub at_millis: i64,
    /// Time between two of them, once that is known.
    pub every_millis: Option<u64>,
}

impl Page {
    /// Whether this process has counted a request of the service.
    pub fn knows(&self, counted: &Counted) -> bool {
        self.counters.contains_key(counted)
    }

    /// Requests that routers sent to the apex of this primary; none where routers are not counted.
    pub fn routed(&self, primary: &Counted) -> Option<u64> {
        self.routers.then(|| self.routed.get(primary).copied().unwrap_or(0))
    }

    /// Whether a route of this one's namespace goes to a plain Service, which Traefik counts under the router's name.
    pub fn has_plain_route(&self, counted: &Counted) -> bool {
        self.hashed.contains(&counted.namespace)
    }

    /// Requests of the service, as far as they are counted.
    pub fn requests(&self, counted: &Counted) -> u64 {
        self.counters.get(counted).map_or(0, |counters| counters.requests)
    }

    /// What the requests of the service are like.
    pub fn traits(&self, counted: &Counted) -> Traits {
        self.traits.get(counted).copied().unwrap_or_default()
    }

    /// Requests with a measured duration.
    pub fn timed_requests(&self, counted: &Counted) -> u64 {
        self.counters.get(counted).map_or(0, |counters| counters.timed)
    }

    /// Whether the histogram has this bound; true as long as there is no histogram to tell.
    pub fn has_bound(&self, millis: f64) -> bool {
        self.bounds.is_empty() || self.lists_bound(millis)
    }

    /// Whether the requests within this bound were read, where there are any.
    pub fn reads(&self, millis: f64) -> bool {
        self.wanted.iter().any(|wanted| same(*wanted, millis))
    }

    fn lists_bound(&self, millis: f64) -> bool {
        self.bounds.iter().any(|bound| same(*bound, millis))
    }

    /// Whether there is a histogram of a wanted service.
    fn timed(&self) -> bool {
        self.counters.values().any(|counters| counters.timed > 0)
    }

    /// Both sides of a canary in this process, with the buckets of `bounds`; `began` is when the rollout did, in seconds
    /// since 1970.
    pub fn sides(&self, pair: &Pair, bounds: &[f64], began: f64) -> Sides {
        let born = match self.started {
            Some(started) if started > began => Born::After,
            Some(_) | None => Born::Before,
        };
        let counters = |counted: &Counted| {
            let counters = self.counters.get(counted).unwrap_or(&self.zeros);
            let within = bounds.iter().map(|bound| {
                let place = self.wanted.iter().position(|wanted| same(*wanted, *bound));
                place.and_then(|place| counters.within.get(place).copied()).flatten()
            });
            Counters { within: within.collect(), ..*counters }
        };
        // One that tells its age instead is dated by our clock, which says little of whether it is the same.
        let told = self.started.filter(|_| self.uptime.is_none());
        let started = told.filter(|started| (1.0..COUNT_MAX).contains(started));
        let started = started.map(|started| started as u64);
        Sides { canary: counters(&pair.canary), primary: counters(&pair.primary), born, started }
    }
}

impl Page {
    fn empty(wanted: &Wanted) -> Self {
        let zeros = Counters { within: vec![Some(0); wanted.bounds.len()], ..Counters::default() };
        Self { zeros, wanted: wanted.bounds.clone(), ..Self::default() }
    }

    fn take(&mut self, wanted: &Wanted, series: &Series<'_>, value: f64) {
        let said = traefik::read(wanted, series)
            .or_else(|| envoy::read(wanted, series))
            .or_else(|| nginx::read(wanted, series));
        let Some(Said { counted, count }) = said else { return };
        if let (Count::Took, Some(counted)) = (count, counted) {
            let secs = &mut self.traits.entry(counted.clone()).or_default().secs;
            *secs = Some(secs.unwrap_or(0.0) + value.max(0.0));
            return;
        }
        let value = whole(value);
        match count {
            Count::Entered => {
                self.entries = self.entries.saturating_add(value);
                return;
            }
            Count::Routed => {
                self.routers = true;
                if let Some(primary) = counted {
                    let routed = self.routed.entry(primary.clone()).or_default();
                    *routed = routed.saturating_add(value);
                }
                return;
            }
            Count::Within(Some(bound)) => self.note(bound),
            Count::Within(None) | Count::Requests(_) | Count::Timed | Count::Took => {}
        }
        self.services = true;
        let Some(counted) = counted else {
            let namespaces = wanted.services.iter().map(|counted| &counted.namespace);
            self.hashed.extend(traefik::plain_route(series, namespaces).cloned());
            return;
        };
        self.safe |= traefik::is_safe(series);
        if let Some(kind) = traefik::kind(series) {
            let traits = self.traits.entry(counted.clone()).or_default();
            match kind {
                traefik::Kind::Stream => traits.streams = true,
                traefik::Kind::AmbiguousCall => traits.ambiguous = true,
            }
        }
        let zeros = &self.zeros;
        let counters = self.counters.entry(counted.clone()).or_insert_with(|| zeros.clone());
        match count {
            Count::Requests(failed) => {
                counters.requests = counters.requests.saturating_add(value);
                if failed {
                    counters.errors = counters.errors.saturating_add(value);
                }
            }
            Count::Timed => counters.timed = counters.timed.saturating_add(value),
            Count::Within(bound) => {
                let place =
                    bound.and_then(|bound| wanted.bounds.iter().position(|b| same(*b, bound)));
                if let Some(within) = place.and_then(|place| counters.within.get_mut(place)) {
                    *within = Some(within.unwrap_or(0).saturating_add(value));
                }
            }
            Count::Routed | Count::Entered | Count::Took => {}
        }
    }

    fn note(&mut self, bound: f64) {
        if self.bounds.len() < BOUNDS_MAX && !self.bounds.iter().any(|known| same(*known, bound)) {
            self.bounds.push(bound);
        }
    }
}

/// What a series says of a service; none is one that nobody asked for.
struct Said<'w> {
    counted: Option<&'w Counted>,
    count: Count,
}

#[derive(Clone, Copy)]
enum Count {
    /// Requests with one outcome; whether that is a failure.
    Requests(bool),
    /// Requests with a measured duration.
    Timed,
    /// Seconds that these took together.
    Took,
    /// Those of them at or below a bound in milliseconds; none is `+Inf`, the count once more.
    Within(Option<f64>),
    /// Requests that a router sent to an apex.
    Routed,
    /// Requests that came in.
    Entered,
}

/// Whether a status or a class of them (`503`, `5xx`, `5`) is a failure. As in the builtin success rate: whose fault a 4xx is
/// it is not known.
fn class(code: &str) -> bool {
    code.starts_with('5') && matches!(code.len(), 1 | 3)
}

/// A bound in seconds as milliseconds, unless it is `+Inf`.
fn seconds(le: &str) -> Option<f64> {
    le.parse::<f64>().ok().map(|secs| secs * 1000.0).filter(|bound| bound.is_finite())
}

/// What one process has counted of one canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    pub canary: Counters,
    pub primary: Counters,
    pub born: Born,
    /// When the process started, in whole seconds since 1970, if it says so.
    pub started: Option<u64>,
}

impl Sides {
    /// A gateway does not know how old the pods behind it are: whether they are warm is for others to say.
    pub fn readings<'a>(&'a self, process: &'a str, warm: bool) -> [Reading<'a>; 2] {
        [(Side::Canary, &self.canary), (Side::Primary, &self.primary)].map(|(side, counters)| {
            let Counters { requests, errors, timed, within } = counters;
            Reading {
                side,
                series: process,
                born: self.born,
                started: self.started,
                warm,
                requests: *requests,
                errors: *errors,
                timed: *timed,
                within,
            }
        })
    }
}

/// What a page is asked for as: others pack it or write it in another format.
pub const ACCEPT: &str = "text/plain;version=0.0.4";

/// The same page with nothing on it but what is read, where the gateway has a way to ask for that; whoever has none ignores
/// the query or refuses it. None where the address has a query of its own.
pub fn narrowed(address: &str) -> Option<String> {
    if address.contains(['?', '#']) {
        return None;
    }
    if address.ends_with(envoy::PAGE) {
        return Some(format!("{address}?{}", envoy::NARROW));
    }
    // Go's client library asks for families, Java's for samples.
    let families = |name: &'static str| {
        let family = name.strip_suffix("_bucket").into_iter();
        std::iter::once(name).chain(family)
    };
    let traefik =
        [traefik::REQUESTS, traefik::BUCKET, traefik::TIMED, traefik::ROUTED, traefik::ENTERED];
    let names = traefik.into_iter().chain([nginx::REQUESTS, nginx::BUCKET, nginx::TIMED, STARTED]);
    let query: Vec<String> = names.flat_map(families).map(|n| format!("name%5B%5D={n}")).collect();
    Some(format!("{address}?{}", query.join("&")))
}

/// Reads a page in the pieces that the network brings.
#[derive(Clone, Debug)]
pub struct Scrape<'w> {
    wanted: &'w Wanted,
    page: Page,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    /// The line is too long and is skipped up to its end.
    skipping: bool,
    /// There was a line.
    some: bool,
    /// There was a line with something in it.
    judged: bool,
}

impl<'w> Scrape<'w> {
    pub fn new(wanted: &'w Wanted) -> Self {
        let page = Page::empty(wanted);
        Self { wanted, page, rest: Vec::new(), skipping: false, some: false, judged: false }
    }

    /// Takes the next piece, cut anywhere.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&piece[..end], &piece[end + 1..]);
            self.some = true;
            if self.rest.is_empty() && !self.skipping {
                self.line(line);
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.rest);
                if !self.skipping {
                    self.line(&whole);
                }
                self.rest = whole;
                self.rest.clear();
                self.skipping = false;
            }
            piece = after;
        }
        self.keep(piece);
    }

    /// The end of the page.
    pub fn finish(mut self) -> Page {
        let last = std::mem::take(&mut self.rest);
        self.page.whole = last.is_empty() && !self.skipping && self.some;
        if !self.skipping {
            self.line(&last);
        }
        let mut page = self.page;
        page.bounds.sort_by(f64::total_cmp);
        page
    }

    fn keep(&mut self, piece: &[u8]) {
        if self.skipping || self.rest.len() + piece.len() > LINE_MAX {
            self.skipping = true;
            self.rest.clear();
            return;
        }
        self.rest.extend_from_slice(piece);
    }

    fn line(&mut self, line: &[u8]) {
        self.page.foreign |= matches!(line.first(), Some(b'<' | b'{' | b'['));
        if !self.judged && !line.trim_ascii().is_empty() {
            // A proxy's words, or a page that it has packed.
            let sample = std::str::from_utf8(line).is_ok_and(|line| Sample::read(line).is_some());
            self.page.foreign |= !sample && !line.starts_with(b"#");
            self.judged = true;
        }
        // Nearly every line of a page is none of ours: decided on its first bytes.
        let (traefik, envoy, nginx) =
            (traefik::is_ours(line), envoy::is_ours(line), nginx::is_ours(line));
        let process = line.starts_with(STARTED.as_bytes()) || line.starts_with(UPTIME.as_bytes());
        if !(traefik || envoy || nginx || process) || line.len() > LINE_MAX {
            return;
        }
        let Ok(line) = std::str::from_utf8(line) else { return };
        let Some(sample) = Sample::read(line) else { return };
        match sample.name {
            STARTED => self.page.started = Some(sample.value),
            UPTIME => self.page.uptime = Some(sample.value),
            _ => self.page.take(self.wanted, &sample.series(), sample.value),
        }
    }
}

fn whole(value: f64) -> u64 {
    if (0.0..=COUNT_MAX).contains(&value) { value as u64 } else { 0 }
}
