//! The verbs on objects: get, list, watch, create, update, patch, delete, and the subresources.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::options::{list_options, named, versioned};
use super::route::ObjectPath;
use super::target::{Conversion, Target, missing, not_allowed};
use super::{Api, Body, Call, body, json as respond, log, reviews, stream, text};
use crate::admission::{AdmissionRequest, Verb};
use crate::failure::Failure;
use crate::registry::ResourceId;
use crate::store::{Sub, Written};
use crate::table::{self, Include};

/// The form of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Table,
    Metadata,
}

/// The refusal of a subresource that pods on this server do not have, with what to use instead.
fn unsupported_subresource(sub: &str, object: Option<&Value>) -> Failure {
    let text = |pointer: &str| object.and_then(|object| object.pointer(pointer)?.as_str());
    let place = match (text("/kind"), text("/status/podIP")) {
        (Some("Pod"), Some(address)) if !address.is_empty() => format!("this one is at {address}"),
        (_, _) => "reach them directly".to_owned(),
    };
    let message = format!("{sub} is not offered: pods are processes of this machine, {place}");
    Failure::new(501, "NotImplemented", message)
}

impl Api {
    pub(super) fn objects(
        &self,
        place: &ObjectPath,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let resource = self.store.resource(&place.id).ok_or_else(missing)?;
        let conversion = match (place.id.group.as_str(), place.version.as_str()) {
            ("events.k8s.io", _) => Conversion::EventsV1,
            ("autoscaling", "v1") => Conversion::AutoscalingV1,
            _ => Conversion::None,
        };
        let id = match conversion {
            Conversion::EventsV1 => ResourceId::core("events"),
            Conversion::None | Conversion::AutoscalingV1 => place.id.clone(),
        };
        let target = Target { place: place.clone(), id, resource, conversion };
        target.version()?;
        let (namespaced, inside) = (target.resource.namespaced, place.namespace.is_some());
        if (namespaced && !inside && place.name.is_some()) || (!namespaced && inside) {
            return Err(missing());
        }
        if let Some(answer) = reviews::review(&target, call)? {
            return Ok(answer);
        }
        self.admitted(&target, call)?;
        match (&place.name, place.sub.as_deref(), &call.method) {
            (None, None, &Method::GET) if call.flag("watch") => self.watch(target, call),
            (None, None, &Method::GET) => self.list(&target, call),
            (None, None, &Method::POST) => self.create(&target, call),
            (None, None, &Method::DELETE) => self.delete_many(&target, call),
            (Some(name), None, &Method::GET) if call.flag("watch") => {
                let mut target = target;
                target.place.name = Some(name.clone());
                self.watch(target, call)
            }
            (Some(name), Some("log"), &Method::GET) if target.id == ResourceId::core("pods") => {
                self.logs(&target, name, call)
            }
            (Some(name), Some("token"), &Method::POST)
                if target.id == ResourceId::core("serviceaccounts") =>
            {
                self.find(&target, name)?;
                reviews::token(name, call, self.store.now())
            }
            (Some(name), Some("scale"), _) => self.scale(&target, name, call),
            (Some(name), Some("finalize"), &Method::PUT) => self.get(&target, name, call),
            (Some(name), None | Some("status"), &Method::GET) => self.get(&target, name, call),
            (Some(name), sub @ (None | Some("status")), method) => {
                self.change(&target, name, sub, method, call)
            }
            (None, None, _) => Err(not_allowed()),
            (
                Some(name),
                Some(sub @ ("exec" | "attach" | "portforward" | "proxy" | "eviction")),
                _,
            ) => Err(unsupported_subresource(sub, self.find(&target, name).ok().as_deref())),
            _ => Err(missing()),
        }
    }

    /// Asks the embedder's admission whether a write is refused.
    fn admitted(&self, target: &Target, call: &Call) -> Result<(), Failure> {
        let Some(admission) = &self.admission else { return Ok(()) };
        let place = &target.place;
        let body = (place.name.is_none() && call.method == Method::POST)
            .then(|| body::object(call).ok())
            .flatten();
        let in_body = body.as_ref().and_then(|body| body.pointer("/metadata/name")?.as_str());
        let name = place.name.as_deref().or(in_body).unwrap_or_default();
        let exists = self.store.get(&target.id, target.namespace(), name).is_some();
        let verb = match call.method {
            Method::POST => Verb::Create,
            Method::PATCH if !exists => Verb::Create,
            Method::PUT | Method::PATCH => Verb::Change,
            Method::DELETE => Verb::Delete,
            _ => return Ok(()),
        };
        let attempt = AdmissionRequest {
            resource: &target.id,
            namespace: target.namespace(),
            name,
            subresource: place.sub.as_deref(),
            verb,
        };
        match admission.refusal(&attempt) {
            Some(refusal) => Err(refusal.failure(&attempt)),
            None => Ok(()),
        }
    }

