//! Plain Kubernetes: no object that splits traffic; the apex Service selects the primary, and that is all there is.

use std::collections::BTreeSet;

use serin_core::model::provider::KUBERNETES;
use serin_core::model::{Builtin, Canary, Provider, Split};

use super::{Router, RouterError};
use crate::change::{Change, ObjectRef, Objects};
use crate::metric::{p99_in_ms, quoted, success_rate};

pub(super) struct Kubernetes;

impl Router for Kubernetes {
    fn provider(&self) -> &'static Provider {
        &KUBERNETES
    }

    fn objects(&self, _canary: &Canary) -> Vec<ObjectRef> {
        Vec::new()
    }

    fn read(&self, _canary: &Canary, _live: &Objects) -> Result<Split, RouterError> {
        Ok(Split::PRIMARY)
    }

    fn write(
        &self,
        _canary: &Canary,
        split: Split,
        _live: &Objects,
    ) -> Result<Vec<Change>, RouterError> {
        let provider = self.provider().name;
        match split {
            Split::PRIMARY => Ok(Vec::new()),
            Split { mirrored: true, canary: _ } => {
                Err(RouterError::Unsupported { provider, what: "mirror traffic" })
            }
            Split { mirrored: false, canary: _ } => {
                Err(RouterError::Unsupported { provider, what: "send live traffic to the canary" })
            }
        }
    }

    fn ports(&self, _canary: &Canary, _live: &Objects) -> BTreeSet<String> {
        BTreeSet::new()
    }

    fn obstacle(&self, _canary: &Canary, _live: &Objects) -> Option<RouterError> {
        None
    }

    fn restore(&self, _canary: &Canary, _live: &Objects) -> Result<Vec<Change>, RouterError> {
        Ok(Vec::new())
    }

    /// What the pods themselves count, where they do.
    fn builtin(&self, canary: &Canary, builtin: Builtin, window: &str) -> String {
        let pods = format!(
            "kubernetes_namespace=\"{}\",kubernetes_pod_name=~\"{}-[0-9a-zA-Z]+(-[0-9a-zA-Z]+)\"",
            canary.key.namespace,
            quoted(&canary.spec.target.name)
        );
        match builtin {
            Builtin::RequestSuccessRate => success_rate(
                "http_request_duration_seconds_count",
                &pods,
                "status!~\"5.*\"",
                window,
            ),
            Builtin::RequestDuration => {
                p99_in_ms("http_request_duration_seconds_bucket", &pods, window)
            }
        }
    }
}
