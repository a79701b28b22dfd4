//! Tables of payloads and outcomes.

use expect_test::{Expect, expect};

use super::*;
use crate::testing::canary;

fn status(phase: Phase) -> Status {
    Status {
        phase: Some(phase),
        last_applied_spec: "s1:0123".to_owned(),
        tracked_configs: Some([("configmap/a".to_owned(), "x".to_owned())].into()),
        ..Status::default()
    }
}

fn body(call: &Call) -> String {
    String::from_utf8(call.request.body().to_vec()).unwrap()
}

fn check(kind: &str, phase: Phase, expected: Expect) {
    let canary = canary(&format!(
        "analysis: {{webhooks: [{{name: h, type: {kind}, url: 'http://x/y', timeout: 3s, disableTLS: true, metadata: {{k: v}}}}]}}"
    ));
    let call = call(&canary, &canary.spec.analysis.webhooks[0], &status(phase)).unwrap();
    assert_eq!((call.timeout_secs, call.insecure), (3, true));
    assert_eq!(call.request.headers()["content-type"], "application/json");
    expected.assert_eq(&body(&call));
}

#[test]
fn hooks_are_told_what_flaggers_are() {
    check(
        "rollout",
        Phase::WaitingPromotion,
        expect![[
            r#"{"checksum":"d1d5e6b5e4","metadata":{"k":"v"},"name":"backend","namespace":"develop","phase":"Progressing"}"#
        ]],
    );
    check(
        "confirm-rollout",
        Phase::Waiting,
        expect![[
            r#"{"checksum":"d1d5e6b5e4","metadata":{"k":"v"},"name":"backend","namespace":"develop","phase":"Waiting"}"#
        ]],
    );
    check(
        "post-rollout",
        Phase::Failed,
        expect![[
            r#"{"checksum":"d1d5e6b5e4","metadata":{"k":"v"},"name":"backend","namespace":"develop","phase":"Failed"}"#
        ]],
    );
    check(
        "pre-rollout",
        Phase::Initialized,
        expect![[
            r#"{"checksum":"d1d5e6b5e4","metadata":{"k":"v"},"name":"backend","namespace":"develop","phase":"Progressing"}"#
        ]],
    );
}

#[test]
fn events_carry_their_words_and_no_hook_can_forge_them() {
    let canary = canary("");
    let mut hook = global_event_hook("http://x");
    hook.metadata =
        [("eventType".to_owned(), "forged".to_owned()), ("a".to_owned(), "b".to_owned())].into();
    let note = EventNote { message: "Advance", warning: true };
    let now = "2026-01-01T00:00:00.5Z".parse().unwrap();
    let call = event_call(&canary, &hook, &status(Phase::Progressing), note, now).unwrap();
    expect![[r#"{"checksum":"d1d5e6b5e4","metadata":{"a":"b","eventMessage":"Advance","eventType":"Warning","timestamp":"1767225600500"},"name":"backend","namespace":"develop","phase":"Progressing"}"#]].assert_eq(&body(&call));
}

#[test]
fn the_checksum_moves_with_the_revision_and_the_configs() {
    let base = status(Phase::Progressing);
    let other = Status { last_applied_spec: "s1:4567".to_owned(), ..base.clone() };
    let config = Status { tracked_configs: None, ..base.clone() };
    assert_ne!(checksum(&base), checksum(&other));
    assert_ne!(checksum(&base), checksum(&config));
    assert_eq!(checksum(&base), checksum(&status(Phase::Failed)));
}

#[test]
fn only_200_to_202_approve() {
    let answer = |status: u16, body: &str| {
        outcome(
            &Response::builder()
                .status(status)
                .body(Bytes::copy_from_slice(body.as_bytes()))
                .unwrap(),
        )
    };
    for status in [200, 201, 202] {
        assert_eq!(answer(status, "no"), Answer::Approved);
    }
    assert_eq!(answer(204, ""), Answer::Refused("answered 204".to_owned()));
    assert_eq!(answer(403, " not\n\tyet\0 "), Answer::Refused("answered 403: not yet".to_owned()));
    let Answer::Refused(words) = answer(500, &"ä".repeat(9000)) else { panic!("approved") };
    assert!(words.chars().count() <= WORDS_MAX + 20);
}

#[test]
fn retries_are_for_what_may_pass() {
    let statuses = [200, 302, 400, 403, 404, 429, 500, 501, 502, 503];
    let retried: Vec<u16> = statuses
        .into_iter()
        .filter(|status| may_retry(StatusCode::from_u16(*status).unwrap()))
        .collect();
    assert_eq!(retried, [429, 500, 502, 503]);
    let waits: Vec<u64> = (0..8).map(|attempt| backoff_secs(attempt, None)).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(backoff_secs(u32::MAX, None), 30);
    let asks = |status: u16, after: &str| {
        let response = Response::builder().status(status).header("retry-after", after);
        backoff_secs(1, Some(&response.body(Bytes::new()).unwrap()))
    };
    assert_eq!(
        (asks(503, "7"), asks(429, "9999"), asks(500, "7"), asks(503, "soon")),
        (7, 30, 2, 2)
    );
}

#[test]
fn a_hook_without_a_url_says_so() {
    let hook = global_event_hook("not a url");
    let note = EventNote { message: "", warning: false };
    let error = event_call(&canary(""), &hook, &Status::default(), note, Timestamp::UNIX_EPOCH);
    assert!(error.unwrap_err().to_string().starts_with("webhook event-webhook cannot be called"));
}
