"""Taints, node selectors, and what a pod requests."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery import placement

TAINT = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
NODE = {"metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}}


@pytest.mark.parametrize(
    ("toleration", "bears"),
    [
        ({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "no"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "disk", "operator": "Exists"}, False),
        ({}, False),
    ],
)
def test_tolerations(toleration: dict[str, str], bears: bool) -> None:
    assert placement.tolerates(toleration, TAINT) == bears
    found = placement.untolerated([toleration], [TAINT], ("NoSchedule",))
    assert (found is None) == bears


@pytest.mark.parametrize(
    ("operator", "values", "met"),
    [
        ("In", ["a", "b"], True),
        ("NotIn", ["a"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_node_selector_terms(operator: str, values: list[str], met: bool) -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}
    assert placement.term_matches(term, NODE) == met


def test_terms_compare_numbers_and_names_and_an_empty_term_matches_nothing() -> None:
    more = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}
    name = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert placement.term_matches(more, NODE)
    assert placement.term_matches(name, NODE)
    assert not placement.term_matches({}, NODE)
    assert placement.selector_matches({"nodeSelectorTerms": [{}, name]}, NODE)
    assert placement.selector_matches(None, NODE)


def container(cpu: str, **more: Any) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": cpu}}, **more}


def test_requests_are_the_larger_of_running_and_starting() -> None:
    spec = {
        "containers": [container("200m"), container("300m")],
        "initContainers": [container("400m"), container("100m", restartPolicy="Always"), container("450m")],
    }
    # Running: 200 + 300 and the sidecar's 100. Starting: the second init container's 450 beside the sidecar.
    assert placement.requests(spec) == {"cpu": 600}
    spec["initContainers"][2] = container("700m")
    assert placement.requests(spec) == {"cpu": 800}


def test_a_pods_own_requests_and_overhead() -> None:
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}],
        "resources": {"requests": {"cpu": "1"}},
        "overhead": {"memory": "16Mi"},
    }
    assert placement.requests(spec) == {"cpu": 1000, "memory": 80 * 2**20}
