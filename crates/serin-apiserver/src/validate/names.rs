//! The rules for names, each with its error message.

use std::sync::LazyLock;

use regex::Regex;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_WORDS: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_WORDS: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const WILDCARD: &str = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const WILDCARD_WORDS: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_WORDS: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const VALUE_WORDS: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const CONFIG_KEY_WORDS: &str =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
const HEADER: &str = "[-A-Za-z0-9]+";
const HEADER_WORDS: &str = "a valid HTTP header must consist of alphanumeric characters or '-'";
const PERCENT: &str = "[0-9]+%";
const PERCENT_WORDS: &str =
    "a valid percent string must be a numeric string followed by an ending '%'";

/// A pattern, and the message for a text that does not match it.
struct Rule {
    regex: Regex,
    words: String,
}

impl Rule {
    fn new(pattern: &str, words: &str, examples: &[&str]) -> Self {
        let regex = Regex::new(&format!("^{pattern}$")).expect("a constant pattern");
        let examples: String = examples
            .iter()
            .enumerate()
            .map(|(index, example)| format!("{}'{example}', ", if index > 0 { " or " } else { "" }))
            .collect();
        let opening = if examples.is_empty() { " (" } else { " (e.g. " };
        let words = format!("{words}{opening}{examples}regex used for validation is '{pattern}')");
        Self { regex, words }
    }
}

macro_rules! rules {
    ($($name:ident = $pattern:expr, $words:expr, $examples:expr;)*) => {
        $(static $name: LazyLock<Rule> = LazyLock::new(|| Rule::new($pattern, $words, &$examples));)*
    };
}

rules! {
    LABEL_RULE = LABEL, LABEL_WORDS, ["my-name", "123-abc"];
    SUBDOMAIN_RULE = SUBDOMAIN, SUBDOMAIN_WORDS, ["example.com"];
    WILDCARD_RULE = WILDCARD, WILDCARD_WORDS, ["*.example.com"];
    KEY_RULE = KEY, KEY_WORDS, ["MyName", "my.name", "123-abc"];
    VALUE_RULE = VALUE, VALUE_WORDS, ["MyValue", "my_value", "12345"];
    CONFIG_KEY_RULE = CONFIG_KEY, CONFIG_KEY_WORDS, ["key.name", "KEY_NAME", "key-name"];
    HEADER_RULE = HEADER, HEADER_WORDS, ["X-Header-Name"];
    PERCENT_RULE = PERCENT, PERCENT_WORDS, ["1%", "93%"];
}

/// The message of the newer rules for a text that is too long.
fn too_many(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn matched(rule: &Rule, text: &str, max: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > max {
        wrong.push(too_long(max));
    }
    if !rule.regex.is_match(text) {
        wrong.push(rule.words.clone());
    }
    wrong
}

/// A DNS label of RFC 1123.
pub(super) fn label(text: &str) -> Vec<String> {
    let mut wrong = matched(&LABEL_RULE, text, 63);
    if !LABEL_RULE.regex.is_match(text)
        && SUBDOMAIN_RULE.regex.is_match(text)
        && let Some(last) = wrong.last_mut()
    {
        *last = "must not contain dots".to_owned();
    }
    wrong
}

/// A DNS subdomain of RFC 1123.
pub(super) fn subdomain(text: &str) -> Vec<String> {
    matched(&SUBDOMAIN_RULE, text, 253)
}

pub(super) fn wildcard(text: &str) -> Vec<String> {
    matched(&WILDCARD_RULE, text, 253)
}

/// A path segment.
pub(super) fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|part| text.contains(**part))
        .map(|part| format!("may not contain '{part}'"))
        .collect()
}

/// A label key: a name, with an optional domain and slash before it.
pub(super) fn qualified(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else {
                wrong.extend(subdomain(prefix).iter().map(|why| format!("prefix part {why}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                KEY_RULE.words
            )];
        }
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_many(63)));
    }
    if !KEY_RULE.regex.is_match(name) {
        wrong.push(format!("name part {}", KEY_RULE.words));
    }
    wrong
}

/// The value of a label.
pub(super) fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_many(63));
    }
    wrong.extend(matched(&VALUE_RULE, text, usize::MAX));
    wrong
}

/// A key in a ConfigMap or Secret.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let mut wrong = matched(&CONFIG_KEY_RULE, text, 253);
    match text {
        "." | ".." => wrong.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// An IANA service name, as used for port names.
pub(super) fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.len() > 15 {
        wrong.push(too_long(15));
    }
    if text.is_empty() || !text.chars().all(known) {
        wrong.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.contains(|c: char| c.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

pub(super) fn port_number(number: i64) -> Vec<String> {
    in_range(number, 1, 65_535)
}

pub(super) fn in_range(number: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&number) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

pub(super) fn header(text: &str) -> Vec<String> {
    matched(&HEADER_RULE, text, usize::MAX)
}

pub(super) fn percent(text: &str) -> Vec<String> {
    matched(&PERCENT_RULE, text, usize::MAX)
}

/// The name of an environment variable; nearly every character is allowed.
pub(super) fn variable(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.is_empty() {
        wrong.push("environment variable name must be non-empty".to_owned());
    }
    if text.contains(|c: char| !(' '..='~').contains(&c) || c == '=') {
        wrong.push("a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned());
    }
    wrong
}
