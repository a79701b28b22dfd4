//! Creating and changing objects: admission, generations, versions and the books of field ownership.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admit::{
    admit, applied_kind, check_metadata, check_place, declared, has_generation, metadata, required,
    same_but_books, same_spec, served, set, store_as, text,
};
use super::{Inner, Name, Store};
use crate::at::At;
use crate::defaults;
use crate::failure::Failure;
use crate::generated;
use crate::patch;
use crate::registry::{Resource, ResourceId, Version};
use crate::schema::FieldError;
use crate::skeleton;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// Everything but the status, where the kind has a status subresource.
    Main,
    Status,
    /// The replica count, by way of the scale subresource.
    Scale,
}

impl Sub {
    /// As the books of field ownership call it.
    fn part(self) -> Option<&'static str> {
        match self {
            Sub::Main => None,
            Sub::Status => Some("status"),
            Sub::Scale => Some("scale"),
        }
    }
}

/// What is done about fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unknown {
    #[default]
    Ignore,
    Warn,
    Strict,
}

#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    pub manager: String,
    /// Version of the group that the body is written in; the preferred one when empty.
    pub version: String,
    pub dry_run: bool,
    pub unknown: Unknown,
    /// Take fields from other managers (server-side apply).
    pub force: bool,
}

impl WriteOptions {
    pub fn by(manager: &str) -> Self {
        Self { manager: manager.to_owned(), ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    Json,
    Merge,
    Strategic,
    Apply,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub propagation: Propagation,
    pub dry_run: bool,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// 0 removes a Pod at once.
    pub grace_secs: Option<i64>,
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    pub object: Arc<Value>,
    pub created: bool,
    /// For the client's `Warning` headers.
    pub warnings: Vec<String>,
}

/// Who keeps the books of field ownership for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Books {
    /// The change is compared and noted here.
    Keep,
    /// Server-side apply has done it.
    Kept,
}

impl Store {
    pub fn create(
        &self,
        id: &ResourceId,
        namespace: &str,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Failure> {
        self.with(|inner| inner.create(id, namespace, object, options, Books::Keep))
    }

    /// Replaces an object; with a `resourceVersion` in it only that version.
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
        self.with(|inner| inner.update(id, &name, object, sub, options, Books::Keep))
    }

    /// Changes an object in one step that nobody can come between.
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
            inner.update(id, &name, object, sub, options, Books::Keep)
        })
    }

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
        books: Books,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let meta = metadata(&mut object)?;
        check_metadata(&resource, version, meta)?;
        if books == Books::Keep && !text(meta, "resourceVersion").is_empty() {
            let why = "resourceVersion should not be set on objects to be created";
            return Err(Failure::internal(why));
        }
        self.give_name(&resource, meta)?;
        let meta = metadata(&mut object)?;
        let name = (namespace.to_owned(), text(meta, "name").to_owned());
        check_place(&resource, meta, &name)?;
        self.check_namespace(&resource, &name)?;
        if resource.custom && self.kind_ends(id) {
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
        if books == Books::Keep {
            let empty = if resource.custom { json!({}) } else { skeleton::of(&resource.kind) };
            let (by, keys) = (&options.manager, &version.keys);
            patch::record_update(Some(&empty), &mut object, by, keys, &now, None);
        }
        // What the server gives belongs to nobody.
        self.settle_new(&resource, &mut object)?;
        store_as(&resource, &mut object);
        if options.dry_run {
            return Ok(Written { object: Arc::new(object), created: true, warnings });
        }
        let object = self.commit(id, &name, object);
        self.created(&resource, &object)?;
        Ok(Written { object, created: true, warnings })
    }

    /// A name for an object that has only the beginning of one.
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
        books: Books,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let old = self.existing(id, name)?;
        let mut new = self.merge_parts(&resource, version, &old, object, sub, name)?;
        defaults::keep(&resource.kind, &mut new, &old);
        let warnings = admit(&resource, version, &mut new, Some(&old), sub, options)?;
        self.settle_changed(&resource, &old, &mut new)?;
        if has_generation(&resource) && !same_spec(&new, &old) {
            let generation = old.at("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if books == Books::Keep {
            let rewritten = new.at("/metadata/managedFields") != old.at("/metadata/managedFields");
            if !rewritten && same_but_books(&new, &old) {
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

    /// The new object as this write may make it: parts it may not touch, and what only the server sets, come from the old.
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
                let books = meta.remove("managedFields");
                let status = object.as_object_mut().and_then(|map| map.remove("status"));
                set(&mut new, "status", status);
                if let (Some(books), Some(meta)) = (books, new["metadata"].as_object_mut()) {
                    meta.insert("managedFields".to_owned(), books);
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
            && let Some(books) = old.at("/metadata/managedFields")
        {
            meta.insert("managedFields".to_owned(), books.clone());
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
        self.update(id, name, new, sub, options, Books::Keep)
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
            None => self.create(id, &name.0, result, options, Books::Kept),
            Some(_) => {
                if let Some(fence) = fence {
                    result["metadata"]["resourceVersion"] = fence;
                }
                self.update(id, name, result, sub, options, Books::Kept)
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

/// Whether the object in the body is the one that is there.
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
