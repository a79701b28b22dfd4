#!/usr/bin/env python3
"""The figures of several runs beside each other, as a table: table.py RESULTS..."""
import json
import sys

FIGURES = ["seconds to promotion", "seconds to rollback", "seconds without a leader", "requests", "hurt", "lost", "API requests", "status writes",
           "requests a minute", "peak MiB"]


def main():
    runs = []
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    names = []
    for run in runs:
        names += [r["scenario"] for r in run["results"] if r["scenario"] not in names]
    print("| scenario | figure | " + " | ".join(run["kubernetes"] + (" (local)" if "local" in path else "") for run, path in zip(runs, sys.argv[1:])) + " |")
    print("|---|---|" + "---|" * len(runs))
    for name in names:
        found = [next((r for r in run["results"] if r["scenario"] == name), None) for run in runs]
        print(f"| {name} | outcome | " + " | ".join(f"{r['outcome']}, {r['seconds']:.0f} s" if r and r["outcome"] != "skipped" else "skipped" if r else "" for r in found) + " |")
        for figure in FIGURES:
            values = [str(r["figures"].get(figure, "")) if r else "" for r in found]
            if any(values):
                print(f"| | {figure} | " + " | ".join(values) + " |")


if __name__ == "__main__":
    main()
