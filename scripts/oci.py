#!/usr/bin/env python3
"""Assembles OCI images of the operator from static binaries, byte for byte the same for the same input.

A layer is one tar of sorted entries with fixed times and owners; the layout is what the OCI image specification asks for,
so that skopeo, umoci, podman and every registry read it.
"""

import argparse
import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

USER = 10001
PASSWD = f"root:x:0:0:root:/:/sbin/nologin\nserin:x:{USER}:{USER}:serin:/:/sbin/nologin\n"
GROUP = f"root:x:0:\nserin:x:{USER}:\n"
# The C library inside of the binary asks this file in which order names are looked up.
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\n"


def files(binary: Path, certificates: Path, sbom: Path, documents: list[Path]) -> dict[str, tuple[bytes, int]]:
    """Path in the image -> content and mode."""
    found = {
        "etc/passwd": (PASSWD.encode(), 0o644),
        "etc/group": (GROUP.encode(), 0o644),
        "etc/nsswitch.conf": (NSSWITCH.encode(), 0o644),
        "etc/ssl/certs/ca-certificates.crt": (certificates.read_bytes(), 0o644),
        "usr/local/bin/serin": (binary.read_bytes(), 0o755),
        "usr/share/sbom/serin.cdx.json": (sbom.read_bytes(), 0o644),
    }
    for document in documents:
        found[f"usr/share/doc/serin/{document.name}"] = (document.read_bytes(), 0o644)
    return found


def layer(found: dict[str, tuple[bytes, int]], epoch: int) -> bytes:
    folders = sorted({str(parent) for path in found for parent in Path(path).parents if str(parent) != "."})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode, entry.mtime = tarfile.DIRTYPE, 0o755, epoch
            tar.addfile(entry)
        for path, (content, mode) in sorted(found.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode, entry.mtime = len(content), mode, epoch
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Layout:
    """A folder of blobs that are named by their content."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes, media_type: str, **more) -> dict:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content), **more}

    def put_json(self, value: dict, media_type: str, **more) -> dict:
        return self.put(json.dumps(value, sort_keys=True, separators=(",", ":")).encode(), media_type, **more)

    def close(self, manifests: list[dict]) -> None:
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        (self.folder / "index.json").write_text(json.dumps(index, sort_keys=True, separators=(",", ":")))
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def image(layout: Layout, architecture: str, tar: bytes, created: str, labels: dict) -> dict:
    packed = gzip.compress(tar, compresslevel=9, mtime=0)
    config = {
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/local/bin/serin"],
            "Cmd": ["controller"],
            "ExposedPorts": {"8080/tcp": {}},
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
        "history": [{"created": created, "created_by": "scripts/oci.py"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.put_json(config, "application/vnd.oci.image.config.v1+json"),
        "layers": [layout.put(packed, "application/vnd.oci.image.layer.v1.tar+gzip")],
        "annotations": labels,
    }
    size = sum(part["size"] for part in [manifest["config"], *manifest["layers"]])
    platform = {"architecture": architecture, "os": "linux"}
    descriptor = layout.put_json(manifest, manifest["mediaType"], platform=platform)
    print(f"linux/{architecture} {descriptor['digest']} {size / 1048576:.1f} MiB compressed")
    return descriptor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", action="append", required=True, metavar="ARCH=FILE", help="may be repeated")
    parser.add_argument("--sbom", action="append", required=True, metavar="ARCH=FILE", help="one for each binary")
    parser.add_argument("--certificates", type=Path, required=True)
    parser.add_argument("--document", type=Path, action="append", default=[])
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--tag", required=True)
    parser.add_argument("--epoch", type=int, required=True, help="seconds since 1970 of everything inside")
    parser.add_argument("--created", required=True, help="the same as RFC 3339")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    labels = dict(label.split("=", 1) for label in args.label)
    sboms = dict(pair.split("=", 1) for pair in args.sbom)
    layout = Layout(args.out)
    made = []
    for pair in args.binary:
        architecture, binary = pair.split("=", 1)
        found = files(Path(binary), args.certificates, Path(sboms[architecture]), args.document)
        made.append(image(layout, architecture, layer(found, args.epoch), args.created, labels))
    name = {"org.opencontainers.image.ref.name": args.tag}
    if len(made) > 1:
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": made}
        made = [layout.put_json(index, index["mediaType"])]
        print(f"index {made[0]['digest']}")
    layout.close([{**made[0], "annotations": name}])


if __name__ == "__main__":
    main()
