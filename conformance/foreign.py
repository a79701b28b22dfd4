"""A cluster of somebody else: what will be made there, what must not be there, and that nothing of it stays."""
import json
import os
import pathlib
import time

HERE = pathlib.Path(__file__).resolve().parent
CRDS = HERE.parent / "deploy/10-crds.yaml"
KINDS = ["namespaces", "customresourcedefinitions", "clusterroles", "clusterrolebindings", "validatingadmissionpolicies", "validatingadmissionpolicybindings"]


class Refused(Exception):
    """Nothing may be tried on this cluster."""


class Foreign:
    """Used around all scenarios of a run: `with Foreign(bed):`."""

    def __init__(self, bed):
        self.bed, self.made_definitions = bed, False

    def names(self, kind):
        done = self.bed.run("get", kind, "-o", "name", check=False)
        return {name for name in done.stdout.split() if "serin-conformance" in name or "flagger.app" in name}

    def everything(self):
        return {kind: self.names(kind) for kind in KINDS}

    def running(self, label):
        done = self.bed.run("get", "deployments", "-A", "-l", f"app.kubernetes.io/name={label}", "-o", "json")
        return [d for d in json.loads(done.stdout)["items"] if d["status"].get("readyReplicas")]

    def __enter__(self):
        context = self.bed.run("config", "current-context", check=False).stdout.strip()
        left = sorted(name for name in self.names("namespaces"))
        if left:
            raise Refused(f"{', '.join(left)} is there already; an earlier run was cut off, or another one is under way")
        flagger = self.running("flagger")
        if flagger:
            raise Refused(f"Flagger runs in {flagger[0]['metadata']['namespace']}; it would take the Canaries of this run")
        self.before = self.everything()
        definitions = "customresourcedefinition.apiextensions.k8s.io/canaries.flagger.app" in self.before["customresourcedefinitions"]
        if self.running("serin"):
            os.environ["SERIN_RUNS"] = "1"
        lines = [f"conformance: on the cluster of {context or 'KUBECONFIG'} this will make, and take away again:",
                 "  namespaces serin-conformance-*, with Deployments, Services, ConfigMaps, quotas and Canaries in them",
                 "  ValidatingAdmissionPolicies no-v2-serin-conformance-* and their bindings, which match objects of those namespaces only"]
        if not definitions:
            lines.append("  the definitions of Canary, MetricTemplate and AlertProvider (flagger.app)")
        if os.environ.get("SERIN_RUNS"):
            lines.append("the Serin that runs there is used")
        else:
            lines.append("no Serin runs there: one runs here for each of the namespaces, and looks at no other")
        print("\n".join(lines), flush=True)
        if not definitions:
            self.bed.run("apply", "--server-side", "-f", str(CRDS))
            self.made_definitions = True
            self.bed.run("wait", "--for=condition=Established", "crd/canaries.flagger.app", "--timeout=60s")
        return self

    def __exit__(self, *_):
        end = time.monotonic() + 240
        while time.monotonic() < end and self.names("namespaces"):
            time.sleep(1)
        if self.made_definitions:
            self.bed.run("delete", "-f", str(CRDS), "--ignore-not-found", "--timeout=120s", check=False, timeout=150)
        self.left = sorted(name for kind, names in self.everything().items() for name in names - self.before[kind])
        print(f"conformance: left behind: {', '.join(self.left) or 'nothing'}", flush=True)


def context(bed):
    """What surrounds a run on this cluster."""
    return Foreign(bed) if not bed.own and not os.environ.get("SERIN_RUNS") else None
