"""Compare sampan's scheduler with the oracle's results, or keep cases with results as examples for the tests.

compare CASES RESULTS          prints each case that differs; exit status 1 if any does
compare --keep CASES RESULTS   writes ../data/plugins.jsonl.gz
"""

from __future__ import annotations

import gzip
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from sampan.scheduler import configuration
from sampan.scheduler.configuration import build
from sampan.scheduler.evaluate import evaluate
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.profiles import Profile

Object = dict[str, Any]
KEPT = Path(__file__).parent.parent / "data" / "plugins.jsonl.gz"


@lru_cache
def profile_of(config: str) -> Profile:
    """The profile of a configuration's text, the default one of an empty text."""
    if not config:
        return default_profile()
    return next(iter(build.profiles(configuration.load(config)).values()))


def sampan_result(case: Object) -> Object:
    """What sampan makes of a case."""
    config = json.dumps(case["config"]) if case.get("config") else ""
    pods = [*(case.get("pods") or ()), *(case.get("nominated") or ())]
    return evaluate(profile_of(config), {**case, "pods": pods})


def comparable(result: Object) -> Object:
    """A result without what upstream leaves to chance: the order in which it checks extended resources."""
    nodes = {
        name: {**verdict, "reasons": sorted(verdict.get("reasons") or ())}
        for name, verdict in (result.get("nodes") or {}).items()
    }
    return {**result, "nodes": nodes}


def differences(case: Object, wanted: Object) -> list[str]:
    """What is other in sampan's result, one line each."""
    if "error" in wanted and not wanted.get("nodes"):
        return []
    got, wanted = comparable(sampan_result(case)), comparable(wanted)
    found = [
        f"{k}: {got.get(k)} instead of {v}" for k, v in wanted.items() if k != "nodes" and got.get(k) != v
    ]
    for name, verdict in wanted["nodes"].items():
        if got["nodes"].get(name) != verdict:
            found.append(f"{name}: {got['nodes'].get(name)}\n    instead of {verdict}")
    return found


def main() -> int:
    keep = sys.argv[1] == "--keep"
    cases, results = (
        [json.loads(line) for line in Path(name).read_text().splitlines()] for name in sys.argv[-2:]
    )
    pairs = [(c, r) for c, r in zip(cases, results, strict=True) if not r.get("error")]
    if keep:
        lines = [json.dumps({"case": c, "result": r}, separators=(",", ":")) for c, r in pairs]
        KEPT.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))
        return 0
    bad = 0
    for case, result in pairs:
        if found := differences(case, result):
            bad += 1
            print(case["id"], *found, sep="\n  ")
    print(f"{len(pairs)} cases, {bad} differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
