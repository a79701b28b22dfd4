//! Where a plan looks objects up: in a cluster, by single reads, and behind it in the files.

use std::sync::Arc;

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, oneshot};
use serde_json::Value;
use serin_core::observed::Seen;
use serin_providers::ObjectRef;
use serin_providers::change::CANARY;

use super::differ::{differences, overlay};
use super::report::Write;
use crate::cache;

pub(crate) struct Look<'a> {
    pub(crate) client: Option<&'a Client>,
    pub(crate) documents: &'a [Value],
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Look<'_> {
    /// Where was looked, for a sentence.
    pub(super) fn whom(&self) -> &'static str {
        match (self.client.is_some(), self.documents.is_empty()) {
            (true, true) => "the cluster",
            (true, false) => "the files or the cluster",
            (false, _) => "the files",
        }
    }

    /// The Canary as the cluster has it.
    pub(super) async fn live(&self, object: &Value) -> anyhow::Result<Option<Value>> {
        let target =
            CANARY.named(text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        if target.name.is_empty() {
            return Ok(None);
        }
        match self.cluster(&target).await? {
            Seen::Present(live) => Ok(Some(live)),
            Seen::Absent => Ok(None),
            Seen::Unreadable(why) => anyhow::bail!("cannot read {target}: {why}"),
        }
    }

    async fn cluster(&self, target: &ObjectRef) -> anyhow::Result<Seen<Value>> {
        let Some(client) = self.client else { return Ok(Seen::Absent) };
        let resource = cache::resource(&target.kind);
        let api: Api<DynamicObject> = match target.kind.is_cluster_scoped() {
            true => Api::all_with(client.clone(), &resource),
            false => Api::namespaced_with(client.clone(), &target.namespace, &resource),
        };
        get(&api, &target.name).await.with_context(|| format!("cannot read {target}"))
    }

    fn file(&self, target: &ObjectRef) -> Option<&Value> {
        self.documents.iter().find(|document| {
            text(document, "/kind") == target.kind.kind
                && text(document, "/metadata/name") == target.name
                && text(document, "/metadata/namespace") == target.namespace
        })
    }

    /// What applying the files changes about an object.
    pub(super) async fn changes(&self, target: &ObjectRef) -> anyhow::Result<Vec<String>> {
        let Some(file) = self.file(target) else { return Ok(Vec::new()) };
        let write = self.applied(file, Write::unknown(file)).await?;
        Ok(write.map_or(Vec::new(), |write| write.fields))
    }

    /// What would be there once the files are applied.
    pub(super) async fn find(&self, target: &ObjectRef) -> anyhow::Result<Seen<Arc<Value>>> {
        Ok(match (self.cluster(target).await?, self.file(target)) {
            (Seen::Present(mut live), Some(file)) => {
                overlay(&mut live, file);
                Seen::Present(Arc::new(live))
            }
            (Seen::Present(live), None) => Seen::Present(Arc::new(live)),
            (Seen::Absent, Some(file)) => Seen::Present(Arc::new(file.clone())),
            (Seen::Absent, None) => Seen::Absent,
            (Seen::Unreadable(why), _) => Seen::Unreadable(why),
        })
    }

    /// What applying one document writes; none when it is there like that.
    pub(super) async fn applied(
        &self,
        document: &Value,
        mut write: Write,
    ) -> anyhow::Result<Option<Write>> {
        match self.as_it_is(document, &write).await? {
            Seen::Absent => Ok(Some(write)),
            Seen::Unreadable(why) => {
                write.verb = "cannot read";
                write.fields = vec![why];
                Ok(Some(write))
            }
            Seen::Present(live) => {
                let mut file = document.clone();
                // The API server turns it into `data`, which nobody should see compared.
                if write.kind == "Secret"
                    && let Some(file) = file.as_object_mut()
                {
                    file.remove("stringData");
                }
                let mut after = live.clone();
                overlay(&mut after, &file);
                write.verb = "change";
                write.fields = differences(&live, &after);
                Ok((!write.fields.is_empty()).then_some(write))
            }
        }
    }

    /// Any document as the cluster has it, whatever its kind is.
    async fn as_it_is(&self, document: &Value, write: &Write) -> anyhow::Result<Seen<Value>> {
        let Some(client) = self.client.filter(|_| !write.name.is_empty()) else {
            return Ok(Seen::Absent);
        };
        let what = || format!("cannot read {} {}", write.kind, write.object());
        let Some((resource, scope)) = discover(client, document).await.with_context(what)? else {
            return Ok(Seen::Absent);
        };
        let api: Api<DynamicObject> = match scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => Api::namespaced_with(client.clone(), &write.namespace, &resource),
        };
        get(&api, &write.name).await.with_context(what)
    }
}

async fn discover(
    client: &Client,
    document: &Value,
) -> anyhow::Result<Option<(ApiResource, Scope)>> {
    let api_version = text(document, "/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, text(document, "/kind"));
    match oneshot::pinned_kind(client, &kind).await {
        Ok((resource, capabilities)) => Ok(Some((resource, capabilities.scope))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(kube::Error::Discovery(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A read that may not be allowed is a fact; a cluster that cannot be reached is the end of the plan.
async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Seen<Value>, kube::Error> {
    match api.get_opt(name).await {
        Ok(found) => {
            Ok(found.as_ref().and_then(cache::to_value).map_or(Seen::Absent, Seen::Present))
        }
        // The kind itself is not installed.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Seen::Absent),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Ok(Seen::Unreadable(status.message.clone()))
        }
        Err(error) => Err(error),
    }
}
