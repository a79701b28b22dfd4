//! The effects of a change: kinds of CRDs, termination of namespaces, garbage collection of dependents.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::admit::metadata;
use super::index::{blocks, uid_of};
use super::write::{DeleteOptions, ManagedFields, Propagation, WriteOptions};
use super::{Inner, Name, Table, name_of, owner_uids};
use crate::failure::Failure;
use crate::json_pointer::At;
use crate::registry::{self, Resource, ResourceId};
use crate::schema::FieldError;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// The finalizer of a definition until the last object of its kind is deleted.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
pub(super) const CRD_GROUP: &str = "apiextensions.k8s.io";
pub(super) const CRDS: &str = "customresourcedefinitions";
/// The default grace period of a pod, in seconds.
const POD_GRACE_SECS: i64 = 30;
/// The number of Service addresses; nothing listens on them, they only have to be unique.
const CLUSTER_IPS: u32 = 250 * 250;
/// The range of node ports in Kubernetes.
const NODE_PORTS: std::ops::RangeInclusive<i64> = 30_000..=32_767;
/// Namespaces that cannot be deleted.
const PROTECTED_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];

impl Inner {
    /// Sets the fields of a new object that only the server can set.
    pub(super) fn fill_server_fields(
        &mut self,
        resource: &Resource,
        object: &mut Value,
    ) -> Result<(), Failure> {
        if resource.custom {
            return Ok(());
        }
        match resource.kind.as_str() {
            "Namespace" => {
                object["spec"] = json!({"finalizers": ["kubernetes"]});
                object["status"] = json!({"phase": "Active"});
            }
            "Pod" => admit_pod(object),
            "Service" => self.give_cluster_ip(object),
            "CustomResourceDefinition" => {
                let defined =
                    registry::from_crd(object).map_err(|errors| invalid_crd(object, &errors))?;
                let wanted = format!("{}.{}", defined.id.plural, defined.id.group);
                if object.at("/metadata/name").and_then(Value::as_str) != Some(wanted.as_str()) {
                    let error = FieldError {
                        field: "metadata.name".to_owned(),
                        reason: "FieldValueInvalid",
                        message: format!(
                            "Invalid value: {}: must be spec.names.plural+\".\"+spec.group",
                            object.at("/metadata/name").unwrap_or(&Value::Null)
                        ),
                    };
                    return Err(invalid_crd(object, &[error]));
                }
                self.check_definition(object, &defined)?;
                object["status"] = crd_status(object, None, &self.now_text());
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn give_cluster_ip(&mut self, object: &mut Value) {
        let headless = object.at("/spec/clusterIP").and_then(Value::as_str) == Some("None");
        if object.at("/spec/type").and_then(Value::as_str) == Some("ExternalName") {
            return;
        }
        let address = if headless { String::new() } else { self.free_address() };
        self.give_node_ports(object);
        let spec = &mut object["spec"];
        for (field, value) in
            [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))]
        {
            if spec.get(field).is_none_or(Value::is_null) {
                spec[field] = value;
            }
        }
        if headless {
            spec["clusterIPs"] = json!(["None"]);
        } else if spec.get("clusterIP").and_then(Value::as_str).is_none_or(str::is_empty) {
            spec["clusterIP"] = json!(address);
            spec["clusterIPs"] = json!([address]);
        }
    }

    /// Assigns node ports, for the types of Services that have them.
    fn give_node_ports(&self, object: &mut Value) {
        let kind = object.at("/spec/type").and_then(Value::as_str);
        if !matches!(kind, Some("NodePort" | "LoadBalancer")) {
            return;
        }
        let services = self.tables.get(&ResourceId::core("services"));
        let ports = |service: &Value| -> Vec<i64> {
            let list = service.at("/spec/ports").and_then(Value::as_array);
            list.into_iter().flatten().filter_map(|port| port.get("nodePort")?.as_i64()).collect()
        };
        let mut taken: BTreeSet<i64> = services
            .into_iter()
            .flat_map(|table| table.objects.values())
            .flat_map(|service| ports(service))
            .chain(ports(object))
            .collect();
        let list = object["spec"].get_mut("ports").and_then(Value::as_array_mut);
        for port in list.into_iter().flatten() {
            if port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) == 0
                && let Some(free) = NODE_PORTS.clone().find(|number| !taken.contains(number))
            {
                port["nodePort"] = json!(free);
                taken.insert(free);
            }
        }
    }

