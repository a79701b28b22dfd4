"""A cluster as a scenario uses it: kubectl, an application with its Canary, load, waiting for conditions, figures."""
import json
import os
import pathlib
import re
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / ".parts/conformance"
RUN, BIN = OUT / "run", OUT / "bin"
NET = "serin-bed"
# Where the application is reached: Traefik of the bed, or what a cluster of somebody else names, if it has Serin's router.
GATEWAY = os.environ.get("SERIN_GATEWAY") or ("" if os.environ.get("KUBECONFIG") else "http://10.96.80.80/")
# What stands for the versions of the application: local/backend:v1 in the bed, SERIN_APP_IMAGE and its tags elsewhere.
IMAGE = os.environ.get("SERIN_APP_IMAGE", "local/backend")
TAGS = dict(pair.split("=", 1) for pair in os.environ.get("SERIN_APP_TAGS", "").split(",") if "=" in pair)
PORT = int(os.environ.get("SERIN_APP_PORT", "8080"))
# A busy machine is slow; what does not come within this does not come.
PATIENCE = float(os.environ.get("SERIN_PATIENCE", "1"))


CHECKS = [{"name": "request-success-rate", "interval": "30s", "thresholdRange": {"min": 99}},
          {"name": "request-duration", "interval": "30s", "thresholdRange": {"max": 5000}}]


# What a user never got an answer to from a version of the application.
LOST = ("err", "404", "502", "503", "504")


class Failed(Exception):
    """The scenario showed what must not be."""


class Skipped(Exception):
    """The scenario cannot be run here."""


# What a scenario may need beside kubectl, and why a cluster may not have it.
NEEDS = {
    "gateway": "needs a Traefik that is reached from here (SERIN_GATEWAY)",
    "bed": "needs a control plane and a node of our own, and KUBECONFIG names another",
}


def scenario(title, needs="gateway", fails=None):
    """Marks a function as a scenario and says what it shows; `needs` names what of NEEDS, `fails` why it is known to fail today."""
    def mark(function):
        function.shows, function.needs, function.fails = title, needs, fails
        return function
    return mark


