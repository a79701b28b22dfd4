//! Creating and changing objects: admission, generations, versions and the books of field ownership.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Inner, Name, Store};
use crate::defaults;
use crate::failure::Failure;
use crate::patch;
use crate::registry::{Resource, ResourceId, Version};
use crate::schema::FieldError;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sub {
    /// Everything but the status, where the kind has a status subresource.
    Main,
    Status,
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
enum Books {
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
    fn create(
        &mut self,
        id: &ResourceId,
        namespace: &str,
        mut object: Value,
        options: &WriteOptions,
        books: Books,
    ) -> Result<Written, Failure> {
        let resource = self.find(id)?;
        let version = served(&resource, &options.version)?;
        let meta = metadata(&mut object)?;
        if text(meta, "name").is_empty() {
            let prefix = text(meta, "generateName").to_owned();
            if prefix.is_empty() {
                return Err(required(
                    &resource,
                    "",
                    "metadata.name",
                    "name or generateName is required",
                ));
            }
            let suffix = self.next_suffix();
            meta.insert("name".to_owned(), json!(format!("{prefix}{suffix}")));
        }
        let meta = metadata(&mut object)?;
        let name = (namespace.to_owned(), text(meta, "name").to_owned());
        check_name(&resource, meta, &name)?;
        self.check_namespace(&resource, &name)?;
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
        let warnings = admit(&resource, version, &mut object, None, options)?;
        self.settle_new(&resource, &mut object)?;
        if books == Books::Keep {
            patch::record_update(None, &mut object, &options.manager, &version.keys, &now, None);
        }
        if options.dry_run {
            return Ok(Written { object: Arc::new(object), created: true, warnings });
        }
        let object = self.commit(id, &name, object);
        self.created(&resource, &object)?;
        Ok(Written { object, created: true, warnings })
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
        let warnings = admit(&resource, version, &mut new, Some(&old), options)?;
        defaults::keep(&resource.kind, &mut new, &old);
        immutable(&resource, &old, &new)?;
        if has_generation(&resource) && spec_of(&new) != spec_of(&old) {
            let generation =
                old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
        if books == Books::Keep {
            let rewritten =
                new.pointer("/metadata/managedFields") != old.pointer("/metadata/managedFields");
            if !rewritten && without_books(&new) == without_books(&old) {
                return Ok(Written { object: old, created: false, warnings });
            }
            let part = (sub == Sub::Status).then_some("status");
            let now = self.now_text();
            patch::record_update(Some(&old), &mut new, &options.manager, &version.keys, &now, part);
        }
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
        if !text(meta, "name").is_empty() && text(meta, "name") != name.1 {
            return Err(Failure::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                text(meta, "name"),
                name.1
            )));
        }
        let sent = text(meta, "resourceVersion");
        if !sent.is_empty()
            && Some(sent) != old.pointer("/metadata/resourceVersion").and_then(Value::as_str)
        {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return Err(Failure::conflict(&id.group, &id.plural, &name.1, why));
        }
        let uid = text(meta, "uid");
        let old_uid = old.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
        if !uid.is_empty() && uid != old_uid {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
            );
            return Err(Failure::conflict(&id.group, &id.plural, &name.1, &why));
        }
        let mut new = match sub {
            Sub::Main => object,
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
        if sub == Sub::Main && version.status {
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
            && let Some(books) = old.pointer("/metadata/managedFields")
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
            return Err(Failure::bad_request("fieldManager is required for apply patch"));
        }
        let live = self.object(id, name);
        if live.is_none() && sub == Sub::Status {
            return Err(Failure::not_found(&id.group, &id.plural, &name.1));
        }
        let mut applied = body.clone();
        let meta = metadata(&mut applied)?;
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
        let part = (sub == Sub::Status).then_some("status");
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
        if namespace.pointer("/metadata/deletionTimestamp").is_some() {
            let why = format!(
                "unable to create new content in namespace {} because it is being terminated",
                name.0
            );
            return Err(Failure::forbidden(&resource.id.group, &resource.id.plural, &name.1, &why));
        }
        Ok(())
    }
}

fn served<'a>(resource: &'a Resource, version: &str) -> Result<&'a Version, Failure> {
    let found = if version.is_empty() { resource.preferred() } else { resource.version(version) };
    found.ok_or_else(|| {
        Failure::new(404, "NotFound", "the server could not find the requested resource")
    })
}

pub(super) fn metadata(object: &mut Value) -> Result<&mut Map<String, Value>, Failure> {
    let Some(map) = object.as_object_mut() else {
        return Err(Failure::bad_request("the body is no object"));
    };
    let meta = map.entry("metadata").or_insert_with(|| json!({}));
    if meta.is_null() {
        *meta = json!({});
    }
    meta.as_object_mut().ok_or_else(|| Failure::bad_request("metadata is no object"))
}

