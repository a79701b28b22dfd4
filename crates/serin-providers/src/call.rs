//! One HTTP request to somewhere outside the cluster, with everything that sending it needs.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Uri};
use serde_json::Value;

/// How a request is to be sent. Redirects are never followed: they could carry credentials to another host.
#[derive(Clone)]
pub struct Call {
    pub request: Request<Bytes>,
    /// Per attempt.
    pub timeout_secs: u32,
    /// Do not verify the server's certificate.
    pub insecure: bool,
    /// PEM of an authority to trust besides the usual ones.
    pub ca: Option<Bytes>,
    /// URL of a proxy to go through.
    pub proxy: Option<String>,
    /// The controller's own surroundings name the destination, and no object of somebody.
    pub trusted: bool,
}

/// Without body, query and values of headers: keys and tokens are in all of them.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uri = self.request.uri();
        f.debug_struct("Call")
            .field("method", self.request.method())
            .field("host", &uri.host().unwrap_or_default())
            .field("headers", &self.request.headers().keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Call {
    pub(crate) fn post_json(url: &str, body: &Value, timeout_secs: u32) -> Result<Self, String> {
        let request = Request::post(uri(url)?)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()))
            .map_err(|error| error.to_string())?;
        Ok(Self { request, timeout_secs, insecure: false, ca: None, proxy: None, trusted: false })
    }
}

/// An absolute `http` or `https` URL. The complaint does not repeat it: chats put their secret in it.
pub(crate) fn uri(url: &str) -> Result<Uri, String> {
    let uri: Uri = url.trim().parse().map_err(|error| format!("the URL is malformed: {error}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        (Some(_) | None, _) => {
            Err("the URL must begin with http:// or https:// and name a host".to_owned())
        }
    }
}

/// For a value in a query string.
pub fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// One key of a Secret as the API has it, decoded.
pub(crate) fn secret_value(secret: &Value, key: &str) -> Result<Option<Vec<u8>>, String> {
    let Some(value) = secret.get("data").and_then(|data| data.get(key)) else { return Ok(None) };
    let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
    decoded.map(Some).ok_or_else(|| format!("key {key} of the Secret is not base64"))
}

/// The same for a key that holds text.
pub(crate) fn secret_text(secret: &Value, key: &str) -> Result<Option<String>, String> {
    let Some(bytes) = secret_value(secret, key)? else { return Ok(None) };
    let text =
        String::from_utf8(bytes).map_err(|_| format!("key {key} of the Secret is not text"))?;
    // Files made with an editor end in a newline.
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn urls_are_absolute_and_of_http() {
        for good in ["http://prometheus:9090", "https://x.example/a?b=c", " http://1.2.3.4/ "] {
            assert!(uri(good).is_ok(), "{good}");
        }
        for bad in ["", "prometheus:9090", "/query", "ftp://x", "http://", "http://a b"] {
            assert!(uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_survive_a_url() {
        expect!["sum%28rate%28x%7Bcode%21~%225..%22%7D%5B1m%5D%29%29%20%2B%20%C3%A4"]
            .assert_eq(&percent_encoded("sum(rate(x{code!~\"5..\"}[1m])) + ä"));
    }
}