class Bed:
    def __init__(self, namespace):
        self.ns, self.figures, self.loads, self.undo, self.operator, self.others = namespace, {}, [], [], None, []
        self.own = not os.environ.get("KUBECONFIG")
        self.has = {name for name, there in (("gateway", GATEWAY), ("bed", self.own)) if there}

    # ---- kubectl ----
    def command(self, *args):
        kubectl = os.environ.get("KUBECTL") or os.environ.get("SERIN_KUBECTL") or "kubectl"
        return self.from_inside(kubectl, *(["--kubeconfig", str(RUN / "admin.kubeconfig")] if self.own else []), *args)

    def run(self, *args, text=None, check=True, timeout=120):
        done = subprocess.run(self.command(*args), input=text, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode:
            raise Failed(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done

    def k(self, *args, **more):
        """kubectl in the scenario's namespace; its output."""
        return self.run("-n", self.ns, *args, **more).stdout

    def get(self, kind, name, ns=None):
        """An object, or nothing."""
        done = self.run("-n", ns or self.ns, "get", kind, name, "-o", "json", "--ignore-not-found", check=False)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def items(self, kind, *args, ns=None):
        return json.loads(self.run("-n", ns or self.ns, "get", kind, "-o", "json", *args).stdout)["items"]

    def apply(self, *objects, server_side=False):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.run("apply", *(["--server-side"] if server_side else []), "-f", "-", text=text)

    def version(self):
        return json.loads(self.run("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]

    # ---- the application ----
    def namespace(self, labels=None):
        def ending():
            return (self.get("namespace", self.ns, ns="default") or {}).get("metadata", {}).get("deletionTimestamp")
        self.until("the namespace of an earlier run is gone", lambda: not ending(), 120)
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.ns, "labels": labels or {}}})
        self.operate()

    def operate(self):
        """Where no Serin runs, one is started for this namespace alone, with the rights of the kubeconfig."""
        if self.own or self.operator or os.environ.get("SERIN_RUNS"):
            return
        command = [os.environ["SERIN_BIN"], "controller", f"--namespace={self.ns}", "--enable-leader-election=false", "--address=127.0.0.1", "--port=0",
                   "--zap-encoding=console", "--mesh-provider=kubernetes", "--metrics-server=http://127.0.0.1:9"]
        with open(OUT / "operator.log", "ab") as log:
            self.operator = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    @staticmethod
    def app_image(version):
        return f"{IMAGE}:{TAGS.get(version, version)}"

    def app(self, spec=None, version="v1", service=None, canary=True):
        """An application with its route and its Canary; `spec` is merged into the Canary's."""
        self.namespace()
        meta = {"name": "backend", "namespace": self.ns}
        pod = {"name": "backend", "image": self.app_image(version), "envFrom": [{"configMapRef": {"name": "settings"}}],
               "ports": [{"name": "http", "containerPort": PORT}], "resources": {"requests": {"cpu": "10m"}},
               "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1}}
        objects = [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": self.ns}, "data": {"COLOR": "blue"}},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {**meta, "labels": {"app": "backend"}}, "spec": {
                "replicas": 2, "selector": {"matchLabels": {"app": "backend"}},
                "template": {"metadata": {"labels": {"app": "backend"}}, "spec": {"containers": [pod]}}}},
        ]
        if service:
            objects.append({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": {"app": "backend"}, "ports": service}})
        whole = {"targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "backend"},
                 "progressDeadlineSeconds": 60, "service": {"port": 80, "targetPort": PORT}}
        if GATEWAY:
            objects.append({"apiVersion": "traefik.io/v1alpha1", "kind": "IngressRoute", "metadata": meta, "spec": {"entryPoints": ["web"], "routes": [
                {"kind": "Rule", "match": f"Host(`{self.host()}`)", "services": [{"kind": "TraefikService", "name": "backend", "port": 80}]}]}})
            whole.update({"provider": "traefik", "analysis": {"interval": "10s", "threshold": 1, "stepWeights": [10, 30, 50], "metrics": CHECKS}})
        else:
            whole.update({"provider": "kubernetes", "analysis": {"interval": "10s", "threshold": 1, "iterations": 2}})
        whole.update(spec or {})
        if canary:
            objects.append({"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "metadata": meta, "spec": whole})
        self.apply(*objects)

    def host(self):
        return f"{self.ns}.example.com"

    def image(self, version):
        self.k("set", "image", "deployment/backend", f"backend={self.app_image(version)}")

    def canary(self):
        return self.get("canary", "backend") or {}

    def phase(self):
        return self.canary().get("status", {}).get("phase", "")

    def weight(self):
        return self.canary().get("status", {}).get("canaryWeight", 0)

    def weights(self):
        """The shares that the route has, by Service."""
        route = self.get("traefikservice", "backend") or {}
        return {s["name"]: s.get("weight", 1) for s in route.get("spec", {}).get("weighted", {}).get("services", [])}

    def events(self, reason=None):
        """Events about the Canary."""
        found = self.items("events", "--field-selector", "involvedObject.kind=Canary" + (f",reason={reason}" if reason else ""))
        return [f"{e.get('type')} {e.get('reason')}: {e.get('message')}" for e in found]

    def condition(self, kind):
        conditions = self.canary().get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    # ---- waiting ----
    def until(self, what, test, seconds=60):
        """Waits for a condition; fails with what it was waited for."""
        end = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < end:
            value = test()
            if value:
                return value
            time.sleep(0.7)
        raise Failed(f"not within {seconds} s: {what}; the Canary is {self.phase() or 'without a phase'} at {self.weight()} %")

    def until_phase(self, phases, seconds=90):
        wanted = phases.split("|")
        return self.until(f"phase {phases}", lambda: self.phase() in wanted and self.phase(), seconds)

    def until_weight(self, least, seconds=90):
        if not GATEWAY:
            return self.until_phase("Progressing", seconds)
        return self.until(f"a share of {least} %", lambda: self.phase() == "Progressing" and self.weight() >= least, seconds)

    @staticmethod
    def require(true, why):
        if not true:
            raise Failed(why)

    # ---- load ----
    def load(self, rps=30):
        """A steady stream of requests to the application, where there is a gateway; `told` ends it."""
        if "gateway" not in self.has:
            return
        out = OUT / f"load-{self.ns}.txt"
        command = [str(BIN / "load"), "-url", GATEWAY, "-host", self.host(), "-rps", str(rps), "-for", "30m", "-out", str(out)]
        self.loads.append((subprocess.Popen(self.from_inside(*command)), out))

    def told(self, lost_max=0):
        """Ends the load and says what came of it: nothing may be lost."""
        if not self.loads:
            return 0
        process, out = self.loads.pop()
        process.terminate()
        process.wait()
        lines = out.read_text().splitlines()
        total = {}
        for code, number in re.findall(r"(\w+)/[^ =]*=(\d+)", lines[-1]):
            total[code] = total.get(code, 0) + int(number)
        lost = sum(number for code, number in total.items() if code in LOST)
        hurt = sum(number for code, number in total.items() if code != "200") - lost
        self.figures.update({"requests": sum(total.values()), "hurt": hurt, "lost": lost})
        if lost > lost_max:
            raise Failed("\n".join([f"{lost} requests were lost: {lines[-1]}", *self.explained(lines)]))
        return hurt

    def explained(self, lines):
        """What the load saw of each lost request, and what Traefik's access log has: which pod was asked, and what became of it."""
        seen = [line for line in lines if " LOST " in line or re.search(r" HURT (404|50[234]) ", line)][:5]
        if not self.own:
            return seen
        told = (RUN / "node.log").read_text(errors="replace").splitlines()
        for log in (RUN / "logs").glob("traefik_*_traefik.log"):
            for line in log.read_text(errors="replace").splitlines():
                if self.ns in line and re.search(r'" (404|50[234]) ', line):
                    seen.append(f"  Traefik: {line.strip()[:300]}")
                    for address in re.findall(r"http://([0-9.]+):", line)[-1:]:
                        seen += [f"    node: {one}" for one in told if address in one.split()][-4:]
        return seen[:30]

    # ---- the bed itself ----
    def from_inside(self, *command):
        return ["nsenter", f"--net=/run/netns/{NET}", *command] if self.own else list(command)

    def inside(self, *command, check=True):
        done = subprocess.run(self.from_inside(*command), capture_output=True, text=True)
        if check and done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stderr}")
        return done.stdout

    def pid(self, part):
        return int((RUN / f"{part}.pid").read_text())

    def pod_pids(self, ns, labels):
        """Process ids of pods; a pod is a process of this machine."""
        pods = self.items("pods", "-l", labels, ns=ns)
        found = {}
        for pod in pods:
            ids = [c.get("containerID", "") for c in pod.get("status", {}).get("containerStatuses", [])]
            found.update({pod["metadata"]["name"]: int(i.rsplit("/", 1)[1]) for i in ids if i})
        return found

    def audit_size(self):
        return (RUN / "audit.log").stat().st_size if self.own else 0

    def audited(self, since, *words):
        """Requests of Serin's in the audit log since it had so many bytes, with all of these words in them."""
        if not self.own:
            return 0
        with open(RUN / "audit.log", encoding="utf-8") as log:
            log.seek(since)
            return sum('"username":"system:serviceaccount:serin-system:serin"' in line and all(word in line for word in words) for line in log)

    def measure(self, since):
        """What every scenario is measured by: requests of the operator, and the most memory that a replica had."""
        if not self.own:
            return
        # Others may be under way at the same time.
        self.figures["API requests"] = sum(self.audited(since, f'"namespace":"{ns}"') for ns in (self.ns, *self.others))
        peaks = []
        for pid in self.pod_pids("serin-system", "app.kubernetes.io/name=serin").values():
            try:
                with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                    peaks += [int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:")]
            except OSError:
                continue
        if peaks:
            self.figures["peak MiB"] = max(peaks)

    def leader(self):
        lease = self.get("lease", "serin-leader-election", ns="serin-system") or {}
        return lease.get("spec", {}).get("holderIdentity", "")

    def after(self, *args):
        """A kubectl command that takes something away at the end."""
        self.undo.append(args)

    def evidence(self):
        """What a failure is judged by."""
        lines = [f"  {line}" for line in self.events()[-6:]] if self.canary() else []
        reason = json.dumps({c["type"]: f"{c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in self.canary().get("status", {}).get("conditions", [])})
        return "\n".join(lines + [f"  conditions {reason}", f"  route {self.weights()}"])

    def clear(self):
        for process, _ in self.loads:
            process.kill()
            process.wait()
        for undo in reversed(self.undo):
            self.run(*undo, "--ignore-not-found", check=False)
        # The Canary first, so that its finalizer finds what it needs.
        if self.get("namespace", self.ns, ns="default"):
            self.run("-n", self.ns, "delete", "canaries", "--all", "--timeout=30s", check=False)
            left = self.items("canaries")
            for one in left:
                self.run("-n", self.ns, "patch", "canary", one["metadata"]["name"], "--type=merge", "-p", '{"metadata":{"finalizers":null}}', check=False)
            self.run("delete", "namespace", self.ns, "--wait=false", "--ignore-not-found", check=False)
        if self.operator:
            self.operator.terminate()
            self.operator.wait()
