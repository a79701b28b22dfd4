//! Tables of messages, and laws that every chat keeps.

use expect_test::{Expect, expect};
use serde_json::json;
use serin_core::model::Key;

use super::*;
use crate::testing::canary;

fn provider(kind: ChatKind, address: Option<&str>) -> AlertProvider {
    AlertProvider {
        key: Key::new("develop", "chat"),
        generation: 1,
        kind,
        channel: "general".to_owned(),
        username: "flagger".to_owned(),
        address: address.map(str::to_owned),
        proxy: Some("http://proxy:3128".to_owned()),
        secret: address.is_none().then(|| "door".to_owned()),
    }
}

fn said(kind: ChatKind, severity: Severity) -> String {
    let settings = Settings { cluster_name: "lab".to_owned(), ..Settings::default() };
    let message = message(&canary(""), "1 < 2", severity, false, &settings);
    let call = call(&provider(kind, Some("http://chat/hook")), None, &message).unwrap();
    assert_eq!((call.timeout_secs, call.proxy.as_deref()), (5, Some("http://proxy:3128")));
    format!("{} {}", call.request.uri(), String::from_utf8(call.request.body().to_vec()).unwrap())
}

fn check(kind: ChatKind, severity: Severity, expected: Expect) {
    expected.assert_eq(&said(kind, severity));
}

#[test]
fn each_chat_is_spoken_to_in_its_own_words() {
    check(
        ChatKind::Slack,
        Severity::Error,
        expect![[
            r#"http://chat/hook {"attachments":[{"author_name":"backend.develop","color":"danger","fields":[{"short":false,"title":"Cluster","value":"lab"}],"mrkdwn_in":["text"],"text":"1 < 2"}],"channel":"general","icon_emoji":":rocket:","icon_url":"","username":"flagger"}"#
        ]],
    );
    check(
        ChatKind::Discord,
        Severity::Warn,
        expect![[
            r#"http://chat/hook/slack {"attachments":[{"author_name":"backend.develop","color":"good","fields":[{"short":false,"title":"Cluster","value":"lab"}],"mrkdwn_in":["text"],"text":"1 < 2"}],"channel":"general","icon_emoji":":rocket:","icon_url":"","username":"flagger"}"#
        ]],
    );
    check(
        ChatKind::Rocket,
        Severity::Error,
        expect![[
            r##"http://chat/hook {"attachments":[{"author_name":"backend.develop","color":"#FF0000","fields":[{"short":false,"title":"Cluster","value":"lab"}],"mrkdwn_in":["text"],"text":"1 < 2"}],"channel":"general","icon_emoji":":rocket:","icon_url":"","username":"flagger"}"##
        ]],
    );
    check(
        ChatKind::MsTeams,
        Severity::Info,
        expect![[
            r#"http://chat/hook {"@context":"http://schema.org/extensions","@type":"MessageCard","sections":[{"activitySubtitle":"backend.develop","activityTitle":"1 < 2","facts":[{"name":"Cluster","value":"lab"}]}],"summary":"backend.develop","themeColor":"0076D7"}"#
        ]],
    );
    check(
        ChatKind::GoogleChat,
        Severity::Error,
        expect![[
            r##"http://chat/hook {"cards":[{"header":{"subtitle":"backend.develop","title":"Serin"},"sections":[{"widgets":[{"textParagraph":{"text":"<font color=\"#FF0000\">1 &lt; 2</font>"}}]},{"widgets":[{"textParagraph":{"text":"<b>Cluster</b>: lab"}}]}]}]}"##
        ]],
    );
}

#[test]
fn fields_tell_the_target_the_limits_and_the_strategy() {
    let shown = |patch: &str| {
        let message = message(&canary(patch), "", Severity::Info, true, &Settings::default());
        message.fields.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ")
    };
    expect!["Target=Deployment/backend.develop; Failed checks threshold=1; Progress deadline=600s; Traffic routing=Weight step: 10 max: 50"].assert_eq(&shown(""));
    expect!["Target=Deployment/backend.develop; Failed checks threshold=1; Progress deadline=600s; Traffic routing=Weight steps: 5,10,20 max: 20"].assert_eq(&shown("analysis: {stepWeight: null, maxWeight: null, stepWeights: [5, 10, 20]}"));
    expect!["Target=Deployment/backend.develop; Failed checks threshold=1; Progress deadline=600s; Traffic routing=Blue/Green"].assert_eq(&shown("analysis: {stepWeight: null, maxWeight: null, iterations: 2}"));
}

#[test]
fn severities_filter_from_below() {
    let all = [Severity::Info, Severity::Warn, Severity::Error];
    let heard = |asked| all.into_iter().filter(|severity| is_wanted(asked, *severity)).count();
    assert_eq!(all.map(heard), [3, 2, 1]);
}

#[test]
fn every_chat_answers_to_its_kind_and_says_everything() {
    assert_eq!(NOTIFIERS.len(), ChatKind::ALL.len());
    for kind in ChatKind::ALL {
        assert_eq!(notifier(kind).kind(), kind);
        let said = said(kind, Severity::Warn);
        assert!(said.contains("backend.develop") && said.contains("lab"), "{said}");
    }
}

#[test]
fn a_secret_gives_the_address_and_the_token() {
    let message = message(&canary(""), "", Severity::Info, false, &Settings::default());
    let slack = provider(ChatKind::Slack, None);
    // "http://secret/x" and "t".
    let secret = json!({"data": {"address": "aHR0cDovL3NlY3JldC94", "token": "dA=="}});
    let call = super::call(&slack, Some(&secret), &message).unwrap();
    assert_eq!(call.request.uri(), "http://secret/x");
    assert_eq!(call.request.headers()["authorization"], "Bearer t");
    for secret in [None, Some(json!({})), Some(json!({"data": {"address": "%"}}))] {
        let error = super::call(&slack, secret.as_ref(), &message).unwrap_err();
        assert!(error.to_string().starts_with("AlertProvider develop/chat: "), "{error}");
    }
}

#[test]
fn discords_path_is_kept_when_it_is_right() {
    let url = |address: &str| notifier(ChatKind::Discord).url(address);
    assert_eq!(url("http://d/a/slack"), "http://d/a/slack");
    assert_eq!(url("http://d/a/?wait=true"), "http://d/a/slack?wait=true");
}

#[test]
fn only_2xx_is_heard() {
    let answer =
        |status: u16| outcome(&Response::builder().status(status).body(Bytes::new()).unwrap());
    assert_eq!((answer(204), answer(404)), (Ok(()), Err(NotifyError::Refused(404))));
}
