//! Server-side apply: field ownership, conflicts, and the removal of fields without an owner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::fields::{Changes, FieldSet, compare, item_key, items, key_fields};
use super::keys::{ListType, Shape};
use super::{DEPTH_MAX, ListKeys, too_deep};
use crate::json_pointer::At;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Kubernetes' bound of `Update` entries; older ones are merged into one.
const UPDATE_MANAGERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";
const BEFORE_FIRST: &str = "before-first-apply";

/// Why an apply was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict.
    #[error("{0}")]
    Conflict(ApplyConflict),
    /// 400 BadRequest: the applied object cannot be merged.
    #[error("{0}")]
    Malformed(String),
    /// 500, as kube-apiserver answers an object that does not fit the schema.
    #[error("{0}")]
    Untyped(String),
}

/// Fields that other managers own, with other values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyConflict {
    /// What kubectl prints.
    pub message: String,
    /// One cause of type `FieldManagerConflict` for each field, for `details.causes` of the `Status`.
    pub causes: Vec<ConflictCause>,
}

/// One field in conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictCause {
    /// `conflict with "kubectl-client-side-apply" using apps/v1`
    pub message: String,
    /// `.spec.replicas`
    pub field: String,
}

impl fmt::Display for ApplyConflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Apply,
    Update,
}

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    operation: Operation,
    api_version: String,
    time: Option<String>,
    subresource: Option<String>,
    set: FieldSet,
}

impl Entry {
    fn read(json: &Value) -> Option<Entry> {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let operation = match text("operation")? {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("fieldsType").is_some_and(|kind| kind != "FieldsV1") {
            return None;
        }
        Some(Entry {
            manager: text("manager").unwrap_or_default().to_owned(),
            operation,
            api_version: text("apiVersion")?.to_owned(),
            time: text("time").map(str::to_owned),
            subresource: text("subresource").filter(|name| !name.is_empty()).map(str::to_owned),
            set: json.get("fieldsV1").map_or(Some(FieldSet::default()), FieldSet::from_json)?,
        })
    }

    fn to_json(&self) -> Value {
        let mut json = json!({
            "manager": self.manager,
            "operation": match self.operation {
                Operation::Apply => "Apply",
                Operation::Update => "Update",
            },
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.set.to_json(),
        });
        if let Some(time) = &self.time {
            json["time"] = time.as_str().into();
        }
        if let Some(subresource) = &self.subresource {
            json["subresource"] = subresource.as_str().into();
        }
        json
    }

    /// The name of the manager in conflict messages; appliers are named without a version.
    fn title(&self) -> String {
        let mut title = format!("{:?}", self.manager);
        if let Some(subresource) = &self.subresource {
            title.push_str(&format!(" with subresource {subresource:?}"));
        }
        match self.operation {
            Operation::Apply => title,
            Operation::Update => format!("{title} using {}", self.api_version),
        }
    }

    fn is(&self, manager: &str, operation: Operation, subresource: Option<&str>) -> bool {
        self.manager == manager
            && self.operation == operation
            && self.subresource.as_deref() == subresource
    }
}

/// The entries of `managedFields`; `None` if there are none or they cannot be parsed.
fn entries(obj: &Value) -> Option<Vec<Entry>> {
    let list = obj.at("/metadata/managedFields")?.as_array()?;
    list.iter().map(Entry::read).collect()
}

fn store(obj: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    cap(&mut entries);
    entries.sort_by(|a, b| {
        let key = |entry: &Entry| (entry.operation, entry.time.clone(), entry.manager.clone());
        key(a)
            .cmp(&key(b))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    });
    if entries.is_empty() {
        if let Some(metadata) = obj.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        return;
    }
    let Some(object) = obj.as_object_mut() else { return };
    if let Some(metadata) = object.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
        metadata.insert("managedFields".to_owned(), entries.iter().map(Entry::to_json).collect());
    }
}

