"""What only a control plane of our own can do: restarts and compaction."""
import os
import signal
import subprocess
import time

from bed import NET, RUN, scenario


def start(name, *command):
    """Starts a part of the bed as up.sh does."""
    with open(RUN / f"{name}.log", "ab") as log:
        process = subprocess.Popen(["nsenter", f"--net=/run/netns/{NET}", *command], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    (RUN / f"{name}.pid").write_text(str(process.pid))
    return process


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


@scenario("etcd is compacted while watches are behind: they meet 410 and go on", needs="bed")
def compaction(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    revision = bed.get("configmap", "settings")["metadata"]["resourceVersion"]
    body = '{"revision":"%s","physical":true}' % (int(revision) + 50)
    stop(bed, "apiserver")
    bed.inside("curl", "-sf", "-X", "POST", "-d", body, "http://127.0.0.1:2379/v3/kv/compaction", check=False)
    start("apiserver", str(RUN / "apiserver.sh"))
    served(bed)
    bed.until_phase("Succeeded", 240)
    bed.told()


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
