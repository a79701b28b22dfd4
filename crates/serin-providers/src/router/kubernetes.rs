//! Plain Kubernetes: no object that splits traffic; the apex Service selects the primary, and that is all there is.

use std::collections::BTreeSet;

use serin_core::model::provider::KUBERNETES;
use serin_core::model::{Builtin, Canary, Exposure, Provider};

use super::{Router, RouterError, supported};
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

    fn read(&self, _canary: &Canary, _live: &Objects) -> Result<Exposure, RouterError> {
        Ok(Exposure::NONE)
    }

    fn write(
        &self,
        _canary: &Canary,
        wanted: Exposure,
        _live: &Objects,
    ) -> Result<Vec<Change>, RouterError> {
        supported(self.provider(), wanted)?;
        Ok(Vec::new())
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

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::{BoxedStrategy, Just, Strategy};
    use serde_json::{Value, json};

    use super::*;
    use crate::router::laws::Worlds;
    use crate::testing::canary;

    /// Nothing to find: there is no object that routes.
    pub(in crate::router) struct Plain;

    impl Worlds for Plain {
        fn router(&self) -> &'static dyn Router {
            &Kubernetes
        }

        fn canary(&self) -> Canary {
            canary(
                "{provider: kubernetes, analysis: {stepWeight: null, maxWeight: null, iterations: 2}}",
            )
        }

        fn found(&self) -> BoxedStrategy<Vec<Value>> {
            Just(Vec::new()).boxed()
        }

        fn foreign(&self, _objects: &Objects) -> Value {
            json!([])
        }
    }
}
