//! Watches over HTTP: a line for every change, flushed as it comes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::objects::{Form, form, include, number};
use super::target::Target;
use super::{Api, Body, Call, stream};
use crate::failure::Failure;
use crate::store::Store;
use crate::table::{self, Include};
use crate::watch::{Watch, WatchEvent, WatchKind, WatchOptions};

impl Api {
    pub(super) fn watch(&self, target: Target, call: &Call) -> Result<Response<Body>, Failure> {
        let watch = Watch::start(&self.store, &target.id, options(&target, call)?);
        let (form, include) = (form(call), include(call));
        let store = self.store.clone();
        let state = (watch, target, true);
        let lines = futures::stream::unfold(state, move |(mut watch, target, first)| {
            let store = store.clone();
            async move {
                let event = watch.next().await?;
                let object = shown(&store, &target, &event, form, include, first);
                let line = json!({"type": event.kind.name(), "object": object}).to_string() + "\n";
                let first = first && event.kind == WatchKind::Bookmark;
                Some((Bytes::from(line), (watch, target, first)))
            }
        });
        let mut response = Response::new(stream(lines.boxed()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

fn options(target: &Target, call: &Call) -> Result<WatchOptions, Failure> {
    let mut fields = call.query("fieldSelector").to_owned();
    if let Some(name) = &target.place.name {
        let comma = if fields.is_empty() { "" } else { "," };
        fields = format!("metadata.name={name}{comma}{fields}");
    }
    let selector = target.selector(call.query("labelSelector"), &fields)?;
    let since = number(call, "resourceVersion")?;
    let initial = call.flag("sendInitialEvents");
    if initial && call.query("resourceVersionMatch") != "NotOlderThan" {
        return Err(Failure::new(
            422,
            "Invalid",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let secs: Option<u64> = number(call, "timeoutSeconds")?;
    Ok(WatchOptions {
        namespace: target.place.namespace.clone(),
        selector,
        since,
        initial,
        bookmarks: call.flag("allowWatchBookmarks"),
        timeout: secs.filter(|secs| *secs > 0).map(Duration::from_secs),
    })
}

/// The object of a line, in the form that the client requested.
fn shown(
    store: &Store,
    target: &Target,
    event: &WatchEvent,
    form: Form,
    include: Include,
    first: bool,
) -> Value {
    let table = |objects: &[Value], include: Include, first: bool| match target.version() {
        Ok(version) => {
            Some(table::table(&target.resource, version, objects, include, first, store.now()))
        }
        Err(_) => None,
    };
    let object = match event.kind {
        WatchKind::Error => return (*event.object).clone(),
        WatchKind::Added | WatchKind::Modified | WatchKind::Deleted if form == Form::Table => {
            target.printed(&event.object)
        }
        WatchKind::Added | WatchKind::Modified | WatchKind::Deleted | WatchKind::Bookmark => {
            target.show(&event.object)
        }
    };
    match (event.kind, form) {
        (WatchKind::Bookmark, Form::Table) => {
            // A bookmark has no rows: clients read the version from the table itself.
            let Some(mut table) = table(&[], Include::None, false) else { return object };
            table["metadata"] = object["metadata"].clone();
            table
        }
        (WatchKind::Bookmark, Form::Plain | Form::Metadata) | (_, Form::Plain) => object,
        (_, Form::Metadata) => table::metadata_only(&object),
        (_, Form::Table) => table(std::slice::from_ref(&object), include, first).unwrap_or(object),
    }
}
