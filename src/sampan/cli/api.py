"""The API of a cluster for the command line: the administrator's client, and plain GETs for what is no resource."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from sampan.cli.problem import Problem
from sampan.client.api import ApiError, Client, Unavailable
from sampan.config import Config

T = TypeVar("T")
Get = Callable[[str], Coroutine[Any, Any, bytes]]


def ask(config: Config, work: Callable[[Client, Get], Coroutine[Any, Any, T]]) -> T:
    """Run `work` with the cluster's client and a raw GET. What the server refuses becomes a Problem."""
    try:
        return asyncio.run(_ask(config, work))
    except ApiError as e:
        raise Problem(str(e)) from e
    except Unavailable as e:
        raise Problem(f"the API server does not answer: {e}; see `sampan status`") from e


async def _ask(config: Config, work: Callable[[Client, Get], Coroutine[Any, Any, T]]) -> T:
    from sampan.client import kubeconfig

    async with kubeconfig.load(config.kubeconfig) as client:

        async def get(target: str) -> bytes:
            answer: bytes = await client.raw("GET", target)
            return answer

        return await work(client, get)


def target(path: str, **parameters: str) -> str:
    """A request target with its query."""
    given = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items() if value)
    return f"{quote(path)}?{given}" if given else quote(path)


async def json(get: Get, path: str, **parameters: str) -> Any:
    """The JSON at a path."""
    return orjson.loads(await get(target(path, **parameters)))
