//! The documents as Kubernetes has them: Canary, MetricTemplate and AlertProvider of `flagger.app/v1beta1`.
//!
//! They are here for their schema, their words and for tools that write documents. What the controller reads goes through
//! `parse`, which takes any JSON. Doc comments become what `kubectl explain` and the reference show.

pub mod action;
mod analysis;
mod canary;
mod guard;
mod service;
mod template;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use action::{ReleaseAction, ReleaseActionSpec, ReleaseActionStatus};
pub use analysis::{
    Alert, Analysis, AnalysisMatch, CrossReference, HeaderMatch, Metric, QueryMatch,
    SessionAffinity, ThresholdRange, Webhook,
};
pub use canary::{
    Canary, CanarySpec, LocalReference, ScalerReference, ScalerReplicas, UpstreamReference,
};
pub use guard::{ErrorRate, Guard, Latency, LatencyShape, ShapeTolerance, Soak, Tolerance};
pub use service::{
    GatewayReference, HeaderOperations, Headers, MetadataKeys, MetadataPatch, Retries, Rewrite,
    Service,
};
pub use template::{
    AlertProvider, AlertProviderSpec, MetricTemplate, MetricTemplateSpec, MetricsProvider,
    SecretReference,
};

/// API group of all three kinds.
pub const GROUP: &str = "flagger.app";

/// The only version.
pub const VERSION: &str = "v1beta1";

/// A struct of optional fields. Which of them a document must have is a fact of the CRD, see [`crate::crd`].
macro_rules! document {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(
            Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }
    )*};
}
pub(crate) use document;

/// An object of another API, kept as it is: a full type here would buy nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Foreign(pub Map<String, Value>);

impl JsonSchema for Foreign {
    fn schema_name() -> Cow<'static, str> {
        "Foreign".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
    }
}

/// A number as it was written: `500` stays `500`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Number(pub serde_json::Number);

impl JsonSchema for Number {
    fn schema_name() -> Cow<'static, str> {
        "Number".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number"})
    }
}

/// A port's number or its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IntOrString {
    Int(i64),
    Text(String),
}

impl JsonSchema for IntOrString {
    fn schema_name() -> Cow<'static, str> {
        "IntOrString".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"x-kubernetes-int-or-string": true})
    }
}
