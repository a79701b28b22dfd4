//! Objects of our own that stand beside what routes: found by who made them, applied whole.

use serde_json::{Value, json};
use serin_core::fence;
use serin_core::model::{Canary, Exposure};
use serin_core::observed::Seen;

use super::RouterError;
use crate::change::{Change, ObjectRef, Objects};
use crate::json::{child, covers, resource_version};
use crate::ownership::owner;
use crate::ownership::{self, Owner};

pub(super) fn present(live: &Objects, object: ObjectRef) -> Result<Option<&Value>, RouterError> {
    match live.get(&object) {
        Seen::Present(value) => Ok(Some(value)),
        Seen::Absent => Ok(None),
        Seen::Unreadable(why) => Err(RouterError::Unreadable { object, why }),
    }
}

/// One of ours under this name; somebody else's is as good as none.
pub(super) fn ours<'a>(
    canary: &Canary,
    live: &'a Objects,
    object: ObjectRef,
) -> Result<Option<&'a Value>, RouterError> {
    let found = present(live, object)?;
    Ok(found.filter(|value| ownership::of(value, canary) == Owner::Ours))
}

/// Somebody else's under this name.
pub(super) fn taken(canary: &Canary, live: &Objects, object: ObjectRef) -> Option<RouterError> {
    match ownership::of(live.present(&object)?, canary) {
        Owner::Ours => None,
        Owner::Other(owner) => Some(RouterError::NotOurs { object, owner }),
    }
}

/// The write that makes it so; none where it is. The list at the pointer is atomic and compared whole.
pub(super) fn applied(
    canary: &Canary,
    wanted: Exposure,
    target: ObjectRef,
    spec: Value,
    live: Option<&Value>,
    list: &str,
) -> Option<Change> {
    let mut object = json!({
        "apiVersion": target.kind.api_version(),
        "kind": target.kind.kind,
        "metadata": {
            "name": target.name, "namespace": target.namespace, "ownerReferences": [owner(canary)],
        },
        "spec": spec,
    });
    let same = |live: &Value| covers(live, &object) && live.pointer(list) == object.pointer(list);
    if live.is_some_and(same) {
        return None;
    }
    let fenced = live.filter(|_| fence::route_is_fenced(wanted)).and_then(resource_version);
    if let (Some(version), Some(metadata)) = (fenced, child(&mut object, "metadata")) {
        metadata.insert("resourceVersion".into(), version.into());
    }
    Some(Change::Apply { target, object })
}
