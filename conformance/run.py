#!/usr/bin/env python3
"""Runs the scenarios on a real control plane and prints what they showed: run.py [NAME...], --list, --json FILE, --minutes N.

With KUBECONFIG it uses that cluster, in namespaces of its own that begin with `serin-conformance-`, and runs what needs no more
than kubectl; without, the bed that up.sh has started. A scenario that fails is told as failed and the exit status is 1, but for
those that are marked with why they are known to fail; one that
cannot be run here is told as skipped, with why.
"""
import argparse
import concurrent.futures
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from bed import NEEDS, Bed, Failed, Skipped  # noqa: E402
from foreign import Refused, context  # noqa: E402

MODULES = ["story", "findings", "hands", "flagger", "plane"]


def scenarios():
    """Every function of the modules that is marked as a scenario, in the order in which it stands there."""
    found = []
    for name in MODULES:
        module = importlib.import_module(f"scenarios.{name}")
        found += [value for value in vars(module).values() if callable(value) and hasattr(value, "needs")]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="scenarios by name, or a part of it; all without")
    parser.add_argument("--list", action="store_true", help="names and what they show, nothing is run")
    parser.add_argument("--json", help="where the results are written as JSON")
    parser.add_argument("--minutes", type=float, help="no further scenario is begun after so many minutes")
    parser.add_argument("--jobs", type=int, default=1, help="so many scenarios at once, of those that need no more than their namespace")
    parser.add_argument("--again", action="store_true", help="a scenario that fails is run once more, and has failed when it fails again")
    parser.add_argument("--keep", action="store_true", help="leave the namespaces of scenarios that failed")
    options = parser.parse_args()
    known = [s.__name__ for s in scenarios()]
    # A whole name is that scenario and no other one.
    wanted = {one for name in options.names for one in ([name] if name in known else [k for k in known if name in k])}
    chosen = [s for s in scenarios() if not options.names or s.__name__ in wanted]
    if options.list:
        for one in chosen:
            print(f"{one.__name__:32} {one.shows}")
        return 0
    if not chosen:
        print("no scenario has that name; --list shows them", file=sys.stderr)
        return 2
    return run(chosen, options)


def run(chosen, options):
    bed = Bed("serin-conformance-none")
    print(f"Kubernetes {bed.version()}", flush=True)
    foreign = context(bed)
    if not foreign:
        return run_all(chosen, options, bed.version())
    try:
        with foreign:
            code = run_all(chosen, options, bed.version())
    except Refused as refused:
        print(f"conformance: {refused}", file=sys.stderr)
        return 2
    return 1 if foreign.left else code


def run_all(chosen, options, version):
    """What needs no more than its namespace is run beside others of its kind; what touches what they share is run alone."""
    began, results = time.monotonic(), []
    beside = [s for s in chosen if s.needs != "bed"] if options.jobs > 1 else []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        results += pool.map(lambda scenario: run_one(scenario, options, began), beside)
    results += [run_one(scenario, options, began) for scenario in chosen if scenario not in beside]
    if options.again:
        by_name = {scenario.__name__: scenario for scenario in chosen}
        failed = [result["scenario"] for result in results if result["outcome"] == "FAILED"]
        second = [run_one(by_name[name], options, began) for name in failed]
        # What there is no time for a second time has failed once.
        results = [r for r in results if r["scenario"] not in [s["scenario"] for s in second if s["outcome"] != "skipped"]]
        results += [result for result in second if result["outcome"] != "skipped"]
    order = [scenario.__name__ for scenario in chosen]
    results.sort(key=lambda result: order.index(result["scenario"]))
    report(version, results, options.json)
    return 1 if any(result["outcome"] == "FAILED" for result in results) else 0


def run_one(scenario, options, began):
    bed = Bed("serin-conformance-" + scenario.__name__.replace("_", "-")[:40])
    audit = bed.audit_size()
    start = time.monotonic()
    try:
        if options.minutes is not None and start - began > options.minutes * 60:
            raise Skipped(f"no time left of {options.minutes:g} minutes")
        if scenario.needs and scenario.needs not in bed.has:
            raise Skipped(NEEDS[scenario.needs])
        scenario(bed)
        outcome, why = "ok", ""
    except Skipped as skipped:
        outcome, why = "skipped", str(skipped)
    except Failed as failed:
        outcome, why = "FAILED", str(failed)
    except Exception as error:  # A scenario that breaks must not take the others with it.
        outcome, why = "FAILED", f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    took = time.monotonic() - start
    try:
        if outcome != "skipped":
            bed.measure(audit)
        if outcome == "FAILED":
            why += "\n" + bed.evidence()
        if not (options.keep and outcome == "FAILED"):
            bed.clear()
    except (Failed, OSError, subprocess.SubprocessError) as error:
        # What comes after a scenario must not take the next ones with it, and is a failure of its own.
        outcome, why = "FAILED", f"{why}\nafter it: {error}".strip()
    if outcome == "FAILED" and scenario.fails:
        outcome, why = "known", f"known to fail: {scenario.fails}: {why}"
    elif outcome == "ok" and scenario.fails:
        why = "is marked as failing and does not fail: take the mark away"
    figures = "  ".join(f"{name} {value}" for name, value in bed.figures.items())
    print(f"{outcome:8} {scenario.__name__:32} {took:6.1f} s  {figures}{': ' if why else ''}{why}", flush=True)
    return {"scenario": scenario.__name__, "shows": scenario.shows, "outcome": outcome, "why": why, "seconds": round(took, 1),
            "figures": bed.figures}


def report(version, results, path):
    count = {outcome: sum(r["outcome"] == outcome for r in results) for outcome in ("ok", "FAILED", "known", "skipped")}
    print(f"\n{version}: {count['ok']} ok, {count['FAILED']} failed, {count['known']} known to fail, {count['skipped']} skipped")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"kubernetes": version, "results": results}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
