"""An explanation as people and programs read it: sentences, a table, JSON."""

from __future__ import annotations

from typing import Any

from sampan.scheduler import resources
from sampan.scheduler.explain import Explanation, NodeExplanation, first_refusals
from sampan.scheduler.relaxations import shown
from sampan.scheduler.remedies import Found, Remedy
from sampan.scheduler.snapshot import Snapshot

# So many ways to make a pod fit are told; the others are counted.
MOST_TOLD = 6


def sentences(explanation: Explanation) -> list[str]:
    """Where the pod is or could go, and why nowhere else; the most telling first."""
    total, feasible = len(explanation.nodes), len(explanation.feasible)
    said = [explanation.held] if explanation.held else []
    if explanation.at:
        said.append(_placed(explanation))
    elif feasible:
        said.append(f"It fits {feasible} of {total} nodes; the best is {_names(explanation.best)}.")
    else:
        said.append(explanation.message())
    if feasible and feasible < total:
        said.append(f"Refused by {total - feasible} nodes: {first_refusals(explanation)}.")
    return said


def _placed(explanation: Explanation) -> str:
    at, best = explanation.at, explanation.best
    if at not in explanation.feasible:
        there = next(n for n in explanation.nodes if n.node == at)
        return f"It is on {at}, where it would not be placed today: {_reasons(there)}."
    if at in best:
        others = len(explanation.feasible) - 1
        return (
            f"It is on {at}, the {f'best of the {others + 1} nodes' if others else 'only node'} that it fits."
        )
    scores = {n.node: n.score.total for n in explanation.nodes if n.score}
    return f"It is on {at} ({scores[at]} points); today {_names(best)} would be chosen ({scores[best[0]]} points)."


def _names(nodes: list[str]) -> str:
    if len(nodes) > 3:
        return f"{', '.join(nodes[:3])} or {len(nodes) - 3} others"
    return " or ".join(nodes)


def _reasons(node: NodeExplanation) -> str:
    return "; ".join(f"{plugin}: {', '.join(s.reasons)}" for plugin, s in node.refusals.items())


def advice(found: Found, snapshot: Snapshot) -> list[str]:
    """What would make the pod fit, one sentence for each way."""
    if not found.remedies:
        limit = "" if found.searched == found.nodes else f" on the {found.searched} most promising nodes"
        return [f"No small set of changes to the pod or to single nodes makes it fit{limit}."]
    ways: dict[object, list[Remedy]] = {}
    for remedy in found.remedies:
        if remedy.size:
            alike = tuple((c.kind, c.what, bool(c.node)) for c in remedy.changes)
            ways.setdefault((remedy.shape, alike), []).append(remedy)
    if not ways:
        return []
    size = found.remedies[0].size
    told = [f"It would fit with {'one change' if size == 1 else f'{size} changes together'}:"]
    for remedies in list(ways.values())[:MOST_TOLD]:
        told.append(f"- {_way(remedies, snapshot)}")
    if len(ways) > MOST_TOLD:
        told.append(f"- or {len(ways) - MOST_TOLD} other ways")
    return told


def _way(remedies: list[Remedy], snapshot: Snapshot) -> str:
    """The same changes, perhaps on one of several nodes."""
    first, nodes = remedies[0], _names(sorted({r.node for r in remedies}))
    steps = [f"add a node like {first.shape} ({shape(snapshot, first.shape)})"] if first.shape else []
    steps += [change.text(nodes) for change in first.changes]
    on_pod = not first.shape and not any(c.node for c in first.changes)
    return ", and ".join(steps) + (f" (then it fits {nodes})" if on_pod else "")


def shape(snapshot: Snapshot, node: str) -> str:
    """What a node offers: `cpu 4, memory 32Gi, pods 110`."""
    found = snapshot.nodes[node]
    offered = {n: found.allocatable[n] for n in (resources.CPU, resources.MEMORY) if n in found.allocatable}
    return shown({**offered, "pods": found.allowed_pods})


def rows(explanation: Explanation) -> list[tuple[str, ...]]:
    """A table: each node with its verdict, and what each plugin gave it, weighted and (raw). The best first."""
    heads = [f"{name}×{explanation.weights[name]}" for name in explanation.scores]
    found: list[tuple[str, ...]] = [("NODE", "TOTAL", *heads, "REFUSED BY")]
    for node in sorted(explanation.nodes, key=lambda n: (-(n.score.total if n.score else -1), n.node)):
        mark = "*" if node.node == explanation.at else ""
        if node.score is None:
            blank = [""] * len(heads)
            found.append((node.node + mark, "-", *blank, _reasons(node)))
        else:
            cells = [f"{node.score.scores[p]} ({node.score.raw[p]})" for p in explanation.scores]
            found.append((node.node + mark, str(node.score.total), *cells, ""))
    return found


def as_json(explanation: Explanation, found: Found | None = None) -> dict[str, Any]:
    """Everything, with the codes of refusals."""
    pod = explanation.pod
    answer: dict[str, Any] = {
        "pod": {"namespace": pod.namespace, "name": pod.name},
        "node": explanation.at,
        "held": explanation.held,
        "best": explanation.best,
        "message": "" if explanation.feasible else explanation.message(),
        "weights": explanation.weights,
        "nodes": [_node_json(n) for n in explanation.nodes],
    }
    if found is not None:
        answer["remedies"] = [
            {
                "changes": [str(c) for c in r.changes],
                "node": "" if r.shape else r.node,
                "newNodeLike": r.shape,
            }
            for r in found.remedies
        ]
        answer["searched"] = {"nodes": found.searched, "of": found.nodes}
    return answer


def _node_json(node: NodeExplanation) -> dict[str, Any]:
    refusals = [
        {"plugin": plugin, "code": str(s.code), "reasons": list(s.reasons)}
        for plugin, s in node.refusals.items()
    ]
    found: dict[str, Any] = {"node": node.node, "feasible": node.feasible, "refusals": refusals}
    if node.score:
        found |= {"raw": node.score.raw, "scores": node.score.scores, "total": node.score.total}
    return found
