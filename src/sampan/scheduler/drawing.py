"""Pictures, as SVG: nodes with the pods on them, and one pod's way through filters and scores.

Plain functions of what was read or explained; the same cluster gives the same picture, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sampan.scheduler.explain import Explanation, NodeExplanation
from sampan.scheduler.explain_text import sentences
from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import PodInfo
from sampan.scheduler.relaxations import amount
from sampan.scheduler.resources import CPU, MEMORY
from sampan.scheduler.snapshot import Snapshot

INK, FAINT, PAPER, GREEN, RED, BLUE = "#1f2933", "#9aa5b1", "#ffffff", "#2f8132", "#ba2525", "#0b69a3"
PASTELS = ("#d9e8f6", "#fdebd2", "#dff0dd", "#f6dcdc", "#e8e0f3", "#f0ebc9", "#d5efee", "#f3ddec")
# More nodes than these make no picture.
MOST_NODES = 40


def nodes(snapshot: Snapshot, title: str, new: Sequence[tuple[PodInfo, str]] = ()) -> str:
    """Each node as two bars, cpu and memory, filled by its pods; `new` pods are those that a plan would add."""
    listed = sorted(snapshot.nodes.values(), key=lambda n: n.name)[:MOST_NODES]
    left = 36 + max((len(n.name) for n in listed), default=0) * 8
    parts, y = [], 64
    for node in listed:
        pods = [(p, False) for p in sorted(node.pods.values(), key=lambda p: p.name)]
        pods += [(p, True) for p, at in new if at == node.name]
        parts.append(_text(20, y + 24, node.name, INK, weight="600"))
        for row, resource in enumerate((CPU, MEMORY)):
            parts.append(_bar(node, resource, pods, left + 60, y + row * 22))
            parts.append(_text(left, y + row * 22 + 14, resource, FAINT))
        y += 58
    if len(snapshot.nodes) > MOST_NODES:
        parts.append(_text(20, y + 14, f"{len(snapshot.nodes) - MOST_NODES} more nodes", FAINT))
        y += 24
    return _document(left + 560, y + 10, title, parts)


def _bar(node: NodeInfo, resource: str, pods: Sequence[tuple[PodInfo, bool]], x: float, y: int) -> str:
    there, width = node.allocatable.get(resource, 0), 420
    total = amount(resource, there) if resource == CPU else f"{there / 2**30:.0f}Gi"
    parts = [f'<rect x="{x}" y="{y}" width="{width}" height="18" fill="#f5f7fa" stroke="{FAINT}"/>']
    at = float(x)
    for pod, is_new in pods:
        wide = width * pod.requests.get(resource, 0) / there if there else 0.0
        if wide < 0.5:
            continue
        edge = f'stroke="{BLUE}" stroke-width="2"' if is_new else f'stroke="{FAINT}"'
        label = f"{pod.name}: {amount(resource, pod.requests[resource])}"
        parts.append(
            f'<rect x="{at:.1f}" y="{y}" width="{wide:.1f}" height="18" fill="{_colour(pod)}" {edge}>'
            f"<title>{escape(label)}</title></rect>"
        )
        if wide > 7 * len(pod.name):
            parts.append(_text(at + 4, y + 13, pod.name, INK))
        at += wide
    parts.append(_text(x + width + 8, y + 13, total, FAINT))
    return "".join(parts)


def _colour(pod: PodInfo) -> str:
    """One colour for the pods of one owner or app."""
    owners = pod.object["metadata"].get("ownerReferences") or [{}]
    name = pod.labels.get("app") or owners[0].get("name") or pod.name
    return PASTELS[sum(name.encode()) % len(PASTELS)]


def pod(explanation: Explanation) -> str:
    """A row for each node: a mark for each filter, then a bar for each score, and the total."""
    listed = sorted(explanation.nodes, key=lambda n: (-(n.score.total if n.score else -1), n.node))[
        :MOST_NODES
    ]
    # Filters that refuse none of the nodes would be columns of nothing.
    filters = [f for f in _plugins(explanation) if any(f in n.refusals for n in explanation.nodes)]
    left = 30 + max((len(n.node) for n in listed), default=0) * 7
    y, parts = 190, []
    for i, name in enumerate(filters):
        parts.append(_slanted(left + i * 34 + 14, y - 10, name))
    start = left + len(filters) * 34 + 20
    for i, name in enumerate(explanation.scores):
        parts.append(_slanted(start + i * 74 + 20, y - 10, f"{name} ×{explanation.weights[name]}"))
    for node in listed:
        parts.append(_row(explanation, node, filters, left, start, y))
        y += 28
    width = start + max(1, len(explanation.scores)) * 74 + 170
    title = f"Pod {explanation.pod.namespace}/{explanation.pod.name}"
    return _document(width, y + 20, title, parts, (sentences(explanation) or [""])[0])


def _plugins(explanation: Explanation) -> list[str]:
    return list(dict.fromkeys([*explanation.refused, *explanation.filters]))


def _row(
    explanation: Explanation, node: NodeExplanation, filters: list[str], left: int, start: int, y: int
) -> str:
    chosen = node.node in explanation.best
    parts = [_text(20, y + 17, node.node, INK, weight="700" if chosen else "400")]
    for i, name in enumerate(filters):
        status = node.refusals.get(name)
        mark, colour = ("✗", RED) if status else ("✓", GREEN)
        hint = f"<title>{escape(', '.join(status.reasons))}</title>" if status else ""
        parts.append(f"<g>{hint}{_text(left + i * 34 + 10, y + 17, mark, colour, weight='700')}</g>")
    if node.score is None:
        reasons = "; ".join(", ".join(s.reasons) for s in node.refusals.values())
        parts.append(_text(start, y + 17, reasons, RED))
        return "".join(parts)
    for i, name in enumerate(explanation.scores):
        most = 100 * explanation.weights[name]
        wide = 60 * node.score.scores[name] / most
        x = start + i * 74
        parts.append(f'<rect x="{x}" y="{y + 5}" width="60" height="14" fill="#f5f7fa" stroke="{FAINT}"/>')
        parts.append(f'<rect x="{x}" y="{y + 5}" width="{wide:.1f}" height="14" fill="{PASTELS[0]}"/>')
        parts.append(_text(x + 4, y + 16, str(node.score.scores[name]), INK))
    total = start + len(explanation.scores) * 74
    parts.append(_text(total, y + 17, f"= {node.score.total}", BLUE if chosen else INK, weight="700"))
    return "".join(parts)


def _slanted(x: float, y: float, text: str) -> str:
    return f'<text x="{x}" y="{y}" fill="{INK}" font-size="11" transform="rotate(-35 {x} {y})">{escape(text)}</text>'


def _text(x: float, y: float, text: str, colour: str, *, weight: str = "400") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _document(width: float, height: float, title: str, parts: Sequence[str], subtitle: str = "") -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">'
    )
    ground = f'<rect width="100%" height="100%" fill="{PAPER}"/>'
    name = f'<text x="20" y="30" font-size="16" font-weight="600" fill="{INK}">{escape(title)}</text>'
    return "\n".join([head, ground, name, _text(20, 50, subtitle, FAINT), *parts, "</svg>"]) + "\n"
