"""What the process offers to its plugins: the cluster as it is known, the client, and ways back into the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from sampan.client.api import Client
from sampan.machinery.objects import Key, Object
from sampan.scheduler.gang import Members
from sampan.scheduler.metrics import Metrics
from sampan.scheduler.snapshot import Snapshot
from sampan.scheduler.waiting import WaitingPods

# Tell users of an object: its type (Normal or Warning), the reason, the message, and the scheduler's name that says it.
Emit = Callable[[Object, str, str, str, str], None]


@dataclass
class ProcessHandle:
    """A plugin gets this as `handle`. Nothing of it may block; `spawn` runs what takes longer.

    `latest` gives an object as the informers last saw it: by resource (`pods`) and key. `activate` tries pods at
    once, by uid.
    """

    client: Client
    snapshot: Snapshot
    emit: Emit
    latest: Callable[[str, Key], Object | None]
    activate: Callable[[Iterable[str]], None] = lambda uids: None
    spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]] = lambda work, name: (
        asyncio.create_task(work, name=name)
    )
    waiting: WaitingPods = field(default_factory=WaitingPods)
    extenders: tuple[Any, ...] = ()
    metrics: Metrics = field(default_factory=Metrics)
    # The pods of each PodGroup.
    groups: Members = field(default_factory=Members)
    # Called with each changed object of a kind, by resource; for those who wait for one.
    watchers: dict[str, list[Callable[[Object], None]]] = field(default_factory=dict)
