"""The calls of CRI v1, a file for each group: each handler takes the engine and a request, and gives the response.

`METHODS` is the whole table. Source: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sampan.engine.cri import containers, images, runtime, sandboxes, stats, streams

Handler = Callable[[Any, Any], Awaitable[Any]]

METHODS: Mapping[str, Handler] = {
    **sandboxes.METHODS,
    **containers.METHODS,
    **streams.METHODS,
    **stats.METHODS,
    **runtime.METHODS,
    **images.METHODS,
}
