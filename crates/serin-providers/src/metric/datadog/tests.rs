//! Golden conversations with Datadog; the first answer is the one of Flagger's own test.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::super::Sample;
use super::super::talk::{Talk, ended, http};
use super::*;

const SPEC: &str = "{provider: {type: datadog, secretRef: {name: keys}}, query: 'avg:system.cpu.user{service:{{ target }}}by{host}'}";
const KEYS_OF: &str = "{datadog_api_key: \"api-key\\n\", datadog_application_key: app-key}";
/// 2026-01-01T00:10:00Z.
const NOW_MILLIS: i64 = 1_767_226_200_000;

fn talk() -> Talk {
    Talk::of(SPEC, Some(KEYS_OF))
}

fn answered(status: u16, body: impl Into<String>) -> String {
    ended(&talk().hold(vec![http(status, body)]))
}

/// One series whose points are so many seconds old.
fn series(interval: Value, points: &[(i64, Value)]) -> String {
    let points: Vec<Value> =
        points.iter().map(|(age, value)| json!([NOW_MILLIS - age * 1000, value])).collect();
    let mut series = json!({"scope": "service:backend", "pointlist": points});
    if !interval.is_null() {
        series["interval"] = interval;
    }
    json!({"status": "ok", "error": "", "series": [series]}).to_string()
}

fn check(body: String, expected: Expect) {
    expected.assert_eq(&answered(200, body));
}

