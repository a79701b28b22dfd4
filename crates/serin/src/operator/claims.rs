//! Which canary an object belongs to where several would write it: the oldest has it, and the others are told.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};

use kube::api::DynamicObject;
use serde_json::Value;
use serin_core::model::{CANARY, Key, PRIMARY, TargetKind};
use serin_core::names::{LABEL_MAX, OBJECT_MAX, derived};
use serin_core::observed::Duplicate;

use crate::cache::key_of;

/// Names are taken from documents as they are, valid or not: a Canary that waits for an edit keeps what it has.
#[derive(Default)]
pub struct Claims {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_key: BTreeMap<Key, Claim>,
    by_object: BTreeMap<Object, BTreeSet<(Age, Key)>>,
}

/// Namespace, kind and name.
type Object = (String, &'static str, String);
/// Creation time and uid: who was first.
type Age = (String, String);

#[derive(Clone, PartialEq, Eq)]
struct Claim {
    objects: BTreeSet<Object>,
    age: Age,
}

impl Claim {
    fn of(object: &DynamicObject, key: &Key) -> Self {
        let text = |pointer: &str| object.data.pointer(pointer).and_then(Value::as_str);
        let target = text("/spec/targetRef/name").unwrap_or_default();
        let apex = text("/spec/service/name").unwrap_or(target);
        let mut names = vec![("Service", apex.to_owned())];
        names.push(("Service", derived(apex, PRIMARY, LABEL_MAX)));
        names.push(("Service", derived(apex, CANARY, LABEL_MAX)));
        // A DaemonSet and a Deployment of one name are two.
        let kind = match text("/spec/targetRef/kind") {
            Some("Service") => None,
            Some(kind) => TargetKind::named(kind),
            None => Some(TargetKind::Deployment),
        };
        names.push((kind.map_or("Service", TargetKind::name), target.to_owned()));
        names.extend(kind.map(|kind| (kind.name(), kind.primary_name(target))));
        if let Some(scaler) = text("/spec/autoscalerRef/name") {
            names.push(("HorizontalPodAutoscaler", derived(scaler, PRIMARY, OBJECT_MAX)));
        }
        let created = object.metadata.creation_timestamp.as_ref();
        let created = created.map(|time| time.0.to_string()).unwrap_or_default();
        let objects = names.into_iter().filter(|(_, name)| !name.is_empty());
        Self {
            objects: objects.map(|(kind, name)| (key.namespace.clone(), kind, name)).collect(),
            age: (created, object.metadata.uid.clone().unwrap_or_default()),
        }
    }
}

impl State {
    fn remove(&mut self, key: &Key) -> Option<Claim> {
        let claim = self.by_key.remove(key)?;
        for object in &claim.objects {
            if let Some(all) = self.by_object.get_mut(object) {
                all.remove(&(claim.age.clone(), key.clone()));
                if all.is_empty() {
                    self.by_object.remove(object);
                }
            }
        }
        Some(claim)
    }

    fn others<'a>(&'a self, object: &Object, key: &'a Key) -> impl Iterator<Item = &'a (Age, Key)> {
        let all = self.by_object.get(object).into_iter().flatten();
        all.filter(move |(_, other)| other != key)
    }
}

impl Claims {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Notes what `object` claims, and says which older canary claims some of it.
    pub fn claim(&self, object: &DynamicObject) -> Option<Duplicate> {
        let key = key_of(object)?;
        let claim = Claim::of(object, &key);
        let mut state = self.state();
        if state.by_key.get(&key) != Some(&claim) {
            state.remove(&key);
            for object in &claim.objects {
                let all = state.by_object.entry(object.clone()).or_default();
                all.insert((claim.age.clone(), key.clone()));
            }
            state.by_key.insert(key.clone(), claim.clone());
        }
        let oldest = |object: &Object| {
            let (age, older) = state.others(object, &key).min()?;
            let (_, kind, name) = object;
            let object = format!("{kind} {name}");
            (*age < claim.age).then(|| (age.clone(), Duplicate { older: older.clone(), object }))
        };
        // The target first, where several are claimed: it tells most.
        let all = claim.objects.iter().filter_map(oldest);
        all.min_by(|(age, _), (other, _)| age.cmp(other)).map(|(_, duplicate)| duplicate)
    }

    /// Forgets a canary and says who waited for it.
    pub fn release(&self, key: &Key) -> Vec<Key> {
        let mut state = self.state();
        let Some(gone) = state.remove(key) else { return Vec::new() };
        let waiting: BTreeSet<Key> = gone
            .objects
            .iter()
            .flat_map(|object| state.others(object, key).map(|(_, other)| other.clone()))
            .collect();
        waiting.into_iter().collect()
    }

    pub fn keys(&self) -> Vec<Key> {
        self.state().by_key.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn canary(name: &str, created: u8, spec: Value) -> DynamicObject {
        serde_json::from_value(json!({
            "apiVersion": "flagger.app/v1beta1", "kind": "Canary",
            "metadata": {"name": name, "namespace": "develop", "uid": name,
                "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z")},
            "spec": spec,
        }))
        .unwrap()
    }

    fn target(name: &str) -> Value {
        json!({"targetRef": {"kind": "Deployment", "name": name}})
    }

    #[test]
    fn every_object_that_two_would_write_belongs_to_the_older() {
        let claims = Claims::default();
        let waits = |object: &DynamicObject| {
            claims.claim(object).map(|found| format!("{} has {}", found.older, found.object))
        };
        let first = canary("first", 1, target("shop"));
        assert_eq!(waits(&first), None);
        assert_eq!(waits(&canary("other", 2, target("cart"))), None);
        let same = canary("same", 3, target("shop"));
        assert_eq!(waits(&same), Some("develop/first has Deployment shop".to_owned()));
        let derived = canary("derived", 4, target("shop-canary"));
        assert_eq!(waits(&derived), Some("develop/first has Service shop-canary".to_owned()));
        let of_primary = canary("primary", 5, target("shop-primary"));
        let told = waits(&of_primary).unwrap();
        assert_eq!(told, "develop/first has Deployment shop-primary");
        let mut service = target("web");
        service["service"] = json!({"name": "cart"});
        let apex = canary("apex", 6, service);
        assert_eq!(waits(&apex), Some("develop/other has Service cart".to_owned()));
        // The older does not wait for the younger.
        assert_eq!(waits(&first), None);
        let key = |name: &str| Key::new("develop", name);
        assert_eq!(claims.release(&key("first")), [key("derived"), key("primary"), key("same")]);
        assert_eq!(waits(&same), None);
        // An edit lets go of what was claimed.
        assert_eq!(waits(&canary("same", 3, target("elsewhere"))), None);
        assert_eq!(claims.release(&key("same")), []);
        assert_eq!(claims.keys().len(), 4);
    }
}
