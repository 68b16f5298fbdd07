"""Nodes as rows, and what they offer and have given away as columns of int64.

A row stays with its node; one that is free again offers no pods and so is never chosen. Columns have room for more rows
than there are; when the room is used up all are made anew, twice as long (`version` tells that, and every change of a
node that its numbers do not show: its coming and going, its labels and taints).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from sampan.scheduler.nodes import NodeInfo
from sampan.scheduler.pods import ALL_ADDRESSES, PodInfo, Port
from sampan.scheduler.resources import CPU, MEMORY

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]
Flags = npt.NDArray[np.bool_]
# Key, value and effect of each taint.
Taints = tuple[tuple[str, str, str], ...]

# From here on the kernel must not calculate in floating point: the sums of many pods must stay below 2^52 (kernel.c).
WIDE = 1 << 44


def longer(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """The same with zeros behind."""
    made = np.zeros(length, array.dtype)
    made[: len(array)] = array
    return made


class Column:
    """One number for each row, as array, and as `view`, by which single ones are read and written sooner.

    `at` is its address. A longer one takes its place when rows run out.
    """

    __slots__ = ("array", "at", "view")

    def __init__(self, length: int) -> None:
        self.take(np.zeros(length, np.int64))

    def take(self, array: Longs) -> None:
        self.array, self.view, self.at = array, array.data, array.ctypes.data

    def lengthen(self, length: int) -> None:
        self.take(longer(self.array, length))


class Domain:
    """A label key as a column: for each row the number of its value, 0 for rows without the label."""

    def __init__(self, key: str, length: int) -> None:
        self.key = key
        self.values: dict[str, int] = {}
        self.of_row: Ints = np.zeros(length, np.int32)

    @property
    def size(self) -> int:
        """How many domains there are, the 0th included; those that no node has any more too."""
        return len(self.values) + 1

    def put(self, row: int, value: str | None) -> None:
        number = 0 if value is None else self.values.setdefault(value, len(self.values) + 1)
        self.of_row[row] = number

    def lengthen(self, length: int) -> None:
        self.of_row = longer(self.of_row, length)


class Table:
    """The nodes. `nodes[row]` is the node of a row and `names[row]` its name, None and '' where it is free."""

    def __init__(self) -> None:
        self.capacity = 64
        self.rows = 0
        self.version = 0
        # By the name of each image, how often it came to a node, changed there, or went.
        self.images: dict[str, int] = {}
        # Whether some amount is too large for the kernel's quotients; it stays so.
        self.wide = False
        self.nodes: list[NodeInfo | None] = []
        self.names: list[str] = []
        self.row_of: dict[str, int] = {}
        self.pods, self.max_pods = Column(self.capacity), Column(self.capacity)
        # What pods take with defaults for cpu and memory, and how balanced the node is (see `balance`).
        self._non_zero_cpu, self._non_zero_memory = Column(self.capacity), Column(self.capacity)
        self.non_zero = {CPU: self._non_zero_cpu, MEMORY: self._non_zero_memory}
        self.without = Column(self.capacity)
        self.limit: dict[str, Column] = {}
        self.used: dict[str, Column] = {}
        for name in (CPU, MEMORY):
            self.add_resource(name)
        # Host ports in use: rows, with how many pods, by protocol and number, then by address.
        self.ports: dict[tuple[str, int], dict[str, dict[int, int]]] = {}
        self.domains: dict[str, Domain] = {}
        self.taints: list[Taints] = []
        self.taint_set: Ints = np.zeros(self.capacity, np.int32)
        self.unschedulable: Flags = np.zeros(self.capacity, np.bool_)
        self.alive: Flags = np.zeros(self.capacity, np.bool_)
        # Rows without cpu or memory, in order.
        self.odd: list[int] = []
        self._taint_numbers: dict[Taints, int] = {}
        self._free: list[int] = []
        # By row, what the version depends on.
        self._known: list[tuple[Any, ...]] = []

    # Columns

    def add_resource(self, name: str) -> None:
        """Columns for a resource that nothing has named before."""
        self.limit[name], self.used[name] = Column(self.capacity), Column(self.capacity)

    def limit_of(self, name: str) -> Column:
        if name not in self.limit:
            self.add_resource(name)
        return self.limit[name]

    def used_of(self, name: str) -> Column:
        self.limit_of(name)
        return self.used[name]

    def domain(self, key: str) -> Domain:
        """The column of a label key, made when first asked for."""
        found = self.domains.get(key)
        if found is None:
            found = self.domains[key] = Domain(key, self.capacity)
            for row, node in enumerate(self.nodes):
                if node is not None and key in node.labels:
                    found.put(row, node.labels[key])
        return found

    def _columns(self) -> Iterable[Column]:
        yield from (self.pods, self.max_pods, self.without)
        for columns in (self.non_zero, self.limit, self.used):
            yield from columns.values()

    def _lengthen(self) -> None:
        self.capacity *= 2
        for column in self._columns():
            column.lengthen(self.capacity)
        for domain in self.domains.values():
            domain.lengthen(self.capacity)
        self.taint_set = longer(self.taint_set, self.capacity)
        self.unschedulable = longer(self.unschedulable, self.capacity)
        self.alive = longer(self.alive, self.capacity)
        self.version += 1

    # Pods

    def count(self, row: int, pod: PodInfo, sign: int) -> None:
        """A pod came to a node, or left it."""
        self.pods.view[row] += sign
        used = self.used
        for name, amount in pod.requests.items():
            column = used.get(name) or self.used_of(name)
            column.view[row] += sign * amount
            if amount >= WIDE:
                self._note_wide()
        cpu, memory = pod.non_zero
        self._non_zero_cpu.view[row] += sign * cpu
        self._non_zero_memory.view[row] += sign * memory
        self.weigh(row)
        if pod.host_ports:
            for port in pod.host_ports:
                self._count_port(row, port, sign)

    def _note_wide(self) -> None:
        if not self.wide:
            self.wide = True
            self.version += 1

    def _count_port(self, row: int, port: Port, sign: int) -> None:
        protocol, address, number = port
        rows = self.ports.setdefault((protocol, number), {}).setdefault(address, {})
        rows[row] = rows.get(row, 0) + sign
        if not rows[row]:
            del rows[row]

    def taken(self, ports: Iterable[Port]) -> set[int]:
        """The rows where one of these ports is in use, at its address or at all."""
        found: set[int] = set()
        for protocol, address, number in ports:
            for other, rows in self.ports.get((protocol, number), {}).items():
                if address == other or ALL_ADDRESSES in (address, other):
                    found.update(rows)
        return found

    # Nodes

    def set_node(self, node: NodeInfo) -> tuple[int, bool]:
        """Take over a node, its sums of pods too if it is new; its row, and whether it is."""
        row, new = self._row(node.name)
        self.nodes[row], self.names[row] = node, node.name
        self._offer(row, node)
        if new:
            self._occupy(row, node)
        self._describe(row, node, new)
        self.weigh(row)
        return row, new

    def remove_node(self, name: str) -> int:
        """Free a node's row; answers which it was."""
        row = self.row_of.pop(name)
        for column in self._columns():
            column.array[row] = 0
        for domain in self.domains.values():
            domain.put(row, None)
        for addresses in self.ports.values():
            for rows in addresses.values():
                rows.pop(row, None)
        if self._known[row]:
            self._note_images(self._known[row][1], {})
        self.nodes[row], self.names[row], self._known[row], self.alive[row] = None, "", (), False
        self._free.append(row)
        self._note_odd(row, False)
        self.version += 1
        return row

    def _row(self, name: str) -> tuple[int, bool]:
        if name in self.row_of:
            return self.row_of[name], False
        if self._free:
            row = self._free.pop()
        else:
            row = self.rows
            if row == self.capacity:
                self._lengthen()
            self.rows += 1
            self.nodes.append(None)
            self.names.append("")
            self._known.append(())
        self.row_of[name] = row
        return row, True

    def _offer(self, row: int, node: NodeInfo) -> None:
        """What the node offers."""
        self.max_pods.array[row] = node.allowed_pods
        for name in self.limit.keys() | node.allocatable.keys():
            amount = node.allocatable.get(name, 0)
            self.limit_of(name).array[row] = amount
            if amount >= WIDE:
                self._note_wide()
        self._note_odd(row, not (node.allocatable.get(CPU) and node.allocatable.get(MEMORY)))

    def _occupy(self, row: int, node: NodeInfo) -> None:
        """What pods take of it already."""
        self.pods.array[row] = len(node.pods)
        self.non_zero[CPU].array[row], self.non_zero[MEMORY].array[row] = (
            node.non_zero_cpu,
            node.non_zero_memory,
        )
        for name, amount in node.requested.items():
            self.used_of(name).array[row] = amount
            if amount >= WIDE:
                self._note_wide()
        for port, pods in node.ports.items():
            if pods > 0:
                self._count_port(row, port, pods)

    def _describe(self, row: int, node: NodeInfo, new: bool) -> None:
        """Labels, taints and images: what scores and filters of whole kinds of pods are worked out from."""
        taints = tuple((t["key"], t.get("value") or "", t.get("effect") or "") for t in node.taints)
        known = (node.labels, taints, node.unschedulable)
        before, held = self._known[row] or (None, {})
        self._known[row] = (known, node.images)
        if held is not node.images:
            self._note_images(held, node.images)
        if not new and before == known:
            return
        self.version += 1
        self.alive[row], self.unschedulable[row] = True, node.unschedulable
        self.taint_set[row] = self._taint_number(taints)
        for key, domain in self.domains.items():
            domain.put(row, node.labels.get(key))

    def _note_images(self, before: dict[str, int], after: dict[str, int]) -> None:
        for name, _ in before.items() ^ after.items():
            self.images[name] = self.images.get(name, 0) + 1

    def images_version(self, names: Iterable[str]) -> int:
        """Grows when a node gets one of these images, or loses it."""
        return sum(self.images.get(name, 0) for name in names) if self.images else 0

    def _taint_number(self, taints: Taints) -> int:
        if taints not in self._taint_numbers:
            self._taint_numbers[taints] = len(self.taints)
            self.taints.append(taints)
        return self._taint_numbers[taints]

    def _note_odd(self, row: int, odd: bool) -> None:
        at = bisect.bisect_left(self.odd, row)
        there = at < len(self.odd) and self.odd[at] == row
        if odd and not there:
            self.odd.insert(at, row)
            self.version += 1
        elif there and not odd:
            del self.odd[at]
            self.version += 1

    def weigh(self, row: int) -> None:
        """Work out again how evenly cpu and memory of a node are in use (NodeResourcesBalancedAllocation)."""
        cpu, memory = self.limit[CPU].view[row], self.limit[MEMORY].view[row]
        if not cpu or not memory:
            self.without.view[row] = 100
            return
        some, other = self.used[CPU].view[row] / cpu, self.used[MEMORY].view[row] / memory
        some, other = 1.0 if some > 1.0 else some, 1.0 if other > 1.0 else other
        self.without.view[row] = int((1 - abs((some - other) / 2)) * 100)
