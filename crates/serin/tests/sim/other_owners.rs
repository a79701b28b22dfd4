//! Worlds with other_owners: objects of others under every name that the operator derives, workloads that share labels and
//! configs, Services with odd ports, pods that come in behind them, and a second Canary that wants what the first has.
//!
//! Lives of their own, so that no other life changes by them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serin_core::model::provider::{KUBERNETES, TRAEFIK};
use serin_core::model::{HookKind, TargetKind};
use tokio::time::Instant;

use crate::faults::By;
use crate::invariants::{Broken, Moment};
use crate::manifests::{NAMESPACE, name};
use crate::plan::{Act, Call, Checks, Fault, Move, Plan, Quality, Shape, Trouble, What};
use crate::random::{self, Random};
use crate::wide::Extra;
use crate::world::{CANARIES, DEPLOYMENTS, SERVICES, strategies};

/// The stream of these random.
const STREAM: u64 = 0x57_7a_69_67;
/// On whatever is another owner's.
const MARK: &str = "belongs-to";
/// The label that all targets of a world have in common, where they share one.
const SHARED: &str = "shop";
/// What changed less than this ago need not be known.
const NEWS: Duration = Duration::from_secs(5);

/// A name of ours that another client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Taken {
    Primary,
    Apex,
    PrimaryService,
    CanaryService,
    Autoscaler,
    ConfigCopy,
    SecretCopy,
    Kept,
    Route,
}

impl Taken {
    pub(crate) const ALL: [Taken; 9] = [
        Taken::Primary,
        Taken::Apex,
        Taken::PrimaryService,
        Taken::CanaryService,
        Taken::Autoscaler,
        Taken::ConfigCopy,
        Taken::SecretCopy,
        Taken::Kept,
        Taken::Route,
    ];
}

/// Who else is in the world of a canary.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    pub(crate) taken: BTreeSet<Taken>,
    /// All targets have `app: shop` and differ in a second label.
    pub(crate) one_label: bool,
    /// All targets read one ConfigMap and one Secret.
    pub(crate) one_config: bool,
    /// The apex Service is there before the Canary, with ports that the Canary does not speak of.
    pub(crate) odd_ports: bool,
}

/// The life that this seed stands for.
pub(crate) fn plan(seed: u64, length: u64) -> Plan {
    let mut random = random::of(seed, STREAM);
    let count = if random.chance(60) { 2 } else { 1 };
    let (one_label, one_config) = (random.chance(60), random.chance(60));
    let canaries: Vec<Shape> = (0..count)
        .map(|_| {
            let mut shape = shape(&mut random);
            shape.extra.beside.one_label = one_label;
            shape.extra.beside.one_config = one_config;
            shape.configs |= one_config;
            shape
        })
        .collect();
    let after = |random: &mut Random, within| Duration::from_millis(random.roll(within));
    let mut moves = vec![Move { after: Duration::from_secs(40), what: What::User(0, Act::Twin) }];
    for canary in 0..count {
        moves.push(Move {
            after: after(&mut random, 40_000),
            what: What::User(canary, Act::MakeRoom),
        });
    }
    let calm = random.chance(50);
    for _ in 0..4 + random.roll(length) {
        let canary = random.index(count);
        let what = if calm || random.chance(60) {
            What::User(canary, act(&mut random))
        } else {
            What::Trouble(trouble(&mut random))
        };
        moves.push(Move { after: after(&mut random, 45_000), what });
    }
    Plan { seed, replicas: 1, canaries, moves }
}

fn shape(random: &mut Random) -> Shape {
    let provider = if random.chance(80) { &TRAEFIK } else { &KUBERNETES };
    let guard = random.chance(30) && provider.has_router();
    let blue_green = |place: &usize| strategies()[*place].get("iterations").is_some();
    let places: Vec<usize> = (0..strategies().len())
        .filter(|place| strategies()[*place].get("match").is_none())
        .filter(|place| provider.has_router() || blue_green(place))
        .collect();
    let taken = Taken::ALL.into_iter().filter(|_| random.chance(20)).collect();
    let beside = Beside { taken, odd_ports: random.chance(40), ..Beside::default() };
    Shape {
        provider,
        target: TargetKind::Deployment,
        strategy: *random.pick(&places),
        checks: Checks::Inline,
        threshold: 1,
        interval_secs: 10,
        hooks: if random.chance(20) { vec![HookKind::ConfirmPromotion] } else { Vec::new() },
        autoscaler: random.chance(40),
        configs: random.chance(60),
        skip_analysis: false,
        revert_on_deletion: true,
        guard,
        tests: false,
        extra: Extra {
            soak_secs: if guard { 60 } else { 0 },
            tolerant: true,
            beside,
            ..Extra::default()
        },
    }
}

