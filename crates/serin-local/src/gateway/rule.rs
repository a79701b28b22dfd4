//! Traefik's rule language: matchers joined by `&&`, `||`, `!` and parentheses.

mod parse;

use std::net::IpAddr;

use http::HeaderMap;
use regex::Regex;

pub use parse::RuleError;

/// A parsed rule; two rules are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Rule {
    text: String,
    expression: Expression,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Rule {
    /// Parses a rule; what is not understood is an error that names it.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let expression = parse::expression(text)?;
        Ok(Self { text: text.to_owned(), expression })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, request: &Facts<'_>) -> bool {
        self.expression.matches(request)
    }
}

/// What a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub method: &'a str,
    /// Lower case, without port.
    pub host: &'a str,
    /// As cleaned by `routing_path`.
    pub path: &'a str,
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub client: IpAddr,
}

#[derive(Clone, Debug)]
enum Expression {
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    Is(Matcher),
}

#[derive(Clone, Debug)]
enum Matcher {
    Host(String),
    HostRegexp(Regex),
    Path(String),
    PathPrefix(String),
    PathRegexp(Regex),
    Header(http::HeaderName, String),
    HeaderRegexp(http::HeaderName, Regex),
    Method(String),
    Query(String, String),
    QueryRegexp(String, Regex),
    ClientIp(IpAddr, u8),
}

impl Expression {
    fn matches(&self, request: &Facts<'_>) -> bool {
        match self {
            Expression::And(all) => all.iter().all(|one| one.matches(request)),
            Expression::Or(any) => any.iter().any(|one| one.matches(request)),
            Expression::Not(inner) => !inner.matches(request),
            Expression::Is(matcher) => matcher.matches(request),
        }
    }
}

impl Matcher {
    fn matches(&self, request: &Facts<'_>) -> bool {
        match self {
            Matcher::Host(host) => host == request.host,
            Matcher::HostRegexp(regex) => regex.is_match(request.host),
            Matcher::Path(path) => path == request.path,
            Matcher::PathPrefix(prefix) => request.path.starts_with(prefix.as_str()),
            Matcher::PathRegexp(regex) => regex.is_match(request.path),
            Matcher::Header(name, value) => {
                header_values(request, name).any(|found| found == value)
            }
            Matcher::HeaderRegexp(name, regex) => {
                header_values(request, name).any(|found| regex.is_match(found))
            }
            Matcher::Method(method) => method == request.method,
            Matcher::Query(key, value) => {
                query_values(request.query, key).any(|found| found == *value)
            }
            Matcher::QueryRegexp(key, regex) => {
                query_values(request.query, key).any(|found| regex.is_match(&found))
            }
            Matcher::ClientIp(network, prefix) => contains(*network, *prefix, request.client),
        }
    }
}

fn header_values<'a>(
    request: &Facts<'a>,
    name: &http::HeaderName,
) -> impl Iterator<Item = &'a str> + use<'a> {
    request.headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn query_values<'a>(query: &'a str, key: &'a str) -> impl Iterator<Item = String> + 'a {
    query.split('&').filter(|pair| !pair.is_empty()).filter_map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true, |_| false) == key).then(|| decode(value, true, |_| false))
    })
}

fn contains(network: IpAddr, prefix: u8, address: IpAddr) -> bool {
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// The host of a request as rules see it: lower case, without port, without a final dot.
pub fn routing_host(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The path as rules see it and as it is passed on: dot segments and double slashes resolved,
/// and what needs no percent-encoding decoded; reserved characters stay as they were sent.
pub fn routing_path(path: &str) -> String {
    let decoded = decode(path, false, |byte| !is_unreserved(byte));
    if !decoded.contains("//") && !decoded.contains("/.") {
        return decoded;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let directory = decoded.ends_with('/') || decoded.ends_with("/.") || decoded.ends_with("/..");
    let end = if directory && !segments.is_empty() { "/" } else { "" };
    format!("/{}{end}", segments.join("/"))
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Decodes percent-encoding, leaving encoded the bytes for which `keep` says so.
fn decode(text: &str, plus_is_space: bool, keep: fn(u8) -> bool) -> String {
    let plain = !text.contains('%') && (!plus_is_space || !text.contains('+'));
    if plain {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, value) {
            (b'%', Some(value)) if !keep(value) => {
                out.push(value);
                at += 3;
            }
            (b'+', _) if plus_is_space => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests;
