//! Strategic merge patch: a merge patch with list keys and directives.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::keys::{ListType, Shape};
use super::{ListKeys, PatchError, check_depth};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Bound of comparisons: items are searched one by one; real lists are far below it.
const COMPARISONS_MAX: usize = 25_000_000;
/// Bound of the items of a new list, which is searched for each of its items.
const ITEMS_MAX: usize = 5_000;

/// Patches an object of a built-in kind.
pub fn strategic_merge(obj: &Value, patch: &Value, kind: &str) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch_map)) = (obj, patch) else {
        return Err(PatchError::Malformed("a strategic merge patch must be an object".into()));
    };
    check_depth(patch, "the strategic merge patch")?;
    let keys = ListKeys::builtin(kind);
    let merged = merge_map(original.clone(), patch_map, &keys.root)?.unwrap_or_default();
    Ok(Value::Object(merged))
}

/// The value of `$patch` in a map.
enum Directive {
    Merge,
    Replace,
    Delete,
}

fn directive(patch: &Map<String, Value>) -> Result<Directive, PatchError> {
    match patch.get(PATCH).map(Value::as_str) {
        None | Some(Some("merge")) => Ok(Directive::Merge),
        Some(Some("replace")) => Ok(Directive::Replace),
        Some(Some("delete")) => Ok(Directive::Delete),
        Some(_) => {
            Err(PatchError::Malformed(format!("unknown patch type {} found in map", patch[PATCH])))
        }
    }
}

/// The merged map; `None` if the patch deletes it.
fn merge_map(
    mut original: Map<String, Value>,
    patch: &Map<String, Value>,
    shape: &Shape,
) -> Result<Option<Map<String, Value>>, PatchError> {
    match directive(patch)? {
        Directive::Delete => return Ok(None),
        Directive::Replace => original.clear(),
        Directive::Merge => {}
    }
    retain_keys(&mut original, patch)?;
    // Deletions are applied first, so that an item can be deleted and added again.
    for (key, values) in patch {
        if let Some(field) = key.strip_prefix(DELETE_FROM) {
            let values = list_of(key, values)?;
            if let Some(Value::Array(list)) = original.get_mut(field) {
                list.retain(|item| !values.contains(item));
            }
        }
    }
    let ordered = patch.keys().filter_map(|key| key.strip_prefix(ELEMENT_ORDER));
    let before: BTreeMap<String, Value> = ordered
        .filter_map(|field| Some((field.to_owned(), original.get(field)?.clone())))
        .collect();
    for (key, value) in patch {
        if key == PATCH
            || key == RETAIN_KEYS
            || key.starts_with(DELETE_FROM)
            || key.starts_with(ELEMENT_ORDER)
        {
            continue;
        }
        if key.starts_with('$') {
            return Err(PatchError::Malformed(format!("unknown patch directive {key}")));
        }
        match merge_value(original.remove(key), value, shape.field(key))? {
            Some(merged) => original.insert(key.clone(), merged),
            None => None,
        };
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix(ELEMENT_ORDER) {
            let order = list_of(key, order)?;
            let was =
                before.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            if let Some(Value::Array(list)) = original.get_mut(field) {
                reorder(list, order, was, shape.field(field));
            }
        }
    }
    Ok(Some(original))
}

fn list_of<'a>(key: &str, value: &'a Value) -> Result<&'a [Value], PatchError> {
    match value {
        Value::Array(list) => Ok(list),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(PatchError::Malformed(format!("{key} must be a list")))
        }
    }
}

fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(retain) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let retain = list_of(RETAIN_KEYS, retain)?;
    let kept = |key: &str| retain.iter().any(|item| item.as_str() == Some(key));
    for (key, value) in patch {
        if !key.starts_with('$') && !value.is_null() && !kept(key) {
            return Err(PatchError::Malformed(format!(
                "{key} is not among the keys of {RETAIN_KEYS}"
            )));
        }
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

fn merge_value(
    original: Option<Value>,
    patch: &Value,
    shape: &Shape,
) -> Result<Option<Value>, PatchError> {
    match (original, patch) {
        (_, Value::Null) => Ok(None),
        (Some(Value::Object(original)), Value::Object(patch)) => {
            Ok(merge_map(original, patch, shape)?.map(Value::Object))
        }
        (_, Value::Object(patch)) => Ok(merge_map(Map::new(), patch, shape)?.map(Value::Object)),
        (Some(Value::Array(original)), Value::Array(patch)) => {
            Ok(Some(merge_list(original, patch, shape)?))
        }
        (_, Value::Array(patch)) => Ok(Some(merge_list(Vec::new(), patch, shape)?)),
        (_, Value::Bool(_) | Value::Number(_) | Value::String(_)) => Ok(Some(patch.clone())),
    }
}

fn merge_list(original: Vec<Value>, patch: &[Value], shape: &Shape) -> Result<Value, PatchError> {
    if original.len().saturating_mul(patch.len()) > COMPARISONS_MAX {
        return Err(PatchError::TooLarge(format!(
            "merging a list of {} into one of {} items is too much work",
            patch.len(),
            original.len()
        )));
    }
    let list = match &shape.list {
        ListType::Atomic => plain(patch, shape.item())?,
        ListType::Set => {
            let mut list = original;
            for item in patch {
                if !list.contains(item) {
                    list.push(item.clone());
                }
            }
            list
        }
        ListType::Map { keys, .. } => merge_keyed(original, patch, keys, shape.item())?,
    };
    Ok(Value::Array(list))
}

/// The items of a replaced list, without directives and without nulls in maps.
fn plain(items: &[Value], shape: &Shape) -> Result<Vec<Value>, PatchError> {
    let mut list = Vec::new();
    for item in items {
        match item {
            Value::Object(map) => {
                if let Directive::Replace = directive(map)?
                    && map.len() == 1
                {
                    continue;
                }
                list.extend(merge_value(None, item, shape)?);
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                list.push(item.clone());
            }
        }
    }
    Ok(list)
}

fn merge_keyed(
    mut list: Vec<Value>,
    patch: &[Value],
    keys: &[String],
    shape: &Shape,
) -> Result<Vec<Value>, PatchError> {
    let replace =
        patch.iter().any(|item| item.get(PATCH).and_then(Value::as_str) == Some("replace"));
    if replace {
        list.clear();
    }
    let Some(merge_key) = keys.first() else { return Ok(list) };
    if patch.len() > ITEMS_MAX {
        return Err(PatchError::TooLarge(format!("a keyed list of more than {ITEMS_MAX} items")));
    }
    for item in patch {
        let Value::Object(item) = item else {
            return Err(PatchError::Malformed(format!(
                "items of a list merged by {merge_key} must be objects"
            )));
        };
        let asked = directive(item)?;
        if item.len() == 1 && matches!(asked, Directive::Replace) {
            continue;
        }
        let Some(key) = item.get(merge_key) else {
            return Err(PatchError::Malformed(format!(
                "map: {} does not contain declared merge key: {merge_key}",
                Value::Object(item.clone())
            )));
        };
        if matches!(asked, Directive::Delete) {
            list.retain(|old| old.get(merge_key) != Some(key) || differs(old, item, keys));
            continue;
        }
        match position(&list, item, keys, merge_key) {
            Some(at) => {
                let old = list[at].take();
                list[at] = merge_value(Some(old), &Value::Object(item.clone()), shape)?
                    .unwrap_or_default();
            }
            None => list.extend(merge_value(None, &Value::Object(item.clone()), shape)?),
        }
    }
    Ok(list)
}

/// Whether another key (the protocol of a port) is set on both sides and differs.
fn differs(old: &Value, item: &Map<String, Value>, keys: &[String]) -> bool {
    keys.iter().skip(1).any(|key| match (old.get(key), item.get(key)) {
        (Some(old), Some(new)) => old != new,
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    })
}

/// The position of the item with the same merge key; among several, of one whose other keys agree.
fn position(
    list: &[Value],
    item: &Map<String, Value>,
    keys: &[String],
    merge_key: &str,
) -> Option<usize> {
    let same =
        |old: &Value| old.get(merge_key).is_some() && old.get(merge_key) == item.get(merge_key);
    let mut at = list.iter().enumerate().filter(|(_, old)| same(old)).map(|(index, _)| index);
    let first = at.next()?;
    if !differs(&list[first], item, keys) {
        return Some(first);
    }
    // Two ports of one number are told apart by protocol; with only one, the protocol is being changed.
    let others: Vec<usize> = at.collect();
    if others.is_empty() {
        Some(first)
    } else {
        others.into_iter().find(|index| !differs(&list[*index], item, keys))
    }
}

/// Sorts the items named in `order` into that order and leaves the others in their places between them.
fn reorder(list: &mut Vec<Value>, order: &[Value], was: &[Value], shape: &Shape) {
    let key = match &shape.list {
        ListType::Map { keys, .. } => keys.first(),
        ListType::Set => None,
        // An atomic list is in the order of its sender.
        ListType::Atomic => return,
    };
    let id = |item: &Value| match key {
        Some(key) => item.get(key).unwrap_or(&Value::Null).to_string(),
        None => item.to_string(),
    };
    let places = |items: &[Value]| -> BTreeMap<String, usize> {
        items.iter().enumerate().rev().map(|(at, item)| (id(item), at)).collect()
    };
    let (order, was) = (places(order), places(was));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        list.drain(..).partition(|item| order.contains_key(&id(item)));
    named.sort_by_key(|item| order.get(&id(item)).copied());
    *list = merge_order(named, others, |item| was.get(&id(item)).copied());
}

/// Merges two orders: the earlier position comes first, and a new item comes before the item that it meets.
pub(super) fn merge_order(
    first: Vec<Value>,
    second: Vec<Value>,
    stood: impl Fn(&Value) -> Option<usize>,
) -> Vec<Value> {
    let mut woven = Vec::with_capacity(first.len() + second.len());
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    loop {
        let take_first = match (first.peek(), second.peek()) {
            (None, None) => return woven,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(one), Some(other)) => stood(one) <= stood(other),
        };
        woven.extend(if take_first { first.next() } else { second.next() });
    }
}
