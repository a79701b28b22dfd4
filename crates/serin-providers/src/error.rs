//! Why an action cannot be rendered.

use crate::change::ObjectRef;
use crate::router::RouterError;
use crate::settings::Settings;

/// The action cannot be carried out with what is there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error("{0} does not exist")]
    Missing(ObjectRef),
    #[error("{object} cannot be read: {why}")]
    Unreadable { object: ObjectRef, why: String },
    #[error(
        "the target has moved on: it is at {now}, not at {wanted}, which is the one that was judged"
    )]
    TargetMoved { wanted: String, now: String },
    #[error("a ConfigMap or Secret of {0} has changed since the decision")]
    ConfigsMoved(ObjectRef),
    #[error("what the primary ran as {wanted} is not kept")]
    NotKept { wanted: String },
    #[error("{0} was changed by hand and is not what the primary ran")]
    Edited(ObjectRef),
    #[error("{object}: spec.selector.matchLabels must contain one of [{labels}]")]
    NoSelectorLabel { object: ObjectRef, labels: String },
    #[error("{object} belongs to {owner} and is left alone: delete or rename it")]
    NotOurs { object: ObjectRef, owner: String },
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Router(#[from] RouterError),
}

impl RenderError {
    pub(crate) fn no_selector_label(object: ObjectRef, settings: &Settings) -> Self {
        RenderError::NoSelectorLabel { object, labels: settings.selector_labels.join(", ") }
    }
}
