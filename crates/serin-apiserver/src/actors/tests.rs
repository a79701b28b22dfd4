//! Rollouts on a paused clock, with pods that follow a script.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{self, int, text};
use super::*;
use crate::kubelet::{Behaviour, Trouble, VirtualRuntime};
use crate::registry::ResourceId;
use crate::store::{Store, WriteOptions};

/// A clock that moves with tokio's.
pub(crate) fn clock() -> Clock {
    let (start, epoch) =
        (tokio::time::Instant::now(), "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
    Arc::new(move || epoch + jiff::SignedDuration::try_from(start.elapsed()).unwrap())
}

/// `good` pods are ready after two seconds; `bad-*` ones are in trouble.
fn script(image: &str, _: &Value) -> Behaviour {
    let trouble = match image {
        "bad:pull" => Some(Trouble::ErrImagePull),
        "bad:crash" => Some(Trouble::CrashLoop),
        "bad:ready" => Some(Trouble::NeverReady),
        _ => None,
    };
    Behaviour { ready_after: Duration::from_secs(2), stops_after: Duration::from_secs(3), trouble }
}

fn deployment(replicas: i64, spec: Value) -> Value {
    let mut deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "test"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 60,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "good:1", "ports": [{"name": "http", "containerPort": 8080}]}]}},
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        deployment["spec"][key] = value.clone();
    }
    deployment
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "test"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "web", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
    })
}

fn list(store: &Store, kind: Kind) -> Vec<Arc<Value>> {
    Cluster::list(store, kind)
}

fn get(store: &Store, kind: Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
    Cluster::get(store, kind, namespace, name)
}

/// Changes an object as a user would.
fn edit(store: &Store, kind: Kind, name: &str, edit: impl FnOnce(&mut Value)) {
    let mut object = get(store, kind, "test", name).unwrap().as_ref().clone();
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    edit(&mut object);
    Cluster::update(store, kind, object).unwrap();
}

struct Bed {
    cluster: Arc<Store>,
}

impl Bed {
    fn start(objects: Vec<(Kind, Value)>) -> Self {
        let cluster = Arc::new(Store::new(clock(), 7));
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}});
        cluster
            .create(&ResourceId::core("namespaces"), "", namespace, &WriteOptions::by("test"))
            .unwrap();
        for (kind, object) in objects {
            Cluster::create(&*cluster, kind, object).unwrap();
        }
        let actors = Actors::new(
            Arc::<Store>::clone(&cluster),
            Arc::new(VirtualRuntime::new(script)),
            clock(),
        );
        tokio::spawn(actors.run(std::future::pending()));
        Self { cluster }
    }

    fn web(&self) -> Arc<Value> {
        get(&self.cluster, Kind::Deployment, "test", "web").unwrap()
    }

    fn image(&self, image: &str) {
        edit(&self.cluster, Kind::Deployment, "web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        });
    }

    fn progress(&self) -> String {
        text(object::condition(&self.web(), "Progressing").unwrap_or(&Value::Null), "/reason")
            .to_owned()
    }

    /// Lets the actors work until `done`, looking at the world after every write.
    async fn until(&self, mut look: impl FnMut(&Store), done: impl Fn(&Self) -> bool) {
        let mut changes = self.cluster.changes(&[Kind::Pod, Kind::Deployment]);
        let all = async {
            loop {
                look(&self.cluster);
                if done(self) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), all).await.is_err() {
            panic!("never done: {:#}", self.web());
        }
    }

    async fn complete(&self) {
        self.until(|_| {}, |bed| is_complete(&bed.web())).await;
    }
}

fn is_complete(web: &Value) -> bool {
    let (wanted, status) = (int(web, "/spec/replicas").unwrap(), &web["status"]);
    let is = |key: &str| status[key].as_i64().unwrap_or(0) == wanted;
    status["observedGeneration"] == web["metadata"]["generation"]
        && is("replicas")
        && is("updatedReplicas")
        && is("availableReplicas")
}

fn ready(cluster: &Store) -> usize {
    list(cluster, Kind::Pod)
        .iter()
        .filter(|pod| object::is_active(pod) && object::is_ready(pod))
        .count()
}

