#!/usr/bin/env python3
"""Runs the scenarios on a real control plane and prints what they showed: run.py [NAME...], --list, --json FILE, --minutes N.

With KUBECONFIG it uses that cluster, in namespaces of its own that begin with `serin-conformance-`, and runs what needs no more
than kubectl; without, the bed that up.sh has started. A scenario that fails is told as failed and the exit status is 1, but for
those that are marked with why they are known to fail; one that
cannot be run here is told as skipped, with why.
"""
import argparse
import importlib
import json
import os
import pathlib
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
    parser.add_argument("--keep", action="store_true", help="leave the namespaces of scenarios that failed")
    options = parser.parse_args()
    chosen = [s for s in scenarios() if not options.names or any(name in s.__name__ for name in options.names)]
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
    began, results = time.monotonic(), []
    for scenario in chosen:
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
        bed.measure(audit)
        if outcome == "FAILED":
            why += "\n" + bed.evidence()
        if not (options.keep and outcome == "FAILED"):
            bed.clear()
        if outcome == "FAILED" and scenario.fails:
            outcome, why = "known", f"known to fail: {scenario.fails}: {why}"
        elif outcome == "ok" and scenario.fails:
            why = "is marked as failing and does not fail: take the mark away"
        results.append({"scenario": scenario.__name__, "shows": scenario.shows, "outcome": outcome, "why": why,
                        "seconds": round(took, 1), "figures": bed.figures})
        figures = "  ".join(f"{name} {value}" for name, value in bed.figures.items())
        print(f"{outcome:8} {scenario.__name__:32} {took:6.1f} s  {figures}{': ' if why else ''}{why}", flush=True)
    report(version, results, options.json)
    return 1 if any(result["outcome"] == "FAILED" for result in results) else 0


def report(version, results, path):
    count = {outcome: sum(r["outcome"] == outcome for r in results) for outcome in ("ok", "FAILED", "known", "skipped")}
    print(f"\n{version}: {count['ok']} ok, {count['FAILED']} failed, {count['known']} known to fail, {count['skipped']} skipped")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"kubernetes": version, "results": results}, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
