"""Compile the protobuf descriptor sets that `sampan.machinery` ships, from the Go modules that define them.

Beside the descriptors of Kubernetes goes what JSON does differently and only the Go structs tell: which
fields are written into their parent (`inline`), which are left out where they are zero (`omit`), and other
names (`names`).

Run after a new Kubernetes release: set VERSION, then `.venv/bin/python tools/descriptors.py`. It needs Go
(for its module cache) and grpcio-tools. Comments and the options of Go's generator are left out; the results
are compressed.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

VERSION = "v0.37.2"
DATA = Path(__file__).parent.parent / "src" / "sampan" / "machinery" / "data"
CRI = "k8s.io/cri-api/pkg/apis/runtime/v1/api.proto"
ETCD = "go.etcd.io/etcd/api/v3"
ETCD_VERSION = "v3.7.0"
# Versions of API groups that are served, or that clients send.
SERVED = ("v1", "v2")
# What lies in modules of its own.
OTHERS = {
    "apiextensions-apiserver": "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/generated.proto",
    "kube-aggregator": "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/generated.proto",
}
# PodGroup and Workload are beta in 1.37.
BETA = ("k8s.io/api/scheduling/v1beta1/generated.proto",)


def module(name: str, version: str = VERSION) -> Path:
    """The directory of a Go module's source, downloaded where it is not in the cache."""
    command = ["go", "mod", "download", "-json", f"{name}@{version}"]
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


STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(
    r'^\t(?:\w+\s+)?(?P<type>[*\[\]\w.]+)\s+`(?P<tags>[^`]*protobuf:"\w+,(?P<number>\d+),[^`]*)`',
    re.MULTILINE,
)


def fields(package: Path) -> Iterator[tuple[str, int, str, str]]:
    """The struct, number, Go type and JSON tag of every field that goes into protobuf."""
    for source in sorted(package.glob("*.go")):
        if source.name.startswith(("generated", "zz_")) or source.name.endswith("_test.go"):
            continue
        for struct, body in STRUCT.findall(source.read_text()):
            for field in FIELD.finditer(body):
                tag = re.search(r'json:"([^"]*)"', field["tags"])
                yield struct, int(field["number"]), field["type"], tag[1] if tag else ""


def differences(root: Path, found: FileDescriptorSet) -> dict[str, dict[str, Any]]:
    """For each message: the numbers of fields that are inline in JSON, or left out where zero; and other
    names.
    """
    listed: dict[str, dict[str, Any]] = {"inline": {}, "omit": {}, "names": {}}
    for file in found.file:
        for struct, number, kind, tag in fields((root / file.name).parent):
            name = f"{file.package}.{struct}"
            json_name = tag.partition(",")[0]
            if not json_name:
                listed["inline"].setdefault(name, []).append(number)
                continue
            proto_name = next(
                (
                    f.name
                    for m in file.message_type
                    if m.name == struct
                    for f in m.field
                    if f.number == number
                ),
                "",
            )
            if json_name != proto_name:
                listed["names"].setdefault(name, {})[number] = json_name
            if ("omitempty" in tag or "omitzero" in tag) and not kind.startswith("*"):
                listed["omit"].setdefault(name, []).append(number)
    return listed


# What etcd's files say for other programs than a client: imports of those options, the options, the services.
FOREIGN = re.compile(
    r'^import "(?!etcd/api/(?:mvccpb|authpb)/)[^"]*";$|^\s*option \([^;{]*(?:;|\{.*?^\s*\};)'
    r"|^service \w+ \{.*?^\}|\s*\[\(versionpb[^\]]*\]",
    re.MULTILINE | re.DOTALL,
)


def etcd(root: Path) -> FileDescriptorSet:
    """The messages of etcd's API."""
    source = module(ETCD, ETCD_VERSION)
    names = ("mvccpb/kv.proto", "authpb/auth.proto", "etcdserverpb/rpc.proto")
    for name in names:
        target = root / "etcd" / "api" / name
        target.parent.mkdir(parents=True)
        target.write_text(FOREIGN.sub("", (source / name).read_text()))
    return compiled(root, [f"etcd/api/{name}" for name in names])


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        (root / "k8s.io").mkdir()
        for name in ("api", "apimachinery", "cri-api", *OTHERS):
            (root / "k8s.io" / name).symlink_to(module(f"k8s.io/{name}"))
        write("cri.binpb.zst", compiled(root, [CRI]))
        write("etcd.binpb.zst", etcd(root))
        api = root / "k8s.io" / "api"
        files = [f"k8s.io/api/{p.relative_to(api)}" for p in sorted(api.glob("*/v*/generated.proto"))]
        kept = [f for f in files if f.split("/")[3] in SERVED or f in BETA]
        kubernetes = compiled(root, [*kept, *OTHERS.values()])
        write("kubernetes.binpb.zst", kubernetes)
        text = json.dumps(differences(root, kubernetes), separators=(",", ":"), sort_keys=True)
        data = zstandard.ZstdCompressor(level=22).compress(text.encode())
        (DATA / "kubernetes.json.zst").write_bytes(data)
        print(f"kubernetes.json.zst: {len(data)} bytes")


if __name__ == "__main__":
    main()
