"""Compile the protobuf descriptor sets that `sampan.machinery` ships, from the Go modules that define them.

Run after a new Kubernetes release: set VERSION, then `.venv/bin/python tools/descriptors.py`. It needs Go
(for its module cache) and grpcio-tools. Comments and the options of Go's generator are left out; the results
are compressed.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import zstandard
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

VERSION = "v0.37.2"
DATA = Path(__file__).parent.parent / "src" / "sampan" / "machinery" / "data"
CRI = "k8s.io/cri-api/pkg/apis/runtime/v1/api.proto"
# Versions of API groups that are served, or that clients send.
SERVED = ("v1", "v2")


def module(name: str) -> Path:
    """The directory of a Go module's source, downloaded where it is not in the cache."""
    command = ["go", "mod", "download", "-json", f"{name}@{VERSION}"]
    found = subprocess.run(command, check=True, capture_output=True, cwd=tempfile.gettempdir()).stdout
    return Path(json.loads(found)["Dir"])


def compiled(root: Path, files: list[str]) -> FileDescriptorSet:
    """The descriptors of `files` and all that they import."""
    target = root / "set.binpb"
    arguments = ["protoc", f"-I{root}", f"--descriptor_set_out={target}", "--include_imports", *files]
    if protoc.main(arguments):
        raise SystemExit(f"protoc failed on {files}")
    return FileDescriptorSet.FromString(target.read_bytes())


def write(name: str, found: FileDescriptorSet) -> None:
    for file in found.file:
        file.ClearField("options")
    data = zstandard.ZstdCompressor(level=22).compress(found.SerializeToString(deterministic=True))
    (DATA / name).write_bytes(data)
    print(f"{name}: {len(found.file)} files, {len(data)} bytes")


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "k8s.io").mkdir()
        for name in ("api", "apimachinery", "cri-api"):
            (root / "k8s.io" / name).symlink_to(module(f"k8s.io/{name}"))
        write("cri.binpb.zst", compiled(root, [CRI]))
        api = root / "k8s.io" / "api"
        files = [f"k8s.io/api/{p.relative_to(api)}" for p in sorted(api.glob("*/v*/generated.proto"))]
        kept = [f for f in files if f.split("/")[3] in SERVED]
        write("kubernetes.binpb.zst", compiled(root, kept))


if __name__ == "__main__":
    main()