fn text<'a>(meta: &'a Map<String, Value>, name: &str) -> &'a str {
    meta.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(map.insert(name.to_owned(), value)),
        None => drop(map.remove(name)),
    }
}

fn required(resource: &Resource, name: &str, field: &str, what: &str) -> Failure {
    let error = FieldError {
        field: field.to_owned(),
        reason: "FieldValueRequired",
        message: format!("Required value: {what}"),
    };
    Failure::invalid(&resource.id.group, &resource.kind, name, &[error])
}

/// A DNS subdomain, or for RBAC and CRDs what they allow besides.
fn check_name(resource: &Resource, meta: &Map<String, Value>, name: &Name) -> Result<(), Failure> {
    let namespace = text(meta, "namespace");
    if resource.namespaced && !namespace.is_empty() && namespace != name.0 {
        return Err(Failure::bad_request(format!(
            "the namespace of the provided object does not match the namespace sent on the request ({namespace} and {})",
            name.0
        )));
    }
    let loose = resource.id.group == "rbac.authorization.k8s.io";
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fine = name.1.len() <= 253
        && (loose
            || (name.1.chars().all(allowed)
                && edge(name.1.chars().next())
                && edge(name.1.chars().last())));
    if fine && !name.1.contains('/') {
        return Ok(());
    }
    let error = FieldError {
        field: "metadata.name".to_owned(),
        reason: "FieldValueInvalid",
        message: format!(
            "Invalid value: \"{}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
             '-' or '.', and must start and end with an alphanumeric character",
            name.1
        ),
    };
    Err(Failure::invalid(&resource.id.group, &resource.kind, &name.1, &[error]))
}

/// Types, pruning, defaults and validation. Returns warnings.
fn admit(
    resource: &Resource,
    version: &Version,
    object: &mut Value,
    old: Option<&Value>,
    options: &WriteOptions,
) -> Result<Vec<String>, Failure> {
    let name =
        object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let api_version = resource.api_version(&version.name);
    for (field, wanted) in [("kind", &resource.kind), ("apiVersion", &api_version)] {
        match object.get(field).and_then(Value::as_str) {
            Some(sent) if !sent.is_empty() && sent != wanted && field == "kind" => {
                return Err(Failure::bad_request(format!(
                    "{sent} in version \"{}\" cannot be handled as a {}: expected kind {wanted}",
                    version.name, resource.kind
                )));
            }
            Some(_) | None => object[field] = json!(wanted),
        }
    }
    let mut warnings = Vec::new();
    let Some(schema) = &version.schema else {
        defaults::fill(&resource.kind, object);
        let errors = defaults::check(&resource.kind, object);
        if errors.is_empty() {
            return Ok(warnings);
        }
        return Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors));
    };
    let unknown = schema.prune(object);
    if !unknown.is_empty() {
        let list: Vec<String> =
            unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        match options.unknown {
            Unknown::Ignore => {}
            Unknown::Warn => warnings.extend(list),
            Unknown::Strict => {
                return Err(Failure::bad_request(format!(
                    "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                    resource.kind,
                    version.name,
                    resource.kind,
                    list.join(", ")
                )));
            }
        }
    }
    schema.default(object);
    let errors = schema.validate(object, old);
    if errors.is_empty() {
        Ok(warnings)
    } else {
        Err(Failure::invalid(&resource.id.group, &resource.kind, &name, &errors))
    }
}

fn immutable(resource: &Resource, old: &Value, new: &Value) -> Result<(), Failure> {
    let guarded =
        matches!(resource.kind.as_str(), "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
            && !resource.custom;
    let (before, after) = (old.pointer("/spec/selector"), new.pointer("/spec/selector"));
    if !guarded || before == after {
        return Ok(());
    }
    let error = FieldError {
        field: "spec.selector".to_owned(),
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {}: field is immutable", after.unwrap_or(&Value::Null)),
    };
    let name = new.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    Err(Failure::invalid(&resource.id.group, &resource.kind, name, &[error]))
}

fn has_generation(resource: &Resource) -> bool {
    resource.custom
        || matches!(
            resource.id.group.as_str(),
            "apps"
                | "batch"
                | "networking.k8s.io"
                | "policy"
                | "apiextensions.k8s.io"
                | "discovery.k8s.io"
        )
}

/// Everything but metadata and status.
fn spec_of(object: &Value) -> Map<String, Value> {
    let mut map = object.as_object().cloned().unwrap_or_default();
    for part in ["metadata", "status", "apiVersion", "kind"] {
        map.remove(part);
    }
    map
}

fn without_books(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
        meta.remove("resourceVersion");
    }
    object
}
