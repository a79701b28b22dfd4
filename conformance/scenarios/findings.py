"""What a first look at a real control plane broke, each by name."""
import time

from bed import PORT, RUN, Skipped, scenario


@scenario("a Service whose port has the Canary's name and another number is taken over, and its old port goes on working", needs="")
def service_with_the_same_port_name(bed):
    bed.app(service=[{"name": "http", "port": 9898, "targetPort": PORT}])
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


def no_v2(bed):
    """An admission policy that refuses v2 for the primary."""
    ns = bed.ns
    name = f"no-v2-{ns}"
    rules = [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["deployments"]}]
    primary = f"object.metadata.namespace == '{ns}' && object.metadata.name == 'backend-primary'"
    image = "object.spec.template.spec.containers[0].image"
    return name, [
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": {
            "failurePolicy": "Fail", "matchConstraints": {"resourceRules": rules}, "matchConditions": [{"name": "primary", "expression": primary}],
            "validations": [{"expression": f"!{image}.endsWith('{bed.app_image('v2')}')", "message": "v2 is not signed for production"}]}},
        {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
         "spec": {"policyName": name, "validationActions": ["Deny"]}},
    ]


@scenario("a promotion that an admission policy refuses is told at once and ends by its deadline with the traffic on the version that the status names", needs="")
def refused_promotion(bed):
    bed.app()
    bed.until_phase("Initialized")
    name, policy = no_v2(bed)
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
    bed.measure(0)
    bed.require(bed.figures["peak MiB"] < 64, f"the peak is {bed.figures['peak MiB']} MiB")


@scenario("a release writes its status seldom: fewer than 20 patches", needs="bed")
def bookkeeping(bed):
    bed.app()
    bed.until_phase("Initialized")
    before = bed.audit_size()
    bed.load()
    bed.image("v2")
    bed.until_phase("Succeeded", 180)
    writes = bed.audited(before, f'"namespace":"{bed.ns}","name":"backend"', '"subresource":"status"', '"resource":"canaries"')
    bed.figures["status writes"] = writes
    bed.told()
    bed.require(0 < writes < 20, f"{writes} status writes in one release")


@scenario("two idle replicas renew the election seldom: fewer than 40 requests a minute", needs="bed")
def idle_requests(bed):
    time.sleep(5)
    before = bed.audit_size()
    time.sleep(30)
    per_minute = bed.audited(before) * 2
    bed.figures["requests a minute"] = per_minute
    bed.require(per_minute < 40, f"{per_minute} requests a minute while nothing happens")


def ahead(bed, how):
    """Another replica of the operator, whose clock is ahead or behind (Debian's libfaketime)."""
    deployment = bed.get("deployment", "serin", ns="serin-system")
    spec = deployment["spec"]
    labels = {"app.kubernetes.io/name": "serin-skewed"}
    spec["replicas"], spec["selector"], spec["template"]["metadata"]["labels"] = 1, {"matchLabels": labels}, labels
    # Only the operator itself sees another time: what starts it runs as somebody else.
    spec["template"]["spec"]["containers"][0]["command"] = ["env", f"LD_PRELOAD={FAKETIME}", f"FAKETIME={how}", "FAKETIME_DONT_FAKE_MONOTONIC=1", "serin"]
    bed.after("-n", "serin-system", "delete", "deployment", "serin-skewed")
    bed.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "serin-skewed", "namespace": "serin-system"}, "spec": spec})
    bed.run("-n", "serin-system", "rollout", "status", "deployment/serin-skewed", "--timeout=120s", timeout=150)


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@scenario("a replica whose clock is two minutes ahead, and one that is two minutes behind, do not take the Lease from the leader", needs="bed")
def clock_skew(bed):
    import os
    if not os.path.exists(FAKETIME):
        raise Skipped("libfaketime is not installed")
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    before = bed.leader()
    transitions = bed.get("lease", "serin-leader-election", ns="serin-system")["spec"]["leaseTransitions"]
    ahead(bed, "+120s")
    bed.image("v2")
    bed.until_phase("Succeeded", 180)
    ahead(bed, "-120s")
    time.sleep(40)
    spec = bed.get("lease", "serin-leader-election", ns="serin-system")["spec"]
    bed.figures["takeovers"] = spec["leaseTransitions"] - transitions
    bed.require(bed.leader() == before, f"{before} led, and {bed.leader()} leads")
    bed.require(spec["leaseTransitions"] == transitions, f"the Lease changed hands {spec['leaseTransitions'] - transitions} times")
    bed.told()