/// Merges the oldest `Update` entries into one per version, so that the list does not grow with the number of controllers.
fn cap(entries: &mut Vec<Entry>) {
    let mut updates: Vec<Entry> =
        entries.iter().filter(|entry| entry.operation == Operation::Update).cloned().collect();
    if updates.len() <= UPDATE_MANAGERS_MAX {
        return;
    }
    entries.retain(|entry| entry.operation != Operation::Update);
    updates.sort_by(|a, b| a.time.cmp(&b.time).then_with(|| a.manager.cmp(&b.manager)));
    let recent = updates.split_off(updates.len() - (UPDATE_MANAGERS_MAX - 1));
    let mut ancient: BTreeMap<(String, Option<String>), Entry> = BTreeMap::new();
    for entry in updates {
        let key = (entry.api_version.clone(), entry.subresource.clone());
        match ancient.get_mut(&key) {
            Some(other) => {
                other.set.union(&entry.set);
                other.time = other.time.clone().max(entry.time);
            }
            None => {
                ancient.insert(key, Entry { manager: ANCIENT.to_owned(), ..entry });
            }
        }
    }
    entries.extend(ancient.into_values());
    entries.extend(recent);
}

fn api_version(obj: &Value) -> String {
    obj.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// Merges the object that `manager` applies into the live one and updates `metadata.managedFields`.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    manager: &str,
    force: bool,
    keys: &ListKeys,
    now: &str,
    subresource: Option<&str>,
) -> Result<Value, ApplyError> {
    let applied = checked(applied)?;
    let shape = &keys.root;
    let set = FieldSet::of(&applied, shape, false).map_err(|why| untyped(&applied, &why))?;
    let set = set.without_unowned();
    let nothing = json!({});
    let before = live.unwrap_or(&nothing);
    let mut owners = owners_of(live, shape);
    let place = owners.iter().position(|entry| entry.is(manager, Operation::Apply, subresource));
    let mine = place.map(|place| owners.remove(place));

    let mut result = merge(Some(before), &applied, shape);
    if let Some(mine) = &mine {
        let mut others = FieldSet::default();
        owners.iter().for_each(|entry| others.union(&entry.set));
        prune(&mut result, &mine.set, Some(&set), Some(&others), shape, &[]);
    }
    let changes = compare(Some(before), Some(&result), shape).without_unowned();
    let conflicts = conflicts(&owners, &changes, client_side_fields(before, manager, shape));
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflict(describe(&conflicts)));
    }
    release(&mut owners, &changes);
    let same = mine
        .as_ref()
        .is_some_and(|mine| mine.set == set && mine.api_version == api_version(&applied));
    let unchanged =
        changes.changed.is_empty() && changes.removed.is_empty() && content_eq(before, &result);
    if let (Some(live), true, true) = (live, same, unchanged) {
        return Ok(live.clone());
    }
    owners.push(Entry {
        manager: manager.to_owned(),
        operation: Operation::Apply,
        api_version: api_version(&applied),
        time: time_of(subresource, now),
        subresource: subresource.map(str::to_owned),
        set,
    });
    follow_last_applied(&mut result, &applied, manager);
    store(&mut result, owners);
    Ok(result)
}

/// The time of an entry; kube-apiserver drops it for the scale subresource.
fn time_of(subresource: Option<&str>, now: &str) -> Option<String> {
    (subresource != Some("scale")).then(|| now.to_owned())
}

/// The error of an object that does not fit the schema of its kind, worded as by kube-apiserver.
pub(crate) fn untyped(applied: &Value, why: &str) -> ApplyError {
    let text = |pointer: &str| applied.at(pointer).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("/apiVersion"), text("/kind"));
    let version = if version.contains('/') { version.to_owned() } else { format!("/{version}") };
    let name = format!("{}/{}", text("/metadata/namespace"), text("/metadata/name"));
    ApplyError::Untyped(format!(
        "failed to create typed patch object ({name}; {version}, Kind={kind}): {why}"
    ))
}

