"""The answer to a question in numpy: which plugin refuses which node, every raw and normalised score.

The same decisions as kernel.c, which says only who is best; this says why. It serves where there is no compiler, and
whoever asks for reasons.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from sampan.scheduler.columns.kinds import Kind
from sampan.scheduler.columns.questions import Near, Question, Share, Spread
from sampan.scheduler.columns.rules import Rules
from sampan.scheduler.columns.table import Flags, Longs, Table
from sampan.scheduler.framework import Code, Status
from sampan.scheduler.plugins.node_resources_fit import LEAST, RATIO
from sampan.scheduler.plugins.normal import broken_line
from sampan.scheduler.plugins.pod_topology_spread import MISMATCH
from sampan.scheduler.pods import Port
from sampan.scheduler.resources import CPU, MEMORY, STORAGE

UNSCHEDULABLE, UNRESOLVABLE = Code.UNSCHEDULABLE, Code.UNRESOLVABLE


@dataclass(slots=True)
class Refusals:
    """One plugin's verdicts: for each row the number of its status, -1 where it passes."""

    index: Longs
    statuses: list[Status] = field(default_factory=list)

    def put(self, rows: Flags, status: Status) -> None:
        """Refuse these rows, those that are refused already left out."""
        rows = rows & (self.index < 0)
        if rows.any():
            self.index[rows] = len(self.statuses)
            self.statuses.append(status)


@dataclass(slots=True)
class Scores:
    """By plugin and for each feasible row: raw scores, and normalised and weighted ones; and the sums of these."""

    raw: dict[str, Longs] = field(default_factory=dict)
    weighted: dict[str, Longs] = field(default_factory=dict)

    def put(self, name: str, raw: Longs, normal: Longs, weight: int) -> None:
        self.raw[name], self.weighted[name] = raw, normal * weight

    def total(self, rows: int) -> Longs:
        return sum(self.weighted.values(), np.zeros(rows, np.int64))


# Filters


def refusals(q: Question, kind: Kind, table: Table, ports: Collection[Port]) -> dict[str, Refusals]:
    """Every native filter's verdict on every row; filters that have nothing to say of the pod are left out."""
    n = table.rows
    names = ["NodeName", "NodeUnschedulable", "TaintToleration", "NodeResourcesFit"]
    names += (
        ["NodeAffinity"] * q.requires + ["NodePorts"] * bool(ports) + ["PodTopologySpread"] * bool(q.hard)
    )
    names += ["InterPodAffinity"] * _looks_at_pods(q)
    found = {name: Refusals(np.full(n, -1, np.int64)) for name in names}
    _put(found, "NodeUnschedulable", q.cordoned[:n], UNRESOLVABLE, "node(s) were unschedulable")
    _put(found, "TaintToleration", q.tainted[:n], UNRESOLVABLE, "node(s) had untolerated taint(s)")
    if q.added is not None:
        enforced = "node(s) didn't match scheduler-enforced node affinity"
        _put(found, "NodeAffinity", ~q.added[:n], UNRESOLVABLE, enforced)
    if q.requires:
        affinity = "node(s) didn't match Pod's node affinity/selector"
        _put(found, "NodeAffinity", ~q.allowed[:n], UNRESOLVABLE, affinity)
    if ports:
        taken = np.zeros(n, np.bool_)
        taken[list(table.taken(ports))] = True
        reason = "node(s) didn't have free ports for the requested pod ports"
        _put(found, "NodePorts", taken, UNSCHEDULABLE, reason)
    _fit(found["NodeResourcesFit"], q, kind, table)
    for spread in q.hard:
        _hard(found["PodTopologySpread"], spread, n)
    if "InterPodAffinity" in found:
        _near(found["InterPodAffinity"], q, n)
    return found


def _looks_at_pods(q: Question) -> bool:
    """Whether the pod has required terms to pods, or pods in some domain have one against it."""
    return bool(q.near or q.apart or any((one.counter.counts.array > 0).any() for one in q.unwanted))


def _put(found: dict[str, Refusals], name: str, rows: Flags, code: Code, reason: str) -> None:
    found[name].put(rows, Status(code, (reason,), name))


