//! The least store that actors can work on, for their own tests: versions, graceful deletion and owners.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::change::{Doomed, Kind};
use super::cluster::{Cluster, Refused};
use super::object;

type Key = (Kind, String, String);

pub(crate) struct Memory {
    objects: Mutex<BTreeMap<Key, Arc<Value>>>,
    version: watch::Sender<u64>,
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { objects: Mutex::default(), version: watch::Sender::new(0) })
    }

    fn bump(&self) -> u64 {
        self.version.send_modify(|version| *version += 1);
        *self.version.borrow()
    }

    /// Changes an object as a user would.
    pub(crate) fn edit(&self, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(kind, "test", name).unwrap().as_ref().clone();
        edit(&mut object);
        self.update(kind, object).unwrap();
    }

    fn put(&self, kind: Kind, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.bump().to_string());
        let key = (kind, object::namespace(&object).to_owned(), object::name(&object).to_owned());
        self.objects.lock().unwrap().insert(key, Arc::new(object));
    }

    fn latest(&self, kind: Kind, object: &Value) -> Result<Arc<Value>, Refused> {
        let old = self
            .get(kind, object::namespace(object), object::name(object))
            .ok_or(Refused::Stale("gone".to_owned()))?;
        let same = old["metadata"]["resourceVersion"] == object["metadata"]["resourceVersion"];
        if same { Ok(old) } else { Err(Refused::Stale("conflict".to_owned())) }
    }
}

impl Cluster for Memory {
    fn list(&self, kind: Kind) -> Vec<Arc<Value>> {
        self.objects
            .lock()
            .unwrap()
            .iter()
            .filter(|((held, _, _), _)| *held == kind)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.objects.lock().unwrap().get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    fn create(&self, kind: Kind, mut object: Value) -> Result<(), Refused> {
        if self.get(kind, object::namespace(&object), object::name(&object)).is_some() {
            return Err(Refused::Stale("exists".to_owned()));
        }
        let uid = format!("uid-{}", self.bump());
        object::set(&mut object, &["metadata", "uid"], json!(uid));
        object::set(&mut object, &["metadata", "generation"], json!(1));
        self.put(kind, object);
        Ok(())
    }

    fn update(&self, kind: Kind, mut object: Value) -> Result<(), Refused> {
        let old = self.latest(kind, &object)?;
        object["status"] = old["status"].clone();
        if object == *old {
            return Ok(());
        }
        if object["spec"] != old["spec"] {
            object["metadata"]["generation"] =
                json!(object::int(&old, "/metadata/generation").unwrap() + 1);
        }
        self.put(kind, object);
        Ok(())
    }

    fn update_status(&self, kind: Kind, object: Value) -> Result<(), Refused> {
        let mut fresh = self.latest(kind, &object)?.as_ref().clone();
        fresh["status"] = object["status"].clone();
        self.put(kind, fresh);
        Ok(())
    }

    fn delete(&self, doomed: &Doomed) -> Result<(), Refused> {
        let old = self
            .get(doomed.kind, &doomed.namespace, &doomed.name)
            .filter(|old| object::uid(old) == doomed.uid)
            .ok_or(Refused::Stale("gone".to_owned()))?;
        if doomed.kind == Kind::Pod && doomed.grace_secs != Some(0) {
            if !object::deleting(&old) {
                let mut leaving = old.as_ref().clone();
                leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                leaving["metadata"]["deletionGracePeriodSeconds"] = json!(30);
                self.put(doomed.kind, leaving);
            }
            return Ok(());
        }
        self.objects.lock().unwrap().remove(&(
            doomed.kind,
            doomed.namespace.clone(),
            doomed.name.clone(),
        ));
        self.bump();
        Ok(())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}
