"""Is there one order of all operations that explains what every client saw? Per key, and for watches beside it.

An operation takes effect at one moment between its call and its answer. One whose answer was lost may have taken
effect at any moment after its call, or never. `explained` looks for an order in which each answer is what the state
before it implies, by trying the operations that could be next, and never the same set with the same state twice.
Revisions grow, so of writes whose revision is known only the first can be next; `resolved` learns from a watch, which
is checked by itself, what became of those whose answer was lost. Without both a search could take for ever.
Sources: Wing and Gong, "Testing and verifying concurrent objects" (1993); Lowe, "Testing for linearizability" (2017).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import NamedTuple

ABSENT = ""
ANY = -1
# States after which a search is given up.
MOST = 200_000


class State(NamedTuple):
    """What is under a key: its value, ABSENT for none, and its revision, ANY where no client was told it."""

    value: str = ABSENT
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """`verb` is create, update, delete or get; `value` what was written, or read; `expected` the revision an update or
    delete named.

    `outcome` is ok, exists, conflict, missing, or unknown; `revision` what an answer named, else 0. Times are in
    seconds, `ended` infinite where no answer came.
    """

    key: str
    verb: str
    value: str = ABSENT
    expected: int = 0
    outcome: str = "ok"
    revision: int = 0
    begun: float = 0.0
    ended: float = inf


def after(state: State, op: Operation) -> Iterator[State]:
    """The states that an operation can leave, where its answer is one that `state` allows."""
    there = state.value != ABSENT
    if op.verb == "get":
        if op.outcome == "missing":
            yield from [state] * (not there)
        elif state.value == op.value and state.revision in (ANY, op.revision):
            yield State(op.value, op.revision)
        return
    if op.outcome == "unknown":
        if _applies(state, op):
            yield State() if op.verb == "delete" else State(op.value, ANY)
        return
    if op.outcome == "ok" and _applies(state, op) and (op.revision == 0 or op.revision > state.revision):
        yield State() if op.verb == "delete" else State(op.value, op.revision)
    if op.outcome == "exists" and op.verb == "create" and there:
        yield state
    if op.outcome == "missing" and op.verb != "create" and not there:
        yield state
    if op.outcome == "conflict" and op.verb != "create" and there and not _certain(state, op):
        yield state


def _applies(state: State, op: Operation) -> bool:
    if op.verb == "create":
        return state.value == ABSENT
    return state.value != ABSENT and state.revision in (ANY, op.expected)


def _certain(state: State, op: Operation) -> bool:
    """Whether the state is known to be the one that the operation expects."""
    return state.revision != ANY and state.revision == op.expected


def explained(operations: Sequence[Operation]) -> bool:
    """Whether the operations of one key have an order that explains them."""
    ops = sorted(operations, key=lambda op: op.begun)
    needed = sum(1 << n for n, op in enumerate(ops) if op.outcome != "unknown")
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, State())]
    while stack:
        done, state = stack.pop()
        if done & needed == needed:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        assert len(seen) < MOST, f"{len(ops)} operations are too many to order"
        for n in _next(ops, done):
            stack += [(done | 1 << n, following) for following in after(state, ops[n])]
    return False


def _next(ops: Sequence[Operation], done: int) -> Iterator[int]:
    """The operations that may be next: those begun before any that is left had ended."""
    left = [n for n in range(len(ops)) if not done >> n & 1]
    soonest = min(ops[n].ended for n in left)
    first = min((ops[n].revision for n in left if _wrote(ops[n])), default=0)
    for n in left:
        if ops[n].begun > soonest:
            return
        if not _wrote(ops[n]) or ops[n].revision == first:
            yield n


def _wrote(op: Operation) -> bool:
    """Whether this is a write that is known to have made a revision."""
    return op.verb != "get" and op.outcome == "ok" and op.revision > 0


def resolved(operations: Sequence[Operation], events: Sequence[Seen]) -> list[Operation]:
    """The operations, with the revisions of those that `events`, everything that was written, show; those of unknown
    outcome that it does not show are left out.
    """
    written = {(e.key, e.value): e.revision for e in events if e.type != "DELETED"}
    last: dict[str, int] = {}
    deleted: dict[tuple[str, int], int] = {}
    for event in events:
        if event.type == "DELETED":
            deleted[event.key, last.get(event.key, 0)] = event.revision
        last[event.key] = event.revision
    told = {(op.key, op.expected) for op in operations if op.verb == "delete" and op.outcome == "ok"}
    found = []
    for op in operations:
        which = (op.key, op.expected)
        at = deleted.get(which) if op.verb == "delete" else written.get((op.key, op.value))
        if op.outcome != "unknown":
            found.append(
                replace(op, revision=at) if op.verb == "delete" and op.outcome == "ok" and at else op
            )
        elif at and op.verb != "delete":
            found.append(replace(op, outcome="ok", revision=at))
        elif at and which not in told:
            found.append(op)  # one of those that were to delete this did
    return found


def unexplained(operations: Iterable[Operation]) -> list[str]:
    """The keys whose operations no order explains."""
    keys: dict[str, list[Operation]] = {}
    for op in operations:
        keys.setdefault(op.key, []).append(op)
    return [key for key, ops in keys.items() if not explained(ops)]


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as one watcher saw it: ADDED, MODIFIED or DELETED."""

    type: str
    key: str
    value: str
    revision: int


def broken(events: Sequence[Seen], operations: Iterable[Operation], since: int, until: int) -> list[str]:
    """What is wrong with the events that one watcher saw after revision `since`, up to `until`: out of order, twice,
    missing, made up, or of the wrong type.
    """
    faults = []
    known: dict[str, Seen] = {}
    last = since
    for event in events:
        if event.revision <= last:
            faults.append(f"{event} came after revision {last}")
        last = max(last, event.revision)
        before = known.get(event.key)
        there = before is not None and before.type != "DELETED"
        if before is not None and (event.type == "ADDED") == there:
            faults.append(f"{event} came after {before}")
        known[event.key] = event
    seen = {e.revision: e for e in events}
    written = [op for op in operations if op.verb in ("create", "update", "delete")]
    for op in written:
        if op.outcome == "ok" and op.revision and since < op.revision <= until:
            shown = seen.get(op.revision)
            if shown is None or (shown.key, shown.value) != (op.key, op.value):
                faults.append(f"{op} was seen as {shown}")
    values = {(op.key, op.value) for op in written if op.outcome in ("ok", "unknown")}
    faults += [
        f"{e} was never written" for e in events if e.type != "DELETED" and (e.key, e.value) not in values
    ]
    return faults
