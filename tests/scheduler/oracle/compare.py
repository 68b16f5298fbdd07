"""Compare sampan's scheduler with the oracle's results, or keep cases with results as examples for the tests.

compare CASES RESULTS          prints each case that differs; exit status 1 if any does
compare --keep CASES RESULTS   writes ../data/plugins.jsonl.gz
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from sampan.scheduler import configuration, preemption
from sampan.scheduler.configuration import build
from sampan.scheduler.decide import Cycle, SchedulingError, decide
from sampan.scheduler.evaluate import evaluate, snapshot_of
from sampan.scheduler.framework import Code, Status
from sampan.scheduler.plugins import default_profile
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.profiles import Profile
from sampan.scheduler.snapshot import BUDGETS

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
    pods = [*(case.get("pods") or ()), *(case.get("nominated") or ())]
    return evaluate(_profile(case), {**case, "pods": pods})


def _profile(case: Object) -> Profile:
    return profile_of(json.dumps(case["config"]) if case.get("config") else "")


def sampan_message(case: Object) -> str:
    """What sampan would say of a pod that no node fits."""
    snapshot = snapshot_of({**case, "pods": [*(case.get("pods") or ()), *(case.get("nominated") or ())]})
    try:
        return decide(_profile(case), snapshot, PodInfo(case["pod"])).message()
    except SchedulingError as e:
        return str(e)


def sampan_preemption(case: Object) -> Object:
    """Whom sampan would remove from where for a case's pod that fits nowhere, in the oracle's form."""
    pods = [*(case.get("pods") or ()), *(case.get("nominated") or ())]
    cycle = Cycle(_profile(case), snapshot_of({**case, "pods": pods}), PodInfo(case["pod"]))
    for budget in case.get("podDisruptionBudgets") or ():
        cycle.snapshot.set(BUDGETS, budget)
    rejected = cycle.pre_filter()
    statuses: dict[str, Status] = {}
    for name, node in cycle.snapshot.nodes.items():
        if (status := rejected or cycle.filter_with_nominated(node)) is not None:
            statuses[name] = status
    return asyncio.run(_preempted(cycle, statuses))


async def _preempted(cycle: Cycle, statuses: dict[str, Status]) -> Object:
    nominated = statuses.get(cycle.pod.nominated)
    if why := preemption.is_eligible(cycle.pod, nominated, cycle.snapshot.nodes):
        return {"ineligible": why}
    hopeful = [cycle.snapshot.nodes[n] for n, s in sorted(statuses.items()) if s.code is Code.UNSCHEDULABLE]
    found, refused = await preemption.candidates(cycle, hopeful, list(cycle.snapshot.list(BUDGETS)), 100)
    result: Object = {}
    if found:
        result["node"] = preemption.best(found).node
        result["candidates"] = {
            c.node: {"pods": [p.name for p in c.victims], "violations": c.violations} for c in found
        }
    if refused:
        result["refused"] = {node: sorted(status.reasons) for node, status in refused.items()}
    return result


def comparable(result: Object) -> Object:
    """A result without what upstream leaves to chance: the order in which it checks extended resources."""
    nodes = {
        name: {"plugin": "", **verdict, "reasons": sorted(verdict.get("reasons") or ())}
        for name, verdict in (result.get("nodes") or {}).items()
    }
    return {**result, "nodes": nodes}


def differences(case: Object, wanted: Object) -> list[str]:
    """What is other in sampan's result, one line each."""
    if "error" in wanted and not wanted.get("nodes"):
        return []
    got, wanted = comparable(sampan_result(case)), comparable(wanted)
    if "message" in wanted:
        got["message"] = sampan_message(case)
    if (preempted := wanted.get("preemption")) is not None:
        for reasons in preempted.get("refused", {}).values():
            reasons.sort()
        got["preemption"] = sampan_preemption(case)
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
