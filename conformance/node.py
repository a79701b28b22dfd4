#!/usr/bin/env python3
"""One Kubernetes node: scheduler, kubelet (pods are processes, each in a network namespace of its own), kube-proxy (nft)
and cluster DNS, against a real API server. Runs inside the network namespace of up.sh."""
import base64, http.client, http.server, json, os, re, shutil, signal, socket, ssl, struct, subprocess, sys, threading, time
from collections import deque

# The folder of the bed that up.sh made.
RUN = sys.argv[1]
# Two nodes for the API, so that one can be drained; both are this process.
NODES, IP = ["bed-node-1", "bed-node-2"], "10.77.0.1"
API = (IP, 6443)
IMAGES = [  # image pattern, directory to start in (on the PATH), entrypoint
    (r"^local/.*", RUN + "/images/app", ["app"]),
    (r".*prometheus:.*", RUN + "/images/prometheus", ["prometheus"]),
    (r"(.*/)?serin:.*", RUN + "/images/serin", ["serin"]),
    (r".*traefik:.*", RUN + "/images/traefik", ["traefik"]),
]
ctx = ssl.create_default_context(cafile=RUN + "/pki/ca.crt")
ctx.load_cert_chain(RUN + "/pki/admin.crt", RUN + "/pki/admin.key")
local = threading.local()
TOKEN_TTL = int(os.environ.get("TOKEN_TTL", "600"))  # short, so that its rotation is seen
now = lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def log(*a):
    t = time.time()
    print(time.strftime("%H:%M:%S", time.gmtime(t)) + f".{int(t * 1000) % 1000:03}", *a, flush=True)


class Refused(Exception):
    def __init__(self, code, body):
        super().__init__(f"{code} {body[:300]}")
        self.code = code


def api(method, path, body=None, ctype="application/json"):
    for attempt in (0, 1):
        try:
            c = getattr(local, "c", None)
            if c is None:
                c = local.c = http.client.HTTPSConnection(*API, context=ctx, timeout=15)
            c.request(method, path, None if body is None else json.dumps(body), {"Content-Type": ctype, "User-Agent": "bed-node"})
            r = c.getresponse()
            data = r.read().decode()
            break
        except (OSError, http.client.HTTPException):
            local.c = None
            if attempt:
                raise
    if r.status >= 300:
        raise Refused(r.status, data)
    return json.loads(data) if data else {}


def follow(path, on):
    """Lists and watches for ever; on(kind, object) with kind ADDED, MODIFIED, DELETED; on('SYNC', list)."""
    while True:
        try:
            c = http.client.HTTPSConnection(*API, context=ctx, timeout=330)
            l = api("GET", path)
            on("SYNC", l.get("items") or [])
            rv = l["metadata"]["resourceVersion"]
            while True:
                c.request("GET", f"{path}{'&' if '?' in path else '?'}watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={rv}", headers={"User-Agent": "bed-node"})
                r = c.getresponse()
                if r.status != 200:
                    raise Refused(r.status, r.read().decode())
                for line in r:
                    e = json.loads(line)
                    if e["type"] == "ERROR":
                        raise Refused(410, line.decode())
                    rv = e["object"]["metadata"]["resourceVersion"]
                    if e["type"] != "BOOKMARK":
                        on(e["type"], e["object"])
        except Exception as e:
            log("watch", path, type(e).__name__, str(e)[:150])
            time.sleep(0.5)


# ---- pods -----------------------------------------------------------------------------------------------------------
pods, lock, next_ip, free_ips = {}, threading.RLock(), [256 + 1], deque()


def take_ip():
    with lock:
        if len(free_ips) > 50:
            n = free_ips.popleft()
        else:
            n = next_ip[0]
            next_ip[0] += 1
    return n, f"10.77.{n >> 8}.{n & 255}"


def sh(cmd, check=True):
    p = subprocess.run(cmd, shell=True, capture_output=True, text=True)
    if check and p.returncode:
        raise RuntimeError(f"{cmd}: {p.stderr}")
    return p.stdout


