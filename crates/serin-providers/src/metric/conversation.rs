//! A question to a metrics backend as a conversation: what to ask next and what follows from the answer. Nothing here sends.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;
use serde_json::Value;
use serin_core::model::MetricKind;
use serin_core::observed::Seen;

use super::MetricError;
use super::access::Access;
use crate::call::Call;
use crate::change::ObjectRef;

/// What is to be known, and of which time.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// With its variables filled in.
    pub text: &'a str,
    /// How far back a backend is to look that has to be told; zero for one whose queries say so themselves.
    pub window_millis: i64,
    pub now: Timestamp,
}

/// What a backend said.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    Value(f64),
    /// The query worked and there is nothing to judge; why.
    NoData(String),
}

/// The end of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub sample: Sample,
    /// Seconds from the beginning of the time that it stands for up to now; the metric's `interval` where it is not known.
    pub reach_secs: Option<i64>,
}

/// What follows from an answer, and when that came. It can be used once, so a conversation never forks.
pub type Then<T> = Box<dyn FnOnce(T, Timestamp) -> Result<Progress, MetricError> + Send>;

/// One step of a conversation. What is asked and what takes the answer stand together, so that neither can be mistaken.
pub enum Progress {
    Done(Measured),
    /// Send this, after so many seconds.
    Http {
        call: Box<Call>,
        after_secs: u32,
        then: Then<Response<Bytes>>,
    },
    /// Read one object from the API server.
    Read {
        object: ObjectRef,
        then: Then<Seen<Arc<Value>>>,
    },
    /// Read the token by which the controller shows others who it is. Which file that is in is its own affair: no object can
    /// name another one.
    Identity {
        then: Then<String>,
    },
}

impl Progress {
    pub(super) fn http(
        call: Call,
        then: impl FnOnce(Response<Bytes>, Timestamp) -> Result<Self, MetricError> + Send + 'static,
    ) -> Self {
        Self::Http { call: Box::new(call), after_secs: 0, then: Box::new(then) }
    }

    /// A conversation that ends with what one number is made of.
    pub(super) fn done(sample: Sample, reach_secs: Option<i64>) -> Self {
        Self::Done(Measured { sample, reach_secs })
    }
}

/// A kind of backend: how its queries become requests, and its answers numbers.
pub trait MetricProvider: Send + Sync {
    fn kind(&self) -> &'static MetricKind;
    /// The first step. Whether it can be made does not depend on the time, so what is wrong is known before anything is asked.
    fn begin(&self, query: &Query<'_>, access: &Access) -> Result<Progress, MetricError>;
}
