//! What kubectl prints when a Canary is no good: the field's path, from the API server, before anybody acts on it.

use std::io::Write;

use serin::lab::local::{Cluster, Options};
use serin_apiserver::registry::ResourceId;

use crate::alone;
use crate::local::{Kubectl, options, part};

const GOOD: &str = "
apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: backend, namespace: default}
spec:
  provider: traefik
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: backend}
  service: {port: 80}
  analysis: {interval: 10s, threshold: 1, stepWeights: [5, 50]}
";

/// What is replaced in the good one, by what, and what kubectl says.
const CASES: &[(&str, &str, &str)] = &[
    ("spec:\n", "spec: [\n", "error parsing"),
    ("  service:", "\tservice:", "error parsing"),
    ("{port: 80}", "{port: http}", "spec.service.port"),
    ("{port: 80}", "80", "spec.service"),
    ("[5, 50]", "5", "spec.analysis.stepWeights"),
    ("[5, 50]", "[5, high]", "spec.analysis.stepWeights[1]"),
    ("[5, 50]", "[5, 2.5]", "spec.analysis.stepWeights[1]"),
    ("[5, 50]", "[5, 120]", "spec.analysis.stepWeights[1]"),
    ("[5, 50]", "[50, 5]", "analysis.stepWeights must rise"),
    ("threshold: 1", "threshold: few", "spec.analysis.threshold"),
    ("threshold: 1", "treshold: 1", "spec.analysis.treshold"),
    ("provider: traefik", "provider: consul", "spec.provider"),
    ("kind: Deployment", "kind: CronJob", "spec.targetRef.kind"),
    ("kind: Deployment, ", "", "spec.targetRef.kind"),
    ("kind: Canary", "kind: Canari", "no matches for kind \"Canari\""),
];

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_prints_the_field() {
    let _alone = alone().await;
    let Some(kubectl) = part("SERIN_KUBECTL") else { return };
    let cluster = Cluster::start(Options { operator: false, ..options() }).await.unwrap();
    let kubectl = Kubectl::new(kubectl, &cluster);
    let file = cluster.dir().join("canary.yaml");
    let path = file.to_str().unwrap().to_owned();
    for (from, to, said) in CASES {
        assert!(GOOD.contains(from), "{from}");
        let mut out = std::fs::File::create(&file).unwrap();
        out.write_all(GOOD.replacen(from, to, 1).as_bytes()).unwrap();
        for server_side in ["--server-side=false", "--server-side=true"] {
            let output = kubectl.output(&["apply", server_side, "-f", &path]).await;
            let printed = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{to} was taken {server_side}");
            assert!(printed.contains(said), "{to} {server_side}: {printed}");
        }
    }
    assert!(cluster.store().list(&ResourceId::new("flagger.app", "canaries"), None).is_empty());
    std::fs::write(&file, GOOD).unwrap();
    kubectl.run(&["apply", "-f", &path]).await;
    cluster.stop().await;
}
