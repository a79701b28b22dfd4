//! What Deployments, pods and Events add to a picture, read from the objects as the API server has them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serin_core::words::{NAME_MAX, SENTENCE_MAX, line};
use serin_providers::change::FIELD_MANAGER;

/// Pods of one side that are shown; those that are not ready come first.
const PODS_MAX: usize = 50;
/// Images of one pod template that are shown.
const IMAGES_MAX: usize = 4;

/// Which version a pod is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Side {
    Canary,
    Primary,
}

/// A pod with its own reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pod {
    pub name: String,
    pub side: Side,
    pub ready: bool,
    /// As kubectl would say it: its phase, or why it waits.
    pub status: String,
    pub restarts: u64,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is not ready, or ended last time.
    pub why: String,
}

/// What the workloads run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Images {
    /// Of the primary, before this release.
    pub old: String,
    /// Of the primary, as it is.
    pub primary: String,
    /// Of the target.
    pub new: String,
    /// Who changed the target's pod template last.
    pub by: String,
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn time(object: &Value, pointer: &str) -> Option<Timestamp> {
    text(object, pointer).parse().ok()
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// The images of a target and of its primary.
pub fn images(target: Option<&Value>, primary: Option<&Value>) -> Images {
    Images {
        old: primary.map(image).unwrap_or_default(),
        primary: primary.map(image).unwrap_or_default(),
        new: target.map(image).unwrap_or_default(),
        by: target.map(changed_by).unwrap_or_default(),
    }
}

/// Of all containers, without those that follow from the first.
fn image(workload: &Value) -> String {
    let images = list(workload, "/spec/template/spec/containers").map(|one| text(one, "/image"));
    let images: Vec<&str> = images.filter(|image| !image.is_empty()).take(IMAGES_MAX).collect();
    line(&images.join(", "), SENTENCE_MAX)
}

/// The field manager that wrote the pod template last; ours only scales.
fn changed_by(workload: &Value) -> String {
    let entries = list(workload, "/metadata/managedFields");
    let wrote = entries.filter(|entry| {
        entry.pointer("/fieldsV1/f:spec/f:template").is_some()
            && text(entry, "/manager") != FIELD_MANAGER
            && text(entry, "/subresource").is_empty()
    });
    let last = wrote.max_by_key(|entry| time(entry, "/time"));
    last.map(|entry| line(text(entry, "/manager"), NAME_MAX)).unwrap_or_default()
}

/// The pods of a Deployment, those that are not ready first.
pub fn pods(workload: &Value, side: Side, all: &[Value]) -> Vec<Pod> {
    let Some(selector) = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object)
    else {
        return Vec::new();
    };
    let ours = all.iter().filter(|pod| {
        let labels = pod.pointer("/metadata/labels");
        !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    });
    let mut pods: Vec<Pod> = ours.map(|object| pod(object, side)).collect();
    pods.sort_by(|a, b| (a.ready, &a.name).cmp(&(b.ready, &b.name)));
    pods.truncate(PODS_MAX);
    pods
}

