//! Amazon's Signature Version 4 of the requests that are sent here: one POST to the root of a service, its body held whole.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::super::MetricError;
use super::super::access::hidden;
use crate::settings::AwsKeys;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const DATE: &str = "x-amz-date";
const TOKEN: &str = "x-amz-security-token";

/// Which service the signature is good for, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub region: &'a str,
    pub service: &'a str,
}

/// Adds the signature, with the date and the token that it covers. Everything that says what is asked is covered: the host,
/// the body, its type, and all headers of Amazon's.
pub(super) fn sign(
    request: &mut Request<Bytes>,
    keys: &AwsKeys,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<(), MetricError> {
    let stamp = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = stamp.get(..8).unwrap_or_default();
    let date = HeaderValue::from_str(&stamp)
        .map_err(|_| MetricError::Answer("the clock shows no date of our time".to_owned()))?;
    request.headers_mut().insert(DATE, date);
    if let Some(token) = &keys.session_token {
        request.headers_mut().insert(TOKEN, hidden(token)?);
    }
    let (names, canonical) = canonical(request);
    let Scope { region, service } = scope;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("{ALGORITHM}\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(&canonical)));
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in [day, region, service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let id = &keys.id;
    let value = format!(
        "{ALGORITHM} Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    request.headers_mut().insert(AUTHORIZATION, hidden(&value)?);
    Ok(())
}

/// The names of the signed headers, and the request as both sides write it down.
fn canonical(request: &Request<Bytes>) -> (String, String) {
    let mut headers = vec![(HOST.as_str(), host(request))];
    for (name, value) in request.headers() {
        let name = name.as_str();
        if name == "content-type" || name.starts_with("x-amz-") {
            let value = value.to_str().unwrap_or_default();
            headers.push((name, value.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let method = request.method();
    let body = hex(&Sha256::digest(request.body()));
    let canonical = format!("{method}\n/\n\n{lines}\n{names}\n{body}");
    (names, canonical)
}

/// As the client sends it: without a port that the scheme implies, and without user and password.
fn host(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    match (uri.scheme_str(), uri.port_u16()) {
        (_, None) | (Some("https"), Some(443)) | (Some("http"), Some(80)) => host,
        (_, Some(port)) => format!("{host}:{port}"),
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
