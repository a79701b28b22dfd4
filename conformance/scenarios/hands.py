"""Hands and controllers of others: autoscalers, evictions, GitOps, images that cannot start."""
import json
import time
from pathlib import Path

from bed import PORT, RUN, scenario


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


@scenario("people on call may abort and not promote, as rights and an admission policy say; what was meant for the last release does nothing", needs="bed")
def actions(bed):
    folder = Path(__file__).parents[2] / "examples/control"
    for document in (folder / "rights.yaml", folder / "policy.yaml"):
        bed.run("apply", "-f", str(document))
    bed.app()
    bed.run("create", "rolebinding", "on-call", "--clusterrole=serin-on-call", "--user=kim", "-n", bed.ns)
    bed.until_phase("Initialized")
    bed.load(10)
    bed.image("v2")
    bed.until_weight(10)
    release = bed.canary()["status"]["release"]

    def ask(action, who="kim", **more):
        spec = {"canary": "backend", "action": action, "release": release, "user": "kim", "reason": "drill", **more}
        order = {"apiVersion": "serin.dev/v1alpha1", "kind": "ReleaseAction",
                 "metadata": {"name": f"{action}-{len(asked)}", "namespace": bed.ns}, "spec": spec}
        asked.append(order["metadata"]["name"])
        return bed.run("create", "-f", "-", f"--as={who}", "--as-group=system:authenticated", text=json.dumps(order), check=False)

    asked = []
    # The policy is in force some moments after it was made.
    bed.until("a promotion is refused", lambda: "release-managers" in ask("promote").stderr, 30)
    bed.require("spec.user" in ask("abort", user="somebody").stderr, "anybody may ask in the name of others")
    bed.require("forbidden" in bed.run("patch", "canary", "backend", "-n", bed.ns, "--as=kim", "--type=merge", "-p", "{}", check=False).stderr,
                "people on call may edit the Canary")
    start = time.monotonic()
    made = ask("abort")
    bed.require(made.returncode == 0, made.stderr)
    bed.until("no traffic", lambda: bed.weights().get("backend-canary", 0) == 0, 20)
    bed.figures["seconds"] = round(time.monotonic() - start, 1)
    bed.until("an answer", lambda: bed.get("releaseaction", asked[-1]).get("status", {}).get("state") == "Done", 20)
    bed.until_phase("Failed")
    bed.image("v3")
    bed.until("another release", lambda: bed.canary()["status"]["release"] != release)
    bed.require(ask("abort").returncode == 0, "it cannot be asked")
    bed.until("an answer", lambda: bed.get("releaseaction", asked[-1]).get("status", {}).get("state") == "Refused", 20)
    bed.until_phase("Succeeded", 180)
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
            "containers": [{"name": "backend", "image": bed.app_image("v2")}]}}}}
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


@scenario("an autoscaler with figures: the primary grows in the middle of an analysis, keeps its size through the promotion, and shrinks after", needs="bed")
def autoscaler_with_figures(bed):
    def use(**milli):
        (RUN / "cpu.json.new").write_text(json.dumps({name.replace("_", "-"): value for name, value in milli.items()}))
        (RUN / "cpu.json.new").rename(RUN / "cpu.json")
    # The pods ask for 10m.
    use(backend=4, backend_primary=4)
    scaler = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"}, "minReplicas": 2, "maxReplicas": 4,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}
    bed.namespace()
    bed.apply(scaler)
    bed.app(spec={"autoscalerRef": {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "name": "backend"}})
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    use(backend=4, backend_primary=20)
    def primary():
        return bed.get("deployment", "backend-primary")["spec"]["replicas"]
    bed.until("four pods of the primary", lambda: primary() == 4, 60)
    smallest = [4]
    def done():
        smallest[0] = min(smallest[0], primary())
        return bed.phase() == "Succeeded"
    bed.until("Succeeded", done, 180)
    bed.require(smallest[0] == 4, f"the primary went down to {smallest[0]} in the middle of it")
    rest = bed.get("deployment", "backend")["spec"]["replicas"]
    bed.require(rest == 0, f"the target has {rest} replicas at rest")
    # A fifth of what they ask for, and half of that is wanted: four pods at 40 % would stay four.
    use(backend=2, backend_primary=2)
    bed.until("two pods of the primary again", lambda: primary() == 2, 90)
    bed.require(bed.get("deployment", "backend")["spec"]["replicas"] == 0, "the target was scaled up at rest")
    bed.require(bed.phase() == "Succeeded", f"the phase is {bed.phase()}")
    bed.told()


