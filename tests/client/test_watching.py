"""Following objects through every trouble a watch can have: what is told, and from where each watch goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.client.test_informer import EXPIRED, SYNCED, Script, obj

from sampan.client.api import ApiError, Change, Unavailable
from sampan.client.watching import follow
from sampan.machinery.objects import Object

REFUSED = ApiError({"code": 403, "reason": "Forbidden", "message": "no"})


def of_uid(name: str, uid: str, revision: int = 1) -> Object:
    found = obj(name, revision)
    return {**found, "metadata": {**found["metadata"], "uid": uid}}


async def told(script: Script, failed: Callable[[Exception], None] = lambda e: None) -> list[str]:
    """What a follower hears until its script has ended, as `ADDED a`."""
    heard: list[str] = []

    async def listen() -> None:
        async for change in follow(script, "pods", failed=failed):  # type: ignore[arg-type]
            meta = change.object["metadata"]
            heard.append(" ".join(x for x in (change.type, meta.get("name", ""), meta.get("uid", "")) if x))

    task = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        await script.ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return heard


async def test_what_went_while_nobody_watched_is_told_before_the_bookmark() -> None:
    script = Script(
        [Change("ADDED", obj("kept")), Change("ADDED", of_uid("gone", "u1")), SYNCED, EXPIRED],
        [Change("ADDED", obj("kept")), SYNCED],
    )
    assert await told(script) == [
        "ADDED kept", "ADDED gone u1", "BOOKMARK", "ADDED kept", "DELETED gone u1", "BOOKMARK"
    ]  # fmt: skip


async def test_an_object_that_took_anothers_name_unseen_ends_the_other() -> None:
    """A kubelet whose pod was replaced by one of the same name must still end the first."""
    script = Script(
        [Change("ADDED", of_uid("web-0", "first")), SYNCED, EXPIRED],
        [Change("ADDED", of_uid("web-0", "second", 8)), SYNCED],
    )
    assert await told(script) == [
        "ADDED web-0 first", "BOOKMARK", "DELETED web-0 first", "ADDED web-0 second", "BOOKMARK"
    ]  # fmt: skip


async def test_a_list_that_broke_off_is_begun_anew_and_drops_nothing() -> None:
    script = Script(
        [Change("ADDED", obj("a")), Change("ADDED", obj("b")), Unavailable("away")],
        [Change("ADDED", obj("b")), Change("ADDED", obj("a")), SYNCED],
    )
    assert await told(script) == ["ADDED a", "ADDED b", "ADDED b", "ADDED a", "BOOKMARK"]
    assert script.since[:2] == ["", ""]


@pytest.mark.parametrize("failure", [REFUSED, Unavailable("away")], ids=["refused", "away"])
async def test_failures_are_told_and_tried_again_from_where_it_was(failure: Exception) -> None:
    failures: list[Exception] = []
    script = Script([Change("ADDED", obj("a")), SYNCED], [failure], [Change("DELETED", obj("a", 9))])
    assert await told(script, failures.append) == ["ADDED a", "BOOKMARK", "DELETED a"]
    assert failures == [failure]
    assert script.since == ["", "5", "5", "9"]
