//! A gateway's own counters: Traefik's text exposition, read line by line, down to the few series that a guard asks for.
//!
//! Nothing is kept of the rest of the page, which on a large gateway is megabytes. What a process does not show it has not
//! counted: an absent series is zeros, not a gap.

use std::collections::{BTreeMap, BTreeSet};

use serin_core::judge::evidence::{Born, Reading, Side};
use serin_core::model::Canary;

#[cfg(test)]
mod tests;

/// Longer lines than this are skipped: no series of a service is half as long.
const LINE_MAX: usize = 8192;
/// Bucket bounds that are remembered, to be named when none of them is the one asked for.
const BOUNDS_MAX: usize = 64;
/// Counters above this are no counters.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

const REQUESTS: &str = "traefik_service_requests_total";
const BUCKET: &str = "traefik_service_request_duration_seconds_bucket";
const COUNT: &str = "traefik_service_request_duration_seconds_count";
const STARTED: &str = "process_start_time_seconds";
/// Services of other providers have other names.
const PROVIDER: &str = "@kubernetescrd";

/// A Service as Traefik counts it: namespace, name, and the port as the route writes it.
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
    /// Names that older Traefiks give to the same services, and newer ones without `safeNaming`.
    joined: BTreeMap<String, Counted>,
    /// Bucket bounds in milliseconds.
    bounds: Vec<f64>,
}

impl Wanted {
    /// Both services of a canary and the bounds that its guard watches.
    pub fn add(&mut self, canary: &Canary, bounds: &[f64]) {
        let service = &canary.spec.service;
        let Pair { canary: of_canary, primary } = Pair::of(canary);
        for counted in [of_canary, primary] {
            for port in [service.port.to_string(), service.port_name.clone()] {
                let name = format!("{}-{}-{port}", counted.namespace, counted.service);
                self.joined.insert(name, counted.clone());
            }
            self.services.insert(counted);
        }
        for bound in bounds {
            if !self.bounds.iter().any(|known| same(*known, *bound)) {
                self.bounds.push(*bound);
            }
        }
    }

    /// The service behind a label: `namespace-service-port`, or `namespace_apex_wrr_0_namespace_service_port`.
    fn service(&self, label: &str) -> Option<&Counted> {
        let name = label.strip_suffix(PROVIDER)?;
        if let Some(counted) = self.joined.get(name) {
            return Some(counted);
        }
        // Names of Kubernetes have no underscores.
        let mut parts = name.rsplitn(4, '_');
        let (_port, service, namespace) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, number) = parts.next()?.rsplit_once("_wrr_")?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
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
    /// At or below each of the wanted bounds.
    pub within: Vec<u64>,
}

/// One process as it was scraped.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    counters: BTreeMap<Counted, Counters>,
    /// Bounds of the histogram in milliseconds, rising.
    pub bounds: Vec<f64>,
    /// Seconds since 1970.
    pub started: Option<f64>,
    /// Services are counted at all, whichever.
    pub services: bool,
    wanted: Vec<f64>,
    zeros: Counters,
}

impl Page {
    /// Whether this process has counted a request of the service.
    pub fn knows(&self, counted: &Counted) -> bool {
        self.counters.contains_key(counted)
    }

    /// Whether the histogram has this bound; true as long as there is no histogram to tell.
    pub fn has_bound(&self, millis: f64) -> bool {
        self.bounds.is_empty() || self.bounds.iter().any(|bound| same(*bound, millis))
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
                place.and_then(|place| counters.within.get(place).copied()).unwrap_or(0)
            });
            Counters { within: within.collect(), ..*counters }
        };
        Sides { canary: counters(&pair.canary), primary: counters(&pair.primary), born }
    }
}

/// What one process has counted of one canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sides {
    pub canary: Counters,
    pub primary: Counters,
    pub born: Born,
}

impl Sides {
    pub fn readings<'a>(&'a self, process: &'a str) -> [Reading<'a>; 2] {
        [(Side::Canary, &self.canary), (Side::Primary, &self.primary)].map(|(side, counters)| {
            let Counters { requests, errors, timed, within } = counters;
            Reading {
                side,
                series: process,
                born: self.born,
                // A gateway does not know how old the pods behind it are.
                warm: true,
                requests: *requests,
                errors: *errors,
                timed: *timed,
                within,
            }
        })
    }
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
}

