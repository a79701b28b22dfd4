//! What a person asks of a release, outside the Canary's spec, and what came of it.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exposure::Weight;
use crate::names;

/// Requests that a Canary's status remembers as carried out. As many again may be under way.
pub const REMEMBERED_MAX: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The canary's traffic goes back to the primary and the revision is rejected.
    Abort,
    /// The revision is promoted without the rest of its analysis.
    Promote,
    /// The next stage begins without the rest of this one.
    Advance,
    /// Nothing is raised until `Resume`; checks and the guard go on.
    Pause,
    Resume,
    /// A revision that was rejected is analysed again.
    Retry,
    /// The analysis begins again.
    Restart,
    /// The primary takes back what it ran before its last promotion.
    Undo,
    /// The canary has this share, and the release is paused with it.
    SetWeight(Weight),
    /// A hook that confirms is taken to approve, for this revision.
    Approve {
        gate: String,
    },
    /// The same hook is taken to refuse, whatever it answers.
    Reject {
        gate: String,
    },
}

impl Command {
    /// Whether `spec.suspend` stands in its way: it gives more to the canary, or begins something.
    pub fn is_stopped_by_suspend(&self) -> bool {
        match self {
            Command::Promote
            | Command::Advance
            | Command::Retry
            | Command::Restart
            | Command::Undo
            | Command::SetWeight(_) => true,
            // What an approval lets through waits for the end of the suspension by itself.
            Command::Abort
            | Command::Pause
            | Command::Resume
            | Command::Approve { .. }
            | Command::Reject { .. } => false,
        }
    }

    /// As `spec.action` says it.
    pub fn name(&self) -> &'static str {
        match self {
            Command::Abort => "abort",
            Command::Promote => "promote",
            Command::Advance => "advance",
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Retry => "retry",
            Command::Restart => "restart",
            Command::Undo => "undo",
            Command::SetWeight(_) => "set-weight",
            Command::Approve { .. } => "approve",
            Command::Reject { .. } => "reject",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::SetWeight(weight) => write!(f, "{} {weight}", self.name()),
            Command::Approve { gate } | Command::Reject { gate } => {
                write!(f, "{} {gate}", self.name())
            }
            Command::Abort
            | Command::Promote
            | Command::Advance
            | Command::Pause
            | Command::Resume
            | Command::Retry
            | Command::Restart
            | Command::Undo => f.write_str(self.name()),
        }
    }
}

/// One that nothing has come of yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the object that asks.
    pub name: String,
    pub uid: String,
    pub command: Command,
    /// The release that it is meant for, see [`release_of`].
    pub release: String,
    /// Why, in the words of who asks; bounded and without control characters.
    pub reason: String,
    /// Who asks, as far as the object says it.
    pub user: String,
    pub expires: Timestamp,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is carried out: this follows.
    Done(String),
    /// It is not, and why; nothing has changed.
    Refused(String),
    /// Its time was over before it could be carried out.
    Expired(String),
}

impl Outcome {
    /// As `status.state` says it.
    pub fn state(&self) -> &'static str {
        match self {
            Outcome::Done(_) => "Done",
            Outcome::Refused(_) => "Refused",
            Outcome::Expired(_) => "Expired",
        }
    }

    pub fn message(&self) -> &str {
        match self {
            Outcome::Done(message) | Outcome::Refused(message) | Outcome::Expired(message) => {
                message
            }
        }
    }
}

/// A request with what came of it, to be said on the object that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handled {
    pub name: String,
    pub uid: String,
    pub outcome: Outcome,
}

/// What people have decided about a release; it ends with the release that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Control {
    /// The release that this is about.
    pub release: String,
    /// Nothing is raised until the release is resumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<ByHand>,
    /// The rest of the analysis is passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promoted: Option<ByHand>,
    /// What was decided in the place of hooks that confirm, by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gates: BTreeMap<String, bool>,
}

impl Control {
    pub(crate) fn is_empty(&self) -> bool {
        self.paused.is_none() && self.promoted.is_none() && self.gates.is_empty()
    }
}

/// A decision of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ByHand {
    /// Why, in their words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who, as far as the request said it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// When it took effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

impl fmt::Display for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.user.is_empty() {
            write!(f, "by {}", self.user)?;
        } else {
            f.write_str("by hand")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// Names a release: a revision with its configs. A request that is meant for one never acts on the next.
pub fn release_of(revision: &str, configs: Option<&BTreeMap<String, String>>) -> String {
    let Some(configs) = configs.filter(|configs| !configs.is_empty()) else {
        return revision.to_owned();
    };
    let configs: Vec<String> = configs.iter().map(|(name, sum)| format!("{name}={sum}")).collect();
    format!("{revision}.{}", names::hash(&configs.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn a_release_is_a_revision_with_its_configs() {
        let configs = |sum: &str| BTreeMap::from([("configmap/a".to_owned(), sum.to_owned())]);
        let release = |configs: Option<&BTreeMap<_, _>>| release_of("s1:a", configs);
        assert_eq!(release(None), "s1:a");
        assert_eq!(release(Some(&BTreeMap::new())), "s1:a");
        assert_ne!(release(Some(&configs("1"))), release(Some(&configs("2"))));
        assert!(release(Some(&configs("1"))).starts_with("s1:a."));
    }

    #[test]
    fn the_memory_of_requests_is_bounded() {
        let mut status = Status::default();
        for number in 0..40 {
            status.remember_request(&number.to_string());
        }
        assert_eq!(status.handled_actions.len(), REMEMBERED_MAX);
        assert_eq!(status.handled_actions.last().map(String::as_str), Some("39"));
    }
}