@scenario("a refusal that is lifted before the deadline delays the promotion; what is promoted in the end is named by the status", needs="")
def refused_promotion_lifted(bed):
    bed.app(spec={"progressDeadlineSeconds": 120})
    bed.until_phase("Initialized")
    name, policy = no_v2(bed)
    bed.apply(*policy)
    bed.after("delete", "validatingadmissionpolicybinding", name)
    bed.after("delete", "validatingadmissionpolicy", name)
    bed.load(10)
    bed.image("v2")
    bed.until("an Event with the policy's words", lambda: any("not signed" in e for e in bed.events()), 120)
    bed.require(bed.phase() == "Promoting", f"the phase is {bed.phase()}")
    bed.run("delete", "validatingadmissionpolicybinding", name)
    bed.until_phase("Succeeded", 120)
    image = bed.get("deployment", "backend-primary")["spec"]["template"]["spec"]["containers"][0]["image"]
    bed.require(image == bed.app_image("v2"), f"the primary runs {image}")
    bed.told()


@scenario("a refusal that is lifted after the deadline changes nothing: the version that was taken back stays off the primary", needs="")
def refused_promotion_lifted_late(bed):
    bed.app()
    bed.until_phase("Initialized")
    name, policy = no_v2(bed)
    bed.apply(*policy)
    bed.after("delete", "validatingadmissionpolicybinding", name)
    bed.after("delete", "validatingadmissionpolicy", name)
    bed.load(10)
    bed.image("v2")
    bed.until_phase("Failed", 200)
    bed.run("delete", "validatingadmissionpolicybinding", name)
    time.sleep(25)
    bed.require(bed.phase() == "Failed", f"the phase is {bed.phase()}")
    image = bed.get("deployment", "backend-primary")["spec"]["template"]["spec"]["containers"][0]["image"]
    bed.require(image == bed.app_image("v1"), f"the primary runs {image}")
    bed.told()


@scenario("a quota on pods that a promotion meets: told in the API server's words, the status is true, and the traffic stays whole", needs="")
def quota_in_a_promotion(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    # Four pods are there while a canary is analysed; the primary needs a fifth to roll.
    bed.k("create", "quota", "few", "--hard=pods=4")
    bed.image("v2")
    bed.until_phase("Promoting|Failed|Succeeded", 150)
    bed.until_phase("Succeeded|Failed", 150)
    bed.figures["outcome"] = bed.phase()
    image = bed.get("deployment", "backend-primary")["spec"]["template"]["spec"]["containers"][0]["image"]
    said = bed.condition("Ready").get("message", "")
    if bed.phase() == "Succeeded":
        bed.require(image == bed.app_image("v2"), f"Succeeded, and the primary runs {image}")
    else:
        bed.require("exceeded quota" in said, f"it says: {said}")
        # The template was written before its pods were refused: pods of v1 serve, and the status must say what comes when they may start.
        bed.require(image == bed.app_image("v1") or "taken it up" in said, f"{image}, and it says: {said}")
    bed.told()


@scenario("kubectl delete -f deploy/ with a Canary there, and kubectl apply -f deploy/ again: what was going goes, what comes is released, nothing is lost", needs="bed")
def deleted_and_installed_again(bed):
    import pathlib
    import subprocess
    bed.app()
    bed.until_phase("Initialized")
    bed.load(10)
    deploy = str(RUN / "deploy") + "/"
    bed.run("delete", "-f", deploy, "--wait=false")
    bed.until("the namespace of Serin is gone", lambda: not bed.get("namespace", "serin-system", ns="default"), 120)
    install = pathlib.Path(__file__).parent.parent / "install.sh"
    def again():
        done = subprocess.run([str(install)], capture_output=True, text=True)
        bed.require(done.returncode == 0, f"install.sh: {done.stdout}{done.stderr}")
    again()
    # What was deleted is carried out: the traffic is given back, and the definition goes.
    bed.until("the Canary is gone", lambda: not bed.get("canary", "backend"), 120)
    bed.until("the target has its pods", lambda: (bed.get("deployment", "backend")["status"].get("readyReplicas") or 0) >= 2, 60)
    bed.until("the definition is gone", lambda: not bed.get("crd", "canaries.flagger.app"), 60)
    again()
    bed.app()
    bed.until_phase("Initialized", 120)
    bed.image("v2")
    bed.until_phase("Succeeded", 180)
    bed.told()
