//! The cache itself: which canary wants which object, what is known of it, and what the API server has told of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DynamicObject, TypeMeta};
use kube::{Resource, ResourceExt};
use serin_core::model::Key;
use serin_providers::change::{CONFIG_MAP, ENDPOINT_SLICE, Kind, SECRET};

use super::told::Told;
use super::{RELEASE_ACTION, Subscription};
use crate::cache::packed::{Packed, SERVICE_NAME_LABEL};

/// The objects of a subscription by name: one, or the slices of a Service.
pub(super) type Objects = BTreeMap<String, Packed>;

/// Kinds in which people keep data, up to a megabyte each and thousands of them: of these only the wanted are ever read.
pub(super) fn is_told(kind: &Kind) -> bool {
    [CONFIG_MAP, SECRET].contains(kind)
}

#[derive(Default)]
pub(super) struct Held {
    /// None until first looked at.
    pub(super) objects: Option<Objects>,
    pub(super) wanted_by: BTreeSet<Key>,
    /// No list brings it: its kind's list was already under way when it was wished for, or tells only of versions.
    pub(super) read_alone: bool,
    /// The newest version that exists, as far as was told without the object itself.
    told: Option<String>,
    /// Why the last read of its own has brought nothing.
    pub(super) failed: Option<String>,
    /// Rises with all that makes a read from before worthless: a newer version is told, the object is gone.
    pub(super) epoch: u64,
}

#[derive(Default)]
pub(super) struct KindState {
    pub(super) listing: bool,
    pub(super) synced: bool,
    pub(super) error: Option<String>,
    /// Seen since the list began; the rest is gone when it is done.
    listed: BTreeSet<(Subscription, String)>,
    /// Listed with a lower version than is known. The list is old, or the cluster was restored: a read of its own tells.
    doubted: BTreeSet<Subscription>,
    pub(super) task: Option<tokio::task::JoinHandle<()>>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) kinds: BTreeMap<Kind, KindState>,
    pub(super) subscriptions: BTreeMap<Subscription, Held>,
    pub(super) wants: BTreeMap<Key, BTreeSet<Subscription>>,
}

/// What comes of news.
#[derive(Default)]
pub(super) struct Due {
    pub(super) woken: BTreeSet<Key>,
    /// To be read by themselves.
    pub(super) reads: BTreeSet<Subscription>,
}

/// One object of a list or an event.
pub(super) struct News {
    subscription: Subscription,
    name: String,
    version: Option<String>,
    /// None where only the version was told.
    object: Option<Packed>,
}

/// What lists and watches hand out.
pub(super) trait Heard {
    /// None for what no canary can want.
    fn news(self, kind: &Kind) -> Option<News>;
}

impl Heard for Packed {
    fn news(self, kind: &Kind) -> Option<News> {
        Some(News {
            subscription: subscription_of(kind, &self, || asked_of(&self.object().ok()?))?,
            name: self.name_any(),
            version: self.resource_version(),
            object: Some(self),
        })
    }
}

impl Heard for Told {
    fn news(self, kind: &Kind) -> Option<News> {
        Some(News {
            subscription: subscription_of(kind, &self, || None)?,
            name: self.name_any(),
            version: self.resource_version(),
            object: None,
        })
    }
}

impl State {
    pub(super) fn unsubscribe(&mut self, key: &Key, subscription: &Subscription) {
        if let Some(entry) = self.subscriptions.get_mut(subscription) {
            entry.wanted_by.remove(key);
            if entry.wanted_by.is_empty() {
                self.subscriptions.remove(subscription);
            }
        }
    }

    pub(super) fn begin_list(&mut self, kind: &Kind) {
        let kind = self.kinds.entry(*kind).or_default();
        kind.listing = true;
        kind.listed.clear();
        kind.doubted.clear();
    }

    pub(super) fn put(&mut self, kind: &Kind, news: News, listing: bool, due: &mut Due) {
        let News { subscription, name, version, object } = news;
        let Some(entry) = self.subscriptions.get_mut(&subscription) else { return };
        match object {
            Some(packed) => {
                if entry.is_news(&name, version.as_deref())
                    && packed.object().is_ok_and(|object| entry.take(kind, &object))
                {
                    due.woken.extend(entry.wanted_by.iter().cloned());
                }
            }
            None => {
                if entry.is_news(&name, version.as_deref()) {
                    entry.told.clone_from(&version);
                    entry.epoch += 1;
                    // The first read of all is the tick's own.
                    if entry.objects.is_some() {
                        due.reads.insert(subscription.clone());
                    }
                }
            }
        }
        if listing && let Some(kind) = self.kinds.get_mut(kind) {
            let known = entry.objects.as_ref().and_then(|objects| objects.get(&name));
            if known.is_some_and(|known| newer(known.version(), version.as_deref())) {
                kind.doubted.insert(subscription.clone());
            }
            kind.listed.insert((subscription, name));
        }
    }

