//! From the text of a rule to its expression.

use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use super::{Expression, Matcher};

/// Far above any rule written by a person; keeps the parser's recursion small.
const DEPTH_MAX: usize = 64;
/// Bytes of compiled regular expression; the default of 10 MiB is for programs with few of them.
const REGEX_SIZE_MAX: usize = 1 << 20;

/// Why a rule is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("the rule is empty")]
    Empty,
    #[error("expected {expected} at byte {at}")]
    Expected { expected: &'static str, at: usize },
    #[error("matcher {name} is not supported by the embedded gateway")]
    UnknownMatcher { name: String },
    #[error("matcher {name} takes {takes} arguments, not {given}")]
    Arguments { name: String, takes: &'static str, given: usize },
    #[error("matcher {name}: {value:?} is not a valid {what}")]
    Value { name: String, value: String, what: &'static str },
    #[error("the rule is nested deeper than {DEPTH_MAX}")]
    TooDeep,
}

pub(super) fn expression(text: &str) -> Result<Expression, RuleError> {
    if text.trim().is_empty() {
        return Err(RuleError::Empty);
    }
    let mut parser = Parser { text, at: 0 };
    let expression = parser.any(0)?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.expected("&& or ||"));
    }
    Ok(expression)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Expression, RuleError> {
        let mut parts = vec![self.all(depth)?];
        while self.take("||") {
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::Or(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Expression, RuleError> {
        let mut parts = vec![self.one(depth)?];
        while self.take("&&") {
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expression::And(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Expression, RuleError> {
        if depth >= DEPTH_MAX {
            return Err(RuleError::TooDeep);
        }
        if self.take("!") {
            return Ok(Expression::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            return if self.take(")") { Ok(inner) } else { Err(self.expected(")")) };
        }
        let name = self.name()?;
        let arguments = self.arguments()?;
        matcher(&name, &arguments).map(Expression::Is)
    }

    fn name(&mut self) -> Result<String, RuleError> {
        self.skip_space();
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if length == 0 {
            return Err(self.expected("a matcher"));
        }
        self.at += length;
        Ok(rest[..length].to_owned())
    }

    fn arguments(&mut self) -> Result<Vec<String>, RuleError> {
        if !self.take("(") {
            return Err(self.expected("("));
        }
        let mut arguments = Vec::new();
        if self.take(")") {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.string()?);
            if self.take(")") {
                return Ok(arguments);
            }
            if !self.take(",") {
                return Err(self.expected(", or )"));
            }
        }
    }

    fn string(&mut self) -> Result<String, RuleError> {
        self.skip_space();
        let start = self.at;
        if self.take("`") {
            let from = self.at;
            let length = self.text[from..].find('`').ok_or_else(|| self.expected("a closing `"))?;
            self.at = from + length + 1;
            return Ok(self.text[from..from + length].to_owned());
        }
        if !self.take("\"") {
            return Err(self.expected("a string in backticks or quotes"));
        }
        let mut escaped = false;
        for (offset, character) in self.text[self.at..].char_indices() {
            if character == '"' && !escaped {
                self.at += offset + 1;
                // Go's escapes that occur in rules (\" \\ \n \t) are JSON's as well.
                return serde_json::from_str(&self.text[start..self.at])
                    .map_err(|_| RuleError::Expected { expected: "a quoted string", at: start });
            }
            escaped = character == '\\' && !escaped;
        }
        Err(self.expected("a closing quote"))
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn skip_space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn expected(&self, expected: &'static str) -> RuleError {
        RuleError::Expected { expected, at: self.at }
    }
}

fn matcher(name: &str, arguments: &[String]) -> Result<Matcher, RuleError> {
    match canonical(name) {
        Some("Host") => single(name, arguments)
            .map(|host| Matcher::Host(host.trim_end_matches('.').to_ascii_lowercase())),
        Some("HostRegexp") => {
            single(name, arguments).and_then(|text| regex(name, text)).map(Matcher::HostRegexp)
        }
        Some("Path") => path(name, arguments).map(Matcher::Path),
        Some("PathPrefix") => path(name, arguments).map(Matcher::PathPrefix),
        Some("PathRegexp") => {
            single(name, arguments).and_then(|text| regex(name, text)).map(Matcher::PathRegexp)
        }
        Some("Header") => {
            let (key, value) = pair(name, arguments)?;
            Ok(Matcher::Header(header_name(name, key)?, value.to_owned()))
        }
        Some("HeaderRegexp") => {
            let (key, value) = pair(name, arguments)?;
            Ok(Matcher::HeaderRegexp(header_name(name, key)?, regex(name, value)?))
        }
        Some("Method") => {
            single(name, arguments).map(|method| Matcher::Method(method.to_ascii_uppercase()))
        }
        Some("Query") => {
            let (key, value) = query(name, arguments)?;
            Ok(Matcher::Query(key, value))
        }
        Some("QueryRegexp") if arguments.len() == 1 => {
            Ok(Matcher::Query(arguments[0].clone(), String::new()))
        }
        Some("QueryRegexp") => {
            let (key, value) = query(name, arguments)?;
            Ok(Matcher::QueryRegexp(key, regex(name, &value)?))
        }
        Some("ClientIP") => single(name, arguments).and_then(|text| network(name, text)),
        Some(_) | None => Err(RuleError::UnknownMatcher { name: name.to_owned() }),
    }
}

// Traefik knows each matcher as written, in lower case, in upper case and with only the first letter in upper case.
fn canonical(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 11] = [
        "Host",
        "HostRegexp",
        "Path",
        "PathPrefix",
        "PathRegexp",
        "Header",
        "HeaderRegexp",
        "Method",
        "Query",
        "QueryRegexp",
        "ClientIP",
    ];
    NAMES.into_iter().find(|known| {
        let lower = known.to_ascii_lowercase();
        let title = format!("{}{}", &known[..1], &lower[1..]);
        name == *known || name == lower || name == known.to_ascii_uppercase() || name == title
    })
}

fn single<'a>(name: &str, arguments: &'a [String]) -> Result<&'a str, RuleError> {
    match arguments {
        [one] => Ok(one),
        other => Err(wrong_count(name, "1", other.len())),
    }
}

fn pair<'a>(name: &str, arguments: &'a [String]) -> Result<(&'a str, &'a str), RuleError> {
    match arguments {
        [key, value] => Ok((key, value)),
        other => Err(wrong_count(name, "2", other.len())),
    }
}

fn query(name: &str, arguments: &[String]) -> Result<(String, String), RuleError> {
    match arguments {
        [key] => Ok((key.clone(), String::new())),
        [key, value] => Ok((key.clone(), value.clone())),
        other => Err(wrong_count(name, "1 or 2", other.len())),
    }
}

fn wrong_count(name: &str, takes: &'static str, given: usize) -> RuleError {
    RuleError::Arguments { name: name.to_owned(), takes, given }
}

fn path(name: &str, arguments: &[String]) -> Result<String, RuleError> {
    let path = single(name, arguments)?;
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(invalid(name, path, "path (it must start with /)"))
    }
}

fn regex(name: &str, text: &str) -> Result<Regex, RuleError> {
    RegexBuilder::new(text)
        .size_limit(REGEX_SIZE_MAX)
        .build()
        .map_err(|_| invalid(name, text, "regular expression"))
}

fn header_name(name: &str, text: &str) -> Result<http::HeaderName, RuleError> {
    text.parse().map_err(|_| invalid(name, text, "header name"))
}

fn network(name: &str, text: &str) -> Result<Matcher, RuleError> {
    let wrong = || invalid(name, text, "address or CIDR");
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = if prefix.is_empty() { longest } else { prefix.parse().map_err(|_| wrong())? };
    if prefix > longest { Err(wrong()) } else { Ok(Matcher::ClientIp(address, prefix)) }
}

fn invalid(name: &str, value: &str, what: &'static str) -> RuleError {
    RuleError::Value { name: name.to_owned(), value: value.to_owned(), what }
}