/// The applied object without nulls; an error if it cannot be applied.
fn checked(applied: &Value) -> Result<Value, ApplyError> {
    if !applied.is_object() {
        return Err(ApplyError::Malformed("the applied configuration must be an object".into()));
    }
    if too_deep(applied, DEPTH_MAX) {
        return Err(ApplyError::Malformed(format!(
            "the applied configuration is nested deeper than {DEPTH_MAX} levels"
        )));
    }
    match applied.at("/metadata/managedFields") {
        None | Some(Value::Null) => {}
        Some(Value::Array(list)) if list.is_empty() => {}
        Some(_) => return Err(ApplyError::Malformed("metadata.managedFields must be nil".into())),
    }
    let mut applied = applied.clone();
    if let Some(metadata) = applied.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    drop_nulls(&mut applied);
    Ok(applied)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The entries of a live object. The fields of one without `managedFields` belong to the manager `before-first-apply`.
fn owners_of(live: Option<&Value>, shape: &Shape) -> Vec<Entry> {
    let Some(live) = live else { return Vec::new() };
    let owners = entries(live).unwrap_or_default();
    if !owners.is_empty() {
        return owners;
    }
    vec![Entry {
        manager: BEFORE_FIRST.to_owned(),
        operation: Operation::Update,
        api_version: api_version(live),
        time: live.at("/metadata/creationTimestamp").and_then(Value::as_str).map(str::to_owned),
        subresource: None,
        set: FieldSet::of_any(live, shape).without_unowned(),
    }]
}

/// Whether two objects are equal apart from `managedFields`.
fn content_eq(one: &Value, other: &Value) -> bool {
    fn without<'a>(
        value: &'a Value,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        value.as_object().into_iter().flatten().filter(move |(key, _)| *key != name)
    }
    let same = match (one.get("metadata"), other.get("metadata")) {
        (Some(one), Some(other)) => {
            without(one, "managedFields").eq(without(other, "managedFields"))
        }
        (one, other) => one == other,
    };
    same && without(one, "metadata").eq(without(other, "metadata"))
}

/// The fields last applied client-side by kubectl; kubectl takes them over without a conflict when it moves to server-side apply.
fn client_side_fields(live: &Value, manager: &str, shape: &Shape) -> Option<FieldSet> {
    if manager != "kubectl" {
        return None;
    }
    let annotation = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let last: Value = serde_json::from_str(annotation).ok()?;
    let mut set = FieldSet::of(&last, shape, false).ok()?;
    // A field that was changed since no longer belongs to kubectl.
    let since = compare(Some(&last), Some(live), shape);
    set.subtract(&since.changed);
    set.subtract(&since.removed);
    Some(set)
}

/// Updates the last-applied annotation of client-side apply while kubectl applies on the server.
fn follow_last_applied(result: &mut Value, applied: &Value, manager: &str) {
    let annotations = result.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    if let Some(annotation) = annotations.and_then(|all| all.get_mut(LAST_APPLIED))
        && manager == "kubectl"
    {
        let mut applied = applied.clone();
        if let Some(all) =
            applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
        {
            all.remove(LAST_APPLIED);
        }
        *annotation = Value::from(applied.to_string() + "\n");
    }
}

/// For each other manager, by its title, the fields that it would lose.
fn conflicts(
    owners: &[Entry],
    changes: &Changes,
    client_side_fields: Option<FieldSet>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in owners {
        let mut hit = entry.set.overwritten_by(&changes.changed);
        if let Some(client_side_fields) = &client_side_fields {
            hit.subtract(client_side_fields);
        }
        found.extend(hit.paths().into_iter().map(|path| (entry.title(), path)));
    }
    found.sort();
    found
}

