//! Golden conversations with New Relic.

use super::super::talk::{Talk, ended, http};
use expect_test::expect;

const SPEC: &str = "{provider: {type: newrelic, secretRef: {name: keys}}, query: \"SELECT filter(count(*), WHERE error) / count(*) * 100 AS result FROM Transaction WHERE app = '{{ target }}'\"}";
const KEYS: &str = "{newrelic_account_id: '51312', newrelic_query_key: hunter2}";

fn answered(status: u16, body: &str) -> String {
    ended(&Talk::of(SPEC, Some(KEYS)).hold(vec![http(status, body)]))
}

#[test]
fn the_request_is_flaggers() {
    let mut talk = Talk::of(SPEC, Some(KEYS));
    talk.hold(vec![http(200, r#"{"results": [{"result": 1.5}]}"#)]).unwrap();
    assert_eq!(talk.sent[0].headers()["x-query-key"], "hunter2");
    expect![[r#"
        GET https://insights-api.newrelic.com/v1/accounts/51312/query?nrql=SELECT%20filter%28count%28%2A%29%2C%20WHERE%20error%29%20%2F%20count%28%2A%29%20%2A%20100%20AS%20result%20FROM%20Transaction%20WHERE%20app%20%3D%20%27backend%27%20SINCE%2060%20seconds%20ago
        x-query-key: (hidden)
    "#]]
    .assert_eq(&talk.transcript);
}

#[test]
fn one_value_is_judged_and_everything_else_is_told() {
    for (status, body, expected) in [
        (200, r#"{"results": [{"result": 1.11111}]}"#, "= 1.11111, of the last 60 s"),
        (200, r#"{"results": []}"#, "= no data: the query returned nothing, of the last 60 s"),
        (
            200,
            r#"{"results": [{"result": null}]}"#,
            "= no data: the query returned null, of the last 60 s",
        ),
        (200, r#"{"results": [{"result": "NaN"}]}"#, "= error: the result is no number"),
        (
            200,
            r#"{"results": [{"count": 1}]}"#,
            "= error: the query names no value: add AS result behind it",
        ),
        (
            200,
            r#"{"results": [{"result": 1}, {"result": 2}]}"#,
            "= error: the query returned several values where one is needed: select one",
        ),
        (
            200,
            r#"{"facets": []}"#,
            "= error: the query returned facets where one value is needed: leave out FACET",
        ),
        (200, "{}", "= error: the answer has no results"),
        (200, "<html>", "= error: the answer is not JSON (6 bytes): is this New Relic?"),
        (
            400,
            r#"{"error": "NRQL Syntax Error"}"#,
            "= error: the server answered 400: NRQL Syntax Error",
        ),
        (
            403,
            r#"{"error": {"message": "Invalid key"}}"#,
            "= error: the server answered 403: Invalid key",
        ),
        (401, "hunter2", "= error: the server answered 401"),
        (429, "{}", "= error: the server answered 429"),
        (503, "", "= error: the server answered 503"),
    ] {
        assert_eq!(answered(status, body), expected, "{body}");
    }
    assert!(answered(200, &" ".repeat((1 << 20) + 1)).contains("more than"));
}

#[test]
fn both_keys_are_needed_and_the_account_is_a_number() {
    for (keys, expected) in [
        (
            "{newrelic_query_key: hunter2}",
            "the provider's Secret is of no use: it needs newrelic_account_id and newrelic_query_key",
        ),
        (
            "{newrelic_account_id: 'x/../hunter2', newrelic_query_key: k}",
            "the provider's Secret is of no use: newrelic_account_id is a number",
        ),
    ] {
        let error = Talk::of(SPEC, Some(keys)).hold(Vec::new()).unwrap_err().to_string();
        assert_eq!(error, expected);
    }
}