    fn get(&self, target: &Target, name: &str, call: &Call) -> Result<Response<Body>, Failure> {
        let object = self.find(target, name)?;
        Ok(self.one(target, StatusCode::OK, &object, call))
    }

    pub(super) fn find(&self, target: &Target, name: &str) -> Result<Arc<Value>, Failure> {
        let id = &target.place.id;
        self.store
            .get(&target.id, target.namespace(), name)
            .ok_or_else(|| Failure::not_found(&id.group, &id.plural, name))
    }

    /// A response with one object, in the form that the client accepts.
    fn one(
        &self,
        target: &Target,
        status: StatusCode,
        object: &Value,
        call: &Call,
    ) -> Response<Body> {
        let shown = target.show(object);
        match (form(call), target.version()) {
            (Form::Table, Ok(version)) => {
                let objects = [target.printed(object)];
                let body = table::table(
                    &target.resource,
                    version,
                    &objects,
                    include(call),
                    true,
                    self.store.now(),
                );
                respond(status, &body)
            }
            (Form::Metadata, _) => respond(status, &table::metadata_only(&shown)),
            (Form::Plain, _) | (_, Err(_)) => respond(status, &shown),
        }
    }

    fn list(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        list_options(call)?;
        let selector = target.selector(call.query("labelSelector"), call.query("fieldSelector"))?;
        let (objects, version) = self.store.list_at(&target.id, target.place.namespace.as_deref());
        let after = continued(call.query("continue"))?;
        // All pages have the version of the first, so that a watch from there shows the changes since.
        let version = match &after {
            Some((first, _)) if self.store.changes_since(&target.id, *first).is_err() => {
                return Err(Failure::new(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list result. \
                     You must start a new list without the continue parameter.",
                ));
            }
            Some((first, _)) => *first,
            None => list_version(call, version)?,
        };
        let limit = usize::try_from(number::<i64>(call, "limit")?.unwrap_or(0)).unwrap_or(0);
        let form = form(call);
        let mut shown = Vec::new();
        let mut left = 0_usize;
        let mut last = String::new();
        for object in objects.iter().filter(|object| selector.matches(object)) {
            let place = place_of(object);
            if after.as_ref().is_some_and(|(_, after)| place <= *after) {
                continue;
            }
            if limit > 0 && shown.len() >= limit {
                left += 1;
                continue;
            }
            last = place;
            shown.push(match form {
                Form::Table => target.printed(object),
                Form::Plain | Form::Metadata => target.show(object),
            });
        }
        let mut metadata = json!({"resourceVersion": version.to_string()});
        if target.resource.custom && form == Form::Plain {
            metadata["continue"] = json!("");
        }
        if left > 0 {
            metadata["continue"] = json!(token(version, &last));
            metadata["remainingItemCount"] = json!(left);
        }
        let mut body = match form {
            Form::Table => table::table(
                &target.resource,
                target.version()?,
                &shown,
                include(call),
                true,
                self.store.now(),
            ),
            Form::Metadata => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "items": shown.iter().map(table::metadata_only).collect::<Vec<_>>(),
            }),
            Form::Plain => json!({
                "kind": format!("{}List", target.resource.kind),
                "apiVersion": target.resource.api_version(&target.place.version),
                "items": bare(target, shown),
            }),
        };
        body["metadata"] = metadata;
        Ok(respond(StatusCode::OK, &body))
    }

    fn create(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        if target.resource.namespaced && target.place.namespace.is_none() {
            return Err(not_allowed());
        }
        let object = target.take(body::object(call)?)?;
        let options = body::write_options(call, target.stored_version())?;
        let written = self.store.create(&target.id, target.namespace(), object, &options)?;
        Ok(self.written(target, &written, call))
    }

    fn written(&self, target: &Target, written: &Written, call: &Call) -> Response<Body> {
        let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        let mut response = self.one(target, status, &written.object, call);
        for warning in &written.warnings {
            let text = format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\""));
            if let Ok(value) = HeaderValue::from_bytes(text.replace(['\n', '\r'], " ").as_bytes()) {
                response.headers_mut().append(header::WARNING, value);
            }
        }
        response
    }

    fn change(
        &self,
        target: &Target,
        name: &str,
        sub: Option<&str>,
        method: &Method,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let part = match sub {
            None => Sub::Main,
            Some(_) if target.version()?.status => Sub::Status,
            Some(_) => return Err(missing()),
        };
        let namespace = target.namespace();
        if *method == Method::DELETE && part == Sub::Main {
            return self.delete(target, name, call);
        }
        let options = body::write_options(call, target.stored_version())?;
        let written = match *method {
            Method::PUT => {
                let object = target.take(body::object(call)?)?;
                named(&object, name)?;
                versioned(target, &object, name)?;
                self.store.update(&target.id, namespace, name, object, part, &options)?
            }
            Method::PATCH => {
                let (kind, patch) = body::patch(call)?;
                let patch = target.take_patch(kind, patch)?;
                self.store.patch(&target.id, namespace, name, kind, &patch, part, &options)?
            }
            _ => return Err(not_allowed()),
        };
        Ok(self.written(target, &written, call))
    }

    fn delete(&self, target: &Target, name: &str, call: &Call) -> Result<Response<Body>, Failure> {
        let options = body::delete_options(call)?;
        let object = self.store.delete(&target.id, target.namespace(), name, &options)?;
        if !options.dry_run && self.store.get(&target.id, target.namespace(), name).is_some() {
            return Ok(self.one(target, StatusCode::OK, &object, call));
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {
                "name": name,
                "kind": target.place.id.plural,
                "uid": object.pointer("/metadata/uid"),
            },
        });
        if !target.place.id.group.is_empty() {
            status["details"]["group"] = json!(target.place.id.group);
        }
        Ok(respond(StatusCode::OK, &status))
    }

    fn delete_many(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let selector = target.selector(call.query("labelSelector"), call.query("fieldSelector"))?;
        let options = body::delete_options(call)?;
        let objects = self.store.list(&target.id, target.place.namespace.as_deref());
        let mut gone = Vec::new();
        for object in objects.iter().filter(|object| selector.matches(object)) {
            let (namespace, name) = crate::store::name_of(object);
            // An object that was deleted with its owner is gone already, as requested.
            if let Ok(object) = self.store.delete(&target.id, &namespace, &name, &options) {
                gone.push(target.show(&object));
            }
        }
        let body = json!({
            "kind": format!("{}List", target.resource.kind),
            "apiVersion": target.resource.api_version(&target.place.version),
            "metadata": {"resourceVersion": self.store.version().to_string()},
            "items": bare(target, gone),
        });
        Ok(respond(StatusCode::OK, &body))
    }

    fn logs(&self, target: &Target, name: &str, call: &Call) -> Result<Response<Body>, Failure> {
        self.find(target, name)?;
        let source = self.logs.as_ref().ok_or_else(missing)?;
        let request = log::request(target.namespace(), name, call, self.store.now())?;
        let mut response = text("");
        *response.body_mut() = stream(source.logs(&request)?);
        Ok(response)
    }
}

