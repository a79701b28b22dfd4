"""Hands and controllers of others: autoscalers, evictions, GitOps, images that cannot start."""
import json
import time

from bed import scenario


@scenario("an autoscaler: the primary gets its own, and a change of its limits follows", needs="")
def autoscaler(bed):
    reference = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"}
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"}, "minReplicas": 2, "maxReplicas": 4,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 90}}}]}}
    bed.namespace()
    bed.apply(scaler)
    bed.app(spec={"autoscalerRef": reference})
    bed.until_phase("Initialized")
    own = bed.until("an autoscaler for the primary", lambda: bed.get("hpa", "backend-primary"))
    bed.require(own["spec"]["scaleTargetRef"]["name"] == "backend-primary", "it scales another workload")
    bed.load()
    bed.image("v2")
    bed.until_phase("Succeeded", 180)
    bed.told()


@scenario("pods of the primary are evicted in the middle of an analysis, with a budget: nothing is lost")
def evictions(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "backend", "namespace": bed.ns},
               "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "backend-primary"}}}})
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    for pod in [p["metadata"]["name"] for p in bed.items("pods", "-l", "app=backend-primary")]:
        eviction = json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": bed.ns}})
        path = f"/api/v1/namespaces/{bed.ns}/pods/{pod}/eviction"
        bed.until(f"{pod} may be evicted", lambda: bed.run("create", "--raw", path, "-f", "-", text=eviction, check=False).returncode == 0)
    bed.until_phase("Succeeded", 240)
    bed.told()


@scenario("an image that cannot be pulled fails by the deadline, and the primary has all traffic", needs="")
def image_that_cannot_be_pulled(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load(10)
    bed.image("bad-pull")
    bed.until_phase("Failed", 120)
    bed.require(bed.weights().get("backend-canary", 0) == 0, f"the route is {bed.weights()}")
    bed.told()


@scenario("a GitOps-like second manager applies the same objects over and over: it meets no conflict, and the release ends", needs="")
def second_manager(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    manifest = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {
        "selector": {"matchLabels": {"app": "backend"}}, "template": {"metadata": {"labels": {"app": "backend"}}, "spec": {
            "containers": [{"name": "backend", "image": "local/backend:v2"}]}}}}
    def again():
        bed.run("apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-", text=json.dumps(manifest))
        return bed.phase() == "Succeeded"
    bed.until("Succeeded, while it is applied again and again", again, 200)
    bed.told()


@scenario("a namespace with a Canary in it is deleted and goes", needs="")
def namespace_deletion(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.image("v2")
    start = time.monotonic()
    bed.run("delete", "namespace", bed.ns, "--wait=false")
    bed.until("the namespace is gone", lambda: not bed.get("namespace", bed.ns, ns="default"), 90)
    bed.figures["seconds"] = round(time.monotonic() - start)