fn living(cluster: &Store) -> usize {
    list(cluster, Kind::Pod).iter().filter(|pod| object::is_active(pod)).count()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_never_goes_below_what_is_allowed() {
    for (surge, unavailable) in [
        (json!(1), json!(0)),
        (json!("25%"), json!("25%")),
        (json!(0), json!(1)),
        (json!("100%"), json!(0)),
    ] {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let limits = Limits::of(4, &strategy);
        let bed =
            Bed::start(vec![(Kind::Deployment, deployment(4, json!({"strategy": strategy})))]);
        bed.complete().await;
        bed.image("good:2");
        let floor = usize::try_from(4 - limits.unavailable).unwrap();
        let ceiling = usize::try_from(4 + limits.surge).unwrap();
        let look = |cluster: &Store| {
            assert!(ready(cluster) >= floor, "{} ready, {floor} allowed", ready(cluster));
            assert!(living(cluster) <= ceiling, "{} living, {ceiling} allowed", living(cluster));
        };
        bed.until(look, |bed| is_complete(&bed.web())).await;
        assert_eq!(bed.progress(), "NewReplicaSetAvailable");
        assert_eq!(object::annotation(&bed.web(), "deployment.kubernetes.io/revision"), "2");
        assert!(
            list(&bed.cluster, Kind::Pod)
                .iter()
                .filter(|pod| object::is_active(pod))
                .all(|pod| pod["spec"]["containers"][0]["image"] == "good:2")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_move_times_out_and_can_be_undone() {
    for image in ["bad:pull", "bad:crash", "bad:ready"] {
        let bed = Bed::start(vec![(
            Kind::Deployment,
            deployment(
                2,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
            ),
        )]);
        bed.complete().await;
        let first = bed.web()["spec"]["template"].clone();
        bed.image(image);
        let look = |cluster: &Store| assert!(ready(cluster) >= 2);
        bed.until(look, |bed| bed.progress() == "ProgressDeadlineExceeded").await;
        assert_eq!(text(object::condition(&bed.web(), "Progressing").unwrap(), "/status"), "False");
        assert_eq!(text(object::condition(&bed.web(), "Available").unwrap(), "/status"), "True");
        edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["template"] = first);
        bed.until(look, |bed| {
            is_complete(&bed.web()) && bed.progress() == "NewReplicaSetAvailable"
        })
        .await;
        bed.until(look, |bed| {
            object::annotation(&bed.web(), "deployment.kubernetes.io/revision") == "3"
        })
        .await;
        assert_eq!(list(&bed.cluster, Kind::ReplicaSet).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn scaling_to_zero_and_back() {
    let bed =
        Bed::start(vec![(Kind::Deployment, deployment(0, json!({}))), (Kind::Service, service())]);
    bed.complete().await;
    assert_eq!(list(&bed.cluster, Kind::Pod).len(), 0);
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(3));
    bed.complete().await;
    assert_eq!(ready(&bed.cluster), 3);
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(0));
    bed.until(|_| {}, |bed| is_complete(&bed.web()) && list(&bed.cluster, Kind::Pod).is_empty())
        .await;
    assert_eq!(list(&bed.cluster, Kind::ReplicaSet).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn slices_tell_who_serves() {
    let bed =
        Bed::start(vec![(Kind::Deployment, deployment(1, json!({}))), (Kind::Service, service())]);
    let slice = |bed: &Bed| list(&bed.cluster, Kind::EndpointSlice).first().cloned();
    let conditions = |bed: &Bed| {
        slice(bed).map(|slice| slice["endpoints"][0]["conditions"].clone()).unwrap_or_default()
    };
    bed.until(
        |_| {},
        |bed| conditions(bed) == json!({"ready": false, "serving": false, "terminating": false}),
    )
    .await;
    bed.until(
        |_| {},
        |bed| conditions(bed) == json!({"ready": true, "serving": true, "terminating": false}),
    )
    .await;
    let now = slice(&bed).unwrap();
    assert_eq!(now["ports"], json!([{"name": "web", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(object::label(&now, "kubernetes.io/service-name"), "web");
    let pod = list(&bed.cluster, Kind::Pod)[0].clone();
    assert_eq!(now["endpoints"][0]["addresses"], json!([pod["status"]["podIP"]]));
    let endpoints = get(&bed.cluster, Kind::Endpoints, "test", "web").unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], pod["status"]["podIP"]);
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(0));
    bed.until(
        |_| {},
        |bed| conditions(bed) == json!({"ready": false, "serving": false, "terminating": true}),
    )
    .await;
    bed.until(|_| {}, |bed| slice(bed).is_some_and(|slice| slice["endpoints"] == json!([]))).await;
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_delay_availability() {
    let bed = Bed::start(vec![(Kind::Deployment, deployment(1, json!({"minReadySeconds": 30})))]);
    let begun = tokio::time::Instant::now();
    bed.complete().await;
    assert!(begun.elapsed() >= Duration::from_secs(31), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn recreate_empties_first() {
    let bed = Bed::start(vec![(
        Kind::Deployment,
        deployment(2, json!({"strategy": {"type": "Recreate"}})),
    )]);
    bed.complete().await;
    bed.image("good:2");
    let look = |cluster: &Store| {
        let pods = list(cluster, Kind::Pod);
        let of =
            |image: &str| pods.iter().any(|pod| pod["spec"]["containers"][0]["image"] == image);
        assert!(!(of("good:1") && of("good:2")));
    };
    bed.until(look, |bed| is_complete(&bed.web()) && bed.progress() == "NewReplicaSetAvailable")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_rollout_waits() {
    let bed = Bed::start(vec![(Kind::Deployment, deployment(2, json!({})))]);
    bed.complete().await;
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["paused"] = json!(true));
    bed.image("good:2");
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(3));
    bed.until(|_| {}, |bed| ready(&bed.cluster) == 3).await;
    assert_eq!(list(&bed.cluster, Kind::ReplicaSet).len(), 1);
    assert_eq!(bed.progress(), "DeploymentPaused");
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["paused"] = json!(false));
    bed.complete().await;
    assert_eq!(list(&bed.cluster, Kind::ReplicaSet).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_within_its_limit() {
    let bed =
        Bed::start(vec![(Kind::Deployment, deployment(1, json!({"revisionHistoryLimit": 2})))]);
    for version in 1..=5 {
        bed.image(&format!("good:{version}"));
        bed.complete().await;
    }
    bed.until(|_| {}, |bed| list(&bed.cluster, Kind::ReplicaSet).len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_follows_its_node_selector() {
    let mut daemon = deployment(1, json!({}));
    daemon["kind"] = json!("DaemonSet");
    let bed = Bed::start(vec![(Kind::DaemonSet, daemon)]);
    let status = |bed: &Bed, key: &str| {
        get(&bed.cluster, Kind::DaemonSet, "test", "web").unwrap()["status"][key].as_i64()
    };
    bed.until(|_| {}, |bed| status(bed, "numberAvailable") == Some(1)).await;
    let selector = |value: Value| {
        edit(&bed.cluster, Kind::DaemonSet, "web", |daemon| {
            daemon["spec"]["template"]["spec"]["nodeSelector"] = value
        })
    };
    selector(json!({"flagger.app/scale-to-zero": "true"}));
    bed.until(
        |_| {},
        |bed| {
            status(bed, "desiredNumberScheduled") == Some(0)
                && list(&bed.cluster, Kind::Pod).is_empty()
        },
    )
    .await;
    selector(Value::Null);
    bed.until(
        |_| {},
        |bed| {
            status(bed, "updatedNumberScheduled") == Some(1)
                && status(bed, "numberAvailable") == Some(1)
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_keeps_the_bounds() {
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web", "namespace": "test"},
        "spec": {"minReplicas": 2, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
    });
    let bed = Bed::start(vec![
        (Kind::Deployment, deployment(1, json!({}))),
        (Kind::HorizontalPodAutoscaler, scaler),
    ]);
    bed.until(|_| {}, |bed| ready(&bed.cluster) == 2).await;
    edit(&bed.cluster, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(9));
    bed.until(|_| {}, |bed| ready(&bed.cluster) == 3).await;
}

#[tokio::test(start_paused = true)]
async fn idle_actors_rest() {
    let bed =
        Bed::start(vec![(Kind::Deployment, deployment(2, json!({}))), (Kind::Service, service())]);
    bed.complete().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = bed.cluster.version();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(bed.cluster.version(), before);
}
