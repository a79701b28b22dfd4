//! Whether the checks of an analysis find what they ask the metrics server for: names, windows and buckets.

use serin_core::model::{Builtin, Canary, Limit, Metric, MetricKind, MetricSource};
use serin_core::observed::{Fitness, Seen};
use serin_core::parse::duration_millis;
use serin_providers::gateway::{Page, Pair};

use super::fitness::{renamed, unfit};
use super::source::Look;
use crate::cache::METRIC_TEMPLATE;
use crate::guard::Environment;

/// What only a query about the gateway's own counters has in it.
const OF_GATEWAY: &str = "traefik_service_";
const HISTOGRAM: &str = "traefik_service_request_duration_seconds_bucket";
/// A bucket that is narrower than this part of a limit says enough about it.
const FINE: f64 = 0.2;
/// Scrapes are not on time to the millisecond.
const JITTER: f64 = 0.98;

/// A check that asks the metrics server about the gateway.
pub(super) struct Asked<'c> {
    metric: &'c Metric,
    what: What,
    /// The server that is asked, where it is not the canary's.
    pub(super) server: Option<String>,
}

enum What {
    Builtin(Builtin),
    /// A query that somebody has written.
    Written(String),
}

/// The checks of this canary that ask the metrics server about the gateway.
pub(super) fn asked<'c>(env: &Environment, canary: &'c Canary) -> Vec<Asked<'c>> {
    let metrics = canary.spec.analysis.metrics.iter();
    let sources = metrics.flat_map(|metric| metric.sources.iter().map(move |s| (metric, s)));
    let all = sources.filter_map(|(metric, source)| {
        let (what, server) = match source {
            MetricSource::Builtin(builtin) => {
                let what = Some(What::Builtin(*builtin));
                (what.filter(|_| canary.spec.provider.capabilities.counts), None)
            }
            MetricSource::Query(text) => (Some(What::Written(text.clone())), None),
            MetricSource::Template { namespace, name, variables: _ } => {
                let (text, server) = template(env, namespace, name)?;
                (Some(What::Written(text)), server)
            }
        };
        let what = what.filter(|what| match what {
            What::Builtin(_) => true,
            What::Written(text) => text.contains(OF_GATEWAY),
        })?;
        Some(Asked { metric, what, server })
    });
    all.collect()
}

/// The query of a template that asks a Prometheus, and which one it names. One that wants a password is not asked.
fn template(env: &Environment, namespace: &str, name: &str) -> Option<(String, Option<String>)> {
    let Seen::Present(object) = env.cache.object(&METRIC_TEMPLATE.named(namespace, name)) else {
        return None;
    };
    let text = |path: &str| object.pointer(path).and_then(serde_json::Value::as_str);
    let server = text("/spec/provider/address").map(|server| server.trim().trim_end_matches('/'));
    let server = server.filter(|server| !server.is_empty()).map(str::to_owned);
    let kind = text("/spec/provider/type").and_then(MetricKind::named);
    let open = kind.is_some_and(MetricKind::speaks_promql)
        && (server.is_none() || object.pointer("/spec/provider/secretRef").is_none());
    open.then(|| Some((text("/spec/query")?.to_owned(), server))).flatten()
}

/// The limit in milliseconds that a builtin check sets for the histogram.
pub(super) fn limits(canary: &Canary) -> impl Iterator<Item = f64> {
    let metrics = canary.spec.analysis.metrics.iter();
    metrics.filter_map(|metric| match metric.sources.first()? {
        MetricSource::Builtin(Builtin::RequestDuration) => highest(metric.limit),
        MetricSource::Builtin(Builtin::RequestSuccessRate)
        | MetricSource::Query(_)
        | MetricSource::Template { .. } => None,
    })
}

fn highest(limit: Limit) -> Option<f64> {
    match limit {
        Limit::Range { min: _, max } => max,
        Limit::AtMost(max) => Some(max),
        Limit::AtLeast(_) => None,
    }
}

