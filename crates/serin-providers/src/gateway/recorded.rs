//! The same counters as a Prometheus has recorded them: one query for everything that is wanted, raw samples with the times
//! they were taken at.
//!
//! A range selector as an instant query brings every sample of the range as it was scraped. From their times follows how often
//! the server scrapes, which of them were seen before, and which belong together.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use http::Request;
use serde::Deserialize;

use super::line::Series;
use super::{Page, Sampled, Wanted, traefik};
use crate::call::{percent_encoded, uri};
use crate::json::bounded;

/// Queries are cut in two before they get longer: servers that speak for Prometheus take 16 kB.
const QUERY_MAX: usize = 12_000;
/// How far back is looked while the server's rhythm is not known.
const WINDOW_SECS: u64 = 300;
const WINDOW_SECS_MIN: u64 = 10;
/// A scrape that is not whole by then never will be; looking through all that a server says would take the server's time for ours.
const SCRAPES_MAX: usize = 32;
/// Of the server's own words in a message.
const WORDS_MAX: usize = 200;
/// Labels that the gateway itself sets; all others were put on by whoever scraped it.
const OWN: [&str; 6] = ["__name__", "service", "code", "method", "protocol", "le"];

/// Seconds of samples to ask for: three scrapes, so that one that is not whole yet can be told from one that is.
pub fn window_secs(every_millis: Option<u64>) -> u64 {
    every_millis.map_or(WINDOW_SECS, |every| {
        (every.saturating_mul(9) / 2000).clamp(WINDOW_SECS_MIN, WINDOW_SECS)
    })
}

/// What to ask of a server for all samples of the last seconds; more than one query only where one would be too long.
pub fn queries(wanted: &Wanted, window_secs: u64) -> Vec<String> {
    let names = if wanted.bounds.is_empty() {
        format!("{}|{}", traefik::REQUESTS, traefik::TIMED)
    } else {
        format!("{}|{}|{}", traefik::REQUESTS, traefik::TIMED, traefik::BUCKET)
    };
    let bounds: String = wanted.bounds.iter().map(|bound| format!("|{}", le(*bound))).collect();
    let query = |services: &str| {
        format!(
            "{{__name__=~\"{names}\",le=~\"{bounds}\",service=~\"{services}\"}}[{window_secs}s]"
        )
    };
    let mut all: Vec<String> = parts(&wanted.patterns).iter().map(|s| query(s)).collect();
    if wanted.looks_around() {
        all.extend(around(wanted, window_secs));
    }
    all
}

/// What tells why a service has no requests: entry points, routers to its apex, and plain Services under a router's name.
fn around(wanted: &Wanted, window_secs: u64) -> Vec<String> {
    let (entered, routed, requests) = (traefik::ENTERED, traefik::ROUTED, traefik::REQUESTS);
    let apexes = traefik::apexes(wanted.apexes.iter());
    let namespaces = traefik::plain_routes(wanted.services.iter().map(|s| s.namespace.as_str()));
    let of = |name: &str, services: &str| {
        format!("{{__name__=\"{name}\",service=~\"{services}\"}}[{window_secs}s]")
    };
    let mut all = vec![format!("{entered}[{window_secs}s]")];
    all.extend(parts(&apexes).iter().map(|services| of(routed, services)));
    all.extend(parts(&namespaces).iter().map(|services| of(requests, services)));
    all
}

/// What to ask for whether the server has anything of the gateway's services, and then whether it has what is wanted under
/// the name that it gives to a label of which it has one itself.
pub fn elsewhere_queries(wanted: &Wanted) -> (String, Vec<String>) {
    let requests = traefik::REQUESTS;
    let query =
        |services: &String| format!("count({requests}{{exported_service=~\"{services}\"}})");
    (format!("count({requests})"), parts(&wanted.patterns).iter().map(query).collect())
}

/// Whether an answer has anything in it.
pub fn is_something(body: &[u8]) -> Result<bool, String> {
    Ok(!read(body)?.is_empty())
}

/// What to ask for the bounds of the histograms, where one that is wanted is missing.
pub fn bounds_queries(wanted: &Wanted) -> Vec<String> {
    let bucket = traefik::BUCKET;
    let query = |services: &String| format!("count by (le) ({bucket}{{service=~\"{services}\"}})");
    parts(&wanted.patterns).iter().map(query).collect()
}