    pub(super) fn remove(&mut self, news: &News, due: &mut Due) {
        let Some(entry) = self.subscriptions.get_mut(&news.subscription) else { return };
        entry.epoch += 1;
        if news.object.is_none() {
            entry.catch_up();
        }
        if entry.objects.get_or_insert_default().remove(&news.name).is_some() {
            due.woken.extend(entry.wanted_by.iter().cloned());
        }
    }

    /// The list is complete: what it did not show does not exist.
    pub(super) fn listed(&mut self, kind: &Kind, due: &mut Due) {
        let Some(state) = self.kinds.get_mut(kind) else { return };
        let listed = std::mem::take(&mut state.listed);
        state.listing = false;
        state.synced = true;
        state.error = None;
        due.reads.extend(std::mem::take(&mut state.doubted));
        for (subscription, entry) in
            self.subscriptions.iter_mut().filter(|(subscription, _)| subscription.kind == *kind)
        {
            entry.epoch += 1;
            match &mut entry.objects {
                Some(objects) => {
                    let before = objects.len();
                    objects
                        .retain(|name, _| listed.contains(&(subscription.clone(), name.clone())));
                    if objects.len() != before {
                        due.woken.extend(entry.wanted_by.iter().cloned());
                    }
                    if !listed.contains(&(subscription.clone(), subscription.name.clone())) {
                        entry.catch_up();
                    }
                }
                None if entry.read_alone => {}
                None => {
                    entry.objects = Some(Objects::new());
                    due.woken.extend(entry.wanted_by.iter().cloned());
                }
            }
        }
    }
}

impl Held {
    /// Which versions of what is known.
    pub(super) fn versions(&self) -> BTreeMap<String, Option<String>> {
        let objects = self.objects.iter().flatten();
        objects.map(|(name, object)| (name.clone(), object.version().map(str::to_owned))).collect()
    }

    /// A newer version exists than the one that is known.
    pub(super) fn is_behind(&self) -> bool {
        let Some(told) = self.told.as_deref() else { return false };
        let known = self.objects.iter().flatten().next();
        known.is_none_or(|(_, known)| newer(Some(told), known.version()))
    }

    /// What is known is out of date, and what is true cannot be read.
    pub(super) fn is_blind(&self) -> bool {
        self.failed.is_some() && self.is_behind()
    }

    /// The API server has answered: what it was told before is of no more use.
    pub(super) fn catch_up(&mut self) {
        (self.told, self.failed) = (None, None);
    }

    fn is_news(&self, name: &str, version: Option<&str>) -> bool {
        let known = self.objects.as_ref().and_then(|objects| objects.get(name));
        known.is_none_or(|known| newer(version, known.version()))
    }

    /// Takes an object unless a newer one is known. Says whether anything changed.
    pub(super) fn take(&mut self, kind: &Kind, object: &DynamicObject) -> bool {
        let name = object.name_any();
        if !self.is_news(&name, object.metadata.resource_version.as_deref()) {
            return false;
        }
        let objects = self.objects.get_or_insert_default();
        let mut object = Cow::Borrowed(object);
        if object.types.is_none() {
            // Items of a list come without them.
            let types = TypeMeta { api_version: kind.api_version(), kind: kind.kind.to_owned() };
            object.to_mut().types = Some(types);
        }
        match Packed::new(&object) {
            Ok(packed) => {
                objects.insert(name, packed);
                true
            }
            Err(_) => false,
        }
    }
}

/// Whether version `new` comes after `old`. Versions of one kind are ordered numbers; where they are not, the later
/// arrival wins.
pub(crate) fn newer(new: Option<&str>, old: Option<&str>) -> bool {
    match (new.and_then(|v| v.parse::<u64>().ok()), old.and_then(|v| v.parse::<u64>().ok())) {
        (Some(new), Some(old)) => new > old,
        (None, _) | (_, None) => new != old,
    }
}

/// The canary that an action is about.
pub(super) fn asked_of(action: &DynamicObject) -> Option<String> {
    action.data.pointer("/spec/canary")?.as_str().map(str::to_owned)
}

/// Where an object belongs; `asked_of` says which canary an action is about.
pub(super) fn subscription_of(
    kind: &Kind,
    object: &impl Resource,
    asked_of: impl FnOnce() -> Option<String>,
) -> Option<Subscription> {
    let namespace = match kind.is_cluster_scoped() {
        true => String::new(),
        false => object.namespace()?,
    };
    let name = if *kind == ENDPOINT_SLICE {
        object.labels().get(SERVICE_NAME_LABEL)?.clone()
    } else if *kind == RELEASE_ACTION {
        asked_of()?
    } else {
        object.name_any()
    };
    Some(Subscription { kind: *kind, namespace, name })
}
