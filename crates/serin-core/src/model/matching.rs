//! Which requests belong to the canary in an A/B test.

use std::collections::BTreeMap;

/// A request matches when all that is set matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatch {
    /// By name, in lower case.
    pub headers: BTreeMap<String, TextMatch>,
    /// By name of the parameter.
    pub query: BTreeMap<String, TextMatch>,
    pub path: Option<TextMatch>,
    /// In upper case.
    pub method: Option<String>,
}

/// What a text is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    Exact(String),
    Prefix(String),
    Suffix(String),
    /// RE2, as routers have it; the whole text must match.
    Regex(String),
}

impl TextMatch {
    /// As a regular expression, anchored at both ends: some routers look anywhere in a text and some at all of it.
    pub fn pattern(&self) -> String {
        match self {
            TextMatch::Exact(value) => format!("^{}$", escaped(value)),
            TextMatch::Prefix(value) => format!("^{}.*$", escaped(value)),
            TextMatch::Suffix(value) => format!("^.*{}$", escaped(value)),
            TextMatch::Regex(value) => {
                let bare = value.strip_prefix('^').unwrap_or(value);
                format!("^(?:{})$", bare.strip_suffix('$').unwrap_or(bare))
            }
        }
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
