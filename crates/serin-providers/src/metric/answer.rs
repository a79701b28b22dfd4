//! What the answers of all backends have in common: JSON within bounds, and numbers that stand for stretches of time.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::MetricKind;

use super::MetricError;
use super::conversation::{Measured, Sample};
use crate::json::bounded;

/// One number needs no more; a query that forgot to sum may bring far more.
pub(super) const BODY_BYTES_MAX: usize = 1 << 20;
/// Of the backend's own words in a message.
pub(super) const WORDS_MAX: usize = 200;
/// Series that a complaint about their number names.
const SERIES_SHOWN: usize = 3;

/// The JSON of an answer that is none of an error. `words` finds what the backend itself says of an error, and only that is
/// repeated: whatever else answers at the address stays private.
pub(super) fn json(
    kind: &MetricKind,
    response: &Response<Bytes>,
    words: impl Fn(&Value) -> Option<String>,
) -> Result<Value, MetricError> {
    let complaint = |why: String| Err(MetricError::Answer(why));
    let status = response.status();
    let length = response.body().len();
    if length > BODY_BYTES_MAX {
        return complaint(format!("the answer has {length} bytes, more than {BODY_BYTES_MAX}"));
    }
    let body: Option<Value> = serde_json::from_slice(response.body()).ok();
    let words = body.as_ref().and_then(words);
    if !status.is_success() {
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        return complaint(format!("the server answered {}{words}", status.as_u16()));
    }
    if let Some(words) = words {
        return complaint(words);
    }
    match body {
        Some(body) => Ok(body),
        None => {
            let product = kind.product;
            complaint(format!("the answer is not JSON ({length} bytes): is this {product}?"))
        }
    }
}

/// Which of them was meant is a guess that could promote a broken version.
pub(super) fn too_many(series: &[Value], name: impl Fn(&Value) -> String, way_out: &str) -> String {
    let shown: Vec<String> =
        series.iter().take(SERIES_SHOWN).map(|series| bounded(&name(series), 60)).collect();
    format!(
        "the query returned {} series where one is needed, such as {}: {way_out}",
        series.len(),
        shown.join(", ")
    )
}

/// A number, and when the time begins that it stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub begin_millis: i64,
    pub value: f64,
}

/// What a series of buckets of one length says: the newest that is over. One that is not holds part of the requests, and an
/// older one holds those of the version before. Without any, the answer is about the whole window.
pub(super) fn newest(
    buckets: &[Bucket],
    length_millis: i64,
    window_millis: i64,
    now: Timestamp,
) -> Measured {
    let now = now.as_millisecond();
    let is_over = |bucket: &&Bucket| bucket.begin_millis.saturating_add(length_millis) <= now;
    let found = buckets.iter().filter(is_over).max_by_key(|bucket| bucket.begin_millis);
    let secs = |millis: i64| millis / 1000 + i64::from(millis % 1000 > 0);
    match found {
        Some(bucket) => Measured {
            sample: Sample::Value(bucket.value),
            reach_secs: Some(secs(now.saturating_sub(bucket.begin_millis).max(0))),
        },
        None => {
            let why = if buckets.is_empty() {
                format!("the query returned nothing for the last {} s", secs(window_millis))
            } else {
                format!(
                    "no period of {} s is over in the last {} s: shorten it, or lengthen the metric's interval",
                    secs(length_millis),
                    secs(window_millis)
                )
            };
            Measured { sample: Sample::NoData(why), reach_secs: Some(secs(window_millis)) }
        }
    }
}
