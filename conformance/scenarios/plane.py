"""What only a control plane of our own can do: restarts, compaction, refusals, and other versions."""
import json
import os
import signal
import subprocess
import time

from bed import NET, OUT, RUN, Skipped, scenario


def start(name, *command):
    """Starts a part of the bed as up.sh does."""
    with open(RUN / f"{name}.log", "ab") as log:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{NET}", *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (RUN / f"{name}.pid").write_text(str(process.pid))
    first(process.pid)
    return process


def first(pid):
    """On a busy machine the control plane comes first, as lib.sh has it."""
    try:
        with open(f"/proc/{pid}/autogroup", "w", encoding="utf-8") as group:
            group.write("-10")
    except OSError:
        # A kernel without groups by session goes by the processes alone.
        pass


def stop(bed, name, how=signal.SIGKILL):
    pid = bed.pid(name)
    os.kill(pid, how)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            if not os.path.exists(f"/proc/{pid}") or "Z" in open(f"/proc/{pid}/stat", encoding="utf-8").read().split(")")[1][:3]:
                return
        time.sleep(0.1)


def served(bed):
    bed.until("the API answers", lambda: bed.run("get", "--raw", "/readyz", check=False).returncode == 0, 90)


@scenario("the API server is killed in the middle of an analysis: nothing is lost, and the release ends", needs="bed")
def api_server_killed(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    stop(bed, "apiserver")
    start("apiserver", str(RUN / "apiserver.sh"))
    served(bed)
    bed.until_phase("Succeeded", 240)
    bed.told()


def cut_off(bed):
    """No packet of the operator reaches the API server any more; its probes are answered."""
    addresses = ", ".join(p["status"]["podIP"] for p in bed.items("pods", "-l", "app.kubernetes.io/name=serin", ns="serin-system"))
    bed.inside("nft", f"table ip cut {{\nchain in {{\ntype filter hook input priority 0;\nip saddr {{ {addresses} }} tcp dport 6443 drop\n}}\n}}")


def etcd(bed, path, **body):
    return json.loads(bed.inside("curl", "-sS", "--fail-with-body", "-X", "POST", "-d", json.dumps(body), f"http://127.0.0.1:2379/v3/{path}"))


@scenario("etcd is compacted while the operator is cut off from the API server and every kind changes: its watches meet 410, and it goes on", needs="bed")
def compaction(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    before = bed.audit_size()
    cut_off(bed)
    try:
        for kind in ("canary/backend", "deployment/backend", "deployment/backend-primary", "service/backend-primary", "traefikservice/backend", "configmap/settings"):
            bed.k("annotate", kind, "conformance/changed=yes")
        stop(bed, "apiserver")
        revision = etcd(bed, "kv/range", key="AA==")["header"]["revision"]
        etcd(bed, "kv/compaction", revision=revision, physical=True)
        start("apiserver", str(RUN / "apiserver.sh"))
        served(bed)
    finally:
        bed.inside("nft", "delete", "table", "ip", "cut")
    bed.until_phase("Succeeded", 240)
    # A watch that is told 410 begins with a list.
    bed.figures["lists after 410"] = bed.audited(before, '"verb":"list"')
    bed.require(bed.figures["lists after 410"] >= 5, "no watch was told that it is too old")
    bed.told()


JAIL = [
    {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": "conformance-none"},
     "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": {"type": "Reject"}}}},
    {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": "conformance-none"}, "spec": {
        "matchingPrecedence": 2, "priorityLevelConfiguration": {"name": "conformance-none"}, "distinguisherMethod": {"type": "ByUser"}, "rules": [{
            "subjects": [{"kind": "ServiceAccount", "serviceAccount": {"name": "serin", "namespace": "serin-system"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}},
]


def jailed(bed):
    bed.after("delete", "flowschema", "conformance-none")
    bed.after("delete", "prioritylevelconfiguration", "conformance-none")
    bed.apply(*JAIL)


def freed(bed):
    bed.run("delete", "flowschema", "conformance-none")
    bed.run("delete", "prioritylevelconfiguration", "conformance-none")


@scenario("priority and fairness refuse every request of the operator (429) for half a minute in the middle of an analysis: it goes on, and nothing is lost", needs="bed")
def priority_and_fairness(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    ran = restarts(bed)
    jailed(bed)
    before = bed.audit_size()
    time.sleep(30)
    freed(bed)
    bed.figures["requests refused"] = bed.audited(before, '"code":429')
    bed.until_phase("Succeeded", 240)
    bed.require(restarts(bed) == ran, "a pod of Serin's was restarted")
    bed.told()


@scenario("a version that breaks while priority and fairness refuse every request of the operator is rolled back within seconds after", needs="bed")
def rollback_after_429(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v3-bad")
    bed.until("a canary that is about to have traffic", lambda: bed.phase() == "Progressing")
    bed.until_weight(10)
    jailed(bed)
    time.sleep(20)
    freed(bed)
    start_of = time.monotonic()
    bed.until_phase("Failed", 60)
    bed.figures["seconds after"] = round(time.monotonic() - start_of, 1)
    bed.require(bed.weights().get("backend-canary", 0) == 0, f"the route is {bed.weights()}")
    bed.told()


def restarts(bed):
    return sum(c["restartCount"] for p in bed.items("pods", "-l", "app.kubernetes.io/name=serin", ns="serin-system") for c in p["status"].get("containerStatuses", []))


@scenario("300 connections to the operator's port that say nothing, and 100 with half a request: no probe fails, and a release goes on", needs="bed")
def idle_connections(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    addresses = [p["status"]["podIP"] for p in bed.items("pods", "-l", "app.kubernetes.io/name=serin", ns="serin-system")]
    before = restarts(bed)
    code = ("import socket,sys,time\nall=[]\nfor ip in sys.argv[1:]:\n  for i in range(400):\n    try: s=socket.create_connection((ip,8080),2)\n    except OSError: continue\n"
            "    if i%4==0:\n      try: s.send(b'GET /healthz HT')\n      except OSError: pass\n    all.append(s)\nprint(len(all),flush=True)\ntime.sleep(600)")
    crowd = subprocess.Popen(bed.from_inside("python3", "-c", code, *addresses), stdout=subprocess.PIPE, text=True)
    try:
        bed.figures["connections"] = int(crowd.stdout.readline())
        bed.image("v2")
        bed.until_phase("Succeeded", 180)
        # Liveness takes three probes of ten seconds.
        for _ in range(10):
            pods = bed.items("pods", "-l", "app.kubernetes.io/name=serin", ns="serin-system")
            ready = [c["status"] for p in pods for c in p["status"]["conditions"] if c["type"] == "Ready"]
            bed.require(ready == ["True"] * len(pods), f"the pods are ready: {ready}")
            time.sleep(1)
    finally:
        crowd.kill()
        crowd.wait()
    bed.require(restarts(bed) == before, "a pod of Serin's was restarted")
    bed.told()


@scenario("the definitions get another version that is stored: what is there goes on, and nothing is released", needs="bed")
def storage_version(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load(10)
    before = bed.canary()["status"].get("lastAppliedSpec")
    definition = bed.get("crd", "canaries.flagger.app")
    versions = definition["spec"]["versions"]
    other = {**versions[0], "name": "v1", "storage": True}
    def set_versions(*all_of_them):
        bed.run("patch", "crd", "canaries.flagger.app", "--type=merge", "-p", json.dumps({"spec": {"versions": list(all_of_them), "conversion": {"strategy": "None"}}}))
    try:
        set_versions({**versions[0], "storage": False}, other)
        bed.until("it is served", lambda: bed.run("get", "--raw", "/apis/flagger.app/v1/canaries", check=False).returncode == 0)
        # Written once, it is stored in the new version.
        bed.k("annotate", "canary", "backend", "conformance/stored=v1")
        time.sleep(15)
        bed.require(bed.phase() == "Initialized", f"the phase is {bed.phase()}")
        bed.require(bed.canary()["status"].get("lastAppliedSpec") == before, "another revision was seen")
        bed.image("v2")
        bed.until_phase("Succeeded", 180)
    finally:
        set_versions({**versions[0], "storage": True}, {**other, "storage": False})
        # What was stored as v1 is written back before the version goes.
        for one in json.loads(bed.run("get", "canaries", "-A", "-o", "json").stdout)["items"]:
            bed.run("-n", one["metadata"]["namespace"], "annotate", "canary", one["metadata"]["name"], "conformance/stored=v1beta1", "--overwrite")
        bed.run("patch", "crd", "canaries.flagger.app", "--subresource=status", "--type=merge", "-p", '{"status":{"storedVersions":["v1beta1"]}}')
        set_versions(versions[0])
    bed.told()


def again_with(bed, *flags):
    """The API server once more, with more flags; without, as it was."""
    script = (RUN / "apiserver.sh").read_text()
    changed = RUN / "apiserver-changed.sh"
    changed.write_text(script.rstrip() + " " + " ".join(flags) + "\n")
    changed.chmod(0o755)
    stop(bed, "apiserver", signal.SIGTERM)
    start("apiserver", str(changed))
    served(bed)


@scenario("an API server that streams no lists (WatchList off), and one that does: the operator starts and releases with either", needs="bed")
def watch_list(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    try:
        again_with(bed, "--feature-gates=WatchList=false")
        restart(bed)
        bed.image("v2")
        bed.until_phase("Succeeded", 180)
    finally:
        again_with(bed)
    restart(bed)
    bed.image("v3")
    bed.until_phase("Progressing|Waiting", 60)
    bed.until_phase("Succeeded", 180)
    bed.told()


def restart(bed):
    """The operator anew, so that it lists anew."""
    bed.run("-n", "serin-system", "rollout", "restart", "deployment/serin")
    bed.run("-n", "serin-system", "rollout", "status", "deployment/serin", "--timeout=120s", timeout=150)


@scenario("a restart of the API server with live canaries starts no release", needs="bed")
def restart_starts_nothing(bed):
    bed.app()
    bed.until_phase("Initialized")
    before = bed.canary()["status"].get("lastAppliedSpec")
    stop(bed, "apiserver", signal.SIGTERM)
    start("apiserver", str(RUN / "apiserver.sh"))
    served(bed)
    time.sleep(20)
    bed.require(bed.phase() == "Initialized", f"the phase is {bed.phase()}")
    bed.require(bed.canary()["status"].get("lastAppliedSpec") == before, "another revision was seen")


@scenario("the API server is upgraded to the newest version with live canaries: nothing starts, and releases go on", needs="bed")
def upgrade(bed):
    now, newest = (RUN / "version").read_text().strip(), max(OUT.glob("bin-*"), key=lambda path: [int(n) for n in path.name[4:].split(".")])
    if newest.name == f"bin-{now}" or not (newest / "control-plane").exists():
        raise Skipped(f"{now} is the newest version that is built here; run it with VERSION of an older one")
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    before = bed.version()
    old = str(OUT / f"bin-{now}")
    script = (RUN / "apiserver.sh").read_text()
    (RUN / "apiserver.sh").write_text(script.replace(old, str(newest)))
    stop(bed, "apiserver", signal.SIGTERM)
    start("apiserver", str(RUN / "apiserver.sh"))
    served(bed)
    bed.figures["upgrade"] = f"{before} to {bed.version()}"
    bed.require(bed.version() != before, "the version is the old one")
    bed.until_phase("Succeeded", 240)
    seen = bed.canary()["status"].get("lastAppliedSpec")
    # The new server may default fields that the old one did not know.
    bed.k("annotate", "deployment", "backend", "conformance/upgraded=yes")
    bed.k("annotate", "deployment", "backend-primary", "conformance/upgraded=yes")
    time.sleep(25)
    bed.require(bed.phase() == "Succeeded", f"the phase is {bed.phase()}")
    bed.require(bed.canary()["status"].get("lastAppliedSpec") == seen, "another revision was seen")
    bed.image("v3")
    bed.until_phase("Progressing|Waiting", 60)
    bed.until_phase("Succeeded", 180)
    bed.told()