/// A bound as servers write it in seconds, whole ones in two ways.
fn le(millis: f64) -> String {
    let secs = millis / 1000.0;
    let text = secs.to_string().replace('.', "\\\\.");
    if secs.fract() == 0.0 { format!("{text}(\\\\.0)?") } else { text }
}

fn parts(patterns: &BTreeSet<String>) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for pattern in patterns {
        match parts.last_mut() {
            Some(part) if part.len() + pattern.len() < QUERY_MAX => {
                part.push('|');
                part.push_str(pattern);
            }
            Some(_) | None => parts.push(pattern.clone()),
        }
    }
    parts
}

/// The query as a form, which has no bound on its length.
pub fn request(server: &str, query: &str) -> Result<Request<Bytes>, String> {
    let base = server.trim().trim_end_matches('/');
    let body = format!("query={}", percent_encoded(query));
    Request::post(uri(&format!("{base}/api/v1/query"))?)
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .map_err(|error| error.to_string())
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    #[serde(borrow)]
    result: Vec<Found<'a>>,
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    metric: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(borrow, default)]
    values: Vec<(f64, Cow<'a, str>)>,
}

impl Found<'_> {
    fn times(&self) -> BTreeSet<i64> {
        self.values.iter().map(|(secs, _)| millis(*secs)).collect()
    }
}

fn read(body: &[u8]) -> Result<Vec<Found<'_>>, String> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|_| "the answer is not that of a Prometheus".to_owned())?;
    match (&*answer.status, answer.data) {
        ("success", Some(data)) => Ok(data.result),
        ("error", _) => Err(bounded(&answer.error, WORDS_MAX)),
        (_, _) => Err("the answer is not that of a Prometheus".to_owned()),
    }
}

/// The bounds in milliseconds in an answer to one of [`bounds_queries`].
pub fn bounds(body: &[u8]) -> Result<Vec<f64>, String> {
    let found = read(body)?;
    let les = found.iter().filter_map(|series| series.metric.get("le"));
    Ok(les.filter_map(|le| super::seconds(le)).collect())
}

/// Counters as they were recorded, by process.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorded {
    pub pages: BTreeMap<String, Page>,
}

impl Recorded {
    /// The answers to all of [`queries`].
    pub fn read(wanted: &Wanted, bodies: &[Bytes]) -> Result<Self, String> {
        let mut found = Vec::new();
        for body in bodies {
            found.extend(read(body)?);
        }
        let mut processes: BTreeMap<&str, Vec<&Found<'_>>> = BTreeMap::new();
        for series in &found {
            let instance = series.metric.get("instance").map_or("", |name| name);
            processes.entry(instance).or_default().push(series);
        }
        let mut pages = BTreeMap::new();
        for (instance, series) in processes {
            if let Some(page) = page(wanted, &once(&series)) {
                pages.insert(instance.to_owned(), page);
            }
        }
        Ok(Self { pages })
    }

    /// The longest time between two scrapes of a process, once that is known.
    pub fn every_millis(&self) -> Option<u64> {
        self.pages.values().filter_map(|page| page.sampled?.every_millis).max()
    }

    /// How long after the newest sample of all the next one of any process is due.
    pub fn due_millis(&self) -> Option<u64> {
        let newest = self.pages.values().filter_map(|page| Some(page.sampled?.at_millis)).max()?;
        let due = |page: &Page| {
            let Sampled { at_millis, every_millis } = page.sampled?;
            let due = at_millis.checked_sub(newest)?.checked_add_unsigned(every_millis?)?;
            u64::try_from(due).ok()
        };
        self.pages.values().filter_map(due).min()
    }

    /// Whether a histogram is there of which more is to be known than its wanted bounds.
    pub fn lacks_bounds(&self, wanted: &Wanted) -> bool {
        let lacks = |page: &Page| wanted.bounds.iter().any(|bound| !page.lists_bound(*bound));
        self.pages.values().any(|page| page.timed() && (wanted.all_bounds || lacks(page)))
    }

    /// Makes known which bounds there are besides the wanted ones.
    pub fn add_bounds(&mut self, wanted: &Wanted, bounds: &[f64]) {
        for page in self.pages.values_mut() {
            for bound in bounds {
                if !wanted.bounds.iter().any(|known| super::same(*known, *bound)) {
                    page.note(*bound);
                }
            }
            page.bounds.sort_by(f64::total_cmp);
        }
    }
}

