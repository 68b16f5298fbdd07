"""Lists and watches: every combination of resourceVersion and resourceVersionMatch, with upstream's refusals."""

from __future__ import annotations

import pytest

from .conftest import Cluster

MAPS = "/api/v1/namespaces/default/configmaps"


async def three(cluster: Cluster) -> list[int]:
    """The revisions at which one, two and three objects were there."""
    found = []
    for name in "abc":
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
        made = await cluster.admin.create("configmaps", obj)
        found.append(int(made["metadata"]["resourceVersion"]))
    return found


FORBIDDEN = "resourceVersionMatch: Forbidden: resourceVersionMatch"
TOO_LARGE = "Too large resource version"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "abc"),
        ("resourceVersion=", "abc"),
        ("resourceVersion=0", "abc"),
        ("resourceVersion={1}", "abc"),  # not older than
        ("resourceVersion={1}&resourceVersionMatch=NotOlderThan", "abc"),
        ("resourceVersion={1}&resourceVersionMatch=Exact", "ab"),
        ("resourceVersion={0}&resourceVersionMatch=Exact&limit=5", "a"),
        ("resourceVersion={1}&limit=1", "a"),  # exact, as a limited list at a revision is
        ("resourceVersion=0&limit=1", "a"),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan", "abc"),
        ("resourceVersion={9}", TOO_LARGE),
        ("resourceVersion={9}&resourceVersionMatch=Exact", TOO_LARGE),
        ("resourceVersion=x", "invalid"),
        ("resourceVersion=-1", "invalid"),
        ("resourceVersionMatch=Exact", f"{FORBIDDEN} is forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            f'{FORBIDDEN} "exact" is forbidden for resourceVersion "0"',
        ),
        ("resourceVersion=1&resourceVersionMatch=odd", 'resourceVersionMatch: Unsupported value: "odd"'),
        ("sendInitialEvents=true", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ("continue=odd", "continue key is not valid"),
        ("limit=odd", "invalid syntax"),
    ],
)
async def test_lists(cluster: Cluster, query: str, expected: str) -> None:
    revisions = await three(cluster)
    for n, revision in enumerate(revisions):
        query = query.replace(f"{{{n}}}", str(revision))
    status, said = await cluster.ask("GET", f"{MAPS}?{query.replace('{9}', str(revisions[-1] + 1000))}")
    if status == 200:
        assert "".join(o["metadata"]["name"] for o in said["items"]) == expected
    else:
        assert expected in said["message"]
        assert (status, said["reason"]) in ((400, "BadRequest"), (422, "Invalid"), (504, "Timeout"))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "resourceVersionMatch=NotOlderThan",
            f"{FORBIDDEN} is forbidden for watch unless sendInitialEvents is provided",
        ),
        ("sendInitialEvents=true", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            'Unsupported value: "Exact": supported values: "NotOlderThan"',
        ),
        ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=99999", TOO_LARGE),
        ("resourceVersion=99999", TOO_LARGE),
        ("resourceVersion=odd", "invalid"),
        ("fieldSelector=a%3Db", "field label not supported"),
        ("labelSelector=%21%21", "parse"),
    ],
)
async def test_watches_that_cannot_be(cluster: Cluster, query: str, expected: str) -> None:
    await three(cluster)
    status, said = await cluster.ask("GET", f"{MAPS}?watch=1&{query}")
    assert status in (400, 422, 504)
    assert expected in said["message"]


async def test_pages_show_one_moment(cluster: Cluster) -> None:
    await three(cluster)
    _, page = await cluster.ask("GET", f"{MAPS}?limit=1")
    names, revision = [], page["metadata"]["resourceVersion"]
    await cluster.admin.delete("configmaps", "b", "default")
    while True:
        names += [o["metadata"]["name"] for o in page["items"]]
        assert page["metadata"]["resourceVersion"] == revision
        more = page["metadata"].get("continue")
        if not more:
            break
        _, page = await cluster.ask("GET", f"{MAPS}?limit=1&continue={more}")
    assert names == ["a", "b", "c"]
    _, page = await cluster.ask("GET", f"{MAPS}?limit=1")
    token = page["metadata"]["continue"]
    status, said = await cluster.ask("GET", f"{MAPS}?limit=1&continue={token}&resourceVersion=7")
    assert (status, said["reason"]) == (400, "BadRequest")
