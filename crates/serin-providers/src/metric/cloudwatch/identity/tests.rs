//! Golden conversations in which the controller shows who it is.

use expect_test::{Expect, expect};

use super::super::super::talk::{Heard, Talk, ended, http};
use super::*;

const SPEC: &str = "{provider: {type: cloudwatch, region: eu-west-1}, query: '[{\"Id\":\"e1\",\"Expression\":\"m1\",\"Period\":60}]'}";
const METRIC: &str =
    r#"{"MetricDataResults":[{"Id":"e1","Timestamps":[1767226080],"Values":[2]}]}"#;

fn talk(aws: Aws) -> Talk {
    let mut talk = Talk::of(SPEC, None);
    talk.settings.aws = aws;
    talk
}

fn role() -> Aws {
    Aws::WebIdentity {
        role: "arn:aws:iam::123456789012:role/serin".to_owned(),
        session: "serin".to_owned(),
    }
}

const EXCHANGED: &str = r#"{"AssumeRoleWithWebIdentityResponse":{"AssumeRoleWithWebIdentityResult":{"AssumedRoleUser":{"Arn":"a"},"Credentials":{"AccessKeyId":"ASIA","SecretAccessKey":"hunter2","SessionToken":"session","Expiration":1.5E9}}}}"#;

#[test]
fn a_web_identity_is_exchanged_for_keys() {
    let heard = vec![Heard::Token("jwt+1\n"), http(200, EXCHANGED), http(200, METRIC)];
    expect![[r#"
        read the controller's token
        POST https://sts.eu-west-1.amazonaws.com/
        content-type: application/x-www-form-urlencoded; charset=utf-8
        accept: application/json
        Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fserin&RoleSessionName=serin&DurationSeconds=900&WebIdentityToken=jwt%2B1
        POST https://monitoring.eu-west-1.amazonaws.com/
        content-type: application/x-amz-json-1.0
        x-amz-target: GraniteServiceVersion20100801.GetMetricData
        x-amz-date: 20260101T001000Z
        x-amz-security-token: (hidden)
        authorization: (hidden)
        {"EndTime":1767226200,"MaxDatapoints":20,"MetricDataQueries":[{"Expression":"m1","Id":"e1","Period":60}],"StartTime":1767225600}
        = 2, of the last 121 s
    "#]].assert_eq(&talk(role()).told(heard));
}

#[test]
fn a_pod_identity_fetches_its_keys() {
    let url = "http://169.254.170.23/v1/credentials".to_owned();
    let keys = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"hunter2","Token":"session","Expiration":"2026-01-01T06:00:00Z"}"#;
    let told = |has_token: bool, mut heard: Vec<Heard>| {
        heard.extend([http(200, keys), http(200, METRIC)]);
        let told = talk(Aws::Container { url: url.clone(), has_token }).told(heard);
        told.lines()
            .take_while(|line| !line.starts_with("POST"))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    expect![[r#"
        read the controller's token
        GET http://169.254.170.23/v1/credentials
        accept: application/json
        authorization: (hidden)
    "#]]
    .assert_eq(&told(true, vec![Heard::Token("jwt")]));
    expect![[r#"
        GET http://169.254.170.23/v1/credentials
        accept: application/json
    "#]]
    .assert_eq(&told(false, Vec::new()));
}

fn check(heard: Vec<Heard>, expected: Expect) {
    expected.assert_eq(&ended(&talk(role()).hold(heard)));
}

#[test]
fn what_goes_wrong_is_told_without_what_is_secret() {
    let refused = r#"{"Error":{"Code":"AccessDenied","Message":"Not authorized: hunter2","Type":"Sender"},"RequestId":"r"}"#;
    check(
        vec![Heard::Token("jwt"), http(403, refused)],
        expect!["= error: Amazon's token service answered 403: AccessDenied"],
    );
    check(
        vec![Heard::Token("jwt"), http(400, "<ErrorResponse>hunter2")],
        expect!["= error: Amazon's token service answered 400"],
    );
    check(
        vec![Heard::Token("jwt"), http(200, "<AssumeRole>")],
        expect!["= error: Amazon's token service gave no keys"],
    );
    check(
        vec![Heard::Token("jwt"), http(200, "{}")],
        expect!["= error: Amazon's token service gave no keys"],
    );
    check(vec![Heard::Token(" \n")], expect!["= error: the controller's token is empty"]);
    let long: &'static str = "x".repeat(TOKEN_BYTES_MAX + 1).leak();
    check(vec![Heard::Token(long)], expect!["= error: the controller's token is too long"]);
}

#[test]
fn nobody_else_learns_who_the_controller_is() {
    // Whoever may write a template would otherwise have signatures of the controller's sent to them.
    let spec = SPEC.replace("region:", "address: 'https://evil.example', region:");
    let mut elsewhere = Talk::of(&spec, None);
    elsewhere.settings.aws = role();
    let error = elsewhere.hold(Vec::new()).unwrap_err().to_string();
    expect!["the provider's Secret is of no use: a provider with an address must name one with aws_access_key_id and aws_secret_access_key: the controller's own identity is not shown there"].assert_eq(&error);
    let error = talk(Aws::NoCredentials).hold(Vec::new()).unwrap_err().to_string();
    expect!["the provider's Secret is of no use: the controller has no identity of its own, so it needs one with aws_access_key_id and aws_secret_access_key"].assert_eq(&error);
    // A command that only looks cannot know, and says nothing.
    let spec = talk(Aws::Elsewhere).hold(vec![Heard::Token("x")]).unwrap_err().to_string();
    expect!["the controller's identity is not known here"].assert_eq(&spec);
}
