//! Keptn: the value of a KeptnMetric, which its own operator measures; it is read from the API server.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::{MetricKind, metric_kind};
use serin_core::observed::Seen;
use serin_core::parse::duration_millis;

use super::MetricError;
use super::access::Access;
use super::conversation::{MetricProvider, Progress, Query, Sample};
use crate::change::{Kind, ObjectRef};
use crate::json::{bounded, text};

const KEPTN_METRIC: Kind = Kind {
    group: "metrics.keptn.sh",
    version: "v1beta1",
    kind: "KeptnMetric",
    plural: "keptnmetrics",
};

/// Keptn's own, of metrics that name none.
const RANGE_MILLIS: i64 = 300_000;
/// Of a name in Kubernetes.
const NAME_MAX: usize = 253;

pub(super) struct Keptn;

impl MetricProvider for Keptn {
    fn kind(&self) -> &'static MetricKind {
        &metric_kind::KEPTN
    }

    fn begin(&self, query: &Query<'_>, _access: &Access) -> Result<Progress, MetricError> {
        let object = object(query.text).map_err(MetricError::Text)?;
        let named = object.clone();
        let then = Box::new(move |seen: Seen<Arc<Value>>, now| match seen {
            Seen::Present(found) => read(&named, &found, now),
            Seen::Absent => Err(MetricError::Answer(format!("{named} does not exist"))),
            Seen::Unreadable(why) => {
                Err(MetricError::Answer(format!("{named} cannot be read: {why}")))
            }
        });
        Ok(Progress::Read { object, then })
    }
}

/// `keptnmetric/NAMESPACE/NAME`. Like Flagger's, it may be written in capitals; Kubernetes has none.
fn object(query: &str) -> Result<ObjectRef, String> {
    let query = query.trim().to_lowercase();
    let mut parts = query.split('/');
    match parts.next() {
        Some("keptnmetric" | "keptnmetrics") => {}
        Some("analysis" | "analyses") => {
            return Err("an Analysis is not supported yet; name a KeptnMetric".to_owned());
        }
        Some(_) | None => return Err("write keptnmetric/NAMESPACE/NAME".to_owned()),
    }
    let is_name = |name: &&str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        // Nothing that would be a step in a path.
        let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
        begins && name.len() <= NAME_MAX && name.bytes().all(fits)
    };
    let names: Vec<&str> = parts.collect();
    match names.as_slice() {
        [namespace, name] if names.iter().all(is_name) => Ok(KEPTN_METRIC.named(*namespace, *name)),
        _ => Err("write keptnmetric/NAMESPACE/NAME".to_owned()),
    }
}

fn read(named: &ObjectRef, found: &Value, now: Timestamp) -> Result<Progress, MetricError> {
    let reach = reach_secs(found, now);
    let no_data = |why: String| Ok(Progress::done(Sample::NoData(why), reach));
    let Some(value) = text(found, "/status/value").filter(|value| !value.is_empty()) else {
        let why = text(found, "/status/errMsg").filter(|why| !why.is_empty());
        let why = why.map_or_else(String::new, |why| format!(": {}", bounded(why, 200)));
        return no_data(format!("{named} has no value{why}"));
    };
    match value.parse::<f64>() {
        Ok(number) if number.is_nan() => no_data(format!("{named} is not a number")),
        Ok(number) => Ok(Progress::done(Sample::Value(number), reach)),
        Err(_) => {
            let value = bounded(value, 40);
            Err(MetricError::Answer(format!("the value of {named} is no number: {value:?}")))
        }
    }
}

/// What was measured then is about the range before.
fn reach_secs(found: &Value, now: Timestamp) -> Option<i64> {
    let updated: Timestamp = text(found, "/status/lastUpdated")?.parse().ok()?;
    let range = text(found, "/spec/range/interval").and_then(duration_millis);
    let range = range.unwrap_or(RANGE_MILLIS);
    let age = now.as_millisecond().saturating_sub(updated.as_millisecond()).max(0);
    let millis = age.saturating_add(range);
    Some(millis / 1000 + i64::from(millis % 1000 > 0))
}

#[cfg(test)]
mod tests;
