//! Names of every legal length: what is derived from them is bounded, and a release runs under them as under any others.

use serde_json::{Value, json};
use serin_apiserver::registry::ResourceId;

use crate::cluster::{CANARIES, DEPLOYMENTS, ROUTES, TestCluster};

const SERVICES: (&str, &str) = ("", "services");
const CONFIG_MAPS: (&str, &str) = ("", "configmaps");
const SCALERS: (&str, &str) = ("autoscaling", "horizontalpodautoscalers");

/// Everything that is named after something, named as long as it may be. Two of each that differ in the last sign only.
struct Long {
    canary: String,
    target: String,
    service: String,
    label: String,
    config: String,
    scaler: String,
}

impl Long {
    fn new(last: char) -> Self {
        let name = |part: &str, length: usize| {
            let mut name = part.repeat(length);
            name.truncate(length - 2);
            format!("{}a{last}", name.trim_end_matches('-')).chars().take(length).collect()
        };
        Self {
            canary: name("canary-", 253),
            // Its ReplicaSets have eleven more.
            target: name("target-", 242),
            service: name("service-", 63),
            label: name("label-", 63),
            config: name("config-", 253),
            scaler: name("scaler-", 253),
        }
    }

    fn apply(&self, cluster: &TestCluster, image: &str) {
        let Self { canary, target, service, label, config, scaler } = self;
        cluster.create(CONFIG_MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": config}, "data": {"level": "one"}}));
        let template = json!({"metadata": {"labels": {"app": label}}, "spec": {"containers": [{
            "name": "app", "image": image, "ports": [{"containerPort": 8080}], "envFrom": [{"configMapRef": {"name": config}}],
        }]}});
        cluster.create(DEPLOYMENTS, json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": target}, "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": label}}, "template": template,
        }}));
        cluster.create(SCALERS, json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": scaler}, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target}, "minReplicas": 1, "maxReplicas": 3,
        }}));
        cluster.create(CANARIES, json!({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": canary}, "spec": {
            "provider": "traefik",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": scaler},
            "service": {"name": service, "port": 80, "targetPort": 8080},
            "analysis": {"interval": "10s", "threshold": 1, "stepWeights": [20, 50], "guard": {"errorRate": {"slo": 1, "noData": "pass", "cannotMeasure": "pass"}, "soak": {"duration": "1m"}},
                "metrics": [{"name": "errors", "query": "errors", "thresholdRange": {"max": 1}}]},
        }}));
    }

    fn status(&self, cluster: &TestCluster) -> Value {
        cluster.get(CANARIES, &self.canary).unwrap()["status"].clone()
    }

    async fn until(&self, cluster: &TestCluster, phase: &str) {
        for _ in 0..600 {
            if self.status(cluster)["phase"] == phase {
                return;
            }
            cluster.pass(2).await;
        }
        panic!("never {phase}: {:#}", self.status(cluster));
    }
}

fn names(cluster: &TestCluster, id: (&str, &str), suffix: &str) -> Vec<String> {
    let id = ResourceId::new(id.0, id.1);
    let all = cluster.store.list(&id, Some("develop"));
    let names = all.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(suffix)).collect()
}

#[tokio::test(start_paused = true)]
async fn names_as_long_as_they_may_be_are_released_and_deleted_like_any_other() {
    let cluster = TestCluster::start();
    let both = [Long::new('x'), Long::new('y')];
    for long in &both {
        long.apply(&cluster, "app:v1");
    }
    for long in &both {
        long.until(&cluster, "Initialized").await;
    }
    for (id, suffix) in [
        (DEPLOYMENTS, "-primary"),
        (SERVICES, "-primary"),
        (SERVICES, "-canary"),
        (CONFIG_MAPS, "-primary"),
        (SCALERS, "-primary"),
    ] {
        assert_eq!(names(&cluster, id, suffix).len(), 2, "{id:?} {suffix}");
    }
    for long in &both {
        cluster.modify(DEPLOYMENTS, &long.target, |target| {
            target["spec"]["template"]["spec"]["containers"][0]["image"] = json!("app:v2");
        });
    }
    for long in &both {
        long.until(&cluster, "Succeeded").await;
    }
    for name in names(&cluster, DEPLOYMENTS, "-primary") {
        let primary = cluster.get(DEPLOYMENTS, &name).unwrap();
        assert_eq!(primary["spec"]["template"]["spec"]["containers"][0]["image"], "app:v2");
    }
    let kept = names(&cluster, CONFIG_MAPS, "-kept");
    assert_eq!(kept.len(), 2, "{kept:?}");
    for long in &both {
        let told = cluster.store.list(&ResourceId::core("events"), Some("develop"));
        let of = |event: &&std::sync::Arc<Value>| event["involvedObject"]["name"] == *long.canary;
        let reasons: Vec<&str> =
            told.iter().filter(of).map(|event| event["reason"].as_str().unwrap()).collect();
        assert!(reasons.contains(&"Initialized") && reasons.contains(&"Promoted"), "{reasons:?}");
        let id = ResourceId::new(CANARIES.0, CANARIES.1);
        cluster.store.delete(&id, "develop", &long.canary, &Default::default()).unwrap();
    }
    cluster
        .until("both are gone", |cluster| {
            cluster.store.list(&ResourceId::new(CANARIES.0, CANARIES.1), None).is_empty()
        })
        .await;
    for long in &both {
        let apex = cluster.get(SERVICES, &long.service).unwrap();
        assert_eq!(apex["spec"]["selector"]["app"], *long.label);
        let route = cluster.get(ROUTES, &long.service).unwrap();
        assert_eq!(route["spec"]["weighted"]["services"][0]["name"], *long.service);
        assert_eq!(cluster.get(DEPLOYMENTS, &long.target).unwrap()["spec"]["replicas"], 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_name_no_service_can_have_says_so_with_a_way_out() {
    let cluster = TestCluster::start();
    cluster.create(CANARIES, json!({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": {"name": "backend"}, "spec": {
        "provider": "traefik", "service": {"port": 80},
        "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a".repeat(64)},
        "analysis": {"interval": "10s", "threshold": 1, "stepWeights": [20]},
    }}));
    let words = ["must have at most 63 characters", "name the Service with spec.service.name"];
    let told = |cluster: &TestCluster| {
        cluster.events().iter().any(|event| {
            event.contains("SpecInvalid") && words.iter().all(|word| event.contains(word))
        })
    };
    cluster.until("an Event with the way out", told).await;
}
