//! Keys of the controller's own for Amazon's services: given, or exchanged for the token that shows who it is.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use serde_json::Value;

use super::super::access::hidden;
use super::super::answer::{BODY_BYTES_MAX, WORDS_MAX};
use super::super::conversation::Progress;
use super::super::{MetricError, TIMEOUT_SECS};
use super::domain;
use crate::call::{Call, percent_encoded, uri};
use crate::json::{bounded, text};
use crate::settings::{Aws, AwsKeys};

/// Longer tokens are none.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The shortest time that keys are given for: they are used at once and not kept.
const KEYS_SECS: u32 = 900;

/// What follows once there are keys.
pub(super) type WithKeys =
    Box<dyn FnOnce(AwsKeys, jiff::Timestamp) -> Result<Progress, MetricError> + Send>;

/// Up to two rounds that end with keys.
pub(super) fn keys(
    aws: Aws,
    region: &str,
    now: jiff::Timestamp,
    then: WithKeys,
) -> Result<Progress, MetricError> {
    match aws {
        Aws::Keys(keys) => then(keys, now),
        Aws::WebIdentity { role, session } => {
            let region = region.to_owned();
            let exchanged = move |token: String, _now| {
                let request = exchange(&role, &session, &region, &token)?;
                Ok(asked(
                    request,
                    then,
                    "/AssumeRoleWithWebIdentityResponse/AssumeRoleWithWebIdentityResult/Credentials",
                    "SecretAccessKey",
                    "SessionToken",
                ))
            };
            Ok(Progress::Identity { then: Box::new(exchanged) })
        }
        Aws::Container { url, has_token } => {
            let shown = move |token: Option<String>| {
                let request = fetch(&url, token.as_deref())?;
                Ok(asked(request, then, "", "SecretAccessKey", "Token"))
            };
            match has_token {
                true => Ok(Progress::Identity { then: Box::new(|token, _now| shown(Some(token))) }),
                false => shown(None),
            }
        }
        Aws::NoCredentials | Aws::Elsewhere => {
            // Only the controller itself gets this far, and it knows who it is.
            let elsewhere = |_token, _now| {
                let why = "the controller's identity is not known here";
                Err(MetricError::Answer(why.to_owned()))
            };
            Ok(Progress::Identity { then: Box::new(elsewhere) })
        }
    }
}

/// One request whose answer has keys below `place`.
fn asked(
    request: Request<Bytes>,
    then: WithKeys,
    place: &'static str,
    secret: &'static str,
    session: &'static str,
) -> Progress {
    let call = Call {
        request,
        timeout_secs: TIMEOUT_SECS,
        insecure: false,
        ca: None,
        proxy: None,
        trusted: true,
    };
    Progress::http(call, move |response, now| then(read(&response, place, secret, session)?, now))
}

/// The token service answers in JSON to who asks for it.
fn exchange(
    role: &str,
    session: &str,
    region: &str,
    token: &str,
) -> Result<Request<Bytes>, MetricError> {
    let url = format!("https://sts.{region}.{}/", domain(region));
    let body = format!(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&DurationSeconds={KEYS_SECS}&WebIdentityToken={}",
        percent_encoded(role),
        percent_encoded(session),
        percent_encoded(bounded_token(token)?),
    );
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri(&url).map_err(MetricError::Address)?;
    let form = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
    request.headers_mut().insert(CONTENT_TYPE, form);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(request)
}

fn fetch(url: &str, token: Option<&str>) -> Result<Request<Bytes>, MetricError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = uri(url).map_err(MetricError::Address)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(token) = token {
        request.headers_mut().insert(AUTHORIZATION, hidden(bounded_token(token)?)?);
    }
    Ok(request)
}

fn bounded_token(token: &str) -> Result<&str, MetricError> {
    let token = token.trim();
    match token.len() {
        0 => Err(MetricError::Answer("the controller's token is empty".to_owned())),
        1..=TOKEN_BYTES_MAX => Ok(token),
        _ => Err(MetricError::Answer("the controller's token is too long".to_owned())),
    }
}

fn read(
    response: &Response<Bytes>,
    place: &str,
    secret: &str,
    session: &str,
) -> Result<AwsKeys, MetricError> {
    let complaint = |why: String| MetricError::Answer(format!("Amazon's token service {why}"));
    let status = response.status();
    let body = Some(response.body()).filter(|body| body.len() <= BODY_BYTES_MAX);
    let body: Option<Value> = body.and_then(|body| serde_json::from_slice(body).ok());
    if !status.is_success() {
        // Its code only: the message may repeat the token.
        let code = body.as_ref().and_then(|body| text(body, "/Error/Code"));
        let code = code.map_or_else(String::new, |code| format!(": {}", bounded(code, WORDS_MAX)));
        return Err(complaint(format!("answered {}{code}", status.as_u16())));
    }
    let found = body.as_ref().and_then(|body| body.pointer(place)).and_then(|keys| {
        let of = |name: &str| keys.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(AwsKeys {
            id: of("AccessKeyId")?,
            secret: of(secret)?,
            session_token: Some(of(session)?),
        })
    });
    found.ok_or_else(|| complaint("gave no keys".to_owned()))
}

#[cfg(test)]
mod tests;
