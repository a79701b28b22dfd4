"""The story that every part serves: a promotion, and a rollback."""
import time

from bed import scenario


@scenario("v2 is promoted through 10, 30 and 50 %, and no request is lost")
def promotion(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    start = time.monotonic()
    bed.until_weight(10)
    bed.until_phase("Succeeded|Failed", 180)
    bed.require(bed.phase() == "Succeeded", "v2 was not promoted")
    bed.figures["seconds to promotion"] = round(time.monotonic() - start)
    image = bed.get("deployment", "backend-primary")["spec"]["template"]["spec"]["containers"][0]["image"]
    bed.require(image == bed.app_image("v2"), f"the primary runs {image}")
    bed.told()


@scenario("a bad v3 is rolled back within seconds, and all traffic is back on the old version")
def rollback(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v3-bad")
    bed.until_weight(10)
    start = time.monotonic()
    bed.until_phase("Failed", 60)
    bed.figures["seconds to rollback"] = round(time.monotonic() - start, 1)
    bed.require(bed.weights().get("backend-canary", 0) == 0, f"the route is {bed.weights()}")
    bed.told()


@scenario("a Canary that is deleted in the middle of an analysis leaves the user's objects as they were", needs="")
def deletion(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    bed.k("delete", "canary", "backend", "--timeout=60s")
    bed.until("the primary is gone", lambda: not bed.get("deployment", "backend-primary"))
    bed.told()


@scenario("the leader is killed in the middle of an analysis: another goes on, and nothing is lost", needs="bed")
def leader_killed(bed):
    bed.app()
    bed.until_phase("Initialized")
    bed.load()
    bed.image("v2")
    bed.until_weight(10)
    before = bed.leader()
    pod = before.split("_")[0]
    pids = bed.pod_pids("serin-system", "app.kubernetes.io/name=serin")
    bed.require(pod in pids, f"the leader {before} is none of {sorted(pids)}")
    import os
    import signal
    os.kill(pids[pod], signal.SIGKILL)
    start = time.monotonic()
    bed.until("another leader", lambda: bed.leader() != before, 45)
    bed.figures["seconds without a leader"] = round(time.monotonic() - start, 1)
    bed.until_phase("Succeeded", 180)
    bed.told()