/// The first thing that is wrong with the checks, going by the metrics server's samples of the gateway; `safe` is whether
/// that has the names of `safeNaming`, and `used` whether it is known otherwise that the primary has users.
pub(super) fn judge(
    canary: &Canary,
    asked: &[&Asked<'_>],
    look: &Look,
    safe: bool,
    used: bool,
) -> Option<Fitness> {
    let first = asked.first()?;
    if let Some(unfit) = asked.iter().filter(|_| safe).find_map(|asked| asked.knows_other_names()) {
        return Some(unfit);
    }
    let Pair { canary: _, primary } = &Pair::of(canary);
    let its: Vec<&Page> =
        look.pages.iter().map(|(_, page)| page).filter(|page| page.knows(primary)).collect();
    if its.is_empty() {
        return Some(unrecorded(&first.metric.name, look, used));
    }
    let Some(every) = its.iter().filter_map(|page| page.sampled?.every_millis).max() else {
        let message = format!(
            "The server has scraped the gateway once only; two scrapes tell whether {} can be measured.",
            first.metric.name
        );
        return Some(Fitness::Unknown { reason: "OneScrape", message });
    };
    asked.iter().find_map(|asked| {
        let Asked { metric, what, server: _ } = asked;
        what.windows(metric)
            .into_iter()
            .find_map(|window| too_short(&metric.name, window, every))
            .or_else(|| what.too_coarse(metric, &its))
    })
}

fn unrecorded(name: &str, look: &Look, used: bool) -> Fitness {
    if look.renamed {
        return renamed();
    }
    let why = look.failure.as_deref().unwrap_or("it has recorded no request of the primary");
    let message = format!("{name} has nothing to judge: {why}. Let the server scrape the gateway.");
    if look.answered && !used {
        return Fitness::Unknown { reason: "NoTrafficYet", message };
    }
    unfit(if look.answered { "NotRecorded" } else { "PrometheusUnreachable" }, message)
}

/// A range must hold two samples at all times, as a rate is made of two.
fn too_short(name: &str, window: u64, every: u64) -> Option<Fitness> {
    let needed = every.saturating_mul(2);
    ((window as f64) < needed as f64 * JITTER).then(|| {
        unfit(
            "WindowTooShort",
            format!(
                "{name} looks back {} s, and the server scrapes every {:.1} s: that may be one sample, and a rate needs two. Make it {} s or more.",
                window as f64 / 1000.0,
                every as f64 / 1000.0,
                (needed as f64 * JITTER / 1000.0).ceil(),
            ),
        )
    })
}

impl Asked<'_> {
    /// A query that knows only the names that Traefik gives without `safeNaming`.
    fn knows_other_names(&self) -> Option<Fitness> {
        let What::Written(text) = &self.what else { return None };
        let old = text.contains("@kubernetescrd") && !text.contains("wrr");
        old.then(|| {
            unfit(
                "NamesDiffer",
                format!(
                    "The query of {} finds nothing: Traefik runs with safeNaming and calls a service NAMESPACE_APEX_wrr_N_NAMESPACE_SERVICE_PORT@kubernetescrd; let it match that, or use the builtin check.",
                    self.metric.name
                ),
            )
        })
    }
}

impl What {
    /// How far back it looks, in milliseconds.
    fn windows(&self, metric: &Metric) -> Vec<u64> {
        let millis = |text: &str| duration_millis(text).and_then(|ms| u64::try_from(ms).ok());
        let text = match self {
            What::Builtin(_) => return millis(&metric.interval).into_iter().collect(),
            What::Written(text) => text,
        };
        let ranges = text.split('[').skip(1).filter_map(|rest| {
            let range = rest.split_once(']')?.0.split(':').next()?.trim();
            let ours = range.starts_with("{{") && range.contains("interval");
            millis(if ours { &metric.interval } else { range })
        });
        ranges.filter(|window| *window > 0).collect()
    }

    /// A percentile is made up between two bounds, and never above the highest.
    fn too_coarse(&self, metric: &Metric, pages: &[&Page]) -> Option<Fitness> {
        let max = highest(metric.limit)?;
        let readings: &[f64] = match self {
            What::Builtin(Builtin::RequestDuration) => &[max],
            What::Builtin(Builtin::RequestSuccessRate) => return None,
            What::Written(text)
                if text.contains(HISTOGRAM) && text.contains("histogram_quantile") =>
            {
                // In milliseconds, or in seconds: as nobody says which, it is coarse only if both are.
                &[max, max * 1000.0]
            }
            What::Written(_) => return None,
        };
        let name = &metric.name;
        let coarse = |page: &&&Page| readings.iter().all(|limit| is_coarse(page, *limit));
        let page = pages.iter().find(coarse)?;
        let (below, above) = around(page, max);
        let message = match above {
            None => format!(
                "{name} can never be above {max} ms: the highest bucket of the gateway ends at {below} ms; add some to its metrics.prometheus.buckets."
            ),
            Some(above) => format!(
                "{name} is guessed between the buckets of {below} and {above} ms, and so says little about {max} ms: take one of these for its limit, or add {max} ms to the gateway's metrics.prometheus.buckets."
            ),
        };
        Some(unfit("BucketsTooCoarse", message))
    }
}

/// The bounds of the bucket that a limit falls into.
fn around(page: &Page, limit: f64) -> (f64, Option<f64>) {
    let below = page.bounds.iter().copied().filter(|bound| *bound < limit).fold(0.0, f64::max);
    (below, page.bounds.iter().copied().find(|bound| *bound > limit))
}

fn is_coarse(page: &Page, limit: f64) -> bool {
    let (below, above) = around(page, limit);
    !page.has_bound(limit) && above.is_none_or(|above| above - below > FINE * limit)
}
