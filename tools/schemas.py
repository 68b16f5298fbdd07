"""Make the schemas that `sampan.kinds` ships from those of PyPI's kubernetes-validate, without their
descriptions.

Run after a new Kubernetes release: install that package's new version, then `.venv/bin/python
tools/schemas.py`. That package widens types to include null, names `apiVersion` and `kind` in enumerations
and moves references; `sampan.kinds.upstream` undoes that, here and where descriptions are read for `kubectl
explain`.
"""

from __future__ import annotations

import json
from pathlib import Path

import zstandard

from sampan.kinds import upstream

TARGET = Path(__file__).parent.parent / "src" / "sampan" / "kinds" / "data" / "schemas.json.zst"


def main() -> None:
    definitions = upstream.definitions(descriptions=False)
    if definitions is None:
        raise SystemExit("kubernetes-validate is not installed: pip install 'sampan[explain]'")
    kept = upstream.served(definitions)
    text = json.dumps(kept, separators=(",", ":"), sort_keys=True).encode()
    data = zstandard.ZstdCompressor(level=22).compress(text)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(data)
    print(f"{TARGET.name}: {len(kept)} definitions, {len(text)} bytes, {len(data)} compressed")


if __name__ == "__main__":
    main()
