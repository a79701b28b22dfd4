//! Conditions on requests in Istio's words, as Flagger has them: who meets the canary in an A/B test, and what a route takes.

use std::collections::BTreeMap;

use super::doc::Doc;
use crate::model::{RequestMatch, TextMatch};

/// Alternatives of a test; routers refuse more than a few rules for one route.
const ALTERNATIVES_MAX: usize = 8;
/// Headers or parameters of one alternative; the Gateway API's own bound.
const CONDITIONS_MAX: usize = 16;
/// Longer texts than any header that a test goes by.
const TEXT_MAX: usize = 1024;

/// Istio's fields that no router here can match on.
const FOREIGN: [&str; 8] = [
    "authority",
    "gateways",
    "ignoreUriCase",
    "port",
    "scheme",
    "sourceLabels",
    "sourceNamespace",
    "withoutHeaders",
];

/// `spec.analysis.match`: somebody must match, and not everybody.
pub(super) fn read(analysis: &Doc<'_>) -> Vec<RequestMatch> {
    let docs = alternatives(analysis);
    for doc in &docs {
        for field in foreign(doc) {
            doc.error_use(
                field,
                "cannot be matched on here, and more users would meet the canary without it",
                "match on headers, queryParams, uri or method",
            );
        }
    }
    let read: Vec<RequestMatch> = docs.iter().map(alternative).collect();
    for (place, _) in read.iter().enumerate().filter(|(_, one)| **one == RequestMatch::default()) {
        let message = "has no condition that can be used: all users would meet the canary";
        analysis.error(&format!("match[{place}]"), message);
    }
    read
}

/// `spec.service.match`: which requests the route takes. One without a condition takes all of them.
pub(super) fn read_rules(service: &Doc<'_>) -> Vec<RequestMatch> {
    let docs = alternatives(service);
    for doc in &docs {
        for field in foreign(doc) {
            doc.no_effect(field, "has no effect with this provider: the route takes more requests");
        }
    }
    docs.iter().map(alternative).collect()
}

fn foreign<'a>(doc: &'a Doc<'_>) -> impl Iterator<Item = &'static str> + 'a {
    let set = |field: &&str| doc.raw(field).is_some_and(super::doc::says_something);
    FOREIGN.into_iter().filter(set)
}

fn alternatives<'a>(doc: &Doc<'a>) -> Vec<Doc<'a>> {
    let mut docs = doc.objects("match");
    if docs.len() > ALTERNATIVES_MAX {
        let message =
            format!("must have at most {ALTERNATIVES_MAX} alternatives, not {}", docs.len());
        doc.error("match", message);
        docs.truncate(ALTERNATIVES_MAX);
    }
    docs
}

fn alternative(doc: &Doc<'_>) -> RequestMatch {
    let headers = texts(doc, "headers", &str::to_ascii_lowercase);
    let query = texts(doc, "queryParams", &str::to_owned);
    let path = doc.object("uri").and_then(|uri| text(&uri));
    let method = doc.object("method").and_then(|method| match text(&method)? {
        TextMatch::Exact(name) if name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            Some(name.to_ascii_uppercase())
        }
        TextMatch::Exact(_) | TextMatch::Prefix(_) | TextMatch::Suffix(_) | TextMatch::Regex(_) => {
            method.error("exact", "must name one method, such as GET");
            None
        }
    });
    RequestMatch { headers, query, path, method }
}

fn texts(doc: &Doc<'_>, field: &str, name: &dyn Fn(&str) -> String) -> BTreeMap<String, TextMatch> {
    let Some(map) = doc.object(field) else { return BTreeMap::new() };
    let keys: Vec<String> = map.entries().map(|(key, _)| key.clone()).collect();
    if keys.len() > CONDITIONS_MAX {
        doc.error(field, format!("must have at most {CONDITIONS_MAX} entries, not {}", keys.len()));
        return BTreeMap::new();
    }
    let token = |key: &String| {
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        let good = !key.is_empty() && key.bytes().all(ok);
        if !good {
            doc.error(field, format!("{key:?} is no name of a header or parameter"));
        }
        good
    };
    let one = |key: String| Some((name(&key), text(&map.object(&key)?)?));
    keys.into_iter().filter(token).filter_map(one).collect()
}

/// Exactly one of `exact`, `prefix`, `suffix` and `regex`.
fn text(doc: &Doc<'_>) -> Option<TextMatch> {
    let kinds = ["exact", "prefix", "suffix", "regex"];
    let set: Vec<&str> = kinds.into_iter().filter(|kind| doc.raw(kind).is_some()).collect();
    let [kind] = set.as_slice() else {
        doc.error("exact", "needs exactly one of exact, prefix, suffix and regex");
        return None;
    };
    let value = doc.text(kind)?.to_owned();
    let printable = value.len() <= TEXT_MAX && !value.chars().any(char::is_control);
    if value.is_empty() || !printable {
        doc.error(kind, format!("must be 1 to {TEXT_MAX} characters without control characters"));
        return None;
    }
    Some(match *kind {
        "exact" => TextMatch::Exact(value),
        "prefix" => TextMatch::Prefix(value),
        "suffix" => TextMatch::Suffix(value),
        _ => TextMatch::Regex(value),
    })
}
