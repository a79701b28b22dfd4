//! Plain Kubernetes: no object that splits traffic; the apex Service selects the primary, and that is all there is.

use std::collections::BTreeSet;

use serin_core::model::{Canary, Provider, Split};

use super::{Features, Router, RouterError};
use crate::change::{Change, ObjectRef, Objects};

pub(super) struct Kubernetes;

impl Router for Kubernetes {
    fn provider(&self) -> Provider {
        Provider::Kubernetes
    }

    fn features(&self) -> Features {
        Features { weights: false, mirror: false, matches: false, session_affinity: false }
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
        let provider = self.provider().name();
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
}
