"""Keeping this node in the API: its Node object, written when it changes, and its Lease, renewed every ten seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sampan.client.api import ApiError, Client, Unavailable
from sampan.host import trace
from sampan.machinery import conditions
from sampan.machinery.cri import CriError, messages
from sampan.machinery.objects import Object
from sampan.node import machine, node_object
from sampan.node.node_object import Self
from sampan.node.runtime import SERVICE, Runtime

log = logging.getLogger(__name__)
INTERVAL = 10.0
IMAGES = 6  # every how many intervals the list of images is looked at


class Registration:
    """`faults` are further reasons why the node is not ready, such as a runtime that does not answer."""

    def __init__(
        self, client: Client, runtime: Runtime, me: Self, root: Path, faults: Callable[[], list[str]]
    ):
        self._client, self._runtime, self._me, self._root, self._faults = client, runtime, me, root, faults
        self._node: Object = {}
        self._lease: Object = {}
        self._images: list[Any] = []
        self._round = 0
        self._now = asyncio.Event()
        self.ready = asyncio.Event()  # set once the API has the node as Ready

    @property
    def node(self) -> Object:
        """The Node as last written; empty before."""
        return self._node

    def hurry(self) -> None:
        """Something changed that the status should tell at once."""
        self._now.set()

    async def run(self) -> None:
        wait = 0.05
        while True:
            self._now.clear()
            try:
                with trace.span("report node", SERVICE, peer="kube-apiserver"):
                    await self._report()
                    await self._renew()
                wait = INTERVAL
                if conditions.is_true(self._node, "Ready"):
                    self.ready.set()
            except (ApiError, Unavailable) as e:
                log.info("node %s: %s", self._me.name, e)
                wait = min(wait * 2, 2.0) if wait < INTERVAL else 0.5
            try:
                async with asyncio.timeout(wait):
                    await self._now.wait()
            except TimeoutError:
                continue

    async def _report(self) -> None:
        if self._round % IMAGES == 0:
            await self._look_at_images()
        self._round += 1
        status = await self._status(self._node.get("status") or {})
        if not self._node:
            self._node = await self._register(status)
            status = await self._status(self._node.get("status") or {})
        patch = node_object.difference(self._node.get("status") or {}, status)
        if patch:
            try:
                self._node = await self._client.patch(
                    "nodes", self._me.name, "", {"status": patch}, type="strategic", subresource="status"
                )
            except ApiError as e:
                if e.code == 404:
                    self._node, self._lease = {}, {}
                raise
        if conditions.is_true(self._node, "Ready"):
            self.ready.set()

    async def _status(self, old: Object) -> Object:
        pressure = await asyncio.to_thread(machine.pressure, self._root)
        faults = [*self._faults(), *(await self._runtime.faults())]
        if self._runtime.version:
            self._me = replace(self._me, runtime=f"{self._runtime.name}://{self._runtime.version}")
        return node_object.status(self._me, pressure, faults, self._images, old, time.time())

    async def _look_at_images(self) -> None:
        try:
            self._images = list(
                (await self._runtime.cri.call("ListImages", messages.ListImagesRequest())).images
            )
        except CriError as e:
            log.info("images: %s", e)

    async def _register(self, status: Object) -> Object:
        """Create the Node, or take over the one that is there."""
        wanted = node_object.node(self._me, status)
        try:
            return await self._client.create("nodes", wanted)
        except ApiError as e:
            if e.reason != "AlreadyExists":
                raise
        found = await self._client.get("nodes", self._me.name)
        missing = {
            k: v
            for k, v in node_object.labels(self._me).items()
            if found["metadata"].get("labels", {}).get(k) != v
        }
        patch: Object = {"metadata": {"labels": missing}} if missing else {}
        if self._me.pod_cidr and found["spec"].get("podCIDR") != self._me.pod_cidr:
            patch["spec"] = wanted["spec"]
        return await self._client.patch("nodes", self._me.name, "", patch) if patch else found

    async def _renew(self) -> None:
        kind, now = "leases.coordination.k8s.io", time.time()
        wanted = node_object.lease(self._me, self._node["metadata"].get("uid", ""), now)
        if self._lease:
            try:
                self._lease = await self._client.update(kind, {**self._lease, "spec": wanted["spec"]})
                return
            except ApiError as e:
                if e.code not in (404, 409):
                    raise
        try:
            self._lease = await self._client.get(kind, self._me.name, "kube-node-lease")
            self._lease = await self._client.update(kind, {**self._lease, "spec": wanted["spec"]})
        except ApiError as e:
            if e.code != 404:
                raise
            self._lease = await self._client.create(kind, wanted)
