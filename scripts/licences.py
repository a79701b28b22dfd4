#!/usr/bin/env python3
"""Collects the licence texts of the crates that a binary was built from, as its own list of them names them.

The list is the CycloneDX document that was read out of the binary, so nothing is left out that is linked and nothing added.
"""

import json
import subprocess
import sys
from pathlib import Path

WORDS = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")


def texts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name.upper().startswith(WORDS))


def main() -> None:
    wanted = {
        (part["name"], part["version"])
        for part in json.loads(Path(sys.argv[1]).read_text())["components"]
    }
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version=1", "--locked"]))
    told: dict[str, str] = {}
    print("Serin is built from these crates. Their licences follow; a text that several share is printed once.\n")
    bare = []
    for package in sorted(metadata["packages"], key=lambda p: (p["name"], p["version"])):
        if (package["name"], package["version"]) not in wanted or package["source"] is None:
            continue
        wanted.discard((package["name"], package["version"]))
        print(f"{package['name']} {package['version']}: {package['license']}")
        found = texts(Path(package["manifest_path"]).parent)
        if not found:
            bare.append(f"{package['name']} {package['version']}: {package['license']}, {package['repository']}")
        for path in found:
            text = path.read_text(errors="replace").strip()
            told.setdefault(text, "")
            told[text] += f"{package['name']} {package['version']}, {path.name}\n"
    missing = sorted(name for name, _ in wanted if not name.startswith("serin"))
    if missing:
        sys.exit(f"linked, but not known to cargo: {', '.join(missing)}")
    if bare:
        print("\nThese ship no text with their source; the terms are those of the licence that they name:\n")
        print("\n".join(bare))
    for text, names in told.items():
        print(f"\n{'=' * 100}\n{names}{'-' * 100}\n{text}")


if __name__ == "__main__":
    main()
