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