    /// The first free Service address; when all are in use, one is shared rather than the Service refused.
    fn free_address(&self) -> String {
        let services = self.tables.get(&ResourceId::core("services"));
        let taken: BTreeSet<&str> = services
            .into_iter()
            .flat_map(|table| table.objects.values())
            .filter_map(|service| service.at("/spec/clusterIP").and_then(Value::as_str))
            .collect();
        (0..CLUSTER_IPS)
            .map(|number| format!("127.200.{}.{}", number / 250, number % 250 + 1))
            .find(|address| !taken.contains(address.as_str()))
            .unwrap_or_else(|| "127.200.0.1".to_owned())
    }

    /// The effects of a creation.
    pub(super) fn created(&mut self, resource: &Resource, object: &Value) -> Result<(), Failure> {
        if resource.custom {
            return Ok(());
        }
        match resource.kind.as_str() {
            "CustomResourceDefinition" => self.install(object),
            "Event" => {
                self.trim_events();
                Ok(())
            }
            "Namespace" => {
                self.default_account(object);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Creates the service account `default`, which Kubernetes has in every namespace.
    fn default_account(&mut self, namespace: &Value) {
        let name = namespace.at("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let accounts = ResourceId::core("serviceaccounts");
        let by = WriteOptions::by("serviceaccount-controller");
        // This cannot fail: the namespace is new.
        let made = self.create(&accounts, name, account, &by, ManagedFields::Update);
        debug_assert!(made.is_ok(), "{made:?}");
    }

    /// The effects that must be possible before a change is stored.
    pub(super) fn changing(&mut self, resource: &Resource, new: &Value) -> Result<(), Failure> {
        if resource.custom || resource.kind != "CustomResourceDefinition" {
            return Ok(());
        }
        self.install(new)
    }

    /// The effects of a stored change: a deleted object without finalizers is removed.
    pub(super) fn updated(&mut self, id: &ResourceId, name: &Name, object: &Value) {
        let finalizers = object.at("/metadata/finalizers").and_then(Value::as_array);
        let held = finalizers.is_some_and(|list| !list.is_empty());
        let core = id.group.is_empty();
        let ends_elsewhere = core && (id.plural == "pods" || id.plural == "namespaces");
        if object.at("/metadata/deletionTimestamp").is_some() && !held && !ends_elsewhere {
            self.remove(id, name);
        }
    }

    pub(super) fn install(&mut self, crd: &Value) -> Result<(), Failure> {
        let resource = registry::from_crd(crd).map_err(|errors| invalid_crd(crd, &errors))?;
        let id = resource.id.clone();
        let compacted = self.version;
        self.tables.entry(id.clone()).or_insert_with(|| Table { compacted, ..Table::default() });
        self.resources.insert(id, Arc::new(resource));
        self.schema_version += 1;
        Ok(())
    }

    /// Stops serving a kind. Its history stays, so that watches see its deletions.
    fn uninstall(&mut self, crd: &Value) {
        self.resources.remove(&defined_by(crd));
        self.schema_version += 1;
    }

    /// Deletes a definition after the last object of its kind.
    fn end_crd(&mut self, id: &ResourceId, name: &Name, crd: &Arc<Value>) -> Arc<Value> {
        let marked = self.mark_deleted(id, name, crd, Some(CLEANUP), None);
        let kind = defined_by(crd);
        let names: Vec<Name> = self
            .tables
            .get(&kind)
            .map(|table| table.objects.keys().cloned().collect())
            .unwrap_or_default();
        for name in names {
            // It may be removed already, with an earlier one.
            drop(self.delete(&kind, &name, &DeleteOptions::default()));
        }
        self.finish_crd(&kind);
        self.object(id, name).unwrap_or(marked)
    }

    fn finish_crd(&mut self, kind: &ResourceId) {
        let name = (String::new(), format!("{}.{}", kind.plural, kind.group));
        let id = ResourceId::new(CRD_GROUP, CRDS);
        let Some(crd) = self.object(&id, &name) else { return };
        let empty = self.tables.get(kind).is_none_or(|table| table.objects.is_empty());
        if !empty || !has_finalizer(&crd, CLEANUP) {
            return;
        }
        let mut freed = (*crd).clone();
        if let Some(list) = freed.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut)
        {
            list.retain(|finalizer| finalizer != CLEANUP);
        }
        let freed = self.commit(&id, &name, freed);
        self.updated(&id, &name, &freed);
    }

    /// Whether the definition of this kind is being deleted.
    pub(super) fn kind_terminates(&self, kind: &ResourceId) -> bool {
        let name = (String::new(), format!("{}.{}", kind.plural, kind.group));
        self.object(&ResourceId::new(CRD_GROUP, CRDS), &name)
            .is_some_and(|crd| crd.at("/metadata/deletionTimestamp").is_some())
    }

    pub(super) fn delete(
        &mut self,
        id: &ResourceId,
        name: &Name,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, Failure> {
        self.find(id)?;
        let object = self.existing(id, name)?;
        preconditions(id, name, &object, options)?;
        let namespace = id.group.is_empty() && id.plural == "namespaces";
        if namespace && PROTECTED_NAMESPACES.contains(&name.1.as_str()) {
            let why = "this namespace may not be deleted";
            return Err(Failure::forbidden("", "namespaces", &name.1, why));
        }
        if options.dry_run {
            return Ok(object);
        }
        if namespace {
            return Ok(self.end_namespace(name, &object));
        }
        if id.group.is_empty() && id.plural == "pods" {
            return Ok(self.delete_pod(id, name, &object, options));
        }
        if id.group == CRD_GROUP && id.plural == CRDS {
            return Ok(self.end_crd(id, name, &object));
        }
        let uid = uid_of(&object).unwrap_or_default();
        let dependents = self.owners.dependents(uid);
        match options.propagation {
            // Owners may own each other: one that waits already is not asked again.
            Propagation::Foreground if has_finalizer(&object, FOREGROUND) => return Ok(object),
            Propagation::Orphan => self.orphan(uid, &dependents),
            Propagation::Foreground if !dependents.is_empty() => {
                self.end_in_foreground(id, name);
                return Ok(self.object(id, name).unwrap_or(object));
            }
            Propagation::Background | Propagation::Foreground => {}
        }
        let held = object
            .at("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|l| !l.is_empty());
        if held {
            return Ok(self.mark_deleted(id, name, &object, None, None));
        }
        Ok(self.remove(id, name).unwrap_or(object))
    }

    /// Foreground deletion: marks an owner and its dependents, and deletes those without dependents; each owner goes after its last one.
    fn end_in_foreground(&mut self, id: &ResourceId, name: &Name) {
        let mut waiting = vec![(id.clone(), name.clone())];
        let mut owners = Vec::new();
        while let Some((id, name)) = waiting.pop() {
            let Some(object) = self.object(&id, &name) else { continue };
            // Owners may own each other: one that waits already is not asked again.
            if has_finalizer(&object, FOREGROUND) {
                continue;
            }
            let uid = uid_of(&object).unwrap_or_default();
            let dependents = self.owners.dependents(uid);
            let pod = id.group.is_empty() && id.plural == "pods";
            if dependents.is_empty() || pod {
                // It may be removed already, with an earlier one.
                drop(self.delete(&id, &name, &DeleteOptions::default()));
            } else {
                self.mark_deleted(&id, &name, &object, Some(FOREGROUND), None);
                owners.push(uid.to_owned());
                waiting.extend(dependents);
            }
        }
        // Dependents before owners; most are removed by now.
        for uid in owners.iter().rev() {
            self.finish_foreground(uid);
        }
    }

    /// Marks a pod on a node as deleted; the kubelet removes it when its processes have ended.
    fn delete_pod(
        &mut self,
        id: &ResourceId,
        name: &Name,
        object: &Arc<Value>,
        options: &DeleteOptions,
    ) -> Arc<Value> {
        let placed = object
            .at("/spec/nodeName")
            .and_then(Value::as_str)
            .is_some_and(|node| !node.is_empty());
        let own = object.at("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
        let grace = options.grace_secs.or(own).unwrap_or(POD_GRACE_SECS).max(0);
        if placed && grace > 0 {
            return self.mark_deleted(id, name, object, None, Some(grace));
        }
        self.remove(id, name).unwrap_or_else(|| Arc::clone(object))
    }

    /// Sets the deletion timestamp; the object is removed when its finalizers are.
    fn mark_deleted(
        &mut self,
        id: &ResourceId,
        name: &Name,
        object: &Arc<Value>,
        finalizer: Option<&str>,
        grace: Option<i64>,
    ) -> Arc<Value> {
        if object.at("/metadata/deletionTimestamp").is_some() && finalizer.is_none() {
            return Arc::clone(object);
        }
        let mut marked = (**object).clone();
        let now = self.now_text();
        if let Ok(meta) = metadata(&mut marked) {
            meta.entry("deletionTimestamp").or_insert_with(|| json!(now));
            meta.insert("deletionGracePeriodSeconds".to_owned(), json!(grace.unwrap_or(0)));
            if let Some(finalizer) = finalizer {
                let list = meta.entry("finalizers").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut()
                    && !list.iter().any(|known| known == finalizer)
                {
                    list.push(json!(finalizer));
                }
            }
        }
        if marked == **object {
            return Arc::clone(object);
        }
        self.commit(id, name, marked)
    }

    /// Removes an object and handles the effects, in a loop instead of recursion, however long the chain of owners is.
    pub(super) fn remove(&mut self, id: &ResourceId, name: &Name) -> Option<Arc<Value>> {
        let gone = self.remove_object(id, name)?;
        self.removed.push_back((id.clone(), name.clone(), Arc::clone(&gone)));
        if !self.collecting_garbage {
            self.collecting_garbage = true;
            while let Some((id, name, gone)) = self.removed.pop_front() {
                self.after_removal(&id, &name, &gone);
            }
            self.collecting_garbage = false;
        }
        Some(gone)
    }

    /// The effects of a removal.
    fn after_removal(&mut self, id: &ResourceId, name: &Name, gone: &Value) {
        if id.group == CRD_GROUP && id.plural == CRDS {
            self.uninstall(gone);
        }
        if let Some(uid) = uid_of(gone) {
            for (id, name) in self.owners.dependents(uid) {
                if self.all_owners_gone(&id, &name) {
                    drop(self.delete(&id, &name, &DeleteOptions::default()));
                }
            }
        }
        for owner in owner_uids(gone) {
            self.finish_foreground(&owner);
        }
        if !name.0.is_empty() {
            self.finish_namespace(&name.0);
        }
        self.finish_crd(id);
    }

    fn all_owners_gone(&self, id: &ResourceId, name: &Name) -> bool {
        let Some(object) = self.object(id, name) else { return false };
        owner_uids(&object).iter().all(|owner| self.owners.place(owner).is_none())
    }

    fn orphan(&mut self, uid: &str, dependents: &[(ResourceId, Name)]) {
        for (id, name) in dependents {
            let Some(object) = self.object(id, name) else { continue };
            let mut freed = (*object).clone();
            if let Some(owners) =
                freed.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut)
            {
                owners.retain(|owner| owner.get("uid").and_then(Value::as_str) != Some(uid));
            }
            self.commit(id, name, freed);
        }
    }

    /// Removes an owner in foreground deletion once no dependent blocks it.
    fn finish_foreground(&mut self, uid: &str) {
        let Some((id, name)) = self.owners.place(uid).cloned() else { return };
        let Some(object) = self.object(&id, &name) else { return };
        let waits = object
            .at("/metadata/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|list| list.iter().any(|f| f == FOREGROUND || f == ORPHAN));
        if !waits || object.at("/metadata/deletionTimestamp").is_none() {
            return;
        }
        let blocked = self
            .owners
            .dependents(uid)
            .iter()
            .filter_map(|(id, name)| self.object(id, name))
            .any(|dependent| blocks(&dependent, uid));
        if blocked {
            return;
        }
        let mut freed = (*object).clone();
        if let Some(list) = freed.pointer_mut("/metadata/finalizers").and_then(Value::as_array_mut)
        {
            list.retain(|finalizer| finalizer != FOREGROUND && finalizer != ORPHAN);
        }
        let freed = self.commit(&id, &name, freed);
        self.updated(&id, &name, &freed);
    }

    fn end_namespace(&mut self, name: &Name, object: &Arc<Value>) -> Arc<Value> {
        let id = ResourceId::core("namespaces");
        let mut ending = (**object).clone();
        ending["status"] = json!({"phase": "Terminating"});
        let now = self.now_text();
        if let Ok(meta) = metadata(&mut ending) {
            meta.entry("deletionTimestamp").or_insert_with(|| json!(now));
        }
        let ending =
            if ending == **object { Arc::clone(object) } else { self.commit(&id, name, ending) };
        let inside: Vec<(ResourceId, Name)> = self
            .tables
            .iter()
            .flat_map(|(id, table)| {
                table.objects.keys().map(move |name| (id.clone(), name.clone()))
            })
            .filter(|(_, (namespace, _))| *namespace == name.1)
            .collect();
        for (id, inner) in inside {
            // Some are removed already, with their owner.
            drop(self.delete(&id, &inner, &DeleteOptions::default()));
        }
        self.finish_namespace(&name.1);
        self.object(&id, name).unwrap_or(ending)
    }

    /// Removes a terminating namespace once it is empty.
    fn finish_namespace(&mut self, namespace: &str) {
        let id = ResourceId::core("namespaces");
        let name = (String::new(), namespace.to_owned());
        let ends = self
            .object(&id, &name)
            .is_some_and(|object| object.at("/metadata/deletionTimestamp").is_some());
        if ends
            && self
                .tables
                .values()
                .all(|table| !table.objects.keys().any(|(ns, _)| ns == namespace))
        {
            self.remove_object(&id, &name);
        }
    }
}

fn preconditions(
    id: &ResourceId,
    name: &Name,
    object: &Value,
    options: &DeleteOptions,
) -> Result<(), Failure> {
    for (wanted, pointer, label) in [
        (&options.uid, "/metadata/uid", "UID"),
        (&options.resource_version, "/metadata/resourceVersion", "ResourceVersion"),
    ] {
        let have = object.at(pointer).and_then(Value::as_str).unwrap_or_default();
        if let Some(wanted) = wanted
            && have != wanted
        {
            let why = format!(
                "Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {have}"
            );
            return Err(Failure::conflict(&id.group, &id.plural, &name.1, &why));
        }
    }
    Ok(())
}

fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    let list = object.at("/metadata/finalizers").and_then(Value::as_array);
    list.is_some_and(|list| list.iter().any(|known| known == finalizer))
}

/// The kind that a CRD defines.
fn defined_by(crd: &Value) -> ResourceId {
    let text = |pointer: &str| crd.at(pointer).and_then(Value::as_str).unwrap_or_default();
    ResourceId::new(text("/spec/group"), text("/spec/names/plural"))
}

pub(super) fn invalid_crd(crd: &Value, errors: &[FieldError]) -> Failure {
    Failure::invalid("apiextensions.k8s.io", "CustomResourceDefinition", &name_of(crd).1, errors)
}

pub(super) fn crd_status(crd: &Value, old: Option<&Value>, now: &str) -> Value {
    let mut stored: Vec<Value> = old
        .and_then(|status| status.get("storedVersions")?.as_array().cloned())
        .unwrap_or_default();
    let versions = crd.at("/spec/versions").and_then(Value::as_array);
    for version in versions.into_iter().flatten() {
        let storage = version.get("storage").and_then(Value::as_bool) == Some(true);
        if let Some(name) = version.get("name").filter(|name| storage && !stored.contains(name)) {
            stored.push(name.clone());
        }
    }
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    let fresh = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]);
    let conditions = old.and_then(|status| status.get("conditions")).cloned().unwrap_or(fresh);
    json!({
        "acceptedNames": crd.at("/spec/names"),
        "storedVersions": stored,
        "conditions": conditions,
    })
}

/// The fields that the admission of a real server adds to every pod.
fn admit_pod(object: &mut Value) {
    let spec = &mut object["spec"];
    for (field, value) in
        [("priority", json!(0)), ("preemptionPolicy", json!("PreemptLowerPriority"))]
    {
        if spec.get(field).is_none_or(Value::is_null) {
            spec[field] = value;
        }
    }
    let tolerations = spec.as_object_mut().map(|map| map.entry("tolerations").or_insert(json!([])));
    let Some(tolerations) = tolerations.and_then(Value::as_array_mut) else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        if !tolerations.iter().any(|one| one["key"] == key || one["key"].is_null()) {
            tolerations.push(json!({
                "key": key,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": 300,
            }));
        }
    }
}
