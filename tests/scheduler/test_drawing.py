"""Pictures: what is drawn is what was decided, as well-formed SVG."""

from __future__ import annotations

from xml.etree import ElementTree

from sampan.machinery.objects import Key
from sampan.scheduler import cluster, drawing, plugins
from sampan.scheduler.explain import explain

from .objects import node, pod

NAMESPACE = "{http://www.w3.org/2000/svg}"


def words(drawn: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(drawn).iter(f"{NAMESPACE}text")]


def test_one_pods_way() -> None:
    state = cluster.of([node("a"), node("b", taints=["gpu=yes:NoSchedule"]), pod("web", cpu="1")])
    drawn = drawing.pod(
        explain(plugins.default_profile(), state.snapshot, state.waiting[Key("default", "web")])
    )
    found = words(drawn)
    assert found[:2] == ["Pod default/web", "It fits 1 of 2 nodes; the best is a."]
    assert "TaintToleration" in found
    assert "NodeAffinity" not in found, "a filter that refuses nobody is left out"
    assert "✗" in found
    assert "node(s) had untolerated taint(s)" in found
    assert "TaintToleration ×3" in found
    assert any(text.startswith("= ") for text in found)


def test_nodes_with_their_pods_and_a_plan() -> None:
    state = cluster.of([node("a"), node("b"), pod("old<1>", on="a", cpu="2"), pod("new", cpu="1")])
    new = state.waiting[Key("default", "new")]
    drawn = drawing.nodes(state.snapshot, "two nodes", [(new, "b")])
    found = words(drawn)
    assert {"a", "b", "old<1>", "new", "cpu", "memory", "4", "8Gi"} <= set(found)
    assert drawn == drawing.nodes(state.snapshot, "two nodes", [(new, "b")])
    boxes = [
        r for r in ElementTree.fromstring(drawn).iter(f"{NAMESPACE}rect") if r.get("stroke-width") == "2"
    ]
    assert [b.get("width") for b in boxes] == ["105.0"], "a quarter of a node, and no memory asked"


def test_large_clusters_are_cut() -> None:
    state = cluster.of([node(f"n{i:02}") for i in range(45)])
    assert "5 more nodes" in words(drawing.nodes(state.snapshot, "many"))