def _fit(found: Refusals, q: Question, kind: Kind, table: Table) -> None:
    """Each combination of what is short is one status."""
    n = table.rows
    lacks = [("Too many pods", table.pods.array[:n] >= table.max_pods.array[:n])]
    beyond = np.zeros(n, np.bool_)
    for share in _in_order(q.needs):
        want = kind.needs[share.name]
        short = want > share.limit.array[:n] - share.used.array[:n]
        lacks.append((f"Insufficient {share.name}", short))
        beyond |= short & (want > share.limit.array[:n])
    marks = sum(
        (flags.astype(np.int64) << bit for bit, (_, flags) in enumerate(lacks)), np.zeros(n, np.int64)
    )
    for mark in np.unique(marks[marks > 0]):
        reasons = tuple(reason for bit, (reason, _) in enumerate(lacks) if int(mark) >> bit & 1)
        for code, rows in ((UNRESOLVABLE, beyond), (UNSCHEDULABLE, ~beyond)):
            found.put((marks == mark) & rows, Status(code, reasons, "NodeResourcesFit"))


def _in_order(shares: tuple[Share, ...]) -> list[Share]:
    first = (CPU, MEMORY, STORAGE)
    return sorted(shares, key=lambda s: (first.index(s.name) if s.name in first else len(first), s.name))


def _hard(found: Refusals, s: Spread, n: int) -> None:
    domain, counts = s.domain.of_row[:n], s.counter.counts.array
    there = counts[s.present]
    least = int(there.min()) if len(there) and len(there) >= s.min_domains else 0
    missing = f"{MISMATCH} (missing required label)"
    found.put(domain == 0, Status(UNRESOLVABLE, (missing,), "PodTopologySpread"))
    skewed = np.where(s.present, counts, 0)[domain] + s.own - least > s.max_skew
    found.put(skewed, Status(UNSCHEDULABLE, (MISMATCH,), "PodTopologySpread"))


def _near(found: Refusals, q: Question, n: int) -> None:
    if q.near:
        there = np.ones(n, np.bool_)
        labelled = np.ones(n, np.bool_)
        for one in q.near:
            labelled &= one.domain.of_row[:n] > 0
            there &= _counted(one, n) > 0
        nobody = not any((one.counter.counts.array > 0).any() for one in q.near)
        refused = ~labelled if nobody and q.near_self else ~(labelled & there)
        reason = "node(s) didn't match pod affinity rules"
        found.put(refused, Status(UNRESOLVABLE, (reason,), "InterPodAffinity"))
    for listed, reason in (
        (q.apart, "node(s) didn't match pod anti-affinity rules"),
        (q.unwanted, "node(s) didn't satisfy existing pods anti-affinity rules"),
    ):
        for one in listed:
            found.put(_counted(one, n) > 0, Status(UNSCHEDULABLE, (reason,), "InterPodAffinity"))


def _counted(one: Near, n: int) -> Longs:
    counts: Longs = one.counter.counts.array[one.domain.of_row[:n]]
    return counts


# Scores


