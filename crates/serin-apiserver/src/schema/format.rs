//! The string and number formats that Kubernetes checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use serde_json::Value;

/// Formats that Kubernetes checks and this crate does not. A format that neither knows is ignored by both.
const UNCHECKED: &[&str] =
    &["bsonobjectid", "isbn", "isbn10", "isbn13", "creditcard", "ssn", "hexcolor", "rgbcolor"];

pub(super) fn is_checked(format: &str) -> bool {
    !UNCHECKED.contains(&format)
}

/// Whether a value of the right type has the format; an unknown format matches everything.
pub(super) fn fits(format: &str, value: &Value) -> bool {
    match value {
        Value::String(text) => text_fits(format, text),
        Value::Number(number) => match format {
            "int32" => number
                .as_f64()
                .is_none_or(|number| number.abs() <= 2f64.powi(31) && number != 2f64.powi(31)),
            "int64" => number.as_u64().is_none_or(|number| i64::try_from(number).is_ok()),
            _ => true,
        },
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn text_fits(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => date_time(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => duration_nanos(text).is_some(),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => cidr(text),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => uuid(text),
        "mac" => mac(text),
        "email" => text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !text.contains(' ')
        }),
        "hostname" => text.len() <= 253 && text.trim_end_matches('.').split('.').all(label),
        "k8s-short-name" => label(text) && text == text.to_lowercase(),
        "k8s-long-name" => {
            text.len() <= 253
                && text.split('.').all(|part| label(part) && part == part.to_lowercase())
        }
        "uri" => {
            http::Uri::try_from(text).is_ok()
                || text.split_once(':').is_some_and(|(scheme, _)| label(scheme))
        }
        _ => true,
    }
}

/// RFC 3339, which needs a zone and both parts.
fn date_time(text: &str) -> bool {
    let shape = text.get(10..11).is_some_and(|mark| mark == "T" || mark == "t" || mark == " ");
    shape && !text.contains('[') && text.parse::<jiff::Timestamp>().is_ok()
}

/// Go's durations, `1h2m3.5s`, in nanoseconds.
pub(crate) fn duration_nanos(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    if rest.is_empty() || rest.len() > 64 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters =
            rest.find(|char: char| char.is_ascii_digit() || char == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86400e9,
            _ => return None,
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    if total > i64::MAX as f64 {
        return None;
    }
    let total = total as i64;
    Some(if negative { -total } else { total })
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u8>()) else {
        return false;
    };
    match address {
        IpAddr::V4(_) => bits <= 32,
        IpAddr::V6(_) => bits <= 128,
    }
}

fn uuid(text: &str) -> bool {
    let digits = text.chars().filter(|char| *char != '-');
    digits.clone().count() == 32 && digits.into_iter().all(|char| char.is_ascii_hexdigit())
}

fn mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    parts.len() == 6
        && parts
            .iter()
            .all(|part| part.len() == 2 && part.chars().all(|char| char.is_ascii_hexdigit()))
}

fn label(text: &str) -> bool {
    let inner = |char: char| char.is_ascii_alphanumeric() || char == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
