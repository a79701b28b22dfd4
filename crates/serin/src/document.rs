//! A Canary as a command or a page reads it: under the limits of the controller, and without control characters.

use serde_json::Value;
use serin_core::parse::Limits;
use serin_core::words::line;

/// What the controller was told, as far as it shows. Shorter intervals may be allowed where it runs; that is no concern of
/// ours.
pub(crate) fn limits(object: &Value, mesh_provider: Option<&str>) -> Limits {
    let told = object.pointer("/status/provider").and_then(Value::as_str);
    let provider = mesh_provider.or(told.filter(|told| !told.is_empty()));
    let mut limits = Limits { min_interval_secs: 1, ..Limits::default() };
    if let Some(provider) = provider {
        limits.provider = provider.to_owned();
    }
    limits
}

/// Whoever may write a status may write anything, and this goes to a terminal.
pub(crate) fn legible(value: &mut Value) {
    match value {
        Value::String(text) => *text = line(text, usize::MAX),
        Value::Array(list) => list.iter_mut().for_each(legible),
        Value::Object(map) => map.values_mut().for_each(legible),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
