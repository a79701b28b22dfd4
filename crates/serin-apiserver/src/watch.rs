//! Watches: the current objects if requested, then every change, once, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::failure::Failure;
use crate::json_pointer::At;
use crate::registry::ResourceId;
use crate::selector::Selector;
use crate::store::{Change, Store, version_of};

/// How often a client that requested bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchKind {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

impl WatchKind {
    /// The type as on the wire, such as `ADDED`.
    pub fn name(self) -> &'static str {
        match self {
            WatchKind::Added => "ADDED",
            WatchKind::Modified => "MODIFIED",
            WatchKind::Deleted => "DELETED",
            WatchKind::Bookmark => "BOOKMARK",
            WatchKind::Error => "ERROR",
        }
    }
}

/// One line of a watch.
#[derive(Clone, Debug)]
pub struct WatchEvent {
    pub kind: WatchKind,
    pub object: Arc<Value>,
}

/// The options of a watch.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub namespace: Option<String>,
    pub selector: Selector,
    /// The version after which changes are sent. With `None` or 0 the current objects are sent first.
    pub since: Option<u64>,
    /// Sends the current objects first, then a bookmark that marks their end (streaming list).
    pub initial: bool,
    pub bookmarks: bool,
    pub timeout: Option<Duration>,
}

/// A running watch.
pub struct Watch {
    store: Store,
    id: ResourceId,
    options: WatchOptions,
    changed: watch::Receiver<u64>,
    pending: VecDeque<WatchEvent>,
    /// The version up to which changes were sent.
    shown: u64,
    deadline: Option<Instant>,
    bookmark_at: Instant,
    over: bool,
}

impl Watch {
    /// Starts a watch on the objects of one kind.
    pub fn start(store: &Store, id: &ResourceId, options: WatchOptions) -> Self {
        let changed = store.changed_in(vec![id.clone()]);
        let mut pending = VecDeque::new();
        // A version above the current one is from before a restart: the client has to list again.
        let ahead = options.since.is_some_and(|version| version > store.version());
        let from_now =
            (options.initial && !ahead) || options.since.is_none_or(|version| version == 0);
        let shown = if from_now {
            let (objects, version) = store.list_at(id, options.namespace.as_deref());
            let fitting = objects.into_iter().filter(|object| options.selector.matches(object));
            pending.extend(fitting.map(|object| WatchEvent { kind: WatchKind::Added, object }));
            if options.initial {
                pending.push_back(bookmark(store, id, version, true));
            }
            version
        } else {
            options.since.unwrap_or_default()
        };
        let now = Instant::now();
        Self {
            store: store.clone(),
            id: id.clone(),
            deadline: options.timeout.map(|timeout| now + timeout),
            bookmark_at: now + BOOKMARK_EVERY,
            options,
            changed,
            pending,
            shown,
            over: false,
        }
    }

    /// The next event; `None` when the watch is over.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            // The timeout also applies to a watch that is never idle.
            if self.over || self.deadline.is_some_and(|at| at <= Instant::now()) {
                return None;
            }
            self.changed.mark_unchanged();
            self.collect();
            if !self.pending.is_empty() || self.over {
                continue;
            }
            let bookmark_at = if self.options.bookmarks { Some(self.bookmark_at) } else { None };
            tokio::select! {
                biased;
                changed = self.changed.changed() => if changed.is_err() { return None },
                () = until(self.deadline) => return None,
                () = until(bookmark_at) => {
                    self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
                    // Other kinds have changed without waking this watch.
                    self.collect();
                    if !self.over {
                        self.pending.push_back(bookmark(&self.store, &self.id, self.shown, false));
                    }
                }
            }
        }
    }

    fn collect(&mut self) {
        let Ok((changes, version)) = self.store.changes_since(&self.id, self.shown) else {
            let failure =
                Failure::new(410, "Expired", format!("too old resource version: {}", self.shown));
            self.pending.push_back(WatchEvent {
                kind: WatchKind::Error,
                object: Arc::new(failure.status()),
            });
            self.over = true;
            return;
        };
        self.shown = version;
        for change in changes {
            self.pending.extend(self.line(&change));
        }
        // A kind that is no longer served has no changes.
        self.over = self.store.resource(&self.id).is_none();
    }

    /// The event of a change for this watch's selector: an object that starts to match is added, one that stops is deleted.
    fn line(&self, change: &Change) -> Option<WatchEvent> {
        let inside = |object: &Value| {
            let namespace =
                object.at("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
            self.options.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
                && self.options.selector.matches(object)
        };
        let before = change.old.as_deref().is_some_and(inside);
        let after = !change.deleted && inside(&change.new);
        let kind = match (before, after) {
            (false, true) => WatchKind::Added,
            (true, true) => WatchKind::Modified,
            (true, false) => WatchKind::Deleted,
            (false, false) => return None,
        };
        Some(WatchEvent { kind, object: Arc::clone(&change.new) })
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn bookmark(store: &Store, id: &ResourceId, version: u64, initial_end: bool) -> WatchEvent {
    let (kind, api_version) = store.resource(id).map_or_else(Default::default, |resource| {
        let version = resource.preferred().map(|v| v.name.clone()).unwrap_or_default();
        (resource.kind.clone(), resource.api_version(&version))
    });
    let mut object = json!({
        "kind": kind,
        "apiVersion": api_version,
        "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
    });
    if initial_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    debug_assert!(version_of(&object).is_some());
    WatchEvent { kind: WatchKind::Bookmark, object: Arc::new(object) }
}