#[test]
fn the_request_is_flaggers() {
    let told = talk().told(vec![http(200, series(json!(20), &[(40, json!(1.5))]))]);
    expect![[r#"
        GET https://api.datadoghq.com/api/v1/query?from=1767225600&query=avg%3Asystem.cpu.user%7Bservice%3Abackend%7Dby%7Bhost%7D&to=1767226200
        dd-api-key: (hidden)
        dd-application-key: (hidden)
        = 1.5, of the last 41 s
    "#]]
    .assert_eq(&told);
    let mut talk = talk();
    talk.hold(vec![http(200, series(json!(20), &[]))]).unwrap();
    let header = |name: &str| talk.sent[0].headers()[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header("dd-api-key"), header("dd-application-key")),
        ("api-key".into(), "app-key".into())
    );
}

#[test]
fn the_window_is_ten_intervals_and_the_address_the_templates() {
    let spec = "{provider: {type: datadog, address: 'https://api.datadoghq.eu/', secretRef: {name: keys}, headers: {X-Org: [a]}}, query: up}";
    let mut talk = Talk::of(spec, Some(KEYS_OF));
    talk.interval = "30s";
    expect![[r#"
        GET https://api.datadoghq.eu/api/v1/query?from=1767225900&query=up&to=1767226200
        x-org: a
        dd-api-key: (hidden)
        dd-application-key: (hidden)
        = no data: the query returned nothing for the last 300 s, of the last 300 s
    "#]]
    .assert_eq(&talk.told(vec![http(200, r#"{"series": []}"#)]));
}

#[test]
fn the_newest_bucket_that_is_over_is_judged() {
    // Flagger takes the oldest, which is as old as the window and so often the version before; the last is not over.
    let points = [(580, json!(9)), (60, json!(2)), (40, json!(3)), (15, json!(0.1))];
    check(series(json!(20), &points), expect!["= 3, of the last 41 s"]);
    check(series(json!(60), &points), expect!["= 2, of the last 61 s"]);
    // Whoever does not say how long its buckets are.
    check(series(Value::Null, &points), expect!["= 3, of the last 41 s"]);
    check(series(Value::Null, &[(5, json!(7))]), expect!["= 7, of the last 6 s"]);
    // The answer that Flagger tests itself with, of 2019.
    check(
        r#"{"series": [{"pointlist": [[1577232000000,1.11111],[1577318400000,56294.46758591842],[1577404800000,29325.102158814265]]}]}"#.into(),
        expect!["= 29325.102158814265, of the last 189821401 s"],
    );
}

#[test]
fn nothing_and_null_are_no_data() {
    check(
        series(json!(20), &[]),
        expect!["= no data: the query returned nothing for the last 600 s, of the last 600 s"],
    );
    check(
        series(json!(20), &[(60, Value::Null), (40, Value::Null)]),
        expect!["= no data: the query returned nothing for the last 600 s, of the last 600 s"],
    );
    check(
        series(json!(20), &[(60, json!(4)), (40, Value::Null)]),
        expect!["= 4, of the last 61 s"],
    );
    check(
        series(json!(3600), &[(600, json!(4))]),
        expect![
            "= no data: no period of 3600 s is over in the last 600 s: shorten it, or lengthen the metric's interval, of the last 600 s"
        ],
    );
}

#[test]
fn everything_else_is_a_complaint_that_says_what_to_do() {
    let many = json!({"series": [
        {"scope": "host:a", "pointlist": [[1, 1.0]]}, {"scope": "host:b", "pointlist": [[1, 1.0]]},
        {"expression": "x"}, {},
    ]});
    check(
        many.to_string(),
        expect![
            "= error: the query returned 4 series where one is needed, such as host:a, host:b, x: leave out its `by {...}`, or name one"
        ],
    );
    check(
        r#"{"status": "error", "error": "Error parsing query: unable to parse up"}"#.into(),
        expect!["= error: Error parsing query: unable to parse up"],
    );
    check(r#"{"status": "error"}"#.into(), expect!["= error: no reason given"]);
    check("{}".into(), expect!["= error: the answer has no series"]);
    check(r#"{"series": [{}]}"#.into(), expect!["= error: the series has no points"]);
    for point in ["[1]", "[1, \"NaN\"]", "[null, 1]", "7", "[1, 2, 3]"] {
        let body = format!(r#"{{"series": [{{"pointlist": [{point}]}}]}}"#);
        assert_eq!(answered(200, body), "= error: a point of the series is no pair of numbers");
    }
    check("<html>".into(), expect!["= error: the answer is not JSON (6 bytes): is this Datadog?"]);
    check(
        " ".repeat((1 << 20) + 1),
        expect!["= error: the answer has 1048577 bytes, more than 1048576"],
    );
    for (status, body, expected) in [
        (401, r#"{"errors": ["Unauthorized"]}"#, "= error: the server answered 401: Unauthorized"),
        (403, r#"{"errors": ["Forbidden"]}"#, "= error: the server answered 403: Forbidden"),
        (
            429,
            r#"{"errors": ["Rate limit of 300 requests"]}"#,
            "= error: the server answered 429: Rate limit of 300 requests",
        ),
        (503, "api-key", "= error: the server answered 503"),
    ] {
        assert_eq!(answered(status, body), expected);
    }
}

#[test]
fn both_keys_are_needed_and_neither_is_shown() {
    for keys in ["{datadog_api_key: hunter2}", "{token: hunter2}", "{}"] {
        let error = Talk::of(SPEC, Some(keys)).hold(Vec::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the provider's Secret is of no use: it needs datadog_api_key and datadog_application_key"
        );
    }
    let odd = "{datadog_api_key: \"hunter2\\nx\", datadog_application_key: k}";
    let error = Talk::of(SPEC, Some(odd)).hold(Vec::new()).unwrap_err().to_string();
    assert!(error.contains("characters") && !error.contains("hunter2"), "{error}");
    assert!(Talk::of(SPEC, None).hold(Vec::new()).is_err());
}

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW_MILLIS).unwrap()
}

fn response(status: u16, body: impl Into<Bytes>) -> Response<Bytes> {
    Response::builder().status(status).body(body.into()).unwrap()
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_complained_about(status in 200_u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = read(&response(status, body), 600_000, now());
    }

    #[test]
    fn any_points_are_understood_or_complained_about(interval in any::<i64>(), points in prop::collection::vec((any::<i64>(), prop::option::of(any::<f64>())), 0..6)) {
        let body = json!({"series": [{"interval": interval, "pointlist": points}]});
        if let Ok(Measured { sample: Sample::Value(value), reach_secs }) = read(&response(200, body.to_string()), 600_000, now()) {
            prop_assert!(!value.is_nan());
            prop_assert!(reach_secs.is_some_and(|secs| secs >= 0));
        }
    }
}
