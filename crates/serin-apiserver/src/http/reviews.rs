//! Reviews and token requests: posted like objects and answered without being stored.

use http::{Method, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::target::{Target, not_allowed};
use super::{Body, Call, body, json as respond};
use crate::failure::Failure;

/// The default lifetime of a service account token, in seconds, as in Kubernetes.
const TOKEN_SECS: i64 = 3600;

fn request_body(call: &Call) -> Result<Value, Failure> {
    let question = body::object(call)?;
    if question.is_object() {
        Ok(question)
    } else {
        Err(Failure::bad_request("the body is no object"))
    }
}

/// A token for a service account. This server does not authenticate, so the token grants nothing.
pub(super) fn token(account: &str, call: &Call, now: Timestamp) -> Result<Response<Body>, Failure> {
    let mut request = request_body(call)?;
    let secs = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
    let secs = secs.unwrap_or(TOKEN_SECS);
    let expires = now.saturating_add(SignedDuration::from_secs(secs)).unwrap_or(now);
    request["kind"] = json!("TokenRequest");
    request["apiVersion"] = json!("authentication.k8s.io/v1");
    request["status"] = json!({
        "token": format!("serin-local.{account}"),
        "expirationTimestamp": crate::store::time_text(expires),
    });
    Ok(respond(StatusCode::CREATED, &request))
}

/// Answers access and token reviews; every access is allowed, because a local server has one user.
pub(super) fn review(target: &Target, call: &Call) -> Result<Option<Response<Body>>, Failure> {
    let plural = target.place.id.plural.as_str();
    let group = target.place.id.group.as_str();
    if !matches!(group, "authorization.k8s.io" | "authentication.k8s.io") {
        return Ok(None);
    }
    if call.method != Method::POST {
        return Err(not_allowed());
    }
    let mut review = request_body(call)?;
    review["kind"] = json!(target.resource.kind);
    review["apiVersion"] = json!(target.resource.api_version(&target.place.version));
    let user = json!({"username": "serin-local", "groups": ["system:masters"]});
    review["status"] = match plural {
        "tokenreviews" => json!({"authenticated": true, "user": user}),
        "selfsubjectreviews" => json!({"userInfo": user}),
        "selfsubjectrulesreviews" => json!({
            "incomplete": false,
            "resourceRules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}],
            "nonResourceRules": [{"nonResourceURLs": ["*"], "verbs": ["*"]}],
        }),
        _ => json!({"allowed": true}),
    };
    Ok(Some(respond(StatusCode::CREATED, &review)))
}