impl<'w> Scrape<'w> {
    pub fn new(wanted: &'w Wanted) -> Self {
        let zeros = Counters { within: vec![0; wanted.bounds.len()], ..Counters::default() };
        let page = Page { zeros, wanted: wanted.bounds.clone(), ..Page::default() };
        Self { wanted, page, rest: Vec::new(), skipping: false }
    }

    /// Takes the next piece, cut anywhere.
    pub fn push(&mut self, mut piece: &[u8]) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&piece[..end], &piece[end + 1..]);
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
        // Nearly every line of a page is none of ours: decided on its first bytes.
        let ours = line.starts_with(b"traefik_service_") || line.starts_with(STARTED.as_bytes());
        if !ours || line.len() > LINE_MAX {
            return;
        }
        let Ok(line) = std::str::from_utf8(line) else { return };
        let Some(sample) = Sample::read(line) else { return };
        match sample.name {
            STARTED => self.page.started = Some(sample.value),
            REQUESTS | BUCKET | COUNT => self.count(&sample),
            _ => {}
        }
    }

    fn count(&mut self, sample: &Sample<'_>) {
        self.page.services = true;
        let value = whole(sample.value);
        let (mut service, mut code, mut le) = (None, "", None);
        for (name, value) in Labels(sample.labels) {
            match name {
                "service" => service = Some(value),
                "code" => code = value,
                "le" => le = Some(value),
                _ => {}
            }
        }
        let bound = le.and_then(|le| le.parse::<f64>().ok()).map(|secs| secs * 1000.0);
        // `+Inf` is the count once more.
        let bound = bound.filter(|bound| bound.is_finite());
        if let Some(bound) = bound {
            self.note(bound);
        }
        let Some(counted) = service.and_then(|label| self.wanted.service(label)) else { return };
        let zeros = &self.page.zeros;
        let counters = self.page.counters.entry(counted.clone()).or_insert_with(|| zeros.clone());
        match sample.name {
            REQUESTS => {
                counters.requests = counters.requests.saturating_add(value);
                // As in the builtin success rate: whose fault a 4xx is nobody knows.
                if code.len() == 3 && code.starts_with('5') {
                    counters.errors = counters.errors.saturating_add(value);
                }
            }
            COUNT => counters.timed = counters.timed.saturating_add(value),
            _ => {
                let place =
                    bound.and_then(|bound| self.wanted.bounds.iter().position(|b| same(*b, bound)));
                if let Some(within) = place.and_then(|place| counters.within.get_mut(place)) {
                    *within = within.saturating_add(value);
                }
            }
        }
    }

    fn note(&mut self, bound: f64) {
        let bounds = &mut self.page.bounds;
        if bounds.len() < BOUNDS_MAX && !bounds.iter().any(|known| same(*known, bound)) {
            bounds.push(bound);
        }
    }
}

fn whole(value: f64) -> u64 {
    if (0.0..=COUNT_MAX).contains(&value) { value as u64 } else { 0 }
}

/// `name{labels} value [time]`.
struct Sample<'a> {
    name: &'a str,
    labels: &'a str,
    value: f64,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (name, labels, rest) = match line.split_once('{') {
            Some((name, rest)) => {
                let end = closing(rest)?;
                (name, &rest[..end], &rest[end + 1..])
            }
            None => {
                let (name, rest) = line.split_once(' ')?;
                (name, "", rest)
            }
        };
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.trim(), labels, value })
    }
}

/// Where the labels end: at the first brace outside quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// Names and values; values that need unescaping are none of ours and come as they are.
struct Labels<'a>(&'a str);

impl<'a> Iterator for Labels<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.trim_start_matches([',', ' ']);
        let (name, rest) = text.split_once("=\"")?;
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        self.0 = &rest[end + 1..];
        Some((name.trim(), &rest[..end]))
    }
}