@scenario("a node is drained in the middle of an analysis, with pods of both versions and of the operator on it: nothing is lost", needs="bed")
def drain(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.apply({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "backend", "namespace": bed.ns},
               "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "backend-primary"}}}})
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    leader = bed.leader().split("_")[0]
    node = next(p["spec"]["nodeName"] for p in bed.items("pods", ns="serin-system") if p["metadata"]["name"] == leader)
    try:
        bed.run("drain", node, "--pod-selector=app in (backend,backend-primary)", "--delete-emptydir-data", "--timeout=100s", timeout=120)
        bed.run("drain", node, "--pod-selector=app.kubernetes.io/name=serin", "--timeout=100s", timeout=120)
        bed.until("another leader", lambda: bed.leader().split("_")[0] not in ("", leader), 30)
        bed.until_phase("Succeeded", 240)
        left = [p["metadata"]["name"] for p in bed.items("pods") if p["spec"].get("nodeName") == node]
        bed.require(not left, f"{left} are on the drained node")
    finally:
        bed.run("uncordon", node)
    bed.told()


@scenario("a Service and a Deployment with replicas are in Git too, and are forced back every few seconds: a release ends, nothing is lost, and it is no fight", needs="bed")
def forced_back(bed):
    bed.app(service=[{"name": "http", "port": 80, "targetPort": PORT}])
    bed.until_phase("Initialized")
    bed.load()
    deployment = bed.get("deployment", "backend")
    container = {"name": "backend", "image": bed.app_image("v2")}
    git = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {
            "replicas": 2, "selector": deployment["spec"]["selector"], "template": {"metadata": {"labels": {"app": "backend"}}, "spec": {"containers": [container]}}}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {
            "selector": {"app": "backend"}, "ports": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "TCP"}]}},
    ]
    rounds, last = [0], [0.0]
    def again():
        if time.monotonic() - last[0] > 5:
            last[0] = time.monotonic()
            rounds[0] += 1
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": git})
            bed.run("apply", "--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-", text=text)
        return bed.phase() == "Succeeded" and bed.get("deployment", "backend-primary")["spec"]["template"]["spec"]["containers"][0]["image"] == bed.app_image("v2")
    before = bed.audit_size()
    bed.until("Succeeded with v2, while it is forced back again and again", again, 240)
    for _ in range(6):
        again()
        time.sleep(5)
    where = f'"namespace":"{bed.ns}"'
    writes = bed.audited(before, where, '"verb":"patch"', '"resource":"services"') + bed.audited(before, where, '"verb":"patch"', '"subresource":"scale"')
    bed.figures.update({"times forced": rounds[0], "times put right": writes})
    bed.require(writes <= 3 * rounds[0] + 4, f"{writes} writes against {rounds[0]} of Git's")
    # Its hands off again, all is as it should be.
    bed.until("the target is at rest", lambda: bed.get("deployment", "backend")["spec"]["replicas"] == 0, 60)
    bed.require(bed.get("service", "backend")["spec"]["selector"] == {"app": "backend-primary"}, "the Service selects the target")
    bed.told()


@scenario("another manager applies without force what Serin has set, and is told who has it", needs="")
def apply_conflict(bed):
    bed.app()
    bed.until_phase("Initialized")
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "backend", "namespace": bed.ns}, "spec": {"selector": {"app": "somebody"}}}
    done = bed.run("apply", "--server-side", "--field-manager=gitops", "-f", "-", text=json.dumps(service), check=False)
    bed.require(done.returncode and 'conflict' in done.stderr and "serin" in done.stderr, f"it was told: {done.stderr}")
    bed.require(bed.get("service", "backend")["spec"]["selector"]["app"] == "backend-primary", "the selector is another")