fn act(random: &mut Random) -> Act {
    match random.roll(12) {
        0..=3 => Act::Release(*random.pick(&[Quality::Healthy, Quality::Healthy, Quality::Bad])),
        4 => Act::Revert,
        5 | 6 => Act::RotateConfig,
        7 => Act::RotateSecret,
        8 => Act::Stray(true),
        9 => Act::Stray(false),
        10 => Act::Delete,
        _ => Act::Recreate,
    }
}

fn trouble(random: &mut Random) -> Trouble {
    let secs = 1 + random.roll(30);
    match random.roll(5) {
        0 => Trouble::Storm { secs, percent: 5 + random.roll(20) },
        1 => Trouble::Tear,
        2 => Trouble::Compact,
        3 => Trouble::Crash { replica: 0, down: random.roll(20) },
        _ => Trouble::Next {
            call: Call::Write,
            skip: random.roll(8),
            fault: Fault::Crash { carried_out: random.chance(50), down: random.roll(20) },
        },
    }
}

/// What tells the pods of a target from all others.
pub(crate) fn labels(canary: usize, beside: &Beside) -> Value {
    let name = name(canary);
    if beside.one_label { json!({"app": SHARED, "part": name}) } else { json!({"app": name}) }
}

pub(crate) fn config_name(canary: usize, beside: &Beside) -> String {
    if beside.one_config { "settings".to_owned() } else { name(canary) }
}

/// The workload that a Service selects, by name; another word where it is nobody's alone.
pub(crate) fn selected(service: &Value, name: &str, beside: &Beside) -> String {
    let label = |key: &str| service["spec"]["selector"][key].as_str().unwrap_or_default();
    if !beside.one_label {
        return label("app").to_owned();
    }
    match (label("app"), label("part")) {
        (SHARED, part) if part == name => name.to_owned(),
        ("shop-primary", part) if part == name => format!("{name}-primary"),
        (app, part) => format!("{app} of {part:?}"),
    }
}

/// Ports of a live Service that the Canary does not speak of, and one that it does, by the name of a container's port.
pub(crate) fn odd_service(canary: usize, beside: &Beside) -> Value {
    let name = name(canary);
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "selector": labels(canary, beside),
            "sessionAffinity": "ClientIP",
            "ports": [
                {"name": "web", "port": 80, "targetPort": "http", "protocol": "TCP"},
                {"name": "http", "port": 8443, "targetPort": 8443, "protocol": "TCP"},
                {"name": "dns", "port": 80, "targetPort": 53, "protocol": "UDP"},
            ],
        },
    })
}

/// Everything of others in the way of a canary.
pub(crate) fn objects(
    canary: usize,
    beside: &Beside,
) -> Vec<((&'static str, &'static str), Value)> {
    beside.taken.iter().map(|taken| object(canary, beside, *taken)).collect()
}

fn object(canary: usize, beside: &Beside, taken: Taken) -> ((&'static str, &'static str), Value) {
    let of = name(canary);
    let config = config_name(canary, beside);
    match taken {
        Taken::Primary => workload(canary),
        Taken::Apex => service(canary, of),
        Taken::PrimaryService => service(canary, format!("{of}-primary")),
        Taken::CanaryService => service(canary, format!("{of}-canary")),
        Taken::Autoscaler => {
            let spec = json!({"spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "theirs"},
                "minReplicas": 1, "maxReplicas": 2,
            }});
            let name = format!("{of}-primary");
            let kind = "HorizontalPodAutoscaler";
            (("autoscaling", "horizontalpodautoscalers"), made("autoscaling/v2", kind, name, &spec))
        }
        Taken::ConfigCopy => {
            let data = json!({"data": {"of": "theirs"}});
            (("", "configmaps"), made("v1", "ConfigMap", format!("{config}-primary"), &data))
        }
        Taken::SecretCopy => {
            let data = json!({"data": {"of": "dGhlaXJz"}});
            (("", "secrets"), made("v1", "Secret", format!("{config}-primary"), &data))
        }
        Taken::Kept => {
            let data = json!({"data": {"of": "theirs"}});
            (("", "configmaps"), made("v1", "ConfigMap", format!("{of}-primary-kept"), &data))
        }
        Taken::Route => {
            let services = json!([{"name": "theirs", "port": 80, "weight": 1}]);
            let spec = json!({"spec": {"weighted": {"services": services}}});
            let object = made("traefik.io/v1alpha1", "TraefikService", of, &spec);
            (("traefik.io", "traefikservices"), object)
        }
    }
}