fn describe(conflicts: &[(String, String)]) -> ApplyConflict {
    let causes = conflicts
        .iter()
        .map(|(title, path)| ConflictCause {
            message: format!("conflict with {title}"),
            field: path.clone(),
        })
        .collect();
    let message = match conflicts {
        [(title, path)] => format!("Apply failed with 1 conflict: conflict with {title}: {path}"),
        several => {
            let mut lines = Vec::new();
            let mut last = None;
            for (title, path) in several {
                if last != Some(title) {
                    lines.push(format!("conflicts with {title}:"));
                    last = Some(title);
                }
                lines.push(format!("- {path}"));
            }
            format!("Apply failed with {} conflicts: {}", several.len(), lines.join("\n"))
        }
    };
    ApplyConflict { message, causes }
}

/// Removes changed and removed fields from their owners.
fn release(owners: &mut Vec<Entry>, changes: &Changes) {
    for entry in owners.iter_mut() {
        let lost = entry.set.overwritten_by(&changes.changed);
        entry.set.subtract(&lost);
        entry.set.subtract(&changes.removed);
    }
    owners.retain(|entry| !entry.set.is_empty());
}

fn merge(live: Option<&Value>, applied: &Value, shape: &Shape) -> Value {
    match (live, applied) {
        (Some(Value::Object(live)), Value::Object(applied)) if !shape.atomic => {
            let mut merged = live.clone();
            for (key, value) in applied {
                merged.insert(key.clone(), merge(live.get(key), value, shape.field(key)));
            }
            Value::Object(merged)
        }
        (Some(Value::Array(live)), Value::Array(applied)) => {
            match (items(live, &shape.list), items(applied, &shape.list)) {
                (Ok(old), Ok(new)) => Value::Array(merge_items(&old, &new, shape)),
                (Ok(_) | Err(_), _) => Value::Array(applied.clone()),
            }
        }
        (_, applied) => applied.clone(),
    }
}

/// Merges two ordered lists of items: items of other managers keep their place, applied ones keep their order, and new ones come as late as that allows.
fn merge_items(old: &[(String, &Value)], new: &[(String, &Value)], shape: &Shape) -> Vec<Value> {
    let before: BTreeMap<&str, &Value> =
        old.iter().map(|(key, item)| (key.as_str(), *item)).collect();
    let given: BTreeSet<&str> = new.iter().map(|(key, _)| key.as_str()).collect();
    let mut shared = new.iter().map(|(key, _)| key.as_str()).filter(|key| before.contains_key(key));
    let mut next_shared = shared.next();
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let mut taken = BTreeSet::new();
    let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
    loop {
        let stood = olds.peek().map(|(key, _)| key.as_str());
        let wanted = news.peek().map(|(key, _)| key.as_str());
        match (stood, wanted) {
            (None, None) => return merged,
            // An item of another manager keeps its place; one that was merged already, or comes later, is skipped.
            (Some(key), _) if !given.contains(key) => {
                merged.extend(olds.next().map(|(_, item)| (*item).clone()));
            }
            (Some(key), _) if taken.contains(key) => {
                olds.next();
            }
            (Some(key), Some(wanted)) if key != wanted && Some(key) != next_shared => {
                olds.next();
            }
            (_, Some(key)) => {
                let Some((_, item)) = news.next() else { return merged };
                merged.push(merge(before.get(key).copied(), item, shape.item()));
                taken.insert(key);
                if next_shared == Some(key) {
                    next_shared = shared.next();
                }
            }
            (Some(_), None) => {
                olds.next();
            }
        }
    }
}

fn element(item: &Value, list: &ListType) -> Option<String> {
    match list {
        ListType::Atomic => None,
        ListType::Set => Some(format!("v:{item}")),
        ListType::Map { keys, defaults } => item_key(item, keys, defaults).ok(),
    }
}

