//! Real Canary objects with a workload that fits them: what is taken up, and what is refused and why, by router.

#![expect(clippy::print_stdout, reason = "the table is what `make corpus` is for")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use serin::lab::local::manifest;
use serin_apiserver::registry::ResourceId;
use serin_apiserver::store::{Sub, Unknown, WriteOptions};
use serin_core::model::FindingSeverity;
use serin_core::parse::{self, Limits};

use crate::cluster::{CANARIES, DAEMON_SETS, DEPLOYMENTS, TestCluster};

/// Fields that may keep an object from being taken up: its router, strategy, kind of workload and of autoscaler.
const NOT_SUPPORTED: [&str; 6] = [
    "spec.provider",
    "spec.targetRef.kind",
    "spec.autoscalerRef.kind",
    "spec.analysis.match",
    "spec.analysis.sessionAffinity",
    "spec.service.mirror",
];

/// Whether a field may be in the way because no controller could do anything with the object: without a Service there is
/// no port, and a metric without a query measures nothing.
fn leads_nowhere(field: &str) -> bool {
    let of_metric = field.starts_with("spec.analysis.metrics[") && field.ends_with(".templateRef");
    field == "spec.service" || of_metric
}

/// Where the objects are; none where nobody has put them.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("SERIN_CORPUS").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    named.or(Some(beside)).filter(|folder| folder.join("index.tsv").is_file())
}

/// The lines of the index by the names of its columns.
fn index(folder: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let row = |line: &str| {
        let cells = line.split('\t').map(str::to_owned);
        names.iter().map(|name| (*name).to_owned()).zip(cells).collect()
    };
    lines.map(row).collect()
}

/// What the Canary speaks of, so that nothing but the object itself is in the way.
fn workload(canary: &Value) -> Vec<((&'static str, &'static str), Value)> {
    let text = |pointer: &str| canary.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name = text("/spec/targetRef/name");
    let kind = text("/spec/targetRef/kind");
    let resource = match kind {
        "DaemonSet" => DAEMON_SETS,
        "Deployment" => DEPLOYMENTS,
        _ => return Vec::new(),
    };
    if name.is_empty() {
        return Vec::new();
    }
    let port = canary.pointer("/spec/service/port").and_then(Value::as_i64).unwrap_or(80);
    let target = canary.pointer("/spec/service/targetPort");
    let port = match target {
        Some(Value::String(name)) if name.parse::<u16>().is_err() => {
            json!({"name": name, "containerPort": 8080})
        }
        Some(Value::String(number)) => json!({"containerPort": number.parse::<u16>().unwrap()}),
        Some(number) if number.as_i64().is_some_and(|number| number > 0) => {
            json!({"containerPort": number})
        }
        Some(_) | None => json!({"containerPort": port}),
    };
    let labels = json!({"app": name});
    let workload = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": "app:v1", "ports": [port]}]},
            },
        },
    });
    let mut objects = vec![(resource, workload)];
    let scaler = text("/spec/autoscalerRef/name");
    if !scaler.is_empty() {
        let scaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": scaler},
            "spec": {
                "minReplicas": 1, "maxReplicas": 3,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            },
        });
        objects.push((("autoscaling", "horizontalpodautoscalers"), scaler));
    }
    if text("/spec/routeRef/kind") == "HTTPRoute" {
        let service = canary.pointer("/spec/service/name").and_then(Value::as_str).unwrap_or(name);
        let port = canary.pointer("/spec/service/port").cloned();
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": text("/spec/routeRef/name")},
            "spec": {"rules": [{"backendRefs": [{"name": service, "port": port}]}]},
        });
        objects.push((("gateway.networking.k8s.io", "httproutes"), route));
    }
    objects
}

