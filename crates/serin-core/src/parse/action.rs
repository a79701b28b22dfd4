//! `ReleaseAction`: what a person asks of a release.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::doc::{Complaints, Doc};
use super::template::required_object;
use super::{Meta, duration};
use crate::control::{Command, Request};
use crate::model::{Finding, Weight};
use crate::words::{NAME_MAX, line};

/// Words of people that are repeated in Events and alerts, in bytes.
const REASON_MAX: usize = 300;
const EXPIRES_AFTER_SECS: i64 = 600;
const EXPIRES_AFTER_MAX_SECS: i64 = 24 * 3600;

/// Whether something has come of a ReleaseAction already.
pub fn is_settled(object: &Value) -> bool {
    object.pointer("/status/state").and_then(Value::as_str).is_some_and(|state| !state.is_empty())
}

/// What is asked. What is invalid is refused with all that is wrong.
pub fn request(object: &Value) -> Result<Request, Vec<Finding>> {
    let complaints = Complaints::default();
    let root = Doc::root(object, &complaints);
    let meta = Meta::read(&root);
    let spec = required_object(&root, "spec");
    let words = |field| line(spec.text(field).unwrap_or_default(), REASON_MAX);
    let command = command(&spec);
    let created = root.object_or_empty("metadata").text("creationTimestamp").map(str::to_owned);
    let created = created.and_then(|time| time.parse::<Timestamp>().ok()).unwrap_or_default();
    let request = Request {
        name: meta.key.map(|key| key.name).unwrap_or_default(),
        uid: meta.uid,
        command: command.unwrap_or(Command::Pause),
        release: spec.required("release").to_owned(),
        reason: words("reason"),
        user: words("user"),
        expires: created
            .checked_add(SignedDuration::from_secs(expires_after(&spec)))
            .unwrap_or(Timestamp::MAX),
    };
    let (errors, _) = complaints.into_parts();
    if errors.is_empty() { Ok(request) } else { Err(errors) }
}

fn expires_after(spec: &Doc<'_>) -> i64 {
    let Some(text) = spec.text("expiresAfter") else { return EXPIRES_AFTER_SECS };
    match duration::seconds(text) {
        Some(secs) if (1..=EXPIRES_AFTER_MAX_SECS).contains(&secs) => secs,
        Some(_) | None => {
            let message = format!("{text:?} is no duration between 1s and 24h");
            spec.error("expiresAfter", message);
            EXPIRES_AFTER_SECS
        }
    }
}

/// None only together with a complaint.
fn command(spec: &Doc<'_>) -> Option<Command> {
    let gate = || line(spec.required("gate"), NAME_MAX);
    let command = match spec.required("action") {
        "abort" => Command::Abort,
        "promote" => Command::Promote,
        "advance" => Command::Advance,
        "pause" => Command::Pause,
        "resume" => Command::Resume,
        "retry" => Command::Retry,
        "restart" => Command::Restart,
        "undo" => Command::Undo,
        "set-weight" => {
            if spec.raw("weight").is_none() {
                spec.is_required("weight");
            }
            let weight = spec.within("weight", 0, 100).unwrap_or(0);
            Command::SetWeight(Weight::saturating(u32::try_from(weight).unwrap_or(0)))
        }
        "approve" => Command::Approve { gate: gate() },
        "reject" => Command::Reject { gate: gate() },
        "" => return None,
        other => {
            spec.error("action", format!("unknown action {other:?}"));
            return None;
        }
    };
    Some(command)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(spec: &Value, expected: &Expect) {
        let object = json!({
            "metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": spec,
        });
        let shown = match request(&object) {
            Ok(request) => format!(
                "{} of {:?} until {} by {:?}: {:?}",
                request.command, request.release, request.expires, request.user, request.reason
            ),
            Err(findings) => {
                findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            }
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn requests_and_what_is_none() {
        check(
            &json!({"action": "abort", "release": "s1:a"}),
            &expect![[r#"abort of "s1:a" until 2026-01-01T00:10:00Z by "": """#]],
        );
        check(
            &json!({"action": "set-weight", "weight": 30, "release": "s1:a", "reason": "a\u{1b}[31mb", "user": "kim", "expiresAfter": "1h"}),
            &expect![[r#"set-weight 30 of "s1:a" until 2026-01-01T01:00:00Z by "kim": "a [31mb""#]],
        );
        check(
            &json!({"action": "approve", "gate": "go", "release": "s1:a"}),
            &expect![[r#"approve go of "s1:a" until 2026-01-01T00:10:00Z by "": """#]],
        );
        check(&json!({"action": "approve", "release": "s1:a"}), &expect!["spec.gate: is required"]);
        check(
            &json!({"action": "set-weight", "release": "s1:a"}),
            &expect!["spec.weight: is required"],
        );
        check(
            &json!({"action": "set-weight", "weight": 101, "release": "s1:a"}),
            &expect!["spec.weight: must be between 0 and 100, not 101"],
        );
        check(
            &json!({"action": "explode", "expiresAfter": "2d"}),
            &expect![[
                r#"spec.action: unknown action "explode"; spec.release: is required; spec.expiresAfter: "2d" is no duration between 1s and 24h"#
            ]],
        );
        check(&json!({}), &expect!["spec.action: is required; spec.release: is required"]);
    }
}
