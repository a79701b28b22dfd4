//! ReleaseActions: what people ask of a canary, what came of it said on the object that asked, and old ones taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use serin_core::control::{Command, Handled, Outcome, REMEMBERED_MAX, Request};
use serin_core::model::Key;
use serin_core::observed::Seen;
use serin_core::parse::action;
use serin_providers::change::FIELD_MANAGER;

use crate::cache::{RELEASE_ACTION, Subscription};
use crate::operator::context::Context;
use crate::operator::write_timeout::bounded;

/// Settled actions of one canary that are kept for people to read.
const KEPT_MAX: usize = 20;
/// And for how long.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Requests that one tick looks at: as many as the status remembers, so that none of which the answer could not be written is
/// forgotten while others are carried out.
const PENDING_MAX: usize = REMEMBERED_MAX;

/// What there is of a canary's actions.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    /// To be carried out, oldest first.
    pub requests: Vec<Request>,
    /// What is invalid, with what is wrong.
    pub refused: Vec<Handled>,
    /// Settled long ago: name and uid.
    old: Vec<(String, String)>,
}

/// The subscription of all actions of a canary.
pub fn subscription(key: &Key) -> Subscription {
    RELEASE_ACTION.named(&key.namespace, &key.name)
}

/// Waits until somebody asks to abort, who was not heard before.
pub async fn abort_asked(context: &Context, key: &Key, known: &[Request], now: Timestamp) {
    let is_new = |request: &Request| {
        request.command == Command::Abort && known.iter().all(|known| known.uid != request.uid)
    };
    loop {
        let changed = context.cache.changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        if look(context, key, now).requests.iter().any(is_new) {
            return;
        }
        changed.await;
    }
}

/// Where the kind is not installed there are none.
pub fn look(context: &Context, key: &Key, now: Timestamp) -> Actions {
    match context.cache.objects(&subscription(key)) {
        Seen::Present(objects) => sorted(&objects, now),
        Seen::Absent | Seen::Unreadable(_) => Actions::default(),
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn sorted(objects: &BTreeMap<String, Arc<Value>>, now: Timestamp) -> Actions {
    let mut actions = Actions::default();
    let mut objects: Vec<&Arc<Value>> = objects.values().collect();
    objects.sort_by_key(|object| {
        let at = |pointer| text(object, pointer).to_owned();
        (at("/metadata/creationTimestamp"), at("/metadata/name"))
    });
    let settled = objects.iter().filter(|object| action::is_settled(object)).count();
    let mut surplus = settled.saturating_sub(KEPT_MAX);
    for object in objects {
        let (name, uid) = (text(object, "/metadata/name"), text(object, "/metadata/uid"));
        if action::is_settled(object) {
            let time = text(object, "/status/time").parse::<Timestamp>().ok();
            if surplus > 0 || time.is_some_and(|time| now.duration_since(time) > KEPT_FOR) {
                surplus = surplus.saturating_sub(1);
                actions.old.push((name.to_owned(), uid.to_owned()));
            }
            continue;
        }
        if actions.requests.len() + actions.refused.len() == PENDING_MAX {
            break;
        }
        match action::request(object) {
            Ok(request) => actions.requests.push(request),
            Err(findings) => {
                let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let outcome = Outcome::Refused(findings.join("; "));
                actions.refused.push(Handled {
                    name: name.to_owned(),
                    uid: uid.to_owned(),
                    outcome,
                });
            }
        }
    }
    actions
}

/// Nothing is carried out while it is not known what the Canary asks for.
pub fn all_refused(actions: Actions, why: &str) -> Vec<Handled> {
    let refuse = |request: Request| Handled {
        name: request.name,
        uid: request.uid,
        outcome: Outcome::Refused(why.to_owned()),
    };
    actions.refused.into_iter().chain(actions.requests.into_iter().map(refuse)).collect()
}

/// Says on the objects that asked what came of it. What could not be said is said by the next tick: false.
pub async fn answer(context: &Context, key: &Key, handled: &[Handled], now: Timestamp) -> bool {
    let api = context.cache.api(&RELEASE_ACTION, &key.namespace);
    let mut all = true;
    for Handled { name, uid, outcome } in handled {
        let patch = json!({
            // Another object of the same name has asked for something else.
            "metadata": {"uid": uid},
            "status": {"state": outcome.state(), "message": outcome.message(), "time": now},
        });
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(&patch);
        let write = api.patch_status(name, &params, &patch);
        match bounded(context, key, write).await.and_then(|written| written) {
            Ok(written) => context.cache.learn(written),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                let error = crate::http_client::chain(&error);
                tracing::warn!(canary = %key, action = %name, %error, "cannot say what came of a ReleaseAction");
                all = false;
            }
        }
    }
    all
}

/// Takes away what has been settled for long.
pub async fn clean(context: &Context, key: &Key, actions: &Actions) {
    let api = context.cache.api(&RELEASE_ACTION, &key.namespace);
    for (name, uid) in &actions.old {
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        let delete = api.delete(name, &params);
        match bounded(context, key, delete).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) | Err(error) => {
                let error = crate::http_client::chain(&error);
                tracing::debug!(canary = %key, action = %name, %error, "cannot delete an old ReleaseAction");
            }
        }
    }
}