def scores(q: Question, kind: Kind, rules: Rules, table: Table, rows: Longs) -> Scores:
    """The native scores of the feasible `rows`."""
    found, weights = Scores(), rules.weights
    zero = np.zeros(len(rows), np.int64)
    if weight := weights["TaintToleration"]:
        raw = zero if q.taints is None else q.taints[rows].astype(np.int64)
        top = max(1, int(raw.max(initial=0)))
        found.put("TaintToleration", raw, 100 - 100 * raw // top, weight)
    if (weight := weights["NodeAffinity"]) and q.prefers:
        raw = zero if q.affinity is None else q.affinity[rows].astype(np.int64)
        top = max(1, int(raw.max(initial=0)))
        found.put("NodeAffinity", raw, 100 * raw // top, weight)
    if weight := weights["NodeResourcesFit"]:
        raw = _fit_score(q, kind, rules, rows)
        found.put("NodeResourcesFit", raw, raw, weight)
    if q.softs:
        raw, normal = _spread_score(q, rows)
        found.put("PodTopologySpread", raw, normal, weights["PodTopologySpread"])
    if any((one.counter.counts.array != 0).any() for one in q.terms):
        raw = sum((one.weight * one.counter.counts.array[one.domain.of_row[rows]] for one in q.terms), zero)
        found.put("InterPodAffinity", raw, _spanned(raw), weights["InterPodAffinity"])
    if (weight := weights["NodeResourcesBalancedAllocation"]) and q.balances:
        before, after = _balance(q, rows, {}), _balance(q, rows, kind.takes)
        raw = 50 + (50 + after - before) // 2
        found.put("NodeResourcesBalancedAllocation", raw, raw, weight)
    if weight := weights["ImageLocality"]:
        raw = zero if q.images is None else q.images[rows]
        found.put("ImageLocality", raw, raw, weight)
    return found


def _fit_score(q: Question, kind: Kind, rules: Rules, rows: Longs) -> Longs:
    strategy = rules.fit.strategy
    shape = np.array([broken_line(rules.fit.shape, n) for n in range(101)]) if strategy == RATIO else None
    total, weights = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    for share in q.fit:
        limit = share.limit.array[rows]
        used, there = share.used.array[rows] + kind.fit.get(share.name, 0), np.maximum(limit, 1)
        kept = np.minimum(used, there)
        if shape is not None:
            score = shape[np.where(used > there, 100, kept * 100 // there)]
            counts = (limit > 0) & (score > 0)
        else:
            score = (there - kept if strategy == LEAST else kept) * 100 // there
            counts = limit > 0
        total += np.where(counts, score * share.weight, 0)
        weights += np.where(counts, share.weight, 0)
    divisor = np.maximum(weights, 1)
    if shape is not None:
        return _rounded(total / divisor)
    found: Longs = total // divisor
    return found


def _rounded(numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Longs:
    """The nearest whole numbers, halves upwards; the numbers are not negative."""
    whole = np.trunc(numbers)
    return (whole + (numbers - whole >= 0.5)).astype(np.int64)


def _balance(q: Question, rows: Longs, takes: dict[str, int]) -> Longs:
    shares, counted = [], []
    for share in q.balance:
        limit = share.limit.array[rows]
        used = share.used.array[rows] + takes.get(share.name, 0)
        counted.append(limit > 0)
        shares.append(np.where(limit > 0, np.minimum(1.0, used / np.maximum(limit, 1)), 0.0))
    found: Longs = np.full(len(rows), 100, np.int64)
    for row_kind in np.unique(np.array(counted).T, axis=0) if counted else ():
        same = np.all(row_kind == np.array(counted).T, axis=1)
        chosen = [share[same] for share, there in zip(shares, row_kind, strict=True) if there]
        found[same] = _evenness(chosen, int(same.sum()))
    return found


def _evenness(shares: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]], n: int) -> Longs:
    deviation = np.zeros(n)
    if len(shares) == 2:
        deviation = np.abs((shares[0] - shares[1]) / 2)
    elif len(shares) > 2:
        mean = sum(shares, np.zeros(n)) / float(len(shares))
        squares = sum(((share - mean) * (share - mean) for share in shares), np.zeros(n))
        deviation = np.sqrt(squares / float(len(shares)))
    return ((1 - deviation) * 100.0).astype(np.int64)


def _spread_score(q: Question, rows: Longs) -> tuple[Longs, Longs]:
    """Nodes that lack a label, where all are wanted, score 0."""
    counts = np.ones(len(rows), np.bool_)
    for s in q.softs if q.soft_all else ():
        counts &= s.domain.of_row[rows] > 0
    points = np.zeros(len(rows))
    for s in q.softs:
        points += _points(s, rows, counts)
    raw = np.where(counts, _rounded(points), 0)
    least, most = int(raw[counts].min(initial=1 << 62)), int(raw[counts].max(initial=0))
    if most == 0:
        return raw, np.where(counts, 100, 0)
    return raw, np.where(counts, 100 * (most + least - raw) // most, 0)


def _points(s: Spread, rows: Longs, counted: Flags) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    domain = s.domain.of_row[rows]
    if s.counter.domain is None:
        size, pods = int(counted.sum()), s.counter.counts.array[rows]
    else:
        size, pods = len(np.unique(domain[counted])), s.counter.counts.array[domain]
    return np.where(domain > 0, pods * math.log(float(size + 2)) + float(s.max_skew - 1), 0.0)


def _spanned(raw: Longs) -> Longs:
    """The least becomes 0, the most 100."""
    least, most = int(raw.min(initial=0 if not len(raw) else 1 << 62)), int(raw.max(initial=-(1 << 62)))
    if most <= least:
        return np.zeros(len(raw), np.int64)
    return (100.0 * ((raw - least) / float(most - least))).astype(np.int64)
