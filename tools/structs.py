"""Make the list of fields that a Go client always sends, since a struct has no empty form: `{}` is their default.

Run after a new Kubernetes release, with the module's directory: `.venv/bin/python tools/structs.py
$(go list -m -f '{{.Dir}}' k8s.io/client-go)`. What it reads is the schema that client-go carries for server-side apply.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "sampan" / "kinds" / "data" / "structs.json"
SOURCE = Path("applyconfigurations") / "internal" / "internal.go"
_DEFINITION, _FIELD = re.compile(r"- name: (\S+)"), re.compile(r"    - name: (\S+)")
_STRUCT = re.compile(r"      default: \{\}")


def structs(text: str) -> dict[str, list[str]]:
    """The fields of each definition that are structs, in the schema's YAML."""
    found: dict[str, list[str]] = {}
    definition = field = ""
    for line in text.splitlines():
        if match := _DEFINITION.match(line):
            definition = match[1]
        elif match := _FIELD.match(line):
            field = match[1]
        elif _STRUCT.match(line):
            found.setdefault(definition, []).append(field)
    return found


def main(directory: str) -> None:
    found = structs((Path(directory) / SOURCE).read_text())
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(found.items())]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{TARGET.name}: {len(found)} definitions")


if __name__ == "__main__":
    main(sys.argv[1])
