"""There and back: canaries that a real Flagger left in each of its phases, and Canaries that Flagger gets back."""
import os
import signal
import subprocess
import time

from bed import BIN, CHECKS, OUT, RUN, Bed, Failed, Skipped, scenario

NODE_IP = "10.77.0.1"
# How each phase comes about: the version that is released, what is set in the Canary, and whether the phase lasts until something changes.
PHASES = {
    "Initializing": ("", {}),
    "Initialized": ("", {}),
    "Waiting": ("v2", {"webhooks": [{"name": "gate", "type": "confirm-rollout"}]}),
    "Progressing": ("v2", {"interval": "60s"}),
    "WaitingPromotion": ("v2", {"webhooks": [{"name": "gate", "type": "confirm-promotion"}]}),
    "Promoting": ("v2", {}),
    "Finalising": ("v2", {}),
    "Succeeded": ("v2", {}),
    "Failed": ("v2-dead", {}),
}
# What comes of each when Serin has it: a release that was under way begins once more, and what rests goes on resting.
OUTCOMES = {"Initializing": "Initialized", "Initialized": "Initialized", "Waiting": "Waiting", "Progressing": "Succeeded",
            "WaitingPromotion": "WaitingPromotion", "Promoting": "Succeeded", "Finalising": "Succeeded", "Succeeded": "Succeeded", "Failed": "Failed"}
RESTING = ("Initialized", "Succeeded", "Failed")



