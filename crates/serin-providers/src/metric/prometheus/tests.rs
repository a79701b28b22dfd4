//! Tables of requests and answers; whatever comes back, nothing panics.

use expect_test::{Expect, expect};
use http::Request;
use proptest::prelude::*;
use serde_json::json;
use serin_core::model::MetricBackend;

use super::super::answer::BODY_BYTES_MAX;
use super::*;
use crate::settings::Settings;

fn check(status: u16, body: &str, expected: Expect) {
    let response =
        Response::builder().status(status).body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    let got = match read(&response) {
        Ok(Sample::Value(value)) => format!("{value}"),
        Ok(Sample::NoData(why)) => format!("no data: {why}"),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&got);
}

fn result(kind: &str, result: &str) -> String {
    format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#)
}

#[test]
fn one_number_is_a_value() {
    check(200, &result("vector", r#"[{"metric":{},"value":[1.5,"99.5"]}]"#), expect!["99.5"]);
    check(200, &result("scalar", r#"[1.5,"1e3"]"#), expect!["1000"]);
    check(200, &result("vector", r#"[{"metric":{},"value":[1.5,"+Inf"]}]"#), expect!["inf"]);
}

#[test]
fn nothing_and_nan_are_no_data() {
    check(200, &result("vector", "[]"), expect!["no data: the query returned nothing"]);
    check(
        200,
        &result("vector", r#"[{"metric":{},"value":[1,"NaN"]}]"#),
        expect!["no data: the query returned NaN: there was no traffic"],
    );
}

#[test]
fn everything_else_is_a_complaint_that_says_what_to_do() {
    check(
        200,
        &result(
            "vector",
            r#"[{"metric":{"pod":"a"},"value":[1,"1"]},{"metric":{"pod":"b"},"value":[1,"2"]},{"metric":{"pod":"c"}},{"metric":{"pod":"d"}}]"#,
        ),
        expect![[
            r#"error: the query returned 4 series where one is needed, such as {"pod":"a"}, {"pod":"b"}, {"pod":"c"}: wrap it in sum() or name one"#
        ]],
    );
    check(
        200,
        &result("vector", r#"[{"metric":{},"histogram":[1,{}]}]"#),
        expect![
            "error: the query returned a native histogram, not a number: wrap it in histogram_quantile()"
        ],
    );
    check(
        200,
        &result("vector", r#"[{"metric":{}}]"#),
        expect!["error: the answer has no number in it"],
    );
    check(
        200,
        &result("vector", r#"[{"value":["x"]}]"#),
        expect!["error: the answer has no number in it"],
    );
    check(
        200,
        &result("matrix", "[]"),
        expect![
            "error: the query returned values over time, not one: remove the range behind the selector or wrap it in rate()"
        ],
    );
    check(
        200,
        &result("string", r#"[1,"x"]"#),
        expect!["error: the query returned a string, not a number"],
    );
    check(
        200,
        &result("tensor", "[]"),
        expect![[r#"error: the answer has an unknown type "tensor""#]],
    );
    check(200, r#"{"status":"success"}"#, expect!["error: the answer has no result"]);
    check(200, "{}", expect!["error: the answer is not that of a Prometheus: it has no status"]);
    check(
        200,
        "<html>secret</html>",
        expect!["error: the answer is not JSON (19 bytes): is this Prometheus?"],
    );
    check(200, "", expect!["error: the answer is not JSON (0 bytes): is this Prometheus?"]);
    check(
        200,
        r#"{"status":"error","errorType":"execution","error":"too slow"}"#,
        expect!["error: execution: too slow"],
    );
    check(
        400,
        r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#,
        expect!["error: the server answered 400: bad_data: parse error"],
    );
    check(503, "token=hunter2", expect!["error: the server answered 503"]);
}

#[test]
fn long_words_are_cut_and_long_answers_refused() {
    let error = json!({"status": "error", "errorType": "bad_data", "error": "x".repeat(5000)});
    let response = Response::new(Bytes::from(error.to_string()));
    assert!(read(&response).unwrap_err().to_string().chars().count() < 250);
    let response = Response::new(Bytes::from(vec![b' '; BODY_BYTES_MAX + 1]));
    expect!["the answer has 1048577 bytes, more than 1048576"]
        .assert_eq(&read(&response).unwrap_err().to_string());
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_complained_about(body in prop::collection::vec(any::<u8>(), 0..200), status in 200_u16..600) {
        let response = Response::builder().status(status).body(Bytes::from(body)).unwrap();
        let _any = read(&response);
    }

    #[test]
    fn any_json_is_understood_or_complained_about(kind in "vector|scalar|matrix|string", result in "[\\[\\]{}0-9a\",:]{0,40}|\\[(\\{\"value\":\\[1,\"[0-9a-zN.+-]{0,4}\"\\]\\},?){0,3}\\]") {
        let body = format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        let _any = read(&Response::new(Bytes::from(body)));
    }
}

fn access_of(
    backend: &MetricBackend,
    secret: Option<&Value>,
    server: &str,
) -> Result<Access, MetricError> {
    Access::of(backend, secret, server, &Settings::default())
}

/// The request that a query becomes.
fn request(query: &str, access: &Access) -> Result<Request<Bytes>, MetricError> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    match Prometheus.begin(&Query { text: query, window_millis: 0, now }, access)? {
        Progress::Http { call, after_secs: 0, then: _ } => Ok(call.request),
        Progress::Http { .. }
        | Progress::Done(_)
        | Progress::Read { .. }
        | Progress::Identity { .. } => {
            panic!("one request at once")
        }
    }
}

fn backend(secret: bool) -> MetricBackend {
    MetricBackend {
        kind: &metric_kind::PROMETHEUS,
        region: None,
        address: Some("https://prom.example/base/".to_owned()),
        headers: [("X-Scope-OrgID".to_owned(), vec!["a".to_owned(), "b".to_owned()])].into(),
        secret: secret.then(|| "door".to_owned()),
        insecure_skip_verify: false,
    }
}

fn encoded(pairs: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), STANDARD.encode(value).into()))
        .collect();
    json!({"data": data})
}

fn authorization(pairs: &[(&str, &str)]) -> Result<String, MetricError> {
    let access = access_of(&backend(true), Some(&encoded(pairs)), "")?;
    let request = request("up", &access)?;
    let value = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap());
    Ok(value.unwrap_or("none").to_owned())
}

#[test]
fn a_request_carries_the_query_the_headers_and_the_key() {
    let access = access_of(&backend(false), None, "").unwrap();
    let request = request("sum(up)", &access).unwrap();
    expect!["https://prom.example/base/api/v1/query?query=sum%28up%29"]
        .assert_eq(&request.uri().to_string());
    assert_eq!(request.headers().get_all("x-scope-orgid").iter().count(), 2);
    assert_eq!(authorization(&[("token", "t\n")]).unwrap(), "Bearer t");
    assert_eq!(authorization(&[("username", "u"), ("password", "p")]).unwrap(), "Basic dTpw");
    assert_eq!(authorization(&[("ca.crt", "PEM")]).unwrap(), "none");
}

#[test]
fn a_secret_that_is_of_no_use_is_named_but_never_shown() {
    for pairs in [&[][..], &[("username", "hunter2")], &[("token", "a\nhunter2")]] {
        let error = authorization(pairs).unwrap_err().to_string();
        assert!(error.contains("Secret") && !error.contains("hunter2"), "{error}");
    }
    assert!(access_of(&backend(true), None, "").is_err());
    let access = access_of(&backend(true), Some(&encoded(&[("token", "hunter2")])), "").unwrap();
    assert!(!format!("{access:?}").contains("hunter2"));
}

#[test]
fn a_key_never_goes_to_a_server_that_a_canary_names() {
    let homeless = MetricBackend { address: None, headers: [].into(), ..backend(true) };
    assert!(access_of(&homeless, Some(&encoded(&[("token", "t")])), "http://evil").is_err());
    let homeless = MetricBackend { secret: None, ..homeless };
    assert_eq!(access_of(&homeless, None, "http://prom:9090").unwrap().address, "http://prom:9090");
    assert!(request("up", &Access::open("not a url")).is_err());
}

#[test]
fn a_header_that_says_where_a_request_ends_or_goes_cannot_be_set() {
    for name in
        ["Host", "content-length", "Transfer-Encoding", "connection", "Upgrade", "TE", "a b"]
    {
        let headers = [(name.to_owned(), vec!["5".to_owned()])].into();
        let access = access_of(&MetricBackend { headers, ..backend(false) }, None, "").unwrap();
        let error = request("up", &access).unwrap_err();
        assert_eq!(error, MetricError::Header(name.to_owned()));
    }
}
