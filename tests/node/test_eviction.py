"""Which pods use more of the node's disk than they may, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.machinery.objects import Object
from sampan.node.eviction import Usage, exceeded, limited

MIB = 1 << 20


def pod(*limits: str, **volumes: Any) -> Object:
    containers = [
        {"name": f"c{n}", "resources": {"limits": {"ephemeral-storage": limit} if limit else {}}}
        for n, limit in enumerate(limits or ("",))
    ]
    return {"spec": {"containers": containers, "volumes": [{"name": n, **v} for n, v in volumes.items()]}}


def empty(**fields: str) -> Object:
    return {"emptyDir": fields}


@pytest.mark.parametrize(
    ("made", "measured"),
    [
        (pod(), False),
        (pod("1Gi"), True),
        (pod(v=empty()), False),
        (pod(v=empty(sizeLimit="1Gi")), True),
        (pod(v=empty(sizeLimit="1Gi", medium="Memory")), False),
        (pod(v={"hostPath": {"path": "/"}}), False),
    ],
)
def test_only_pods_with_limits_are_measured(made: Object, measured: bool) -> None:
    assert limited(made) is measured


@pytest.mark.parametrize(
    ("made", "used", "why"),
    [
        (pod(v=empty(sizeLimit="2Mi")), Usage({"v": 2 * MIB}, {"c0": 9 * MIB}), ""),
        (
            pod(v=empty(sizeLimit="2Mi")),
            Usage({"v": 2 * MIB + 1}, {}),
            'Usage of EmptyDir volume "v" exceeds the limit "2Mi". ',
        ),
        (
            pod("3Mi", ""),
            Usage({}, {"c0": 4 * MIB}),
            'Container c0 exceeded its local ephemeral storage limit "3Mi". ',
        ),
        (
            pod("3Mi", "1Mi", v=empty()),
            Usage({"v": 3 * MIB}, {"c0": MIB, "c1": MIB}),
            f"Pod ephemeral local storage usage exceeds the total limit of containers {4 * MIB}. ",
        ),
        (pod("3Mi", "", v=empty()), Usage({"v": 30 * MIB}, {"c0": MIB}), ""),
    ],
)
def test_which_limit_is_exceeded(made: Object, used: Usage, why: str) -> None:
    assert exceeded(made, used) == why
