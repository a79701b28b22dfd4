//! Limits that are likely meant in another unit: percent for a share, milliseconds for seconds, successes for errors.

use super::doc::Doc;
use crate::model::{Builtin, Finding, FindingCode, Limit};

/// Whoever writes less than this in percent, or in milliseconds, most likely means a share, or seconds.
const SHARE_MAX: f64 = 1.0;
/// p99 of anything with a network in between; a limit below is a warning, not an error.
const MILLIS_MIN: f64 = 10.0;
/// A release that may fail half of its requests is watched by nobody.
const HALF: f64 = 50.0;

/// What is odd about the limit of a builtin check. `doc` has its fields: `thresholdRange`, or the metric itself.
pub(super) fn check(doc: &Doc<'_>, builtin: Builtin, limit: Limit) {
    let (lower, upper, min, max) = match limit {
        Limit::Range { min, max } => ("min", "max", min, max),
        Limit::AtLeast(min) => ("threshold", "", Some(min), None),
        Limit::AtMost(max) => ("", "threshold", None, Some(max)),
    };
    match builtin {
        Builtin::RequestSuccessRate => {
            if let Some(min) = min {
                at_least(doc, lower, min);
            }
            if let Some(max) = max.filter(|max| *max < 100.0) {
                let message = format!(
                    "{max} is the most percent of requests that may succeed: a release that fails none is rejected"
                );
                let way_out =
                    format!("to allow {max} percent of errors, write min: {}", 100.0 - max);
                odd(doc, upper, message, way_out);
            }
        }
        Builtin::RequestDuration => {
            if let Some(max) = max {
                slow(doc, upper, max);
            }
            if let Some(min) = min.filter(|min| *min > 0.0) {
                let message = format!(
                    "{min} is the least duration in milliseconds: a faster release is rejected"
                );
                odd(doc, lower, message, format!("to allow at most {min} ms, write max: {min}"));
            }
        }
    }
}

/// The least percent of requests that must succeed.
fn at_least(doc: &Doc<'_>, field: &str, min: f64) {
    if min > 0.0 && min <= SHARE_MAX {
        let message = format!(
            "is a limit in percent, and {min} percent lets {} of 100 requests fail",
            rounded(100.0 - min)
        );
        odd(doc, field, message, format!("write {} if that share is meant", rounded(min * 100.0)));
    } else if min > SHARE_MAX && min < HALF {
        let message = format!(
            "lets {} of 100 requests fail: it is the percent that must succeed",
            rounded(100.0 - min)
        );
        odd(
            doc,
            field,
            message,
            format!("to allow {min} percent of errors, write {}", rounded(100.0 - min)),
        );
    } else if min > 100.0 {
        let message = format!("is a limit in percent, and no release reaches {min}");
        odd(doc, field, message, "write at most 100");
    }
}

/// The greatest duration that passes, in milliseconds.
pub(super) fn slow(doc: &Doc<'_>, field: &str, max: f64) {
    if max > 0.0 && max < MILLIS_MIN {
        let message =
            format!("is a limit in milliseconds, and few releases answer within {max} ms");
        odd(doc, field, message, format!("write {} if seconds are meant", rounded(max * 1000.0)));
    }
}

/// The percent of requests that may be bad by an objective of the guard.
pub(super) fn objective(doc: &Doc<'_>, field: &str, percent: f64) {
    if percent >= HALF {
        let message = format!("lets {percent} percent of all requests be bad");
        let way_out =
            format!("write {} if {percent} percent must be good", rounded(100.0 - percent));
        odd(doc, field, message, way_out);
    }
}

fn odd(doc: &Doc<'_>, field: &str, message: String, way_out: impl Into<String>) {
    let finding = Finding::warning(FindingCode::Unit, doc.at(field), message);
    doc.add(finding.way_out(way_out));
}

/// Without the noise of binary fractions.
fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