/// Removes the fields that are in `last`, not in `new`, and owned by no other manager; maps that become empty are removed too.
fn prune(
    value: &mut Value,
    last: &FieldSet,
    new: Option<&FieldSet>,
    others: Option<&FieldSet>,
    shape: &Shape,
    protected: &[String],
) {
    let places = places(value, shape);
    let mut gone = BTreeSet::new();
    for (key, last) in &last.children {
        let new = new.and_then(|set| set.children.get(key));
        let others = others.and_then(|set| set.children.get(key));
        if key.strip_prefix("f:").is_some_and(|name| protected.iter().any(|field| field == name)) {
            continue;
        }
        let wanted = new.is_some() || others.is_some();
        let whole = last.member && (last.children.is_empty() || !key.starts_with("f:"));
        if !wanted && whole {
            gone.insert(key.as_str());
            continue;
        }
        let Some((below, shape_below)) = locate(value, key, shape, &places) else { continue };
        prune(below, last, new, others, shape_below, &key_fields(key));
        let emptied = match below {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if emptied && !wanted {
            gone.insert(key.as_str());
        }
    }
    match value {
        Value::Object(map) => {
            gone.iter()
                .filter_map(|key| key.strip_prefix("f:"))
                .for_each(|name| drop(map.remove(name)));
        }
        Value::Array(list) => {
            let gone: BTreeSet<usize> =
                gone.iter().filter_map(|key| places.get(*key).copied()).collect();
            let mut place = 0..;
            list.retain(|_| place.next().is_none_or(|place| !gone.contains(&place)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The positions of the items of a keyed list or a set.
fn places(value: &Value, shape: &Shape) -> BTreeMap<String, usize> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .enumerate()
        .filter_map(|(at, item)| Some((element(item, &shape.list)?, at)))
        .collect()
}

fn locate<'a, 'b>(
    value: &'a mut Value,
    key: &str,
    shape: &'b Shape,
    places: &BTreeMap<String, usize>,
) -> Option<(&'a mut Value, &'b Shape)> {
    match key.strip_prefix("f:") {
        Some(name) => Some((value.as_object_mut()?.get_mut(name)?, shape.field(name))),
        None => Some((value.as_array_mut()?.get_mut(*places.get(key)?)?, shape.item())),
    }
}

/// Updates `managedFields` for a write other than apply: `manager` owns the changed fields.
pub fn record_update(
    old: Option<&Value>,
    new: &mut Value,
    manager: &str,
    keys: &ListKeys,
    now: &str,
    subresource: Option<&str>,
) {
    let written = new.at("/metadata/managedFields").and_then(Value::as_array);
    // A list with one empty entry is a client's request to reset `managedFields`.
    let reset = written
        .is_some_and(|list| list.len() == 1 && list[0].as_object().is_some_and(Map::is_empty));
    let mut owners = match entries(new).filter(|entries| !entries.is_empty()) {
        _ if reset => Vec::new(),
        Some(written) => written,
        None => old.and_then(entries).unwrap_or_default(),
    };
    // An object without `managedFields` gets them with the first apply.
    let existed = old.is_some_and(|old| old.at("/metadata/uid").is_some());
    if existed && !reset && owners.is_empty() {
        return;
    }
    let nothing = json!({});
    let changes = compare(Some(old.unwrap_or(&nothing)), Some(new), &keys.root).without_unowned();
    release(&mut owners, &changes);
    if !changes.changed.is_empty() {
        let version = api_version(new);
        let mine = owners.iter_mut().find(|entry| {
            entry.is(manager, Operation::Update, subresource) && entry.api_version == version
        });
        match mine {
            Some(mine) => {
                mine.set.union(&changes.changed);
                mine.time = time_of(subresource, now);
            }
            None => owners.push(Entry {
                manager: manager.to_owned(),
                operation: Operation::Update,
                api_version: version,
                time: time_of(subresource, now),
                subresource: subresource.map(str::to_owned),
                set: changes.changed,
            }),
        }
    }
    store(new, owners);
}
