//! Golden conversations with CloudWatch; the query is the one of Flagger's own test.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::super::talk::{Heard, Talk, ended, http};
use super::super::{Measured, Sample};
use super::*;

const QUERY: &str = r#"[
  {"Id": "e1", "Expression": "m1 / m2", "Label": "ErrorRate"},
  {"Id": "m1", "MetricStat": {"Metric": {"Namespace": "MyApplication", "MetricName": "Errors", "Dimensions": [{"Name": "FunctionName", "Value": "{{ target }}"}]}, "Period": 300, "Stat": "Sum", "Unit": "Count"}, "ReturnData": false},
  {"Id": "m2", "MetricStat": {"Metric": {"Namespace": "MyApplication", "MetricName": "Invocations", "Dimensions": [{"Name": "FunctionName", "Value": "{{ target }}"}]}, "Period": 60, "Stat": "Sum", "Unit": "Count"}, "ReturnData": false}
]"#;
const KEYS: &str = "{aws_access_key_id: AKIDEXAMPLE, aws_secret_access_key: hunter2}";
/// 2026-01-01T00:10:00Z.
const NOW: i64 = 1_767_226_200;

fn spec(query: &str) -> String {
    let query = json!(query);
    format!(
        "{{provider: {{type: cloudwatch, region: eu-west-1, secretRef: {{name: keys}}}}, query: {query}}}"
    )
}

fn talk(query: &str) -> Talk {
    Talk::of(&spec(query), Some(KEYS))
}

/// One result of `e1`, of values that are so many seconds old.
fn result(points: &[(i64, Value)]) -> Value {
    let times: Vec<i64> = points.iter().map(|(age, _)| NOW - age).collect();
    let values: Vec<&Value> = points.iter().map(|(_, value)| value).collect();
    json!({"Id": "e1", "Label": "ErrorRate", "Timestamps": times, "Values": values, "StatusCode": "Complete"})
}

fn results(all: &[Value]) -> String {
    json!({"Messages": [], "MetricDataResults": all}).to_string()
}

fn check(heard: Vec<Heard>, expected: Expect) {
    expected.assert_eq(&ended(&talk(QUERY).hold(heard)));
}

fn answered(status: u16, body: impl Into<String>, expected: Expect) {
    check(vec![http(status, body)], expected);
}

