//! A rule of a user's that matches the same requests and names no host to TLS.
//!
//! Traefik chooses the TLS options of a connection by the hosts that the rules of all routers name with `Host`. A route that
//! matches its host by an expression has no say in them.

use serde_json::Value;

/// None where a host is written in a way that is not understood.
pub(super) fn unnamed(rule: &str) -> Option<String> {
    let mut out = String::with_capacity(rule.len());
    let mut rest = rule;
    while let Some(first) = rest.chars().next() {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let taken = if matches!(first, '`' | '"') {
            quoted(rest)?.0
        } else if inside(first) {
            let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
            rest.get(..end)?
        } else {
            rest.get(..first.len_utf8())?
        };
        rest = rest.get(taken.len()..)?;
        if taken.eq_ignore_ascii_case("Host") {
            let (host, after) = argument(rest)?;
            out.push_str(&expression(&host)?);
            rest = after;
        } else {
            out.push_str(taken);
        }
    }
    Some(out)
}

/// The one argument of a matcher, and what comes after its bracket.
fn argument(rest: &str) -> Option<(String, &str)> {
    let (written, value) = quoted(rest.trim_start().strip_prefix('(')?.trim_start())?;
    let after = rest.trim_start().strip_prefix('(')?.trim_start().get(written.len()..)?;
    Some((value, after.trim_start().strip_prefix(')')?))
}

/// A text in its quotes at the beginning, as it is written and what it says.
fn quoted(rest: &str) -> Option<(&str, String)> {
    if let Some(inside) = rest.strip_prefix('`') {
        let end = inside.find('`')?;
        return Some((rest.get(..end + 2)?, inside.get(..end)?.to_owned()));
    }
    let mut escaped = false;
    let closes = |(_, c): &(usize, char)| {
        let closes = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        closes
    };
    let (end, _) = rest.strip_prefix('"')?.char_indices().find(closes)?;
    let written = rest.get(..end + 2)?;
    Some((written, serde_json::from_str::<Value>(written).ok()?.as_str()?.to_owned()))
}

/// Traefik compares hosts in lower case and with or without a dot at the end.
fn expression(host: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let known = !host.is_empty() && host.chars().all(plain);
    known.then(|| format!("HostRegexp(`^{}\\.?$`)", host.replace('.', "\\.")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_become_expressions_and_nothing_else_changes() {
        for (rule, expected) in [
            ("Host(`a.test`)", Some(r"HostRegexp(`^a\.test\.?$`)")),
            ("host( \"A.Test.\" )", Some(r"HostRegexp(`^a\.test\.?$`)")),
            (
                "!Host(`a`) || (Host(`b-1`) && PathPrefix(`/Host(`))",
                Some(r"!HostRegexp(`^a\.?$`) || (HostRegexp(`^b-1\.?$`) && PathPrefix(`/Host(`))"),
            ),
            (
                "HostRegexp(`^a$`) && Query(`Host`, `b`)",
                Some("HostRegexp(`^a$`) && Query(`Host`, `b`)"),
            ),
            ("Header(\"x\", \"\\\"Host(`a`)\")", Some("Header(\"x\", \"\\\"Host(`a`)\")")),
            ("PathPrefix(`/`)", Some("PathPrefix(`/`)")),
            ("Host(`a`, `b`)", None),
            ("Host(`*.a`)", None),
            ("Host(``)", None),
            ("Host(`a`", None),
            ("Host(a)", None),
            ("Host", None),
            ("Path(`/", None),
        ] {
            assert_eq!(unnamed(rule).as_deref(), expected, "{rule}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_no_host_is_named(rule in "(Host|host|Path|[()`\"\\\\a.* &|!é]){0,12}") {
            if let Some(unnamed) = unnamed(&rule) {
                prop_assert_eq!(super::unnamed(&unnamed), Some(unnamed));
            }
        }
    }
}
