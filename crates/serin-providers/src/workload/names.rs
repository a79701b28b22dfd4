//! Under which names the objects of a Canary stand.

use serin_core::model::{Canary, PRIMARY};
use serin_core::names::{OBJECT_MAX, derived};

use crate::change::{CANARY, CONFIG_MAP, HORIZONTAL_POD_AUTOSCALER, ObjectRef, SECRET};

/// The Canary itself, for its finalizers.
pub fn canary_object(canary: &Canary) -> ObjectRef {
    CANARY.named(&canary.key.namespace, &canary.key.name)
}

pub fn target(canary: &Canary) -> ObjectRef {
    super::of(canary).kind().named(&canary.key.namespace, &canary.spec.target.name)
}

/// The target's autoscaler, where the spec names one.
pub fn scaler(canary: &Canary) -> Option<ObjectRef> {
    let scaler = canary.spec.scaler.as_ref()?;
    Some(HORIZONTAL_POD_AUTOSCALER.named(&canary.key.namespace, &scaler.name))
}

pub fn primary(canary: &Canary) -> ObjectRef {
    super::of(canary).kind().named(&canary.key.namespace, canary.spec.target.primary_name())
}

/// A ConfigMap or Secret that a target refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigRef {
    pub object: ObjectRef,
    /// Every mention says that it may be missing.
    pub optional: bool,
}

impl ConfigRef {
    /// Where the primary's copy may be, which must be looked up too.
    pub fn copies(&self, canary: &Canary) -> [ObjectRef; 2] {
        [copy_of(&self.object), own_copy_of(canary, &self.object)]
    }

    /// As `status.trackedConfigs` says it: `configmap/<name>` or `secret/<name>`.
    pub fn key(&self) -> String {
        config_key(&self.object)
    }
}

/// Under Flagger's name, which all Canaries that read the config have in common.
pub(crate) fn copy_of(object: &ObjectRef) -> ObjectRef {
    object.kind.named(&object.namespace, derived(&object.name, PRIMARY, OBJECT_MAX))
}

/// Under a name that no other Canary's copy has: the hash tells config `a` of `b-c` from config `a-b` of `c`.
pub(crate) fn own_copy_of(canary: &Canary, object: &ObjectRef) -> ObjectRef {
    let target = &canary.spec.target.name;
    let hash = crate::json::sha256_hex(&format!("{}\n{target}", object.name), 4);
    let tail = format!("-primary-{hash}");
    // Names are ASCII by Kubernetes' rules, and what is not is refused by it.
    let head: String =
        format!("{}-{target}", object.name).chars().take(OBJECT_MAX - tail.len()).collect();
    object.kind.named(&object.namespace, format!("{}{tail}", head.trim_end_matches(['-', '.'])))
}

pub(crate) fn config_key(object: &ObjectRef) -> String {
    debug_assert!(object.kind == CONFIG_MAP || object.kind == SECRET);
    format!("{}/{}", object.kind.kind.to_lowercase(), object.name)
}