/// The Gateways that it names, of a class that does everything.
fn gateways(canary: &Value, namespace: &str) -> Vec<(&'static str, Value)> {
    let refs = canary.pointer("/spec/service/gatewayRefs").and_then(Value::as_array);
    let features = [
        "HTTPRouteRequestMirror",
        "HTTPRouteRequestPercentageMirror",
        "HTTPRouteRequestTimeout",
        "HTTPRouteBackendTimeout",
        "HTTPRouteHostRewrite",
        "HTTPRoutePathRewrite",
        "HTTPRouteResponseHeaderModification",
        "HTTPRouteCORS",
        "HTTPRouteParentRefPort",
        "HTTPRouteMethodMatching",
        "HTTPRouteQueryParamMatching",
    ];
    let mut all = Vec::new();
    for of in refs.into_iter().flatten() {
        all.push((
            "gateways",
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
                "metadata": {"name": of["name"], "namespace": of["namespace"].as_str().unwrap_or(namespace)},
                "spec": {"gatewayClassName": "everything"},
            }),
        ));
    }
    if !all.is_empty() {
        all.push((
            "gatewayclasses",
            json!({
                "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
                "metadata": {"name": "everything"}, "spec": {"controllerName": "corpus.test/gateway"},
                "status": {"supportedFeatures": features},
            }),
        ));
    }
    all
}

/// What became of one object.
enum Fate {
    Initialised,
    /// Not taken up, for reasons that are known; whether all of them are of the kinds that may be.
    Refused(String, bool),
    /// By the API server.
    Rejected(String),
    /// Neither; where it stands.
    Stuck(String),
}

/// One object on its way through the API server and the operator.
struct Case {
    file: String,
    router: String,
    namespace: String,
    /// A strict client, such as kubectl, could not apply it.
    unknown: Option<String>,
    rejected: Option<String>,
    by_flagger: bool,
}

