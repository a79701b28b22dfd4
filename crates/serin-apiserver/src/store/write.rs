//! Creates and changes objects: admission, generations, versions and field ownership.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admit::{
    admit, applied_kind, check_metadata, check_place, declared, has_generation, metadata, required,
    same_but_server_fields, same_spec, served, set, store_as, text,
};
use super::{Inner, Name, Store};
use crate::defaults;
use crate::failure::Failure;
use crate::generated;
use crate::json_pointer::At;
use crate::patch;
use crate::registry::{Resource, ResourceId, Version};
use crate::schema::FieldError;
use crate::skeleton;

/// The part of an object that a write can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// Everything, without the status if the kind has a status subresource.
    Main,
    Status,
    /// The replica count, through the scale subresource.
    Scale,
}

impl Sub {
    /// The `subresource` of `managedFields`.
    fn part(self) -> Option<&'static str> {
        match self {
            Sub::Main => None,
            Sub::Status => Some("status"),
            Sub::Scale => Some("scale"),
        }
    }
}

/// How unknown fields are handled (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    #[default]
    Ignore,
    Warn,
    Strict,
}

/// The options of a create, update or patch.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub manager: String,
    /// The version that the body is written in; the preferred one when empty.
    pub version: String,
    pub dry_run: bool,
    pub unknown: Unknown,
    /// Takes fields from other managers (server-side apply).
    pub force: bool,
}

impl WriteOptions {
    /// Options with this field manager and defaults otherwise.
    pub fn by(manager: &str) -> Self {
        Self { manager: manager.to_owned(), ..Self::default() }
    }
}

/// The content type of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// How a deletion treats dependents (`propagationPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// The options of a deletion; uid and resource version are preconditions.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub propagation: Propagation,
    pub dry_run: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// The grace period in seconds; 0 removes a Pod at once.
    pub grace_secs: Option<i64>,
}

/// The result of a write.
#[derive(Clone, Debug)]
pub struct Written {
    pub object: Arc<Value>,
    pub created: bool,
    /// For the client's `Warning` headers.
    pub warnings: Vec<String>,
}

/// Whether `managedFields` have to be updated for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ManagedFields {
    /// The store compares old and new and updates them.
    Update,
    /// Server-side apply has updated them already.
    UpToDate,
}

impl Store {
    /// Creates an object. AlreadyExists if there is one of its name, Invalid if validation fails.
    pub fn create(
        &self,
        id: &ResourceId,
        namespace: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        self.with(|inner| inner.create(id, namespace, object, options, ManagedFields::Update))
    }

    /// Replaces an object. If `resourceVersion` is set it must be the current one.
    pub fn update(
        &self,
        id: &ResourceId,
        namespace: &str,
        name: &str,
        object: Value,
        sub: Sub,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let name = (namespace.to_owned(), name.to_owned());
        self.with(|inner| inner.update(id, &name, object, sub, options, ManagedFields::Update))
    }

    /// Changes an object under one lock, so that no other write can come between read and write.
    pub fn modify(
        &self,
        id: &ResourceId,
        namespace: &str,
        name: &str,
        sub: Sub,
        options: &WriteOptions,
        change: impl FnOnce(&mut Value),
    ) -> Result<Written, Failure> {
        let name = (namespace.to_owned(), name.to_owned());
        self.with(|inner| {
            let mut object = (*inner.existing(id, &name)?).clone();
            change(&mut object);
            inner.update(id, &name, object, sub, options, ManagedFields::Update)
        })
    }

    /// Applies a patch. Conflict, NotFound or Invalid as in Kubernetes; an apply creates a missing object.
    #[expect(clippy::too_many_arguments, reason = "the parts of a PATCH request")]
    pub fn patch(
        &self,
        id: &ResourceId,
        namespace: &str,
        name: &str,
        kind: PatchKind,
        body: &Value,
        sub: Sub,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let name = (namespace.to_owned(), name.to_owned());
        self.with(|inner| match kind {
            PatchKind::Apply => inner.apply(id, &name, body, sub, options),
            PatchKind::Json | PatchKind::Merge | PatchKind::Strategic => {
                inner.patch(id, &name, kind, body, sub, options)
            }
        })
    }

