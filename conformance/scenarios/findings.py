"""What a first look at a real control plane broke, each by name."""
import time

from bed import scenario


@scenario("a Service whose port has the Canary's name and another number is taken over, and its old port goes on working", needs="")
def service_with_the_same_port_name(bed):
    bed.app(service=[{"name": "http", "port": 9898, "targetPort": 8080}])
    bed.until_phase("Initialized", 60)
    ports = {p["port"]: p["name"] for p in bed.get("service", "backend")["spec"]["ports"]}
    bed.require(80 in ports and 9898 in ports, f"the Service has the ports {ports}")


@scenario("a ConfigMap that changes in the middle of an analysis: what is promoted was started with it and analysed")
def config_changes_in_the_middle(bed):
    bed.app(spec={"analysis": {"interval": "5s", "threshold": 1, "stepWeights": [10, 30, 50], "metrics": [
        {"name": "request-success-rate", "interval": "30s", "thresholdRange": {"min": 99}}]}})
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(30)
    def pods():
        return {p["metadata"]["name"] for p in bed.items("pods", "-l", "app=backend")}
    before = pods()
    bed.k("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"COLOR":"green"}}')
    # Pods that are gone because the release is over prove nothing.
    bed.until("other pods for the canary while it is analysed", lambda: bed.phase() in ("Progressing", "Waiting") and pods() and not before & pods(), 60)
    bed.until_phase("Succeeded", 180)
    copied = bed.get("configmap", "settings-primary")["data"]["COLOR"]
    bed.require(copied == "green", f"promoted was {copied}")
    bed.told()


def no_v2(ns):
    """An admission policy that refuses v2 for the primary."""
    name = f"no-v2-{ns}"
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]
    primary = f"object.metadata.namespace == '{ns}' && object.metadata.name == 'backend-primary'"
    image = "object.spec.template.spec.containers[0].image"
    return name, [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules}, "matchConditions": [{"name": "primary", "expression": primary}],
            "validations": [{"expression": f"!{image}.endsWith(':v2')", "message": "v2 is not signed for production"}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
         "spec": {"policyName": name, "validationActions": ["Deny"]}},
    ]


@scenario("a promotion that an admission policy refuses is told at once and ends by its deadline with the traffic on the version that the status names", needs="")
def refused_promotion(bed):
    bed.app()
    bed.until_phase("Initialized")
    name, policy = no_v2(bed.ns)
    bed.apply(*policy)
    bed.after("delete", "validatingadmissionpolicybinding", name)
    bed.after("delete", "validatingadmissionpolicy", name)
    bed.load(10)
    bed.image("v2")
    bed.until_phase("Promoting|Failed", 120)
    start = time.monotonic()
    bed.until("an Event with the policy's words", lambda: any("not signed" in e for e in bed.events()), 20)
    bed.figures["seconds to telling"] = round(time.monotonic() - start, 1)
    bed.until_phase("Failed", 100)
    bed.require(bed.weights().get("backend-canary", 0) == 0, f"Failed, and the route is {bed.weights()}")
    bed.told()


@scenario("a quota on Services is told in the API server's words, and the Canary goes on when it is lifted", needs="")
def quota_on_services(bed):
    bed.namespace()
    bed.k("create", "quota", "few", "--hard=services=1")
    bed.app()
    bed.until("an Event about the quota", lambda: any("exceeded quota" in e for e in bed.events()), 40)
    bed.require("quota" in str(bed.condition("Stalled")) + str(bed.condition("Promoted")) + str(bed.condition("Ready")), "no condition names the quota")
    bed.k("delete", "quota", "few")
    start = time.monotonic()
    bed.until_phase("Initialized", 90)
    bed.figures["seconds after the quota"] = round(time.monotonic() - start, 1)


@scenario("a Canary is deleted where OwnerReferencesPermissionEnforcement is on, as OpenShift has it", needs="")
def owner_references_enforced(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.k("delete", "canary", "backend", "--timeout=60s")
    bed.require(not bed.canary(), "the Canary is still there")


@scenario("other people's ConfigMaps and Secrets cost no memory: 200 of 800 kB", needs="bed")
def foreign_memory(bed):
    bed.namespace()
    noise = "x" * 800_000
    for batch in range(20):
        bed.apply(*[{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"noise-{batch}-{i}", "namespace": bed.ns}, "data": {"a": noise}} for i in range(10)], server_side=True)
    bed.run("-n", "serin-system", "rollout", "restart", "deployment/serin")
    bed.run("-n", "serin-system", "rollout", "status", "deployment/serin", "--timeout=120s", timeout=150)
    time.sleep(10)
    peaks = []
    for pid in bed.pod_pids("serin-system", "app.kubernetes.io/name=serin").values():
        status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status", encoding="utf-8") if ":" in line)
        peaks.append(int(status["VmHWM"].split()[0]) // 1024)
    bed.figures["peak MiB"] = max(peaks)
    bed.require(max(peaks) < 64, f"the peaks are {peaks} MiB")


@scenario("the way back to Flagger: no finalizer of Flagger's is left where Flagger would take none away", needs="")
def way_back_to_flagger(bed):
    bed.app()
    bed.until_phase("Initialized")
    finalizers = bed.canary()["metadata"].get("finalizers", [])
    bed.require("finalizer.flagger.app" not in finalizers, f"the finalizers are {finalizers}")


@scenario("a release writes its status seldom: fewer than 20 patches", needs="bed")
def bookkeeping(bed):
    bed.app()
    bed.until_phase("Initialized")
    before = status_writes(bed)
    bed.load()
    bed.image("v2")
    bed.until_phase("Succeeded", 180)
    writes = status_writes(bed) - before
    bed.figures["status writes"] = writes
    bed.told()
    bed.require(writes < 20, f"{writes} status writes in one release")


def status_writes(bed):
    from bed import RUN
    wanted = f'"namespace":"{bed.ns}","name":"backend"'
    with open(RUN / "audit.log", encoding="utf-8") as log:
        return sum(wanted in line and '"subresource":"status"' in line and '"resource":"canaries"' in line for line in log)


@scenario("two idle replicas renew the election seldom: fewer than 40 requests a minute", needs="bed")
def idle_requests(bed):
    from bed import RUN
    def requests():
        with open(RUN / "audit.log", encoding="utf-8") as log:
            return sum('"username":"system:serviceaccount:serin-system:serin"' in line for line in log)
    time.sleep(5)
    before = requests()
    time.sleep(30)
    per_minute = (requests() - before) * 2
    bed.figures["requests a minute"] = per_minute
    bed.require(per_minute < 40, f"{per_minute} requests a minute while nothing happens")