fn apply(
    cluster: &TestCluster,
    folder: &Path,
    row: &BTreeMap<String, String>,
    place: usize,
) -> Case {
    let text = std::fs::read_to_string(folder.join("objects").join(&row["file"])).unwrap();
    let mut object = manifest::documents(&text).unwrap().remove(0);
    let namespace = format!("corpus-{place}");
    cluster.create_namespace(&namespace);
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.insert("namespace".to_owned(), json!(namespace));
    for (plural, needed) in gateways(&object, &namespace) {
        let id = ResourceId::new("gateway.networking.k8s.io", plural);
        let of = needed["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let known = cluster.store.get(&ResourceId::core("namespaces"), "", &of).is_some();
        if !of.is_empty() && !known {
            cluster.create_namespace(&of);
        }
        // Several of them name the same.
        if cluster.store.get(&id, &of, needed["metadata"]["name"].as_str().unwrap()).is_none() {
            let options = WriteOptions::by("test");
            let (name, status) = (needed["metadata"]["name"].clone(), needed["status"].clone());
            cluster.store.create(&id, &of, needed, &options).unwrap();
            let tell = |object: &mut Value| object["status"] = status;
            let name = name.as_str().unwrap();
            if plural == "gatewayclasses" {
                cluster.store.modify(&id, &of, name, Sub::Status, &options, tell).unwrap();
            }
        }
    }
    for ((group, plural), needed) in workload(&object) {
        let id = ResourceId::new(group, plural);
        cluster.store.create(&id, &namespace, needed, &WriteOptions::by("test")).unwrap();
    }
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let strict =
        WriteOptions { unknown: Unknown::Strict, dry_run: true, ..WriteOptions::by("test") };
    let unknown = cluster.store.create(&id, &namespace, object.clone(), &strict).err();
    let lenient = WriteOptions::by("test");
    let rejected = cluster.store.create(&id, &namespace, object, &lenient).err();
    Case {
        file: row["file"].clone(),
        router: match row["provider"].as_str() {
            "" => "unknown".to_owned(),
            provider => provider.to_owned(),
        },
        namespace,
        unknown: unknown.map(|failure| failure.to_string()),
        rejected: rejected.map(|failure| failure.to_string()),
        by_flagger: row["flagger_1_44_crd"] != "ok",
    }
}

fn fate(cluster: &TestCluster, case: &Case, default: &str) -> Fate {
    if let Some(why) = &case.rejected {
        return Fate::Rejected(why.clone());
    }
    let id = ResourceId::new(CANARIES.0, CANARIES.1);
    let object = cluster.store.list(&id, Some(&case.namespace)).remove(0);
    let status = &object["status"];
    if status["phase"] == "Initialized" {
        return Fate::Initialised;
    }
    // What the operator has decided is held against what the parser says.
    let code = status["lastReason"]["code"].as_str().unwrap_or_default();
    let limits = Limits { provider: default.to_owned(), ..Limits::default() };
    match parse::canary(&object, &limits) {
        Err(failure) if ["SpecInvalid", "Unsupported"].contains(&code) => {
            let named = failure.obstacles().all(|finding| match finding.severity {
                FindingSeverity::Unsupported => NOT_SUPPORTED.contains(&finding.field.as_str()),
                FindingSeverity::Error => leads_nowhere(&finding.field),
                FindingSeverity::Warning => false,
            });
            let unsupported = failure.is_unsupported_only();
            assert_eq!(unsupported, code == "Unsupported", "{}: {failure}", case.file);
            Fate::Refused(failure.to_string(), named)
        }
        Ok(_) | Err(_) => Fate::Stuck(status["lastReason"].to_string()),
    }
}

/// Per router: all, those that a strict client can apply, initialised, not supported yet.
fn table(fates: &[(Case, Fate)]) -> String {
    let mut rows: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for (case, fate) in fates {
        let row = rows.entry(&case.router).or_default();
        row[0] += 1;
        row[1] += usize::from(case.unknown.is_none());
        row[2] += usize::from(matches!(fate, Fate::Initialised));
        row[3] += usize::from(!matches!(fate, Fate::Initialised));
    }
    let mut out = String::new();
    let mut all = [0; 4];
    writeln!(
        out,
        "{:<18} {:>7} {:>7} {:>12} {:>8}",
        "router", "objects", "strict", "initialised", "refused"
    )
    .unwrap();
    for (router, row) in rows {
        let [objects, strict, taken, refused] = row;
        writeln!(out, "{router:<18} {objects:>7} {strict:>7} {taken:>12} {refused:>8}").unwrap();
        for (sum, part) in all.iter_mut().zip(row) {
            *sum += part;
        }
    }
    let [objects, strict, taken, refused] = all;
    writeln!(out, "{:<18} {objects:>7} {strict:>7} {taken:>12} {refused:>8}", "all").unwrap();
    out
}

/// What an operator with this default provider makes of the objects.
async fn lived(
    folder: &Path,
    rows: &[&BTreeMap<String, String>],
    provider: &str,
) -> Vec<(Case, Fate)> {
    let mut cluster = TestCluster::start();
    cluster.kill_operator();
    cluster.mesh_provider = provider.to_owned();
    cluster.start_operator();
    let rows = rows.iter().enumerate();
    let cases: Vec<Case> = rows.map(|(place, row)| apply(&cluster, folder, row, place)).collect();
    cluster.pass(300).await;
    let with_fate = |case| {
        let fate = fate(&cluster, &case, provider);
        (case, fate)
    };
    cases.into_iter().map(with_fate).collect()
}

#[tokio::test(start_paused = true)]
async fn real_objects_are_refused_only_for_what_is_not_supported() {
    let Some(folder) = folder() else {
        println!("skipped: there is no corpus; SERIN_CORPUS names its folder");
        return;
    };
    let rows = index(&folder);
    let of_gateway_api = |row: &&BTreeMap<String, String>| {
        row["provider"].starts_with("gatewayapi") && row["provider_from"] != "spec"
    };
    let (on_gateway_api, others): (Vec<_>, Vec<_>) =
        rows.iter().filter(|row| row["kind"] == "Canary").partition(of_gateway_api);
    let mut fates = lived(&folder, &others, "traefik").await;
    // Their objects name no provider: the operator that they are from has it as its default.
    fates.extend(lived(&folder, &on_gateway_api, "gatewayapi:v1").await);
    assert!(!fates.is_empty());
    let mut wrong = String::new();
    for (case, fate) in &fates {
        let file = &case.file;
        match fate {
            Fate::Initialised => {}
            Fate::Refused(why, named) => {
                println!("{file} ({}): {why}", case.router);
                if !named {
                    writeln!(wrong, "{file}: {why}").unwrap();
                }
            }
            Fate::Rejected(why) => {
                println!("{file} ({}): the API server: {why}", case.router);
                if !case.by_flagger {
                    writeln!(wrong, "{file}: Flagger's definition takes it: {why}").unwrap();
                }
            }
            Fate::Stuck(why) => {
                writeln!(wrong, "{file}: neither refused nor initialised: {why}").unwrap()
            }
        }
        if let (None, Some(why)) = (&case.rejected, &case.unknown) {
            println!("{file}: only clients that are not strict: {why}");
        }
    }
    println!("\n{}", table(&fates));
    assert!(wrong.is_empty(), "\n{wrong}");
}