    /// Deletes an object, or marks it as deleted while finalizers or a grace period hold it; returns its last state.
    pub fn delete(
        &self,
        id: &ResourceId,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Arc<Value>, Failure> {
        let name = (namespace.to_owned(), name.to_owned());
        self.with(|inner| inner.delete(id, &name, options))
    }
}

impl Inner {
    pub(super) fn create(
        &mut self,
        id: &ResourceId,
        namespace: &str,
        mut object: Value,
        options: &WriteOptions,
        managed: ManagedFields,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let meta = metadata(&mut object)?;
        check_metadata(&resource, version, meta)?;
        if managed == ManagedFields::Update && !text(meta, "resourceVersion").is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Failure::internal(why));
        }
        self.give_name(&resource, meta)?;
        let meta = metadata(&mut object)?;
        let name = (namespace.to_owned(), text(meta, "name").to_owned());
        check_place(&resource, meta, &name)?;
        self.check_namespace(&resource, &name)?;
        if resource.custom && self.kind_terminates(id) {
            return Err(Failure::new(
                405,
                "MethodNotAllowed",
                "create not allowed while custom resource definition is terminating",
            ));
        }
        if resource.namespaced {
            meta.insert("namespace".to_owned(), json!(namespace));
        } else {
            meta.remove("namespace");
        }
        if self.object(id, &name).is_some() {
            return Err(Failure::already_exists(&id.group, &id.plural, &name.1));
        }
        let now = self.now_text();
        let uid = self.next_uid();
        for unset in
            ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
        {
            meta.remove(unset);
        }
        meta.insert("uid".to_owned(), json!(uid));
        meta.insert("creationTimestamp".to_owned(), json!(now));
        if has_generation(&resource) {
            meta.insert("generation".to_owned(), json!(1));
        }
        if version.status
            && let Some(map) = object.as_object_mut()
        {
            map.remove("status");
        }
        let warnings = admit(&resource, version, &mut object, None, Sub::Main, options)?;
        if managed == ManagedFields::Update {
            let empty = if resource.custom { json!({}) } else { skeleton::of(&resource.kind) };
            let (by, keys) = (&options.manager, &version.keys);
            patch::record_update(Some(&empty), &mut object, by, keys, &now, None);
        }
        // Fields that the server sets have no owner.
        self.fill_server_fields(&resource, &mut object)?;
        store_as(&resource, &mut object);
        if options.dry_run {
            return Ok(Written { object: Arc::new(object), created: true, warnings });
        }
        let object = self.commit(id, &name, object);
        self.created(&resource, &object)?;
        Ok(Written { object, created: true, warnings })
    }

    /// Generates the name of an object that only has `generateName`.
    fn give_name(
        &mut self,
        resource: &Resource,
        meta: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        if text(meta, "name").is_empty() {
            let prefix = text(meta, "generateName").to_owned();
            if prefix.is_empty() {
                return Err(required(
                    resource,
                    "",
                    "metadata.name",
                    "name or generateName is required",
                ));
            }
            let suffix = self.next_suffix();
            let name = format!("{}{suffix}", generated::head(&prefix));
            meta.insert("name".to_owned(), json!(name));
        }
        Ok(())
    }

    fn update(
        &mut self,
        id: &ResourceId,
        name: &Name,
        object: Value,
        sub: Sub,
        options: &WriteOptions,
        managed: ManagedFields,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let old = self.existing(id, name)?;
        let mut new = self.merge_parts(&resource, version, &old, object, sub, name)?;
        defaults::keep(&resource.kind, &mut new, &old);
        let warnings = admit(&resource, version, &mut new, Some(&old), sub, options)?;
        self.check_changed(&resource, &old, &mut new)?;
        if has_generation(&resource) && !same_spec(&new, &old) {
            let generation = old.at("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if managed == ManagedFields::Update {
            let rewritten = new.at("/metadata/managedFields") != old.at("/metadata/managedFields");
            if !rewritten && same_but_server_fields(&new, &old) {
                return Ok(Written { object: old, created: false, warnings });
            }
            let now = self.now_text();
            let part = sub.part();
            patch::record_update(Some(&old), &mut new, &options.manager, &version.keys, &now, part);
        }
        store_as(&resource, &mut new);
        if new == *old {
            return Ok(Written { object: old, created: false, warnings });
        }
        if options.dry_run {
            return Ok(Written { object: Arc::new(new), created: false, warnings });
        }
        self.changing(&resource, &new)?;
        let object = self.commit(id, name, new);
        self.updated(id, name, &object);
        Ok(Written { object, created: false, warnings })
    }

    /// Combines new and old object: parts that this write may not change, and fields that only the server sets, come from the old one.
    fn merge_parts(
        &self,
        resource: &Resource,
        version: &Version,
        old: &Value,
        mut object: Value,
        sub: Sub,
        name: &Name,
    ) -> Result<Value, Failure> {
        let id = &resource.id;
        let meta = metadata(&mut object)?;
        check_metadata(resource, version, meta)?;
        check_place(resource, meta, name)?;
        is_meant(id, meta, old, name)?;
        let mut new = match sub {
            Sub::Main | Sub::Scale => object,
            Sub::Status => {
                let mut new = old.clone();
                let managed = meta.remove("managedFields");
                let status = object.as_object_mut().and_then(|map| map.remove("status"));
                set(&mut new, "status", status);
                if let (Some(managed), Some(meta)) = (managed, new["metadata"].as_object_mut()) {
                    meta.insert("managedFields".to_owned(), managed);
                }
                new
            }
        };
        if sub != Sub::Status && version.status {
            set(&mut new, "status", old.get("status").cloned());
        }
        let meta = metadata(&mut new)?;
        for fixed in [
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            match old.get("metadata").and_then(|m| m.get(fixed)) {
                Some(value) => meta.insert(fixed.to_owned(), value.clone()),
                None => meta.remove(fixed),
            };
        }
        if !meta.contains_key("managedFields")
            && let Some(managed) = old.at("/metadata/managedFields")
        {
            meta.insert("managedFields".to_owned(), managed.clone());
        }
        Ok(new)
    }

    fn patch(
        &mut self,
        id: &ResourceId,
        name: &Name,
        kind: PatchKind,
        body: &Value,
        sub: Sub,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let mut old = (*self.existing(id, name)?).clone();
        old["apiVersion"] = json!(resource.api_version(&version.name));
        let new = match kind {
            PatchKind::Json => patch::json_patch(&old, body)?,
            PatchKind::Merge => patch::merge_patch(&old, body)?,
            PatchKind::Strategic if resource.custom => {
                return Err(Failure::new(
                    415,
                    "UnsupportedMediaType",
                    "the body of the request was in an unknown format - accepted media types include: \
                     application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                ));
            }
            PatchKind::Strategic => patch::strategic_merge(&old, body, &resource.kind)?,
            PatchKind::Apply => return self.apply(id, name, body, sub, options),
        };
        self.update(id, name, new, sub, options, ManagedFields::Update)
    }

    fn apply(
        &mut self,
        id: &ResourceId,
        name: &Name,
        body: &Value,
        sub: Sub,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        if options.manager.is_empty() {
            let error = FieldError {
                field: "fieldManager".to_owned(),
                reason: "FieldValueRequired",
                message: "Required value: is required for apply patch".to_owned(),
            };
            return Err(Failure::bad_option("PatchOptions", error));
        }
        let live = self.object(id, name);
        if live.is_none() && sub == Sub::Status {
            return Err(Failure::not_found(&id.group, &id.plural, &name.1));
        }
        let mut applied = body.clone();
        applied_kind(&resource, version, &applied)?;
        let meta = metadata(&mut applied)?;
        check_metadata(&resource, version, meta)?;
        check_place(&resource, meta, name)?;
        if !text(meta, "name").is_empty() && text(meta, "name") != name.1 {
            return Err(Failure::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                text(meta, "name"),
                name.1
            )));
        }
        if meta.contains_key("managedFields") {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        meta.insert("name".to_owned(), json!(name.1));
        let fence = meta.remove("resourceVersion");
        if live.is_none() && fence.is_some() {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Failure::conflict(&id.group, &id.plural, &name.1, why));
        }
        if sub == Sub::Main
            && version.status
            && let Some(map) = applied.as_object_mut()
        {
            map.remove("status");
        }
        declared(&resource, version, &applied)?;
        let part = sub.part();
        let now = self.now_text();
        let mut result = patch::apply(
            live.as_deref(),
            &applied,
            &options.manager,
            options.force,
            &version.keys,
            &now,
            part,
        )?;
        match live {
            None => self.create(id, &name.0, result, options, ManagedFields::UpToDate),
            Some(_) => {
                if let Some(fence) = fence {
                    result["metadata"]["resourceVersion"] = fence;
                }
                self.update(id, name, result, sub, options, ManagedFields::UpToDate)
            }
        }
    }

    fn check_namespace(&self, resource: &Resource, name: &Name) -> Result<(), Failure> {
        if !resource.namespaced {
            return Ok(());
        }
        let namespaces = ResourceId::core("namespaces");
        let Some(namespace) = self.object(&namespaces, &(String::new(), name.0.clone())) else {
            return Err(Failure::not_found("", "namespaces", &name.0));
        };
        if namespace.at("/metadata/deletionTimestamp").is_some() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                name.0
            );
            let ResourceId { group, plural, .. } = &resource.id;
            return Err(Failure::forbidden(group, plural, &name.1, &why).caused_by(
                "NamespaceTerminating",
                &format!("namespace {} is being terminated", name.0),
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}

/// Whether the body is meant for the existing object.
fn is_meant(
    id: &ResourceId,
    meta: &Map<String, Value>,
    old: &Value,
    name: &Name,
) -> Result<(), Failure> {
    if !text(meta, "name").is_empty() && text(meta, "name") != name.1 {
        return Err(Failure::bad_request(format!(
            "the name of the object ({}) does not match the name on the URL ({})",
            text(meta, "name"),
            name.1
        )));
    }
    let sent = text(meta, "resourceVersion");
    if !sent.is_empty() && Some(sent) != old.at("/metadata/resourceVersion").and_then(Value::as_str)
    {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        return Err(Failure::conflict(&id.group, &id.plural, &name.1, why));
    }
    let uid = text(meta, "uid");
    let old_uid = old.at("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    if !uid.is_empty() && uid != old_uid {
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
        );
        return Err(Failure::conflict(&id.group, &id.plural, &name.1, &why));
    }
    Ok(())
}
