//! Golden conversations with Dynatrace; the first answer is the one of Flagger's own test.

use expect_test::expect;

use super::super::talk::{Talk, ended, http};

const SPEC: &str = "{provider: {type: dynatrace, address: 'https://x.live.dynatrace.com', secretRef: {name: keys}}, query: 'builtin:service.errors.total.rate:filter(eq(service,{{ target }}))'}";
const KEYS: &str = "{dynatrace_token: hunter2}";

fn answered(status: u16, body: &str) -> String {
    ended(&Talk::of(SPEC, Some(KEYS)).hold(vec![http(status, body)]))
}

#[test]
fn the_request_is_flaggers() {
    let mut talk = Talk::of(SPEC, Some(KEYS));
    talk.hold(vec![http(200, r#"{"result": []}"#)]).unwrap();
    assert_eq!(talk.sent[0].headers()["authorization"], "Api-Token hunter2");
    expect![[r#"
        GET https://x.live.dynatrace.com/api/v2/metrics/query?from=1767225600000&metricSelector=builtin%3Aservice.errors.total.rate%3Afilter%28eq%28service%2Cbackend%29%29&resolution=Inf&to=1767226200000
        authorization: (hidden)
    "#]]
    .assert_eq(&talk.transcript);
}

#[test]
fn one_value_is_judged_and_everything_else_is_told() {
    let of = |values: &str| {
        format!(
            r#"{{"result": [{{"metricId": "m", "data": [{{"dimensions": [], "timestamps": [1577232000000], "values": {values}}}]}}]}}"#
        )
    };
    for (status, body, expected) in [
        (200, of("[1.11111]"), "= 1.11111, of the last 600 s"),
        (200, of("[null]"), "= no data: the query returned nothing, of the last 600 s"),
        (200, of("[]"), "= no data: the query returned nothing, of the last 600 s"),
        (200, of("[\"NaN\"]"), "= error: the value is no number"),
        (200, of("[1, 2]"), "= error: the answer has several values where one was asked for"),
        (
            200,
            r#"{"result": []}"#.into(),
            "= no data: the query returned nothing, of the last 600 s",
        ),
        (
            200,
            r#"{"result": [{"data": []}]}"#.into(),
            "= no data: the query returned nothing, of the last 600 s",
        ),
        (
            200,
            r#"{"result": [{"data": [{"dimensions": ["a"]}, {"dimensions": ["b"]}]}]}"#.into(),
            r#"= error: the query returned 2 series where one is needed, such as ["a"], ["b"]: add :splitBy():sum, or filter for one"#,
        ),
        (
            200,
            r#"{"result": [{"metricId": "a"}, {"metricId": "b"}]}"#.into(),
            "= error: the query returned 2 series where one is needed, such as a, b: select one metric",
        ),
        (200, r#"{"result": [{}]}"#.into(), "= error: the result has no data"),
        (200, r#"{"result": [{"data": [{}]}]}"#.into(), "= error: the series has no values"),
        (200, "{}".into(), "= error: the answer has no result"),
        (200, "<html>".into(), "= error: the answer is not JSON (6 bytes): is this Dynatrace?"),
        (
            400,
            r#"{"error": {"code": 400, "message": "unknown metric"}}"#.into(),
            "= error: the server answered 400: unknown metric",
        ),
        (
            401,
            r#"{"error": {"code": 401, "message": "Token Authentication failed"}}"#.into(),
            "= error: the server answered 401: Token Authentication failed",
        ),
        (403, "hunter2".into(), "= error: the server answered 403"),
        (429, "{}".into(), "= error: the server answered 429"),
        (503, String::new(), "= error: the server answered 503"),
    ] {
        assert_eq!(answered(status, &body), expected, "{body}");
    }
    assert!(answered(200, &" ".repeat((1 << 20) + 1)).contains("more than"));
}

#[test]
fn the_token_is_needed() {
    let error = Talk::of(SPEC, Some("{token: hunter2}")).hold(Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "the provider's Secret is of no use: it needs dynatrace_token");
}
