//! What there is to say about a document before anything happens: one list, shown alike by conditions, Events, `plan` and `explain`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longer sentences are cut: a huge field must not make a huge status.
const TEXT_MAX: usize = 400;
/// Paths have keys of the user's in them.
const FIELD_MAX: usize = 200;
/// A condition holds 32 KiB and people read far less.
const LIST_BYTES_MAX: usize = 4096;

/// One thing to know about a field, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Path of the field: `spec.analysis.stepWeights[2]`.
    pub field: String,
    pub severity: FindingSeverity,
    pub code: FindingCode,
    /// What is the matter.
    pub message: String,
    /// What to do about it, where that does not go without saying.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<String>,
}

/// What follows for the object. The first of them is the gravest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FindingSeverity {
    /// It is wrong, and the object is not acted on.
    Error,
    /// It is right and not supported here; the object is not acted on.
    Unsupported,
    /// The object is acted on, and something is other than it seems.
    Warning,
}

impl FindingSeverity {
    /// Whether the object waits for an edit.
    pub fn is_obstacle(self) -> bool {
        match self {
            FindingSeverity::Error | FindingSeverity::Unsupported => true,
            FindingSeverity::Warning => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            FindingSeverity::Error => "error",
            FindingSeverity::Unsupported => "unsupported",
            FindingSeverity::Warning => "warning",
        }
    }
}

/// What kind of thing it is, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FindingCode {
    /// A field that must be there is missing.
    Required,
    /// The value is invalid there.
    Invalid,
    /// Flagger has it, and Serin has not yet.
    NotSupported,
    /// The object names no router, and has the fields of one that is not the default.
    ProviderUnclear,
    /// The field is understood and changes nothing.
    NoEffect,
    /// It is not known such a field.
    UnknownField,
    /// The value is taken as another one.
    TakenAs,
    /// The value is likely meant in another unit.
    Unit,
    /// The query of a check cannot be made.
    QueryInvalid,
    /// An object that is referred to is not there.
    NoSuchObject,
    /// An object that is referred to cannot be read or is of no use.
    ObjectUnusable,
}

impl FindingCode {
    pub fn name(self) -> &'static str {
        match self {
            FindingCode::Required => "Required",
            FindingCode::Invalid => "Invalid",
            FindingCode::NotSupported => "NotSupported",
            FindingCode::ProviderUnclear => "ProviderUnclear",
            FindingCode::NoEffect => "NoEffect",
            FindingCode::UnknownField => "UnknownField",
            FindingCode::TakenAs => "TakenAs",
            FindingCode::Unit => "Unit",
            FindingCode::QueryInvalid => "QueryInvalid",
            FindingCode::NoSuchObject => "NoSuchObject",
            FindingCode::ObjectUnusable => "ObjectUnusable",
        }
    }
}

impl Finding {
    pub fn error(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FindingSeverity::Error, FindingCode::Invalid, field, message)
    }

    pub fn unsupported(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FindingSeverity::Unsupported, FindingCode::NotSupported, field, message)
    }

    pub fn warning(
        code: FindingCode,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(FindingSeverity::Warning, code, field, message)
    }

    fn new(
        severity: FindingSeverity,
        code: FindingCode,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let field = printable(&field.into(), FIELD_MAX);
        let message = printable(&message.into(), TEXT_MAX);
        Self { field, severity, code, message, way_out: None }
    }

    /// The same as a finding of this code.
    #[must_use]
    pub fn coded(self, code: FindingCode) -> Self {
        Self { code, ..self }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn way_out(self, way_out: impl Into<String>) -> Self {
        Self { way_out: Some(printable(&way_out.into(), TEXT_MAX)), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, severity: _, code: _, message, way_out } = self;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        match way_out {
            Some(way_out) => write!(f, "{message}; {way_out}"),
            None => write!(f, "{message}"),
        }
    }
}

/// All of them in one line, the gravest first; where there is no room for more, how many are left.
pub fn sentence(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.severity);
    let mut text = String::new();
    for (place, finding) in sorted.iter().enumerate() {
        let next = finding.to_string();
        if place > 0 && text.len() + next.len() > LIST_BYTES_MAX {
            text.push_str(&format!("; and {} more", sorted.len() - place));
            break;
        }
        if place > 0 {
            text.push_str("; ");
        }
        text.push_str(&next);
    }
    text
}

/// What a user wrote may be long and may hold anything.
fn printable(text: &str, max: usize) -> String {
    let mut out: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max).collect();
    if text.chars().nth(max).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_wrote_is_cut_and_cleaned() {
        let finding = Finding::error("spec.x", format!("no \u{1b}[31m{}", "y".repeat(5000)));
        assert!(finding.message.starts_with("no  [31myyy"), "{finding}");
        assert_eq!(finding.message.chars().count(), TEXT_MAX + 3);
    }

    #[test]
    fn a_long_list_says_how_many_are_left() {
        let mut findings: Vec<Finding> = (0..40)
            .map(|i| Finding::warning(FindingCode::NoEffect, format!("a[{i}]"), "z".repeat(300)))
            .collect();
        findings.push(Finding::error("spec.last", "is wrong").way_out("mend it"));
        let text = sentence(&findings);
        assert!(text.starts_with("spec.last: is wrong; mend it; a[0]: "), "{text}");
        assert!(text.ends_with(" more"), "{text}");
        assert!(text.len() < LIST_BYTES_MAX + 500, "{}", text.len());
        assert_eq!(sentence(&findings[..1]), format!("a[0]: {}", "z".repeat(300)));
    }
}
