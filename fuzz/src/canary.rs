//! Canaries, templates and alert providers: what people write.

use serde_json::{Value, json};
use serin_core::api;
use serin_core::parse::{self, Limits};
use serin_providers::gateway::{Pair, Wanted};

use super::json::document;

pub const WORDS: &[&str] = &[
    "stepWeight",
    "stepWeights",
    "maxWeight",
    "iterations",
    "threshold",
    "interval",
    "10s",
    "1m",
    "99999999999h",
    "provider",
    "traefik",
    "kubernetes",
    "istio",
    "metrics",
    "webhooks",
    "match",
    "mirror",
    "thresholdRange",
    "min",
    "max",
    "query",
    "templateRef",
    "guard",
    "suspend",
    "apex",
    "primary",
    "canary",
    "name",
    "namespace",
    "\u{1f426}",
    "gatewayapi:v1",
    "confirm-rollout",
    "http://x/",
    "progressDeadlineSeconds",
    "status",
    "phase",
    "Progressing",
    "canaryWeight",
];

const KNOWN: &[&[u8]] = &[
    include_bytes!("../seeds/canary/weighted.json"),
    include_bytes!("../seeds/canary/full.json"),
    include_bytes!("../seeds/canary/template.json"),
    include_bytes!("../seeds/canary/alert.json"),
];

/// Longest complaint about one field; users read them in a status.
const COMPLAINT_MAX: usize = 2000;

pub fn canary(data: &[u8]) {
    let object = document(data, KNOWN, WORDS);
    let limits = Limits::default();
    let parsed = parse::canary(&object, &limits);
    assert_eq!(parsed, parse::canary(&object, &limits), "parsing is a function");
    match &parsed {
        Ok(canary) => {
            assert!(!canary.key.name.is_empty() && !canary.key.namespace.is_empty());
            assert!(!canary.spec.target.name.is_empty());
            let references = serin_providers::references(canary);
            assert_eq!(references, serin_providers::references(canary));
            let pair = Pair::of(canary);
            assert_ne!(pair.canary, pair.primary);
            Wanted::default().add(canary, &[0.5]);
        }
        Err(failure) => {
            assert!(failure.obstacles().next().is_some(), "a refusal says why: {object}");
            for error in failure.obstacles() {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < COMPLAINT_MAX, "{text}");
            }
        }
    }
    for errors in [parse::metric_template(&object).err(), parse::alert_provider(&object).err()] {
        assert!(errors.is_none_or(|errors| !errors.is_empty()), "a refusal says why: {object}");
    }
    words_round_trip(&object);
}

/// What the types read of a document they write again, and read alike.
fn words_round_trip(object: &Value) {
    if let Ok(read) = serde_json::from_value::<api::Canary>(object.clone()) {
        let written = serde_json::to_value(&read).expect("a Canary is JSON");
        let again: api::Canary =
            serde_json::from_value(written.clone()).expect("what is written can be read");
        assert_eq!(serde_json::to_value(&again).expect("a Canary is JSON"), written);
    }
}

/// Go's syntax, with whole numbers and units of a millisecond or more, up to a year.
pub fn duration(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let mut object: Value = serde_json::from_slice(KNOWN[0]).expect("seeds are JSON");
    object["spec"]["analysis"]["metrics"][0]["interval"] = json!(text);
    let parsed = parse::canary(&object, &Limits::default());
    let wanted = naive_seconds(&text);
    let complains = parsed.as_ref().is_err_and(|failure| {
        failure.obstacles().any(|error| error.to_string().contains("interval"))
    });
    match wanted {
        Some(secs) if secs > 0 => {
            assert!(!complains, "{text:?} is {secs} seconds: {:?}", parsed.err())
        }
        // Empty is unset, and unset is a minute.
        Some(_) | None => {
            assert!(complains || text.is_empty(), "{text:?} is no time to measure in")
        }
    }
}

/// Seconds, rounded up, by the slowest way there is.
fn naive_seconds(text: &str) -> Option<u128> {
    const YEAR: u128 = 366 * 24 * 3600 * 1000;
    if text == "0" {
        return Some(0);
    }
    let mut millis: u128 = 0;
    let mut digits = String::new();
    let mut unit = String::new();
    let mut parts = Vec::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            if !unit.is_empty() {
                parts.push((std::mem::take(&mut digits), std::mem::take(&mut unit)));
            }
            digits.push(c);
        } else {
            unit.push(c);
        }
    }
    parts.push((digits, unit));
    for (digits, unit) in parts {
        let factor = match unit.as_str() {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        millis += digits.parse::<u64>().ok().map(u128::from)? * factor;
    }
    (millis <= YEAR).then(|| millis.div_ceil(1000))
}
