//! Amazon's published examples of Signature Version 4, and one of our own shape that botocore has signed.

use super::*;

fn keys(session_token: Option<&str>) -> AwsKeys {
    AwsKeys {
        id: "AKIDEXAMPLE".to_owned(),
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: session_token.map(str::to_owned),
    }
}

fn signed(
    request: http::request::Builder,
    body: &'static str,
    token: Option<&str>,
    scope: Scope<'_>,
    now: &str,
) -> String {
    let mut request = request.body(Bytes::from_static(body.as_bytes())).unwrap();
    sign(&mut request, &keys(token), scope, now.parse().unwrap()).unwrap();
    let value = &request.headers()[AUTHORIZATION];
    assert!(value.is_sensitive());
    let value = value.to_str().unwrap();
    let (head, signature) = value.rsplit_once("Signature=").unwrap();
    assert!(head.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{head}");
    let names = head.split("SignedHeaders=").nth(1).unwrap().trim_end_matches(", ");
    format!("{names} {signature}")
}

#[test]
fn published_examples_are_signed_alike() {
    let url = "https://example.amazonaws.com/";
    let scope = Scope { region: "us-east-1", service: "service" };
    let at = "2015-08-30T12:36:00Z";
    // get-vanilla, post-vanilla and post-x-www-form-urlencoded of the suite.
    assert_eq!(
        signed(Request::get(url), "", None, scope, at),
        "host;x-amz-date 5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    );
    assert_eq!(
        signed(Request::post(url), "", None, scope, at),
        "host;x-amz-date 5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    );
    let form = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(
        signed(form, "Param1=value1", None, scope, at),
        "content-type;host;x-amz-date ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    );
}

#[test]
fn what_is_asked_is_covered() {
    let scope = Scope { region: "eu-west-1", service: "monitoring" };
    let request = |url: &str| {
        Request::post(url)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", "GraniteServiceVersion20100801.GetMetricData")
            .header("x-other", "unsigned")
    };
    let at = "2026-01-01T00:10:00Z";
    let sign = |url: &str, body| signed(request(url), body, Some("session  token"), scope, at);
    // Signed by botocore 1.43.
    let first = sign("http://127.0.0.1:4566/", r#"{"a":1}"#);
    assert_eq!(
        first,
        "content-type;host;x-amz-date;x-amz-security-token;x-amz-target 719ec3943936bb4d79bafa2122693da6e4c5c36550219bb00da503466efb4132"
    );
    for (url, body) in [
        ("http://127.0.0.1:4566/", r#"{"a":2}"#),
        ("http://127.0.0.1:4567/", r#"{"a":1}"#),
        ("http://127.0.0.2:4566/", r#"{"a":1}"#),
    ] {
        assert_ne!(sign(url, body), first, "{url} {body}");
    }
    // The port that the scheme implies is not sent, and neither are user and password.
    let plain = sign("https://example.com/", "");
    assert_eq!(sign("https://example.com:443/", ""), plain);
    assert_eq!(sign("https://a:b@EXAMPLE.com/", ""), plain);
}

#[test]
fn a_token_that_no_header_may_have_is_not_shown() {
    let mut request = Request::post("https://x.example/").body(Bytes::new()).unwrap();
    let scope = Scope { region: "r", service: "s" };
    let error = sign(&mut request, &keys(Some("hunter2\n")), scope, Timestamp::UNIX_EPOCH);
    let error = error.unwrap_err().to_string();
    assert!(!error.contains("hunter2"), "{error}");
    assert!(!format!("{:?}", keys(Some("hunter2"))).contains("EXAMPLE"));
}
