//! Converts HorizontalPodAutoscalers between `autoscaling/v2`, which is stored, and `autoscaling/v1`, which older clients write.

use serde_json::{Value, json};

/// From `v1` (an object or a merge patch of one) to `v2`.
pub(crate) fn to_v2(scaler: &Value) -> Value {
    let mut new = scaler.clone();
    if new.get("apiVersion").is_some() {
        new["apiVersion"] = json!("autoscaling/v2");
    }
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return new };
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage")
        && !percent.is_null()
    {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": target}});
        spec.insert("metrics".to_owned(), json!([metric]));
    }
    new
}

/// From `v2` to `v1`, which has no metric but CPU utilisation.
pub(crate) fn from_v2(scaler: &Value) -> Value {
    let mut old = scaler.clone();
    old["apiVersion"] = json!("autoscaling/v1");
    if let Some(spec) = old.get_mut("spec").and_then(Value::as_object_mut) {
        let metrics = spec.remove("metrics");
        spec.remove("behavior");
        let cpu = metrics.iter().filter_map(Value::as_array).flatten().find_map(|metric| {
            let cpu = metric.pointer("/resource/name").and_then(Value::as_str) == Some("cpu");
            metric.pointer("/resource/target/averageUtilization").filter(|_| cpu).cloned()
        });
        cpu.map(|percent| spec.insert("targetCPUUtilizationPercentage".to_owned(), percent));
    }
    if let Some(status) = old.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
        status.remove("conditions");
    }
    old
}
