//! Validation of pods and pod templates.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::field::{Errors, Field};
use super::{container, meta, names, volume};

const NO_HANDLERS: &str = "may not be set for init containers without restartPolicy=Always";

pub(super) fn template(template: &Field<'_>, errors: &mut Errors) {
    // kube-apiserver leaves `metadata` out of these paths too.
    for (part, rule) in [
        ("labels", meta::labels as fn(&Field<'_>, &mut Errors)),
        ("annotations", meta::annotations),
    ] {
        let value = template.child("metadata").child(part).value;
        rule(&Field { path: format!("{}.{part}", template.path), value }, errors);
    }
    check(&template.child("spec"), errors);
    let guests = template.child("spec").child("ephemeralContainers");
    if !guests.is_empty() {
        errors.forbidden(&guests, "ephemeral containers not allowed in pod template");
    }
}

pub(super) fn check(spec: &Field<'_>, errors: &mut Errors) {
    let volumes = volume::check(&spec.child("volumes"), errors);
    containers(spec, &volumes, errors);
    init_containers(spec, &volumes, errors);
    host_network(spec, errors);
    errors.one_of(&spec.child("restartPolicy"), &["Always", "OnFailure", "Never"]);
    errors.one_of(
        &spec.child("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    meta::labels(&spec.child("nodeSelector"), errors);
    security(&spec.child("securityContext"), errors);
    affinity(&spec.child("affinity"), errors);
    spreads(&spec.child("topologySpreadConstraints"), errors);
    named(spec, errors);
    tolerations(&spec.child("tolerations"), errors);
    for alias in spec.child("hostAliases").items() {
        let address = alias.child("ip");
        if address.text().parse::<std::net::IpAddr>().is_err() {
            errors.invalid(&address, super::slice::NO_ADDRESS);
        }
    }
    let class = spec.child("priorityClassName");
    if !class.is_empty() {
        errors.invalid_each(&class, names::subdomain(class.text()));
    }
}

fn containers(spec: &Field<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut Errors) {
    let list = spec.child("containers");
    if list.is_empty() {
        errors.required(&list, "");
        return;
    }
    let grace = spec.child("terminationGracePeriodSeconds").optional();
    let mut seen = BTreeSet::new();
    for one in list.items() {
        container::check(&one, volumes, errors);
        if !seen.insert(one.child("name").text()) {
            errors.duplicate(&one.child("name"));
        }
        container::handlers(&one, grace, errors);
    }
    let all: Vec<_> = list.items().collect();
    host_ports(&all, errors);
}

fn init_containers(spec: &Field<'_>, volumes: &BTreeMap<&str, &Value>, errors: &mut Errors) {
    let grace = spec.child("terminationGracePeriodSeconds").optional();
    let mut seen: BTreeSet<&str> =
        spec.child("containers").items().map(|one| one.child("name").text()).collect();
    for one in spec.child("initContainers").items() {
        container::check(&one, volumes, errors);
        let policy = one.child("restartPolicy");
        if policy.is_set() {
            errors.one_of(&policy, &["Always", "Never", "OnFailure"]);
        }
        let name = one.child("name");
        if seen.contains(name.text()) {
            errors.duplicate(&name);
        } else if !name.is_empty() {
            seen.insert(name.text());
        }
        host_ports(std::slice::from_ref(&one), errors);
        if policy.text() == "Always" {
            container::handlers(&one, grace, errors);
            continue;
        }
        for part in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let part = one.child(part);
            if part.is_set() {
                errors.forbidden(&part, NO_HANDLERS);
            }
        }
    }
}

fn host_ports(containers: &[Field<'_>], errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in containers.iter().flat_map(|one| one.child("ports").items().collect::<Vec<_>>()) {
        let number = port.child("hostPort");
        if number.number() == 0 {
            continue;
        }
        let key = format!(
            "{}/{}/{}",
            port.child("protocol").text(),
            port.child("hostIP").text(),
            number.number()
        );
        if seen.contains(&key) {
            errors.duplicate_as(&number, &json!(key).to_string());
        }
        seen.insert(key);
    }
}

fn host_network(spec: &Field<'_>, errors: &mut Errors) {
    if !spec.child("hostNetwork").flag() {
        return;
    }
    for list in ["containers", "initContainers"] {
        for one in spec.child(list).items() {
            for port in one.child("ports").items() {
                let (host, inside) = (port.child("hostPort"), port.child("containerPort"));
                if host.number() != 0 && host.number() != inside.number() {
                    errors.invalid(&host, "must match `containerPort` when `hostNetwork` is true");
                }
            }
        }
    }
}

fn security(context: &Field<'_>, errors: &mut Errors) {
    for part in ["runAsUser", "runAsGroup", "fsGroup"] {
        container::id(&context.child(part), errors);
    }
}

/// Checks the names of other objects and of the host.
fn named(spec: &Field<'_>, errors: &mut Errors) {
    let account = spec.child("serviceAccountName");
    if !account.is_empty() {
        errors.invalid_each(&account, names::subdomain(account.text()));
    }
    let node = spec.child("nodeName");
    if !node.is_empty() {
        errors.invalid_each(&node, names::subdomain(node.text()));
    }
    let deadline = spec.child("activeDeadlineSeconds");
    if let Some(seconds) = deadline.optional() {
        errors.invalid_each(&deadline, names::in_range(seconds, 1, i64::from(i32::MAX)));
    }
    let grace = spec.child("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.required(&grace, "");
    }
    for part in ["hostname", "subdomain"] {
        let part = spec.child(part);
        if !part.is_empty() {
            errors.invalid_each(&part, names::label(part.text()));
        }
    }
}

fn tolerations(list: &Field<'_>, errors: &mut Errors) {
    for one in list.items() {
        let (key, operator) = (one.child("key"), one.child("operator"));
        let (value, effect) = (one.child("value"), one.child("effect"));
        if !key.is_empty() {
            errors.invalid_each(&key, names::qualified(key.text()));
        } else if operator.text() != "Exists" {
            let shown = json!(operator.text());
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid_as(&operator, &shown, why);
        }
        if one.child("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            let shown = json!(effect.text());
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid_as(&effect, &shown, why);
        }
        match operator.text() {
            "Equal" | "" => {
                let wrong = names::label_value(value.text());
                if !wrong.is_empty() {
                    errors.invalid_as(&operator, &json!(value.text()), &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid_as(
                    &operator,
                    value.value,
                    "value must be empty when `operator` is 'Exists'",
                );
            }
            "Exists" => {}
            _ => errors.unsupported(&operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            errors.one_of(&effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

fn affinity(affinity: &Field<'_>, errors: &mut Errors) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let kind = affinity.child(kind);
        for term in kind.child("requiredDuringSchedulingIgnoredDuringExecution").items() {
            self::term(&term, errors);
        }
        for one in kind.child("preferredDuringSchedulingIgnoredDuringExecution").items() {
            let weight = one.child("weight");
            if !(1..=100).contains(&weight.number()) {
                errors.invalid_as(&weight, &json!(weight.number()), "must be in the range 1-100");
            }
            term(&one.child("podAffinityTerm"), errors);
        }
    }
}

fn term(term: &Field<'_>, errors: &mut Errors) {
    meta::selector(&term.child("labelSelector"), errors);
    let key = term.child("topologyKey");
    if key.is_empty() {
        errors.required(&key, "can not be empty");
    }
    errors.invalid_each(
        &Field { path: key.path.clone(), value: if key.is_set() { key.value } else { empty() } },
        names::qualified(key.text()),
    );
}

fn empty() -> &'static Value {
    static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!(""));
    &EMPTY
}

fn spreads(list: &Field<'_>, errors: &mut Errors) {
    for one in list.items() {
        let (skew, key) = (one.child("maxSkew"), one.child("topologyKey"));
        if skew.number() <= 0 {
            errors.invalid_as(&skew, &json!(skew.number()), "must be greater than zero");
        }
        if key.is_empty() {
            errors.required(&key, "can not be empty");
        }
        errors.one_of(&one.child("whenUnsatisfiable"), &["DoNotSchedule", "ScheduleAnyway"]);
        meta::selector(&one.child("labelSelector"), errors);
    }
}