fn made(api: &str, kind: &str, name: String, rest: &Value) -> Value {
    let mut object = json!({
        "apiVersion": api, "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {MARK: "others"}},
    });
    for (field, value) in rest.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

fn theirs(canary: usize) -> Value {
    json!({"app": format!("theirs{canary}")})
}

fn service(canary: usize, name: String) -> ((&'static str, &'static str), Value) {
    let ports = json!([{"name": "grpc", "port": 9000, "targetPort": 9000, "protocol": "TCP"}]);
    let spec = json!({"spec": {"selector": theirs(canary), "ports": ports}});
    (SERVICES, made("v1", "Service", name, &spec))
}

fn workload(canary: usize) -> ((&'static str, &'static str), Value) {
    let labels = theirs(canary);
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "theirs:1-healthy"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let primary = format!("{}-primary", name(canary));
    (DEPLOYMENTS, made("apps/v1", "Deployment", primary, &json!({"spec": spec})))
}

/// A workload of others whose pods have all labels of a canary's primary.
pub(crate) fn stray(canary: usize, beside: &Beside) -> Value {
    let mut labels = labels(canary, beside);
    let of_primary = format!("{}-primary", labels["app"].as_str().unwrap_or_default());
    labels["app"] = json!(of_primary);
    labels["role"] = json!("import");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("stray{canary}"), "namespace": NAMESPACE, "labels": {MARK: "others"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"role": "import"}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "a", "image": "stray:1-healthy", "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    })
}

/// A younger Canary of the same target.
pub(crate) fn twin(canary: usize, of: &Value) -> Value {
    let mut twin = of.clone();
    twin["metadata"] = json!({"name": twin_name(canary), "namespace": NAMESPACE});
    twin
}

pub(crate) fn twin_name(canary: usize) -> String {
    format!("twin{canary}")
}

fn is_theirs(object: &Value) -> bool {
    object["metadata"]["labels"][MARK] == "others"
}

fn broken(law: &'static str, what: String) -> Broken {
    Broken { law, what }
}

/// What is known of other_owners and of what they share with the canaries.
#[derive(Default)]
pub(crate) struct Neighbourhood {
    /// Ready pods of other workloads behind a Service, by Service, and since when.
    strays: BTreeMap<String, (usize, Instant)>,
    by_slice: BTreeMap<String, (String, usize)>,
    /// Canaries that own a ConfigMap or Secret, by kind and name.
    owners: BTreeMap<(String, String), BTreeSet<String>>,
    /// What others have, by plural and name.
    theirs: BTreeSet<(String, String)>,
    /// The spec of a Service that was there first.
    services: BTreeMap<String, Value>,
}

impl Neighbourhood {
    /// Judges a change of what may be another owner's. Whether it is, and what is wrong with it.
    pub(crate) fn change(
        &mut self,
        id: (&str, &str),
        old: Option<&Arc<Value>>,
        new: &Value,
        deleted: bool,
        moment: Moment,
    ) -> (bool, Vec<Broken>) {
        let name = new["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let by_operator = moment.by == By::Operator;
        if is_theirs(new) || old.is_some_and(|old| is_theirs(old)) {
            let key = (id.1.to_owned(), name.clone());
            match deleted {
                true => drop(self.theirs.remove(&key)),
                false => drop(self.theirs.insert(key)),
            }
            let law = "law 6: only our objects";
            let what = format!("{} {name}, which is somebody else's, was written", id.1);
            return (true, if by_operator { vec![broken(law, what)] } else { Vec::new() });
        }
        if id == CANARIES && name.starts_with("twin") {
            let phase = new["status"]["phase"].as_str().unwrap_or_default();
            let law = "of several that want one object the oldest has it";
            let acts = by_operator && !phase.is_empty();
            let what = format!("{name} is {phase}");
            return (true, if acts { vec![broken(law, what)] } else { Vec::new() });
        }
        let mut found = Vec::new();
        if id == SERVICES {
            found.extend(self.service(&name, new, deleted, moment));
        }
        if ["configmaps", "secrets"].contains(&id.1) {
            self.config(id.1, name, new, deleted);
        } else if id == DEPLOYMENTS && by_operator && !deleted {
            found.extend(self.reads_own_copies(&name, new));
        }
        (false, found)
    }

    /// What others have that a canary of this shape needs.
    pub(crate) fn in_the_way(&self, name: &str, shape: &Shape) -> Option<String> {
        let routed = shape.provider.has_router();
        let needed = [
            ("deployments", "-primary", true),
            ("services", "", true),
            ("services", "-primary", true),
            ("services", "-canary", true),
            ("horizontalpodautoscalers", "-primary", shape.autoscaler),
            ("configmaps", "-primary-kept", shape.guard && shape.extra.soak_secs > 0),
            ("traefikservices", "", routed),
        ];
        let has = |(plural, end, wanted): &(&str, &str, bool)| {
            *wanted && self.theirs.contains(&((*plural).to_owned(), format!("{name}{end}")))
        };
        needed.iter().find(|one| has(one)).map(|(plural, end, _)| format!("{plural} {name}{end}"))
    }

    /// Ports that users had are theirs, whatever is applied beside them.
    fn service(
        &mut self,
        name: &str,
        new: &Value,
        deleted: bool,
        moment: Moment,
    ) -> Option<Broken> {
        if deleted {
            self.services.remove(name);
            return None;
        }
        if moment.by == By::User {
            self.services.insert(name.to_owned(), new["spec"].clone());
            return None;
        }
        let before = self.services.get(name).filter(|_| moment.by == By::Operator)?;
        let ports = |spec: &Value| spec["ports"].as_array().cloned().unwrap_or_default();
        let leads = |port: &Value| {
            ["name", "port", "protocol", "targetPort"].map(|field| port[field].to_string())
        };
        let now: Vec<[String; 4]> = ports(&new["spec"]).iter().map(leads).collect();
        let lost = ports(before).iter().map(leads).find(|port| !now.contains(port));
        let affinity = before["sessionAffinity"] != new["spec"]["sessionAffinity"];
        let what = match (lost, affinity) {
            (Some(port), _) => format!("Service {name} had {port:?} and has {now:?}"),
            (None, true) => format!("Service {name} has another sessionAffinity"),
            (None, false) => return None,
        };
        Some(broken("law 6: only our fields", what))
    }

    fn config(&mut self, plural: &str, name: String, new: &Value, deleted: bool) {
        let owners = new["metadata"]["ownerReferences"].as_array().into_iter().flatten();
        let canaries = owners.filter(|owner| owner["kind"] == "Canary");
        let names: BTreeSet<String> =
            canaries.filter_map(|owner| owner["name"].as_str().map(str::to_owned)).collect();
        let key = (plural.to_owned(), name);
        if deleted {
            self.owners.remove(&key);
        } else {
            self.owners.insert(key, names);
        }
    }

    /// What one Canary rejected must not run in the primary of another.
    fn reads_own_copies(&self, name: &str, new: &Value) -> Option<Broken> {
        let of = name.strip_suffix("-primary")?;
        let sources = new.pointer("/spec/template/spec/containers/0/envFrom")?.as_array()?;
        let read = sources.iter().filter_map(|source| {
            let kinds = [("configMapRef", "configmaps"), ("secretRef", "secrets")];
            kinds.into_iter().find_map(|(field, plural)| {
                Some((plural.to_owned(), source[field]["name"].as_str()?.to_owned()))
            })
        });
        let other = |key: &(String, String)| {
            self.owners.get(key).is_some_and(|owners| owners.iter().any(|owner| owner != of))
        };
        let key = read.into_iter().find(other)?;
        let what = format!("{name} reads {key:?}, which {:?} write", self.owners.get(&key));
        Some(broken("law 4: what is analysed is what is promoted", what))
    }

    /// Notes whose pods are ready behind a Service.
    pub(crate) fn slice(&mut self, name: &str, slice: &Value, deleted: bool, now: Instant) {
        let of = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
        let of = of.unwrap_or_default().to_owned();
        let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
        let stray = |one: &&Value| {
            let pod = one["targetRef"]["name"].as_str().unwrap_or_default();
            one["conditions"]["ready"] == true && !is_pod_of(pod, &of)
        };
        let count = if deleted { 0 } else { endpoints.iter().filter(stray).count() };
        self.by_slice.insert(name.to_owned(), (of.clone(), count));
        let total =
            self.by_slice.values().filter(|(service, _)| *service == of).map(|(_, n)| n).sum();
        let known = self.strays.entry(of).or_insert((0, now));
        if known.0 != total {
            *known = (total, now);
        }
    }

    /// Judges traffic that moves to Services of these ends of a canary's name.
    pub(crate) fn moves(&self, canary: &str, ends: &[&str], moment: Moment) -> Option<Broken> {
        let stray = |service: &String| {
            let known = self.strays.get(service);
            known.is_some_and(|(count, since)| {
                *count > 0 && moment.clear && moment.now.duration_since(*since) > NEWS
            })
        };
        let service = ends.iter().map(|end| format!("{canary}-{end}")).find(stray)?;
        let what = format!("traffic moves to {service}, behind which are pods of others");
        (moment.by == By::Operator).then(|| broken("law 5: exactly the pods of the workload", what))
    }
}

/// Whether a pod is of the workload that a generated Service stands for. Others are not looked at.
fn is_pod_of(pod: &str, service: &str) -> bool {
    if let Some(canary) = service.strip_suffix("-canary") {
        let of_primary = format!("{canary}-primary-");
        return pod.starts_with(&format!("{canary}-")) && !pod.starts_with(&of_primary);
    }
    !service.ends_with("-primary") || pod.starts_with(&format!("{service}-"))
}

#[cfg(test)]
mod tests {
    use serin_mutants::{FoundBy, Switched};

    use super::*;
    use crate::run::{Options, report, run};

    const LENGTH: u64 = 10;

    fn budget() -> u64 {
        let asked = std::env::var("SERIN_SEEDS").ok().and_then(|text| text.parse::<u64>().ok());
        asked.map_or(3, |seeds| seeds.div_ceil(4).min(500))
    }

    #[test]
    fn no_life_breaks_a_law_among_strangers() {
        let first =
            std::env::var("SERIN_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        for seed in first..first + budget() {
            let plan = plan(seed, LENGTH);
            let outcome = run(&plan, &Options::default());
            assert!(outcome.broken.is_none(), "{}", report(&plan, &outcome));
        }
    }

    #[test]
    fn every_name_is_taken_by_somebody_in_some_life() {
        let plans: Vec<Plan> = (0..60).map(|seed| plan(seed, LENGTH)).collect();
        let shapes: Vec<&Beside> =
            plans.iter().flat_map(|plan| &plan.canaries).map(|shape| &shape.extra.beside).collect();
        for taken in Taken::ALL {
            assert!(shapes.iter().any(|beside| beside.taken.contains(&taken)), "{taken:?}");
        }
        assert!(shapes.iter().any(|beside| beside.one_label && !beside.one_config));
        assert!(shapes.iter().any(|beside| beside.one_config && beside.odd_ports));
    }

    #[test]
    #[ignore = "needs the copy of the source with the bugs in it: make mutants"]
    fn every_deliberate_bug_among_strangers_is_found() {
        let budget = budget() * 10;
        for bug in serin_mutants::found_by(FoundBy::Strangers).unwrap() {
            let found = (0..budget).find_map(|seed| {
                let plan = plan(seed, LENGTH);
                let switched = Switched::on(&bug);
                let broken = run(&plan, &Options::default()).broken?;
                drop(switched);
                run(&plan, &Options::default()).broken.is_none().then_some((seed, broken))
            });
            let (name, what) = (&bug.name, &bug.what);
            let Some((seed, broken)) = found else { panic!("{name} is not in {budget} lives") };
            println!("| {name} | {what} | life {seed} | {}: {} |", broken.law, broken.what);
        }
    }
}