/// The labels of whoever scraped it.
type Foreign<'a> = BTreeSet<(&'a str, &'a str)>;

fn foreign<'a>(series: &'a Found<'_>) -> Foreign<'a> {
    let labels = series.metric.iter().map(|(name, value)| (&**name, &**value));
    labels.filter(|(name, _)| !OWN.contains(name)).collect()
}

/// A process that two jobs scrape, or two replicas of a server, is there twice; its requests are counted once.
fn once<'f, 'a>(series: &[&'f Found<'a>]) -> Vec<&'f Found<'a>> {
    // Traefik's `headerLabels` are on the requests only, so the histogram tells what the scraper has put on.
    let timed =
        series.iter().filter(|s| s.metric.get("__name__").is_some_and(|n| n == traefik::TIMED));
    let Some(chosen) = timed.map(|series| foreign(series)).min() else { return series.to_vec() };
    series.iter().copied().filter(|series| chosen.is_subset(&foreign(series))).collect()
}

/// The newest scrape that is whole. Where answers come from a store that is written piece by piece, a series that the scrape
/// before had may be on its way: it is waited for once, as reading it as zero would count everything again.
fn page(wanted: &Wanted, series: &[&Found<'_>]) -> Option<Page> {
    let times: Vec<BTreeSet<i64>> = series.iter().map(|series| series.times()).collect();
    let stamps: BTreeSet<i64> = times.iter().flatten().copied().collect();
    let all: Vec<i64> = stamps.iter().rev().copied().collect();
    let whole = |place: usize| match (all.get(place), all.get(place + 1)) {
        (Some(at), Some(before)) => times.iter().all(|t| t.contains(at) || !t.contains(before)),
        (None, _) | (_, None) => true,
    };
    let place = (0..all.len().min(SCRAPES_MAX)).find(|place| whole(*place))?;
    let at_millis = *all.get(place)?;
    let gaps = all.windows(2).filter_map(|pair| pair.first()?.checked_sub(*pair.last()?));
    let gaps = gaps.filter_map(|gap| u64::try_from(gap).ok());
    let mut page = Page::empty(wanted);
    // Nothing is asked for that lies further apart.
    let every_millis = gaps.min().filter(|gap| *gap <= WINDOW_SECS * 1000);
    page.sampled = Some(Sampled { at_millis, every_millis });
    for series in series {
        let name = series.metric.get("__name__").map_or("", |name| name);
        let sample = series.values.iter().rev().find(|(secs, _)| millis(*secs) == at_millis);
        let Some(value) = sample.and_then(|(_, value)| value.parse::<f64>().ok()) else { continue };
        let labels = series.metric.iter().map(|(name, value)| (&**name, &**value));
        page.take(wanted, &Series::new(name, labels), value);
    }
    page.bounds.sort_by(f64::total_cmp);
    Some(page)
}

fn millis(secs: f64) -> i64 {
    (secs * 1000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Counters, Pair};
    use super::*;
    use crate::testing::canary;

    const NAME: &str = "traefik_service_request";

    fn wanted() -> (Wanted, Pair) {
        let canary = canary("");
        let mut wanted = Wanted::default();
        wanted.add(&canary, &[500.0, 1000.0]);
        (wanted, Pair::of(&canary))
    }

    /// A series of one side with these (second, value) samples.
    fn series(name: &str, side: &str, more: Value, values: &[(f64, u64)]) -> Value {
        let mut metric = json!({
            "__name__": format!("{NAME}{name}"), "instance": "10.0.0.1:9100", "job": "traefik",
            "service": format!("develop-backend-{side}-80@kubernetescrd"), "code": "200", "method": "GET",
            "protocol": "http",
        });
        for (label, value) in more.as_object().unwrap() {
            metric[label] = value.clone();
        }
        let values: Vec<_> = values.iter().map(|(t, v)| json!([t, v.to_string()])).collect();
        json!({"metric": metric, "values": values})
    }

    fn read(series: &[Value]) -> Recorded {
        let data = json!({"resultType": "matrix", "result": series});
        let body = json!({"status": "success", "data": data}).to_string();
        Recorded::read(&wanted().0, &[body.into()]).unwrap()
    }

    fn counters(recorded: &Recorded, instance: &str) -> (u64, u64) {
        let (_, pair) = wanted();
        let sides = recorded.pages[instance].sides(&pair, &[], 0.0);
        (sides.canary.requests, sides.primary.requests)
    }

    #[test]
    fn one_query_asks_for_everything_and_long_ones_are_cut() {
        let (mut wanted, _) = wanted();
        let expected = "{__name__=~\"traefik_service_requests_total|traefik_service_request_duration_seconds_count|\
            traefik_service_request_duration_seconds_bucket\",le=~\"|0\\\\.5|1(\\\\.0)?\",service=~\"\
            develop-backend-canary-(80|http)@kubernetescrd|\
            develop_backend_wrr_[0-9]+_develop_backend-canary_(80|http)@kubernetescrd|\
            develop-backend-primary-(80|http)@kubernetescrd|\
            develop_backend_wrr_[0-9]+_develop_backend-primary_(80|http)@kubernetescrd\"}[67s]";
        assert_eq!(queries(&wanted, window_secs(Some(15_000))), [expected]);
        for number in 0..200 {
            wanted.add(&canary(&format!("service: {{name: app-{number}}}")), &[]);
        }
        let queries = queries(&wanted, 60);
        assert!(queries.len() > 1 && queries.iter().all(|q| q.len() < 13_000));
        assert_eq!(
            [None, Some(1), Some(60_000), Some(u64::MAX)].map(window_secs),
            [300, 10, 270, 300]
        );
    }

    #[test]
    fn what_goes_on_around_is_asked_for_on_demand() {
        let (mut wanted, _) = wanted();
        wanted.look_around();
        let all = queries(&wanted, 30);
        let around = [
            "traefik_entrypoint_requests_total[30s]",
            "{__name__=\"traefik_router_requests_total\",service=~\"develop[-_]backend@kubernetescrd\"}[30s]",
            "{__name__=\"traefik_service_requests_total\",service=~\"develop-.+-[0-9a-f]{20}@kubernetescrd|develop_.+_[0-9]+_lb@kubernetescrd\"}[30s]",
        ];
        assert_eq!(all[1..], around);
        let (some, renamed) = elsewhere_queries(&wanted);
        assert_eq!((some.as_str(), renamed.len()), ("count(traefik_service_requests_total)", 1));
        assert!(
            renamed[0]
                .starts_with("count(traefik_service_requests_total{exported_service=~\"develop-")
        );
    }

    #[test]
    fn the_newest_scrape_counts_and_the_rhythm_shows() {
        let t = |k: u64| 1000.25 + 15.0 * k as f64;
        let requests = |values: &[u64]| -> Vec<(f64, u64)> {
            values.iter().enumerate().map(|(k, v)| (t(k as u64), *v)).collect()
        };
        let all = [
            series("s_total", "canary", json!({}), &requests(&[1, 2, 4])),
            series("s_total", "canary", json!({"code": "500"}), &requests(&[0, 0, 3])),
            series("s_total", "primary", json!({}), &requests(&[10, 20, 40])),
            series("_duration_seconds_count", "canary", json!({}), &requests(&[1, 2, 4])),
            series(
                "_duration_seconds_bucket",
                "canary",
                json!({"le": "0.5"}),
                &requests(&[1, 2, 3]),
            ),
            series(
                "_duration_seconds_bucket",
                "canary",
                json!({"le": "1.0"}),
                &requests(&[1, 2, 4]),
            ),
            series("s_total", "primary", json!({"instance": "b"}), &[(t(2) + 5.0, 7)]),
        ];
        let recorded = read(&all);
        let (wanted, pair) = wanted();
        let page = &recorded.pages["10.0.0.1:9100"];
        let canary = page.sides(&pair, &[500.0, 1000.0], 0.0).canary;
        assert_eq!(
            canary,
            Counters { requests: 7, errors: 3, timed: 4, within: vec![Some(3), Some(4)] }
        );
        let sampled = Sampled { at_millis: 1_030_250, every_millis: Some(15_000) };
        assert_eq!(page.sampled, Some(sampled));
        assert_eq!((recorded.every_millis(), recorded.due_millis()), (Some(15_000), Some(10_000)));
        assert_eq!(counters(&recorded, "b"), (0, 7));
        assert!(!recorded.lacks_bounds(&wanted));
    }

    #[test]
    fn a_series_on_its_way_is_waited_for_once_and_one_that_is_gone_is_not() {
        let primary = |n: u64| {
            let values: Vec<_> = (1..=n).map(|k| (k as f64, 10 * k)).collect();
            series("s_total", "primary", json!({}), &values)
        };
        let canary = series("s_total", "canary", json!({}), &[(1.0, 5), (2.0, 6)]);
        let torn = read(&[primary(3), canary.clone()]);
        assert_eq!(counters(&torn, "10.0.0.1:9100"), (6, 20));
        let gone = read(&[primary(4), canary]);
        assert_eq!(counters(&gone, "10.0.0.1:9100"), (0, 40));
    }

    #[test]
    fn what_is_recorded_twice_is_counted_once() {
        let of = |job: &str, replica: &str, value: u64| {
            let more = json!({"job": job, "replica": replica});
            [
                series("s_total", "canary", more.clone(), &[(1.0, value)]),
                series("_duration_seconds_count", "canary", more, &[(1.0, value)]),
            ]
        };
        let mut all = [of("pods", "a", 5), of("pods", "b", 4), of("monitor", "a", 6)].concat();
        // A header that Traefik puts on the requests makes no second process.
        let header = json!({"job": "monitor", "replica": "a", "agent": "curl"});
        all.push(series("s_total", "canary", header, &[(1.0, 2)]));
        assert_eq!(counters(&read(&all), "10.0.0.1:9100"), (8, 0));
    }

    #[test]
    fn bounds_that_are_missing_are_asked_for() {
        let all = [series("_duration_seconds_count", "canary", json!({}), &[(1.0, 9)])];
        let mut recorded = read(&all);
        let (wanted, _) = wanted();
        assert!(recorded.lacks_bounds(&wanted));
        let query = &bounds_queries(&wanted)[0];
        assert!(
            query.starts_with("count by (le) (traefik_service_request_duration_seconds_bucket{")
        );
        let found =
            ["0.1", "0.3", "+Inf"].map(|le| json!({"metric": {"le": le}, "value": [1, "1"]}));
        let body = json!({"status": "success", "data": {"resultType": "vector", "result": found}});
        let bounds = bounds(body.to_string().as_bytes()).unwrap();
        recorded.add_bounds(&wanted, &bounds);
        let page = &recorded.pages["10.0.0.1:9100"];
        assert!(page.bounds == [100.0, 300.0] && !page.has_bound(500.0));
    }

    #[test]
    fn answers_that_make_no_sense_are_errors() {
        let (wanted, _) = wanted();
        for (body, expected) in [
            ("<html>", "the answer is not that of a Prometheus"),
            ("{}", "the answer is not that of a Prometheus"),
            (r#"{"status":"error","errorType":"bad_data","error":"no"}"#, "no"),
        ] {
            let said = Recorded::read(&wanted, &[Bytes::from_static(body.as_bytes())]);
            assert_eq!(said, Err(expected.to_owned()), "{body}");
        }
        let request = request("http://prometheus:9090/", "up{a=\"b\"}").unwrap();
        assert_eq!(request.uri(), "http://prometheus:9090/api/v1/query");
        assert_eq!(request.body(), "query=up%7Ba%3D%22b%22%7D");
    }

    #[test]
    fn samples_from_the_ends_of_time_break_nothing_and_are_no_rhythm() {
        let far = |t: f64| series("s_total", "canary", json!({}), &[(t, 1)]);
        let both = series("s_total", "canary", json!({}), &[(-1e300, 1), (1e300, 2)]);
        for all in [vec![far(1e300), far(-1e300)], vec![both], vec![far(1e9), far(9e9)]] {
            let recorded = read(&all);
            assert_eq!((recorded.every_millis(), recorded.due_millis()), (None, None), "{all:?}");
        }
    }

    #[test]
    fn an_answer_of_which_no_scrape_is_whole_is_given_up() {
        let at = |second: u32| series("s_total", "canary", json!({}), &[(f64::from(second), 1)]);
        let all: Vec<Value> = (0..3000).map(at).collect();
        assert_eq!(read(&all), Recorded::default());
    }
}
