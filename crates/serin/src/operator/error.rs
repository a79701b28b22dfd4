//! What can go wrong in a tick.

use serin_core::model::Key;
use serin_providers::change::CANARY;
use serin_providers::{ObjectRef, RenderError};

/// Gates, then hooks, then metrics, then one to spare. More means that `step` asks in circles.
pub(crate) const ASK_ROUNDS_MAX: u32 = 4;

/// An API server takes an object of 1.5 MiB, of which the user's part is some.
pub(crate) const STATUS_MAX: usize = 512 << 10;

/// A write of the plan that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("cannot render {action}")]
    Render {
        action: String,
        #[source]
        source: Box<RenderError>,
    },
    #[error("cannot write {target}")]
    Write {
        target: ObjectRef,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("cannot encode {target}")]
    Encode {
        target: ObjectRef,
        #[source]
        source: serde_json::Error,
    },
}

impl ApplyError {
    /// The object is not, or not any more, what the write was made for.
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Write { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if status.code == 409)
            }
            Self::Render { .. } | Self::Encode { .. } => false,
        }
    }
}

/// The status could not be written.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the canary has changed since it was read")]
    Conflict,
    #[error("cannot write the status of canary {key}")]
    Write {
        key: Key,
        #[source]
        source: kube::Error,
    },
    #[error("the status of canary {key} has {bytes} bytes, more than {STATUS_MAX}")]
    TooLarge { key: Key, bytes: usize },
    #[error("cannot encode the status of canary {key}")]
    Encode {
        key: Key,
        #[source]
        source: serde_json::Error,
    },
}

/// The tick did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    #[error("the canary has changed since it was read")]
    Conflict,
    #[error("cannot carry out the plan")]
    Apply(#[source] Box<ApplyError>),
    #[error("cannot record the status")]
    Record(#[source] RecordError),
    #[error("step asked more than {ASK_ROUNDS_MAX} times; this is a bug, nothing was changed")]
    AsksInCircles,
    #[error("a bug in this canary's tick stopped it, nothing else is affected")]
    Panicked,
    #[error("cannot read the canary as JSON")]
    Encode,
}

impl TickError {
    /// Another client was faster, with the Canary or with what was to be written.
    pub fn is_conflict(&self) -> bool {
        match self {
            TickError::Conflict => true,
            TickError::Apply(error) => error.is_conflict(),
            TickError::Record(_)
            | TickError::AsksInCircles
            | TickError::Panicked
            | TickError::Encode => false,
        }
    }

    /// The API server knows no such canary.
    pub fn is_absence(&self) -> bool {
        let source = match self {
            TickError::Apply(error) => match &**error {
                ApplyError::Write { target, source } if target.kind == CANARY => &**source,
                ApplyError::Write { .. }
                | ApplyError::Render { .. }
                | ApplyError::Encode { .. } => return false,
            },
            TickError::Record(RecordError::Write { source, .. }) => source,
            TickError::Record(
                RecordError::Conflict | RecordError::TooLarge { .. } | RecordError::Encode { .. },
            )
            | TickError::Conflict
            | TickError::AsksInCircles
            | TickError::Panicked
            | TickError::Encode => return false,
        };
        matches!(source, kube::Error::Api(status) if status.code == 404)
    }
}

impl From<RecordError> for TickError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Conflict => TickError::Conflict,
            error @ (RecordError::Write { .. }
            | RecordError::TooLarge { .. }
            | RecordError::Encode { .. }) => TickError::Record(error),
        }
    }
}