/// Removes `kind` and `apiVersion` from list items of built-in kinds, as kube-apiserver does.
fn bare(target: &Target, mut items: Vec<Value>) -> Vec<Value> {
    if !target.resource.custom {
        for map in items.iter_mut().filter_map(Value::as_object_mut) {
            map.remove("kind");
            map.remove("apiVersion");
        }
    }
    items
}

pub(super) fn form(call: &Call) -> Form {
    // The first supported type of the Accept header.
    for part in call.header(header::ACCEPT).split(',') {
        if part.contains("as=Table") {
            return Form::Table;
        }
        if part.contains("as=PartialObjectMetadata") {
            return Form::Metadata;
        }
        if part.trim().starts_with("application/json") {
            return Form::Plain;
        }
    }
    Form::Plain
}

pub(super) fn include(call: &Call) -> Include {
    match call.query("includeObject") {
        "Object" => Include::Object,
        "None" => Include::None,
        _ => Include::Metadata,
    }
}

/// A numeric parameter of the query; `None` if it is not given.
pub(super) fn number<T: std::str::FromStr>(call: &Call, name: &str) -> Result<Option<T>, Failure> {
    match call.query(name) {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Failure::bad_request(format!("{name}: Invalid value: {text:?}: must be a number"))
        }),
    }
}

/// A key that sorts as the store does: by namespace and then by name, whatever characters are in them.
fn place_of(object: &Value) -> String {
    let (namespace, name) = crate::store::name_of(object);
    format!("{namespace}\0{name}")
}

/// The continue token of the next page; opaque to clients.
fn token(version: u64, place: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{version} {place}"))
}

fn continued(token: &str) -> Result<Option<(u64, String)>, Failure> {
    use base64::Engine;
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || Failure::bad_request("continue key is not valid");
    let bytes =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let text = String::from_utf8(bytes).map_err(|_| bad())?;
    let (version, place) = text.split_once(' ').ok_or_else(bad)?;
    Ok(Some((version.parse().map_err(|_| bad())?, place.to_owned())))
}

/// Checks the requested version of a list. Lists are always of the current version; older ones are not kept.
fn list_version(call: &Call, current: u64) -> Result<u64, Failure> {
    let Some(wanted) = number::<u64>(call, "resourceVersion")? else { return Ok(current) };
    if wanted > current {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let mut refused = Failure::new(504, "Timeout", message);
        let cause =
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        refused.details = json!({"causes": [cause], "retryAfterSeconds": 1});
        return Err(refused);
    }
    if call.query("resourceVersionMatch") == "Exact" && wanted != current {
        let message = format!("The provided resource version is no longer available: {wanted}");
        return Err(Failure::new(410, "Expired", message));
    }
    Ok(current)
}