class Container:
    def __init__(self, spec):
        self.spec, self.name = spec, spec["name"]
        self.proc, self.restarts, self.started, self.finished, self.code = None, 0, None, None, None
        self.ready, self.okays, self.fails, self.next_probe, self.next_live, self.live_fails = False, 0, 0, 0, 0, 0
        self.waiting, self.again, self.last = {"reason": "ContainerCreating"}, 0, None


class Pod(threading.Thread):
    def __init__(self, obj):
        super().__init__(daemon=True)
        self.obj, self.uid = obj, obj["metadata"]["uid"]
        self.ns, self.name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        self.path = f"/api/v1/namespaces/{self.ns}/pods/{self.name}"
        self.net, self.dir = "serin-pod-" + self.uid[:8], f"{RUN}/pods/{self.uid}"
        self.cs = [Container(c) for c in obj["spec"]["containers"]]
        self.wake, self.gone, self.sent, self.ip, self.began = threading.Event(), False, None, None, now()
        self.since, self.rotate = {}, time.time() + TOKEN_TTL * 0.8

    def run(self):
        try:
            if not self.obj["metadata"].get("deletionTimestamp"):
                self.net_up()
                log("begins", self.ns, self.name, self.ip)
                while not self.gone and not self.obj["metadata"].get("deletionTimestamp"):
                    try:
                        self.step()
                        self.tell()
                        if time.time() > self.rotate:
                            self.renew_tokens()
                    except Refused as e:
                        if e.code == 404:
                            break
                        log(self.name, "status", e)
                    except (OSError, http.client.HTTPException) as e:
                        log(self.name, "api", type(e).__name__)
                    self.wake.wait(0.25)
                    self.wake.clear()
            self.end()
        except Exception as e:
            log("pod", self.ns, self.name, "BROKEN", type(e).__name__, e)
        finally:
            self.net_down()
            with lock:
                pods.pop(self.uid, None)

    def renew_tokens(self):
        """Before they run out; an API server that is away is asked again at the next look."""
        for v in self.obj["spec"].get("volumes") or []:
            if "projected" in v and os.path.isdir(f"{self.dir}/vol/{v['name']}"):
                self.volume(v)
        self.rotate = time.time() + TOKEN_TTL * 0.8

    def net_up(self):
        n, self.ip = take_ip()
        self.n = n
        os.makedirs(f"/etc/netns/{self.net}", exist_ok=True)
        with open(f"/etc/netns/{self.net}/resolv.conf", "w") as f:
            f.write(f"search {self.ns}.svc.cluster.local svc.cluster.local cluster.local\nnameserver {IP}\noptions ndots:5\n")
        sh(f"ip netns add {self.net} && ip link add v{n} type veth peer name eth0 netns {self.net} && ip link set v{n} master br0 up && "
           f"ip -n {self.net} link set lo up && ip -n {self.net} addr add {self.ip}/16 dev eth0 && ip -n {self.net} link set eth0 up && ip -n {self.net} route add default via {IP} && ip netns exec {self.net} sysctl -qw net.ipv4.ip_unprivileged_port_start=0")

    def net_down(self):
        if not self.ip:
            return
        for sig in ("KILL",):
            for pid in sh(f"ip netns pids {self.net}", False).split():
                try:
                    os.kill(int(pid), getattr(signal, "SIG" + sig))
                except OSError:
                    pass
        sh(f"ip link del v{self.n}; ip netns del {self.net}; rm -rf /etc/netns/{self.net}; rmdir /sys/fs/cgroup/memory/{self.net}-*", False)
        with lock:
            free_ips.append(self.n)
        shutil.rmtree(self.dir, True)

    def data(self, kind, name, optional=False):
        try:
            o = api("GET", f"/api/v1/namespaces/{self.ns}/{kind}/{name}")
        except Refused as e:
            if e.code == 404 and optional:
                return {}
            raise
        d = {k: v.encode() for k, v in (o.get("data") or {}).items()}
        return {k: base64.b64decode(v) for k, v in d.items()} if kind == "secrets" else d

    def write(self, base, files):
        os.makedirs(base, exist_ok=True)
        for k, v in files.items():
            os.makedirs(os.path.dirname(f"{base}/{k}"), exist_ok=True)
            with open(f"{base}/.{os.path.basename(k)}.new", "wb") as f:
                f.write(v)
            os.rename(f"{base}/.{os.path.basename(k)}.new", f"{base}/{k}")

    def volume(self, v):
        base = f"{self.dir}/vol/{v['name']}"
        pick = lambda d, s: {i["path"]: d[i["key"]] for i in s["items"]} if s.get("items") else d
        if "configMap" in v:
            self.write(base, pick(self.data("configmaps", v["configMap"]["name"], v["configMap"].get("optional")), v["configMap"]))
        elif "secret" in v:
            self.write(base, pick(self.data("secrets", v["secret"]["secretName"], v["secret"].get("optional")), v["secret"]))
        elif "projected" in v:
            for s in v["projected"]["sources"]:
                if "serviceAccountToken" in s:
                    t = s["serviceAccountToken"]
                    r = api("POST", f"/api/v1/namespaces/{self.ns}/serviceaccounts/{self.obj['spec'].get('serviceAccountName', 'default')}/token",
                            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [t["audience"]] if t.get("audience") else None, "expirationSeconds": TOKEN_TTL, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": self.name, "uid": self.uid}}})
                    self.write(base, {t["path"]: r["status"]["token"].encode()})
                elif "configMap" in s:
                    self.write(base, pick(self.data("configmaps", s["configMap"]["name"], s["configMap"].get("optional")), s["configMap"]))
                elif "secret" in s:
                    self.write(base, pick(self.data("secrets", s["secret"]["name"], s["secret"].get("optional")), s["secret"]))
                elif "downwardAPI" in s:
                    self.write(base, {i["path"]: self.field(i.get("fieldRef", {}).get("fieldPath", "")).encode() for i in s["downwardAPI"]["items"]})
        else:
            os.makedirs(base, exist_ok=True)
            os.chmod(base, 0o777)
        return base

    def field(self, p):
        m = self.obj["metadata"]
        return {"metadata.name": self.name, "metadata.namespace": self.ns, "metadata.uid": self.uid, "status.podIP": self.ip, "status.hostIP": IP,
                "spec.nodeName": self.obj["spec"].get("nodeName", ""), "spec.serviceAccountName": self.obj["spec"].get("serviceAccountName", "default")}.get(p, m.get("labels", {}).get((re.findall(r"'(.*)'", p) or [""])[0], ""))

    def env(self, c):
        e = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME": self.name, "HOME": "/tmp", "POD_NAME_": self.name,
             "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443", "APP_TAG": c.spec["image"].rsplit(":", 1)[-1]}
        for f in c.spec.get("envFrom") or []:
            for kind, k in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
                if k in f:
                    e.update({f.get("prefix", "") + a: b.decode() for a, b in self.data(kind, f[k]["name"], f[k].get("optional")).items()})
        for v in c.spec.get("env") or []:
            s = v.get("valueFrom")
            if not s:
                e[v["name"]] = re.sub(r"\$\((\w+)\)", lambda m: e.get(m[1], m[0]), v.get("value", ""))
            elif "fieldRef" in s:
                e[v["name"]] = self.field(s["fieldRef"]["fieldPath"])
            elif "configMapKeyRef" in s:
                e[v["name"]] = self.data("configmaps", s["configMapKeyRef"]["name"])[s["configMapKeyRef"]["key"]].decode()
            elif "secretKeyRef" in s:
                e[v["name"]] = self.data("secrets", s["secretKeyRef"]["name"])[s["secretKeyRef"]["key"]].decode()
            elif "resourceFieldRef" in s:
                e[v["name"]] = "0"
        return e

    def start_container(self, c):
        image = c.spec["image"]
        if image.endswith("bad-pull"):
            c.waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
            c.again = time.time() + 10
            return
        hit = next((i for i in IMAGES if re.match(i[0], image)), None)
        if not hit:
            c.waiting = {"reason": "ErrImagePull", "message": f"no such image here: {image}"}
            c.again = time.time() + 10
            return
        _, home, entry = hit
        sc = {**(self.obj["spec"].get("securityContext") or {}), **(c.spec.get("securityContext") or {})}
        lines = []
        vols = {v["name"]: v for v in self.obj["spec"].get("volumes") or []}
        for m in c.spec.get("volumeMounts") or []:
            base = self.volume(vols[m["name"]])
            at, src = m["mountPath"], base + ("/" + m["subPath"] if m.get("subPath") else "")
            if os.path.isdir(src):
                os.makedirs(at, exist_ok=True)
            lines.append(f"mount --bind '{src}' '{at}'")
        if sc.get("readOnlyRootFilesystem"):
            lines.append("mount -o bind,remount,ro / 2>/dev/null || :")
        u = sc.get("runAsUser")
        pre = f"setpriv --reuid {u} --regid {sc.get('runAsGroup', u)} --clear-groups " if u else ""
        if (sc.get("capabilities") or {}).get("drop"):
            pre = (pre or "setpriv ") + "--bounding-set=-all --inh-caps=-all "
        lines += [f"cd '{home}'", f"exec {pre}\"$@\""]
        e = self.env(c)
        e["PATH"] = home + ":" + e["PATH"]
        argv = (c.spec.get("command") or entry) + (c.spec.get("args") or [])
        argv = [re.sub(r"\$\((\w+)\)", lambda m: e.get(m[1], m[0]), a) for a in argv]
        os.makedirs(RUN + "/logs", exist_ok=True)
        c.log = f"{RUN}/logs/{self.ns}_{self.name}_{c.name}.log"
        out = open(c.log, "ab")
        c.proc = subprocess.Popen(self.limited(c) + ["ip", "netns", "exec", self.net, "sh", "-ec", "\n".join(lines), "sh", *argv], env=e, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        out.close()
        c.started, c.waiting, c.finished, c.code = now(), None, None, None
        t = time.time()
        c.next_probe = t + ((c.spec.get("readinessProbe") or {}).get("initialDelaySeconds") or 0)
        c.next_live = t + ((c.spec.get("livenessProbe") or {}).get("initialDelaySeconds") or 0)
        c.ready, c.okays, c.fails, c.live_fails = not c.spec.get("readinessProbe"), 0, 0, 0

    def limited(self, c):
        """A memory limit, as a cgroup of version 1."""
        text = ((c.spec.get("resources") or {}).get("limits") or {}).get("memory")
        m = re.fullmatch(r"(\d+)(Mi|Gi|M|G)", text or "")
        if not m or not os.path.isdir("/sys/fs/cgroup/memory"):
            return []
        group = f"/sys/fs/cgroup/memory/{self.net}-{c.name}"
        os.makedirs(group, exist_ok=True)
        with open(group + "/memory.limit_in_bytes", "w") as f:
            f.write(str(int(m[1]) * {"Mi": 2**20, "Gi": 2**30, "M": 10**6, "G": 10**9}[m[2]]))
        return ["sh", "-c", f'echo $$ > {group}/cgroup.procs; exec "$@"', "sh"]

    def probe(self, c, p):
        t = p.get("timeoutSeconds", 1)
        port = lambda x: x if isinstance(x, int) else next((q["containerPort"] for q in c.spec.get("ports") or [] if q.get("name") == x), 0)
        try:
            if "httpGet" in p:
                h = http.client.HTTPConnection(self.ip, port(p["httpGet"]["port"]), timeout=max(t, 2))
                h.request("GET", p["httpGet"].get("path", "/"), headers={"User-Agent": "kube-probe/1.37"})
                ok = 200 <= h.getresponse().status < 400
                h.close()
                return ok
            if "tcpSocket" in p:
                socket.create_connection((self.ip, port(p["tcpSocket"]["port"])), t).close()
                return True
            if "exec" in p:
                return subprocess.run(["ip", "netns", "exec", self.net, *p["exec"]["command"]], timeout=max(t, 5), capture_output=True).returncode == 0
        except (OSError, http.client.HTTPException, subprocess.TimeoutExpired):
            return False
        return True

    def step(self):
        t = time.time()
        for c in self.cs:
            if c.proc is None:
                if t >= c.again:
                    try:
                        self.start_container(c)
                    except Refused as e:
                        c.waiting, c.again = {"reason": "CreateContainerConfigError", "message": str(e)[:200]}, t + 2
                    except KeyError as e:
                        c.waiting, c.again = {"reason": "CreateContainerConfigError", "message": f"no key {e}"}, t + 2
                continue
            code = c.proc.poll()
            if code is not None:
                c.last = {"exitCode": code if code >= 0 else 128 - code, "reason": "OOMKilled" if code == -9 else "Error" if code else "Completed", "startedAt": c.started, "finishedAt": now()}
                c.proc, c.ready = None, False
                c.restarts += 1
                c.again = t + min(10 * 2 ** (c.restarts - 1), 300)
                c.waiting = {"reason": "CrashLoopBackOff", "message": f"back-off restarting failed container={c.name} pod={self.name}"}
                log("exit", self.ns, self.name, c.name, code)
                continue
            p = c.spec.get("readinessProbe")
            if p and t >= c.next_probe:
                c.next_probe = t + (p.get("periodSeconds") or 10) if c.ready else t + min(p.get("periodSeconds") or 10, 2)
                if self.probe(c, p):
                    c.okays, c.fails = c.okays + 1, 0
                    c.ready = c.ready or c.okays >= p.get("successThreshold", 1)
                else:
                    c.okays, c.fails = 0, c.fails + 1
                    if c.fails >= p.get("failureThreshold", 3):
                        c.ready = False
            p = c.spec.get("livenessProbe")
            if p and t >= c.next_live:
                c.next_live = t + (p.get("periodSeconds") or 10)
                c.live_fails = 0 if self.probe(c, p) else c.live_fails + 1
                if c.live_fails >= p.get("failureThreshold", 3):
                    log("liveness kills", self.ns, self.name, c.name)
                    c.proc.kill()

    def status(self):
        ready = all(c.ready and c.proc for c in self.cs)
        phase = "Running" if any(c.started for c in self.cs) else "Pending"
        cs = []
        for c in self.cs:
            s = {"name": c.name, "image": c.spec["image"], "imageID": c.spec["image"], "ready": bool(c.ready and c.proc), "started": bool(c.proc), "restartCount": c.restarts,
                 "state": {"running": {"startedAt": c.started}} if c.proc else {"waiting": c.waiting or {"reason": "ContainerCreating"}}, "lastState": {"terminated": c.last} if c.last else {}}
            if c.proc:
                s["containerID"] = f"bed://{c.proc.pid}"
            cs.append(s)
        conds = []
        for t, v in (("PodScheduled", True), ("Initialized", True), ("ContainersReady", ready), ("Ready", ready)):
            if self.since.get(t, (None,))[0] != v:
                self.since[t] = (v, now())
            k = {"type": t, "status": "True" if v else "False", "lastTransitionTime": self.since[t][1]}
            if not v:
                k.update(reason="ContainersNotReady", message="containers with unready status: [" + " ".join(c.name for c in self.cs if not c.ready) + "]")
            conds.append(k)
        return {"phase": phase, "conditions": conds, "containerStatuses": cs, "podIP": self.ip, "podIPs": [{"ip": self.ip}], "hostIP": IP, "hostIPs": [{"ip": IP}], "startTime": self.began, "observedGeneration": self.obj["metadata"].get("generation")}

    def tell(self):
        s = self.status()
        if s != self.sent:
            api("PATCH", self.path + "/status", {"metadata": {"uid": self.uid}, "status": s}, "application/merge-patch+json")
            self.sent = s

    def end(self):
        grace = self.obj["metadata"].get("deletionGracePeriodSeconds", 30) if not self.gone else 0
        until = time.time() + grace
        log("ends", self.ns, self.name, self.ip, f"grace {grace} s")
        for c in self.cs:
            h = ((c.spec.get("lifecycle") or {}).get("preStop") or {})
            if c.proc and "sleep" in h:
                time.sleep(min(h["sleep"]["seconds"], grace))
            if c.proc and "exec" in h:
                subprocess.run(["ip", "netns", "exec", self.net, *h["exec"]["command"]], timeout=grace or 1, capture_output=True)
        for c in self.cs:
            if c.proc and c.proc.poll() is None:
                c.proc.terminate() if grace else c.proc.kill()
        while time.time() < until and any(c.proc and c.proc.poll() is None for c in self.cs):
            time.sleep(0.1)
        for c in self.cs:
            if c.proc and c.proc.poll() is None:
                c.proc.kill()
                c.proc.wait()
        log("ended", self.ns, self.name, self.ip)
        for _ in range(20):
            try:
                api("DELETE", self.path, {"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
                break
            except Refused as e:
                if e.code in (404, 409):
                    break
                log("delete", self.name, e)
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.5)


unbound, nodes = {}, {}


def bind():
    """Each pod to the schedulable node that has the fewest of its kind; what finds none waits for the next look."""
    with lock:
        waiting = list(unbound.items())
    for uid, o in waiting:
        free = [n for (_, n), node in sorted(nodes.items()) if not node["spec"].get("unschedulable")]
        if not free:
            continue
        kind = (o["metadata"].get("ownerReferences") or [{}])[0].get("uid")
        with lock:
            on = [(p.obj["spec"].get("nodeName"), (p.obj["metadata"].get("ownerReferences") or [{}])[0].get("uid")) for p in pods.values()]
        node = min(free, key=lambda n: (sum(1 for at in on if at == (n, kind)), sum(1 for at in on if at[0] == n)))
        try:
            api("POST", f"/api/v1/namespaces/{o['metadata']['namespace']}/pods/{o['metadata']['name']}/binding",
                {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": o["metadata"]["name"]}, "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
        except Refused as e:
            if e.code not in (404, 409):
                log("bind", o["metadata"]["name"], e)
                continue
        except (OSError, http.client.HTTPException) as e:
            log("bind", o["metadata"]["name"], type(e).__name__)
            continue
        with lock:
            unbound.pop(uid, None)


def schedule():
    while True:
        bind()
        time.sleep(0.5)


def on_pod(kind, o):
    if kind == "SYNC":
        with lock:
            have = {p["metadata"]["uid"] for p in o}
            for u, p in list(pods.items()):
                if u not in have:
                    p.gone = True
                    p.wake.set()
        for p in o:
            on_pod("ADDED", p)
        return
    uid = o["metadata"]["uid"]
    if kind == "DELETED":
        with lock:
            unbound.pop(uid, None)
        p = pods.get(uid)
        if p:
            p.gone = True
            p.wake.set()
        return
    if o.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return
    if not o["spec"].get("nodeName"):
        if not o["metadata"].get("deletionTimestamp"):
            with lock:
                unbound[uid] = o
            bind()
        return
    with lock:
        p = pods.get(uid)
        if p:
            p.obj = o
            if o["metadata"].get("deletionTimestamp"):
                p.wake.set()
            return
        p = pods[uid] = Pod(o)
    p.start()


# ---- services: nft and DNS ------------------------------------------------------------------------------------------
services, slices, dirty = {}, {}, threading.Event()


def table(store):
    def on(kind, o):
        if kind == "SYNC":
            store.clear()
            store.update({(i["metadata"].get("namespace"), i["metadata"]["name"]): i for i in o})
        else:
            k = (o["metadata"].get("namespace"), o["metadata"]["name"])
            store.pop(k, None) if kind == "DELETED" else store.__setitem__(k, o)
        dirty.set()
    return on


def endpoints(ns, name):
    """By the port's name: the addresses that serve."""
    found, dying = {}, {}
    for (n, _), s in list(slices.items()):
        if n != ns or s["metadata"].get("labels", {}).get("kubernetes.io/service-name") != name:
            continue
        for p in s.get("ports") or []:
            for e in s.get("endpoints") or []:
                c = e.get("conditions") or {}
                if c.get("ready", True):
                    found.setdefault(p.get("name", ""), []).extend((a, p["port"]) for a in e["addresses"])
                elif c.get("serving") and c.get("terminating"):
                    dying.setdefault(p.get("name", ""), []).extend((a, p["port"]) for a in e["addresses"])
    return {k: sorted(found.get(k) or dying.get(k)) for k in {*found, *dying}}


def proxy():
    last = None
    while True:
        dirty.wait()
        dirty.clear()
        rules, chains, i = [], [], 0
        for (ns, name), s in sorted(services.items()):
            ips = [ip for ip in s["spec"].get("clusterIPs") or [] if ip != "None"]
            ips += (s["spec"].get("externalIPs") or [])
            eps = endpoints(ns, name)
            for p in s["spec"].get("ports") or []:
                to = eps.get(p.get("name", ""), [])
                proto = p.get("protocol", "TCP").lower()
                for ip in ips:
                    if not to:
                        continue
                    m = f"ip daddr {ip} {proto} dport {p['port']}"
                    if len(to) == 1:
                        rules.append(f"{m} dnat to {to[0][0]}:{to[0][1]}")
                        continue
                    i += 1
                    arms = []
                    for j, (a, q) in enumerate(to):
                        chains.append(f"chain e{i}x{j} {{ ip protocol {proto} dnat to {a}:{q}; }}")
                        arms.append(f"{j} : goto e{i}x{j}")
                    chains.append(f"chain s{i} {{ numgen random mod {len(to)} vmap {{ {', '.join(arms)} }}; }}")
                    rules.append(f"{m} goto s{i}")
        body = "\n".join(chains + ["chain svcs {"] + rules + ["}"])
        if body != last:
            text = f"""table ip kp {{}}
delete table ip kp
table ip kp {{
{body}
chain pre {{ type nat hook prerouting priority -100; ip daddr 10.96.0.0/16 goto svcs; }}
chain out {{ type nat hook output priority -100; ip daddr 10.96.0.0/16 goto svcs; }}
chain post {{ type nat hook postrouting priority 100; ct status dnat masquerade; }}
}}
"""
            p = subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True)
            if p.returncode:
                log("nft", p.stderr[:400])
            else:
                last = body
        time.sleep(0.05)


def dns():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((IP, 53))
    while True:
        try:
            q, peer = s.recvfrom(1500)
            i, labels = 12, []
            while q[i]:
                labels.append(q[i + 1:i + 1 + q[i]].decode().lower())
                i += q[i] + 1
            qtype = struct.unpack(">H", q[i + 1:i + 3])[0]
            question, found = q[12:i + 5], None
            if labels[-3:] == ["svc", "cluster", "local"] and len(labels) >= 5:
                svc = services.get((labels[-4], labels[-5]))
                if svc and len(labels) == 5:
                    ip = svc["spec"].get("clusterIP")
                    found = [ip] if ip and ip != "None" else sorted({a for e in endpoints(labels[-4], labels[-5]).values() for a, _ in e})
            answers = [a for a in found or []] if qtype == 1 else []
            flags = 0x8580 | (3 if found is None else 0)
            r = q[:2] + struct.pack(">HHHHH", flags, 1, len(answers), 0, 0) + question
            for a in answers:
                r += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(a)
            s.sendto(r, peer)
        except Exception as e:
            log("dns", e)


def discovery():
    """Debian's Prometheus knows no kubernetes_sd_configs: a file with the annotated pods instead."""
    last = None
    while True:
        with lock:
            ps = [(p.ip, p.obj["metadata"]) for p in pods.values() if p.ip and not p.obj["metadata"].get("deletionTimestamp")]
        out = [{"targets": [f"{ip}:{m['annotations'].get('prometheus.io/port', '80')}"], "labels": {"kubernetes_namespace": m["namespace"], "kubernetes_pod_name": m["name"]}}
               for ip, m in sorted(ps, key=lambda x: x[0]) if m.get("annotations", {}).get("prometheus.io/scrape") == "true"]
        if out != last:
            with open(RUN + "/targets.json.new", "w") as f:
                json.dump(out, f)
            os.chmod(RUN + "/targets.json.new", 0o644)
            os.rename(RUN + "/targets.json.new", RUN + "/targets.json")
            last = out
        time.sleep(1)


class Kubelet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        q = dict(p.split("=", 1) for p in query.split("&") if "=" in p)
        parts = path.strip("/").split("/")
        if parts[0] != "containerLogs" or len(parts) < 4:
            return self.send_error(404)
        f = f"{RUN}/logs/{parts[1]}_{parts[2]}_{parts[3]}.log"
        try:
            data = open(f, "rb").read()
        except OSError:
            return self.send_error(404)
        if "tailLines" in q:
            data = b"".join(data.splitlines(True)[-int(q["tailLines"]):]) if int(q["tailLines"]) else b""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(data)
        if q.get("follow") == "true":
            at = os.path.getsize(f)
            for _ in range(3000):
                time.sleep(0.2)
                with open(f, "rb") as h:
                    h.seek(at)
                    more = h.read()
                if more:
                    at += len(more)
                    self.wfile.write(more)
                    self.wfile.flush()

    def log_message(self, *a):
        pass


def kubelet_server():
    s = http.server.ThreadingHTTPServer((IP, 10250), Kubelet)
    t = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    t.load_cert_chain(RUN + "/pki/apiserver.crt", RUN + "/pki/apiserver.key")
    s.socket = t.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False)
    s.serve_forever()


def register(name):
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}}}
    try:
        api("POST", "/api/v1/nodes", node)
    except Refused as e:
        if e.code != 409:
            raise
    cap = {"cpu": "16", "memory": "64Gi", "pods": "500", "ephemeral-storage": "100Gi"}
    info = {"kubeletVersion": "v1.37.0-bed", "architecture": "amd64", "operatingSystem": "linux", "kernelVersion": os.uname().release, "osImage": "bed",
            "containerRuntimeVersion": "bed://1", "machineID": "", "systemUUID": "", "bootID": "", "kubeProxyVersion": ""}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "bed", "lastHeartbeatTime": now(), "lastTransitionTime": now()}
    api("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"capacity": cap, "allocatable": cap, "addresses": [{"type": "InternalIP", "address": IP}, {"type": "Hostname", "address": name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}, "nodeInfo": info, "conditions": [ready]}}, "application/merge-patch+json")
    api("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": None, "unschedulable": None}}, "application/merge-patch+json")


def main():
    for l in sh("ip netns list").splitlines():
        n = l.split()[0]
        if n.startswith("serin-pod-"):
            for pid in sh(f"ip netns pids {n}", False).split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except OSError:
                    pass
            sh(f"ip netns del {n}; rm -rf /etc/netns/{n}", False)
    for l in re.findall(r"\d+: (v\d+)@", sh("ip -o link")):
        sh(f"ip link del {l}", False)
    for name in NODES:
        register(name)
    for f in (proxy, dns, kubelet_server, discovery, schedule):
        threading.Thread(target=f, daemon=True).start()
    for path, on in (("/api/v1/nodes", table(nodes)), ("/api/v1/services", table(services)), ("/apis/discovery.k8s.io/v1/endpointslices", table(slices)), ("/api/v1/pods", on_pod)):
        threading.Thread(target=follow, args=(path, on), daemon=True).start()
    log("node is up")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    stop.wait()
    for p in list(pods.values()):
        p.net_down()


main()