def gate():
    """A server inside of the bed's network; where it listens, and how it is ended."""
    code = ("import http.server\nclass G(http.server.BaseHTTPRequestHandler):\n  def do_POST(self):\n    self.send_response(403); self.end_headers()\n"
            "  def log_message(self, *a): pass\nhttp.server.ThreadingHTTPServer(('%s', 9899), G).serve_forever()" % NODE_IP)
    return subprocess.Popen(["nsenter", "--net=/run/netns/serin-bed", "python3", "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Flagger:
    """The real one, for one namespace; it is a process beside the pods, with all rights."""
    def __init__(self, bed):
        if not (BIN / "flagger").exists():
            raise Skipped("Flagger is not built")
        prometheus = bed.get("service", "prometheus", ns="monitoring")["spec"]["clusterIP"]
        command = [str(BIN / "flagger"), "-kubeconfig", str(RUN / "admin.kubeconfig"), "-mesh-provider", "traefik", "-metrics-server", f"http://{prometheus}:9090",
                   "-namespace", bed.ns, "-port", "0", "-log-level", "info", "-selector-labels", "app"]
        with open(OUT / f"flagger-{bed.ns}.log", "ab") as log:
            self.process = subprocess.Popen(bed.from_inside(*command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def serin(bed, replicas):
    bed.run("-n", "serin-system", "scale", "deployment/serin", f"--replicas={replicas}")
    bed.until("Serin has as many pods", lambda: len(bed.items("pods", "-l", "app.kubernetes.io/name=serin", ns="serin-system")) == replicas, 60)
    if replicas:
        bed.run("-n", "serin-system", "rollout", "status", "deployment/serin", "--timeout=90s")


def analysis(phase):
    # A check that finds nothing has failed for Flagger; only one of these is to be rolled back.
    one = {"interval": "10s", "threshold": 1 if phase == "Failed" else 20, "stepWeights": [20, 40], "metrics": CHECKS, **PHASES[phase][1]}
    one["webhooks"] = [{**hook, "url": f"http://{NODE_IP}:9899/"} for hook in one.get("webhooks", [])]
    return one


@scenario("canaries that a real Flagger left in each of its phases are taken over: an Event each, nothing lost, no release of what rested", needs="bed")
def taken_over_from_flagger(bed):
    beds = {phase: Bed(f"{bed.ns}-{phase.lower()}") for phase in PHASES}
    bed.others = [one.ns for one in beds.values()]
    serin(bed, 0)
    hooks, flaggers = gate(), {}
    try:
        for phase, one in beds.items():
            flaggers[phase] = Flagger(one)
            one.app(version="v1-hang" if phase == "Initializing" else "v1", spec={"analysis": analysis(phase)})
        for phase, one in beds.items():
            one.until_phase("Initializing" if phase == "Initializing" else "Initialized", 120)
            if PHASES[phase][0]:
                one.load(6)
                one.image(PHASES[phase][0])
        waiting = dict(beds)
        end = time.monotonic() + 300
        while waiting and time.monotonic() < end:
            for phase, one in list(waiting.items()):
                weight = one.weight() if phase == "Progressing" else 1
                if one.phase() == phase and weight:
                    flaggers[phase].kill()
                    # It may have gone on in between.
                    if one.phase() == phase:
                        del waiting[phase]
                    else:
                        raise Failed(f"Flagger went from {phase} to {one.phase()} as it was killed")
            time.sleep(0.2)
        bed.require(not waiting, f"Flagger did not come to {', '.join(waiting)}; it is at { {p: o.phase() for p, o in waiting.items()} }")
        left = {phase: one.canary() for phase, one in beds.items()}
        record(left)
        serin(bed, 2)
        for phase, one in beds.items():
            if phase == "Initializing":
                one.image("v1")
        check(bed, beds, left)
    finally:
        for one in flaggers.values():
            one.kill()
        hooks.kill()
        hooks.wait()
        serin(bed, 2)
        for one in beds.values():
            one.clear()


def record(left):
    """Where the next reader finds what Flagger really writes."""
    import json
    with open(OUT / "left-by-flagger.json", "w", encoding="utf-8") as file:
        json.dump(left, file, indent=1, sort_keys=True)


def check(bed, beds, left):
    wrong = []
    for phase, one in beds.items():
        try:
            one.until_phase(OUTCOMES[phase], 240)
            # Nothing was there yet to be taken over.
            if phase != "Initializing":
                one.until("an Event with the reason Adopted", lambda one=one: one.events("Adopted"), 60)
        except Failed as failed:
            wrong.append(f"left at {phase}: {failed}\n{one.evidence()}")
    # Time for what should not begin to begin.
    time.sleep(15)
    for phase, one in beds.items():
        try:
            if phase in RESTING:
                was, now = left[phase]["status"]["phase"], one.phase()
                one.require(was == now, f"it was {was} and is {now}")
                released = one.events("NewRevision")
                one.require(not released, f"a release began: {released}")
            one.told()
        except Failed as failed:
            wrong.append(f"left at {phase}: {failed}\n{one.evidence()}")
    found = bed.run("get", "events", "-A", "--field-selector", "reason=Adopted", "-o", "name").stdout.split()
    bed.figures["Adopted events"] = len(found)
    for one in beds.values():
        for name, value in one.figures.items():
            bed.figures[name] = bed.figures.get(name, 0) + value
    bed.require(not wrong, "\n".join(wrong))


@scenario("a Canary that was deleted while Flagger was away, with Flagger's finalizer, is given back by Serin", needs="bed")
def deleted_under_flagger(bed):
    serin(bed, 0)
    flagger = None
    try:
        flagger = Flagger(bed)
        bed.app(spec={"revertOnDeletion": True})
        bed.until_phase("Initialized", 120)
        flagger.kill()
        bed.load(10)
        bed.k("delete", "canary", "backend", "--wait=false")
    finally:
        if flagger:
            flagger.kill()
        serin(bed, 2)
    bed.until("the Canary is gone", lambda: not bed.canary(), 90)
    bed.until("the target has its pods again", lambda: (bed.get("deployment", "backend")["status"].get("readyReplicas") or 0) >= 2, 60)
    bed.until("the Service selects the target", lambda: bed.get("service", "backend")["spec"]["selector"] == {"app": "backend"}, 30)
    # The primary has no owner any more, and the garbage collector takes it; requests go on meanwhile.
    time.sleep(5)
    bed.told()


@scenario("the way back to Flagger: serin migrate --leave frees every Canary, Flagger goes on with them and can delete them", needs="bed")
def way_back_to_flagger(bed):
    flagger = None
    # Flagger takes a check that finds nothing for one that failed.
    bed.app(spec={"analysis": {"interval": "10s", "threshold": 20, "stepWeights": [20, 40], "metrics": CHECKS}})
    bed.until_phase("Initialized")
    finalizers = bed.canary()["metadata"].get("finalizers", [])
    bed.require("finalizer.flagger.app" not in finalizers, f"the finalizers are {finalizers}")
    bed.load(10)
    serin(bed, 0)
    try:
        left = bed.inside(os.environ["SERIN_BIN"], "migrate", "--leave", "--kubeconfig", str(RUN / "admin.kubeconfig"))
        bed.require(f"canary {bed.ns}/backend has no finalizer of Serin any more" in left, f"it said: {left}")
        bed.require(not bed.canary()["metadata"].get("finalizers"), "a finalizer is left")
        flagger = Flagger(bed)
        # Its hash of the target is another one, so it analyses what runs once more.
        bed.until_phase("Progressing|Succeeded", 60)
        bed.until_phase("Succeeded", 240)
        bed.told()
        bed.k("delete", "canary", "backend", "--timeout=60s")
        bed.require(not bed.canary(), "the Canary is still there")
    finally:
        if flagger:
            flagger.kill()
        serin(bed, 2)