#[test]
fn the_request_asks_what_flagger_asks() {
    let told = talk(QUERY).told(vec![http(200, results(&[result(&[(300, json!(0.5))])]))]);
    expect![[r#"
        POST https://monitoring.eu-west-1.amazonaws.com/
        content-type: application/x-amz-json-1.0
        x-amz-target: GraniteServiceVersion20100801.GetMetricData
        x-amz-date: 20260101T001000Z
        authorization: (hidden)
        {"EndTime":1767226200,"MaxDatapoints":20,"MetricDataQueries":[{"Expression":"m1 / m2","Id":"e1","Label":"ErrorRate"},{"Id":"m1","MetricStat":{"Metric":{"Dimensions":[{"Name":"FunctionName","Value":"backend"}],"MetricName":"Errors","Namespace":"MyApplication"},"Period":300,"Stat":"Sum","Unit":"Count"},"ReturnData":false},{"Id":"m2","MetricStat":{"Metric":{"Dimensions":[{"Name":"FunctionName","Value":"backend"}],"MetricName":"Invocations","Namespace":"MyApplication"},"Period":60,"Stat":"Sum","Unit":"Count"},"ReturnData":false}],"StartTime":1767225600}
        = 0.5, of the last 301 s
    "#]]
    .assert_eq(&told);
}

#[test]
fn the_signature_is_that_of_amazons_own_client() {
    let mut talk = talk(r#"[{"Id":"e1","Expression":"m1","Period":60}]"#);
    talk.hold(vec![http(200, results(&[]))]).unwrap();
    let value = talk.sent[0].headers()["authorization"].to_str().unwrap();
    expect!["AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/monitoring/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=74ce7c7cf8519f71bf31ce68524b08e91f09ada5942198d55a5c00ff6df65cd9"].assert_eq(value);
}

#[test]
fn every_partition_has_its_hosts() {
    for (region, host) in [
        ("us-gov-west-1", "monitoring.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "monitoring.cn-north-1.amazonaws.com.cn"),
        ("eusc-de-east-1", "monitoring.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "monitoring.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "monitoring.us-isob-east-1.sc2s.sgov.gov"),
    ] {
        let mut talk = Talk::of(&spec(QUERY).replace("eu-west-1", region), Some(KEYS));
        talk.hold(vec![http(200, results(&[]))]).unwrap();
        assert_eq!(talk.sent[0].uri().host(), Some(host));
    }
    let own = spec(QUERY).replace("region:", "address: 'http://127.0.0.1:4566', region:");
    let mut talk = Talk::of(&own, Some(KEYS));
    talk.hold(vec![http(200, results(&[]))]).unwrap();
    assert_eq!(talk.sent[0].uri().to_string(), "http://127.0.0.1:4566/");
    let path = spec(QUERY).replace("region:", "address: 'http://127.0.0.1:4566/aws', region:");
    let error = Talk::of(&path, Some(KEYS)).hold(Vec::new()).unwrap_err().to_string();
    expect!["the provider's address is of no use: the signature covers no path: name scheme and host only"].assert_eq(&error);
}

#[test]
fn the_newest_period_that_is_over_is_judged() {
    let points = [(60, json!(0.1)), (300, json!(3)), (600, json!(9))];
    answered(200, results(&[result(&points)]), expect!["= 3, of the last 301 s"]);
    answered(
        200,
        results(&[result(&points[..1])]),
        expect![
            "= no data: no period of 300 s is over in the last 600 s: shorten it, or lengthen the metric's interval, of the last 600 s"
        ],
    );
    let own = QUERY.replace(r#""Label": "ErrorRate""#, r#""Period": 60"#);
    let end = talk(&own).hold(vec![http(200, results(&[result(&points)]))]);
    expect!["= 0.1, of the last 61 s"].assert_eq(&ended(&end));
}

#[test]
fn of_several_results_the_first_querys_is_judged() {
    // Flagger takes whatever stands first in the answer.
    let other =
        json!({"Id": "m1", "Timestamps": [NOW - 300], "Values": [7], "StatusCode": "Complete"});
    answered(
        200,
        results(&[other.clone(), result(&[(300, json!(0.5))])]),
        expect!["= 0.5, of the last 301 s"],
    );
    answered(
        200,
        results(&[other]),
        expect!["= no data: the query returned nothing for the last 600 s, of the last 600 s"],
    );
    // A SEARCH or a GROUP BY makes several of one.
    let (mut a, mut b) = (result(&[(300, json!(1))]), result(&[(300, json!(2))]));
    (a["Label"], b["Label"]) = ("pod a".into(), "pod b".into());
    answered(
        200,
        results(&[a, b]),
        expect![
            "= error: the query returned 2 series where one is needed, such as pod a, pod b: wrap it in SUM(), or name one"
        ],
    );
}

#[test]
fn nothing_null_and_nan_are_no_data() {
    for body in [
        results(&[]),
        results(&[result(&[])]),
        results(&[result(&[(300, Value::Null)])]),
        results(&[result(&[(300, json!("NaN"))])]),
    ] {
        answered(
            200,
            body,
            expect!["= no data: the query returned nothing for the last 600 s, of the last 600 s"],
        );
    }
}

#[test]
fn an_answer_of_several_pages_is_read_until_there_is_a_value() {
    let page =
        |results: &[Value]| json!({"MetricDataResults": results, "NextToken": "more"}).to_string();
    let mut talk = talk(QUERY);
    let end = talk.hold(vec![http(200, page(&[])), http(200, page(&[result(&[(300, json!(4))])]))]);
    expect!["= 4, of the last 301 s"].assert_eq(&ended(&end));
    let body = |at: usize| serde_json::from_slice::<Value>(talk.sent[at].body()).unwrap();
    assert_eq!(
        (body(0).get("NextToken").cloned(), body(1)["NextToken"].clone()),
        (None, json!("more"))
    );
    assert_eq!(body(0)["EndTime"], body(1)["EndTime"]);
    // Not for ever.
    let pages = (0..PAGES_MAX).map(|_| http(200, page(&[]))).collect();
    check(
        pages,
        expect!["= no data: the query returned nothing for the last 600 s, of the last 600 s"],
    );
}

#[test]
fn who_asks_for_patience_is_asked_again() {
    let throttled =
        r#"{"__type":"com.amazonaws.cloudwatch#ThrottlingException","message":"Rate exceeded"}"#;
    let good = results(&[result(&[(300, json!(4))])]);
    let told = talk(QUERY).told(vec![http(400, throttled), http(503, ""), http(200, good)]);
    let waits: Vec<&str> = told
        .lines()
        .filter(|line| {
            line.starts_with("after") || line.starts_with("x-amz-date") || line.starts_with('=')
        })
        .collect();
    // Signed anew each time; a signature is good for minutes.
    assert_eq!(
        waits,
        [
            "x-amz-date: 20260101T001000Z",
            "after 1 s",
            "x-amz-date: 20260101T001000Z",
            "after 2 s",
            "x-amz-date: 20260101T001001Z",
            "= 4, of the last 304 s"
        ]
    );
    let all = (0..=RETRIES_MAX).map(|_| http(400, throttled)).collect();
    check(all, expect!["= error: the server answered 400: ThrottlingException: Rate exceeded"]);
    check(
        (0..=RETRIES_MAX).map(|_| http(500, "<html>")).collect(),
        expect!["= error: the server answered 500"],
    );
    check(
        (0..=RETRIES_MAX).map(|_| http(429, "{}")).collect(),
        expect!["= error: the server answered 429"],
    );
}

#[test]
fn everything_else_is_a_complaint_that_says_what_to_do() {
    answered(
        400,
        r#"{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: arn:aws:iam::1:user/a is not authorized to perform: cloudwatch:GetMetricData"}"#,
        expect![
            "= error: the server answered 400: AccessDeniedException: User: arn:aws:iam::1:user/a is not authorized to perform: cloudwatch:GetMetricData"
        ],
    );
    // It repeats what was signed.
    answered(
        403,
        r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"The Canonical String should have been x-amz-security-token:hunter2"}"#,
        expect!["= error: the server answered 403: InvalidSignatureException"],
    );
    answered(
        400,
        r#"{"__type":"com.amazonaws.cloudwatch#InvalidParameterValue","message":"The value 7 for parameter Period is invalid"}"#,
        expect![
            "= error: the server answered 400: InvalidParameterValue: The value 7 for parameter Period is invalid"
        ],
    );
    answered(401, "secret words", expect!["= error: the server answered 401"]);
    answered(
        200,
        "<ok/>",
        expect!["= error: the answer is not JSON (5 bytes): is this Amazon CloudWatch?"],
    );
    answered(200, "{}", expect!["= error: the answer has no results"]);
    answered(
        200,
        " ".repeat(BODY_BYTES_MAX + 1),
        expect!["= error: the answer has 1048577 bytes, more than 1048576"],
    );
    let forbidden = json!({"Id": "e1", "StatusCode": "Forbidden", "Messages": [{"Code": "Forbidden", "Value": "account 1"}]});
    answered(200, results(&[forbidden]), expect!["= error: Forbidden for e1: account 1"]);
    let odd = json!({"Id": "e1", "Timestamps": [1, 2], "Values": [1]});
    answered(200, results(&[odd]), expect!["= error: the result has not as many values as times"]);
}

#[test]
fn a_query_that_is_none_is_found_before_it_is_asked() {
    for (query, expected) in [
        ("up", "it is no JSON list of MetricDataQuery: expected value at line 1 column 1"),
        (
            "{}",
            "it is no JSON list of MetricDataQuery: invalid type: map, expected a sequence at line 1 column 0",
        ),
        ("[]", "none of its queries returns data"),
        (r#"[{"Id": "m1", "ReturnData": false}]"#, "none of its queries returns data"),
        (r#"[{"Expression": "m1"}]"#, "a query has no Id"),
        ("[7]", "a query has no Id"),
    ] {
        let error = talk(query).hold(Vec::new()).unwrap_err();
        assert_eq!(error, MetricError::Text(expected.to_owned()), "{query}");
    }
    let many = format!("[{}]", vec![r#"{"Id": "a"}"#; QUERIES_MAX + 1].join(","));
    assert!(talk(&many).hold(Vec::new()).is_err());
}

#[test]
fn keys_are_needed_whole() {
    for keys in ["{aws_access_key_id: hunter2}", "{token: x}", "{}"] {
        let error = Talk::of(&spec(QUERY), Some(keys)).hold(Vec::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the provider's Secret is of no use: it needs aws_access_key_id and aws_secret_access_key"
        );
    }
    let with_token = "{aws_access_key_id: a, aws_secret_access_key: b, aws_session_token: c}";
    let mut talk = Talk::of(&spec(QUERY), Some(with_token));
    talk.hold(vec![http(200, results(&[]))]).unwrap();
    assert_eq!(talk.sent[0].headers()["x-amz-security-token"], "c");
}

/// What comes of one answer to the query `e1`.
fn hear(period: i64, status: u16, body: impl Into<Bytes>) -> Result<Progress, MetricError> {
    let now = Timestamp::from_second(NOW).unwrap();
    let text = json!([{"Id": "e1", "Period": period}]).to_string();
    let query = Query { text: &text, window_millis: 600_000, now };
    let job = Job::of(&query, &Access::open("https://x.example")).unwrap();
    let keys = AwsKeys { id: "a".to_owned(), secret: "b".to_owned(), session_token: None };
    let page = Page { token: None, number: 1, attempt: 0 };
    job.hear(keys, page, &Response::builder().status(status).body(body.into()).unwrap(), now)
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_complained_about(status in 200_u16..600, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _any = hear(60, status, body);
    }

    #[test]
    fn any_values_are_understood_or_complained_about(points in prop::collection::vec((any::<i64>(), prop::option::of(any::<f64>())), 0..6), period in any::<i64>()) {
        let (times, values): (Vec<_>, Vec<_>) = points.into_iter().unzip();
        let body = results(&[json!({"Id": "e1", "Timestamps": times, "Values": values})]);
        if let Ok(Progress::Done(Measured { sample: Sample::Value(value), reach_secs })) = hear(period, 200, body) {
            prop_assert!(!value.is_nan());
            prop_assert!(reach_secs.is_some_and(|secs| secs >= 0));
        }
    }
}