fn pod(object: &Value, side: Side) -> Pod {
    let mut conditions = list(object, "/status/conditions");
    let ready = conditions.find(|condition| text(condition, "/type") == "Ready");
    let is_ready = ready.is_some_and(|ready| text(ready, "/status") == "True");
    let containers = || {
        list(object, "/status/initContainerStatuses")
            .chain(list(object, "/status/containerStatuses"))
    };
    let going = object.pointer("/metadata/deletionTimestamp").is_some();
    let waits = containers().find(|one| {
        !matches!(text(one, "/state/waiting/reason"), "" | "PodInitializing")
            && one.pointer("/state/waiting").is_some()
    });
    let status = match (going, waits) {
        (true, _) => "Terminating",
        (false, Some(one)) => text(one, "/state/waiting/reason"),
        (false, None) if !text(object, "/status/reason").is_empty() => {
            text(object, "/status/reason")
        }
        (false, None) => text(object, "/status/phase"),
    };
    let restarts = containers().filter_map(|one| one.pointer("/restartCount")?.as_u64()).sum();
    let mut why = Vec::new();
    if let Some(one) = waits {
        why.push(text(one, "/state/waiting/message").to_owned());
    }
    for one in containers() {
        let ended =
            one.pointer("/state/terminated").or_else(|| one.pointer("/lastState/terminated"));
        let Some(ended) = ended.filter(|_| !is_ready || restarts > 0) else { continue };
        let code = ended.pointer("/exitCode").and_then(Value::as_i64).unwrap_or_default();
        why.push(format!("{} ended: {} ({code})", text(one, "/name"), text(ended, "/reason")));
    }
    if !is_ready && !going {
        why.push(text(object, "/status/message").to_owned());
        why.extend(ready.map(|ready| text(ready, "/message").to_owned()));
    }
    why.retain(|sentence| !sentence.is_empty());
    why.dedup();
    Pod {
        name: line(text(object, "/metadata/name"), NAME_MAX),
        side,
        ready: is_ready && !going,
        status: line(status, NAME_MAX),
        restarts,
        since: time(object, "/metadata/creationTimestamp"),
        why: line(&why.join("; "), SENTENCE_MAX),
    }
}

/// What Events tell: when, their code and their sentence.
pub fn events(list: &[Value]) -> Vec<(Timestamp, String, String)> {
    let told = list.iter().filter_map(|event| {
        let last = time(event, "/firstTimestamp").or_else(|| time(event, "/eventTime"));
        let at = last.or_else(|| time(event, "/metadata/creationTimestamp"))?;
        let code = line(text(event, "/reason"), NAME_MAX);
        Some((at, code, line(text(event, "/message"), SENTENCE_MAX)))
    });
    let mut told: Vec<_> = told.collect();
    told.sort();
    told
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_says_why_it_is_not_ready() {
        let workload = json!({"spec": {"selector": {"matchLabels": {"app": "backend"}}}});
        let of = |name: &str, status: Value| json!({"metadata": {"name": name, "labels": {"app": "backend"}}, "status": status});
        let fine = of(
            "a",
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        );
        let pulling = of(
            "b",
            json!({
                "phase": "Pending",
                "conditions": [{"type": "Ready", "status": "False", "message": "containers with unready status: [backend]"}],
                "containerStatuses": [{"name": "backend", "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image\u{1b}[2J"}}}],
            }),
        );
        let killed = of(
            "c",
            json!({
                "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "backend", "restartCount": 2, "state": {"running": {}}, "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}],
            }),
        );
        let other = json!({"metadata": {"name": "d", "labels": {"app": "other"}}});
        let pods = pods(&workload, Side::Canary, &[fine, pulling, killed, other]);
        let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!(pods[0].status, "ImagePullBackOff");
        assert_eq!(pods[0].why, "no such image [2J; containers with unready status: [backend]");
        assert_eq!((pods[1].ready, pods[1].why.as_str()), (true, ""));
        assert_eq!((pods[2].restarts, pods[2].why.as_str()), (2, "backend ended: OOMKilled (137)"));
    }

    #[test]
    fn who_changed_the_template_is_the_last_one_who_wrote_it() {
        let wrote = |manager: &str, time: &str, fields: Value| json!({"manager": manager, "time": time, "fieldsV1": fields});
        let template = json!({"f:spec": {"f:template": {}}});
        let target = json!({
            "metadata": {"managedFields": [
                wrote("argocd", "2026-11-01T10:00:00Z", template.clone()),
                wrote("kubectl-set", "2026-11-01T11:00:00Z", template.clone()),
                wrote("hpa", "2026-11-01T12:00:00Z", json!({"f:spec": {"f:replicas": {}}})),
                wrote(FIELD_MANAGER, "2026-11-01T13:00:00Z", template),
            ]},
            "spec": {"template": {"spec": {"containers": [{"image": "shop:2"}, {"image": "proxy:1"}]}}},
        });
        let images = images(Some(&target), None);
        assert_eq!((images.by.as_str(), images.new.as_str()), ("kubectl-set", "shop:2, proxy:1"));
        assert_eq!(images.old, "");
    }
}
