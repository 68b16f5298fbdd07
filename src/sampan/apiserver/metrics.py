"""Counts and times of requests, under upstream's names.

Source: the reference "Kubernetes Metrics": apiserver_request_total, apiserver_request_duration_seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sampan.apiserver.call import Call

BUCKETS = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 60.0)
_UPPER = {"deletecollection": "DELETECOLLECTION", "create": "POST", "update": "PUT"}


class Metrics:
    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], list[float]] = {}

    def count(self, call: Call, code: int, seconds: float) -> None:
        """Note one request that took so many seconds."""
        resource = call.kind.resource if call.kind else ""
        if call.subresource:
            resource = f"{resource}/{call.subresource}"
        self._requests[call.verb, resource, code] += 1
        found = self._seconds.setdefault((call.verb, resource), [0.0] * (len(BUCKETS) + 2))
        found[-1] += seconds
        for n, bound in enumerate(BUCKETS):
            if seconds <= bound:
                found[n] += 1
                return
        found[len(BUCKETS)] += 1

    def text(self) -> str:
        """The Prometheus text format."""
        return "\n".join([*self._totals(), *self._histograms()]) + "\n"

    def _totals(self) -> Iterator[str]:
        yield "# HELP apiserver_request_total Requests by verb, resource and HTTP status."
        yield "# TYPE apiserver_request_total counter"
        for (verb, resource, code), count in sorted(self._requests.items()):
            yield f'apiserver_request_total{{{_labels(verb, resource)},code="{code}"}} {count}'

    def _histograms(self) -> Iterator[str]:
        name = "apiserver_request_duration_seconds"
        yield f"# HELP {name} How long requests took; of a watch, how long it took to begin."
        yield f"# TYPE {name} histogram"
        for (verb, resource), found in sorted(self._seconds.items()):
            labels, total = _labels(verb, resource), 0.0
            for bound, count in zip((*BUCKETS, "+Inf"), found[:-1], strict=True):
                total += count
                yield f'{name}_bucket{{{labels},le="{bound}"}} {int(total)}'
            yield f"{name}_sum{{{labels}}} {found[-1]:.6f}"
            yield f"{name}_count{{{labels}}} {int(total)}"


def _labels(verb: str, resource: str) -> str:
    whole, _, subresource = resource.partition("/")
    plural, _, group = whole.partition(".")
    said = _UPPER.get(verb, verb.upper())
    return f'verb="{said}",group="{group}",resource="{plural}",subresource="{subresource}"'
