//! Rollouts on a paused clock, with pods that follow a script.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::object::{self, int, text};
use super::*;
use crate::kubelet::{Behaviour, PodFault, VirtualRuntime};
use crate::registry::ResourceId;
use crate::store::{Store, WriteOptions};

/// A clock that advances with tokio's.
pub(crate) fn clock() -> Clock {
    let (start, epoch) =
        (tokio::time::Instant::now(), "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap());
    Arc::new(move || epoch + jiff::SignedDuration::try_from(start.elapsed()).unwrap())
}

/// `good` pods are ready after two seconds; `bad:*` ones fail as the tag says.
fn script(image: &str, _: &Value) -> Behaviour {
    let trouble = match image {
        "bad:pull" => Some(PodFault::ErrImagePull),
        "bad:crash" => Some(PodFault::CrashLoop),
        "bad:ready" => Some(PodFault::NeverReady),
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

struct TestCluster {
    store: Arc<Store>,
}

impl TestCluster {
    fn start(objects: Vec<(Kind, Value)>) -> Self {
        let store = Arc::new(Store::new(clock(), 7));
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}});
        store
            .create(&ResourceId::core("namespaces"), "", namespace, &WriteOptions::by("test"))
            .unwrap();
        for (kind, object) in objects {
            Cluster::create(&*store, kind, object).unwrap();
        }
        let controllers = Controllers::new(
            Arc::<Store>::clone(&store),
            Arc::new(VirtualRuntime::new(script)),
            clock(),
        );
        tokio::spawn(controllers.run(std::future::pending()));
        Self { store }
    }

    fn web(&self) -> Arc<Value> {
        get(&self.store, Kind::Deployment, "test", "web").unwrap()
    }

    fn image(&self, image: &str) {
        edit(&self.store, Kind::Deployment, "web", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        });
    }

    fn progress(&self) -> String {
        text(object::condition(&self.web(), "Progressing").unwrap_or(&Value::Null), "/reason")
            .to_owned()
    }

    /// Runs the controllers until `done`, and calls `look` after every write.
    async fn until(&self, mut look: impl FnMut(&Store), done: impl Fn(&Self) -> bool) {
        let mut changes = self.store.changes(&[Kind::Pod, Kind::Deployment]);
        let all = async {
            loop {
                look(&self.store);
                if done(self) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(3600), all).await.is_err() {
            panic!("not reached in time: {:#}", self.web());
        }
    }

    async fn complete(&self) {
        self.until(|_| {}, |cluster| is_complete(&cluster.web())).await;
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

fn ready(store: &Store) -> usize {
    list(store, Kind::Pod)
        .iter()
        .filter(|pod| object::is_active(pod) && object::is_ready(pod))
        .count()
}

fn living(store: &Store) -> usize {
    list(store, Kind::Pod).iter().filter(|pod| object::is_active(pod)).count()
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
        let cluster = TestCluster::start(vec![(
            Kind::Deployment,
            deployment(4, json!({"strategy": strategy})),
        )]);
        cluster.complete().await;
        cluster.image("good:2");
        let floor = usize::try_from(4 - limits.unavailable).unwrap();
        let ceiling = usize::try_from(4 + limits.surge).unwrap();
        let look = |store: &Store| {
            assert!(ready(store) >= floor, "{} ready, {floor} allowed", ready(store));
            assert!(living(store) <= ceiling, "{} living, {ceiling} allowed", living(store));
        };
        cluster.until(look, |cluster| is_complete(&cluster.web())).await;
        assert_eq!(cluster.progress(), "NewReplicaSetAvailable");
        assert_eq!(object::annotation(&cluster.web(), "deployment.kubernetes.io/revision"), "2");
        assert!(
            list(&cluster.store, Kind::Pod)
                .iter()
                .filter(|pod| object::is_active(pod))
                .all(|pod| pod["spec"]["containers"][0]["image"] == "good:2")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_does_not_move_times_out_and_can_be_undone() {
    for image in ["bad:pull", "bad:crash", "bad:ready"] {
        let cluster = TestCluster::start(vec![(
            Kind::Deployment,
            deployment(
                2,
                json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}),
            ),
        )]);
        cluster.complete().await;
        let first = cluster.web()["spec"]["template"].clone();
        cluster.image(image);
        let look = |store: &Store| assert!(ready(store) >= 2);
        cluster.until(look, |cluster| cluster.progress() == "ProgressDeadlineExceeded").await;
        assert_eq!(
            text(object::condition(&cluster.web(), "Progressing").unwrap(), "/status"),
            "False"
        );
        assert_eq!(
            text(object::condition(&cluster.web(), "Available").unwrap(), "/status"),
            "True"
        );
        edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["template"] = first);
        cluster
            .until(look, |cluster| {
                is_complete(&cluster.web()) && cluster.progress() == "NewReplicaSetAvailable"
            })
            .await;
        cluster
            .until(look, |cluster| {
                object::annotation(&cluster.web(), "deployment.kubernetes.io/revision") == "3"
            })
            .await;
        assert_eq!(list(&cluster.store, Kind::ReplicaSet).len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn scaling_to_zero_and_back() {
    let cluster = TestCluster::start(vec![
        (Kind::Deployment, deployment(0, json!({}))),
        (Kind::Service, service()),
    ]);
    cluster.complete().await;
    assert_eq!(list(&cluster.store, Kind::Pod).len(), 0);
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(3));
    cluster.complete().await;
    assert_eq!(ready(&cluster.store), 3);
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(0));
    cluster
        .until(
            |_| {},
            |cluster| is_complete(&cluster.web()) && list(&cluster.store, Kind::Pod).is_empty(),
        )
        .await;
    assert_eq!(list(&cluster.store, Kind::ReplicaSet).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn endpoint_slices_list_ready_pods() {
    let cluster = TestCluster::start(vec![
        (Kind::Deployment, deployment(1, json!({}))),
        (Kind::Service, service()),
    ]);
    let slice = |cluster: &TestCluster| list(&cluster.store, Kind::EndpointSlice).first().cloned();
    let conditions = |cluster: &TestCluster| {
        slice(cluster).map(|slice| slice["endpoints"][0]["conditions"].clone()).unwrap_or_default()
    };
    cluster
        .until(
            |_| {},
            |cluster| {
                conditions(cluster)
                    == json!({"ready": false, "serving": false, "terminating": false})
            },
        )
        .await;
    cluster
        .until(
            |_| {},
            |cluster| {
                conditions(cluster) == json!({"ready": true, "serving": true, "terminating": false})
            },
        )
        .await;
    let now = slice(&cluster).unwrap();
    assert_eq!(now["ports"], json!([{"name": "web", "port": 8080, "protocol": "TCP"}]));
    assert_eq!(object::label(&now, "kubernetes.io/service-name"), "web");
    let pod = list(&cluster.store, Kind::Pod)[0].clone();
    assert_eq!(now["endpoints"][0]["addresses"], json!([pod["status"]["podIP"]]));
    let endpoints = get(&cluster.store, Kind::Endpoints, "test", "web").unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], pod["status"]["podIP"]);
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(0));
    cluster
        .until(
            |_| {},
            |cluster| {
                conditions(cluster)
                    == json!({"ready": false, "serving": false, "terminating": true})
            },
        )
        .await;
    cluster
        .until(
            |_| {},
            |cluster| slice(cluster).is_some_and(|slice| slice["endpoints"] == json!([])),
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn min_ready_seconds_delay_availability() {
    let cluster =
        TestCluster::start(vec![(Kind::Deployment, deployment(1, json!({"minReadySeconds": 30})))]);
    let begun = tokio::time::Instant::now();
    cluster.complete().await;
    assert!(begun.elapsed() >= Duration::from_secs(31), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn recreate_empties_first() {
    let cluster = TestCluster::start(vec![(
        Kind::Deployment,
        deployment(2, json!({"strategy": {"type": "Recreate"}})),
    )]);
    cluster.complete().await;
    cluster.image("good:2");
    let look = |store: &Store| {
        let pods = list(store, Kind::Pod);
        let of =
            |image: &str| pods.iter().any(|pod| pod["spec"]["containers"][0]["image"] == image);
        assert!(!(of("good:1") && of("good:2")));
    };
    cluster
        .until(look, |cluster| {
            is_complete(&cluster.web()) && cluster.progress() == "NewReplicaSetAvailable"
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_rollout_waits() {
    let cluster = TestCluster::start(vec![(Kind::Deployment, deployment(2, json!({})))]);
    cluster.complete().await;
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["paused"] = json!(true));
    cluster.image("good:2");
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(3));
    cluster.until(|_| {}, |cluster| ready(&cluster.store) == 3).await;
    assert_eq!(list(&cluster.store, Kind::ReplicaSet).len(), 1);
    assert_eq!(cluster.progress(), "DeploymentPaused");
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["paused"] = json!(false));
    cluster.complete().await;
    assert_eq!(list(&cluster.store, Kind::ReplicaSet).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn history_is_kept_within_its_limit() {
    let cluster = TestCluster::start(vec![(
        Kind::Deployment,
        deployment(1, json!({"revisionHistoryLimit": 2})),
    )]);
    for version in 1..=5 {
        cluster.image(&format!("good:{version}"));
        cluster.complete().await;
    }
    cluster.until(|_| {}, |cluster| list(&cluster.store, Kind::ReplicaSet).len() == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_daemon_follows_its_node_selector() {
    let mut daemon = deployment(1, json!({}));
    daemon["kind"] = json!("DaemonSet");
    let cluster = TestCluster::start(vec![(Kind::DaemonSet, daemon)]);
    let status = |cluster: &TestCluster, key: &str| {
        get(&cluster.store, Kind::DaemonSet, "test", "web").unwrap()["status"][key].as_i64()
    };
    cluster.until(|_| {}, |cluster| status(cluster, "numberAvailable") == Some(1)).await;
    let selector = |value: Value| {
        edit(&cluster.store, Kind::DaemonSet, "web", |daemon| {
            daemon["spec"]["template"]["spec"]["nodeSelector"] = value
        })
    };
    selector(json!({"flagger.app/scale-to-zero": "true"}));
    cluster
        .until(
            |_| {},
            |cluster| {
                status(cluster, "desiredNumberScheduled") == Some(0)
                    && list(&cluster.store, Kind::Pod).is_empty()
            },
        )
        .await;
    selector(Value::Null);
    cluster
        .until(
            |_| {},
            |cluster| {
                status(cluster, "updatedNumberScheduled") == Some(1)
                    && status(cluster, "numberAvailable") == Some(1)
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
    let cluster = TestCluster::start(vec![
        (Kind::Deployment, deployment(1, json!({}))),
        (Kind::HorizontalPodAutoscaler, scaler),
    ]);
    cluster.until(|_| {}, |cluster| ready(&cluster.store) == 2).await;
    edit(&cluster.store, Kind::Deployment, "web", |web| web["spec"]["replicas"] = json!(9));
    cluster.until(|_| {}, |cluster| ready(&cluster.store) == 3).await;
}

#[tokio::test(start_paused = true)]
async fn idle_controllers_write_nothing() {
    let cluster = TestCluster::start(vec![
        (Kind::Deployment, deployment(2, json!({}))),
        (Kind::Service, service()),
    ]);
    cluster.complete().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cluster.store.version();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    assert_eq!(cluster.store.version(), before);
}
