//! Plain Kubernetes: no object that splits traffic; the apex Service selects the primary, and that is all there is.

use std::collections::BTreeSet;

use serin_core::model::provider::KUBERNETES;
use serin_core::model::{Builtin, Canary, Exposure, Provider};

use super::{Router, RouterError, supported};
use crate::change::{Change, ObjectRef, Objects};
use crate::metric::of_pods;

pub(super) struct Kubernetes;

impl Router for Kubernetes {
    fn provider(&self) -> &'static Provider {
        &KUBERNETES
    }

    fn reads(&self, _canary: &Canary) -> Vec<ObjectRef> {
        Vec::new()
    }

    fn fenced(&self, _canary: &Canary) -> Vec<ObjectRef> {
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

    fn obstacles(&self, _canary: &Canary, _live: &Objects) -> Vec<RouterError> {
        Vec::new()
    }

    fn is_sticky(&self, _canary: &Canary, _live: &Objects) -> bool {
        false
    }

    fn restore(&self, _canary: &Canary, _live: &Objects) -> Result<Vec<Change>, RouterError> {
        Ok(Vec::new())
    }

    fn builtin(&self, canary: &Canary, builtin: Builtin, window: &str) -> String {
        of_pods(canary, builtin, window)
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
