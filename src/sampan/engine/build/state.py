"""What a stage has become after some of its instructions: a configuration, layers, a history, and the key of all that.

Keys are chained: a step's key is a digest of the key before it, its text with variables expanded, and what it reads.
The same key means the same result, so a step that has been done is looked up instead.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampan.engine.images.content import write_file
from sampan.engine.images.model import (
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Platform,
    chain_ids,
    dump,
    hex_of,
    host_platform,
    make_manifest,
)
from sampan.engine.images.store import Image, ImageStore

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class State:
    """A stage in progress. `run` is the image's `config`; `arguments` are the ARGs declared so far."""

    key: str
    run: dict[str, Any] = field(default_factory=dict)
    platform: Platform = field(default_factory=host_platform)
    diff_ids: list[str] = field(default_factory=list)
    layers: list[Descriptor] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    arguments: dict[str, str | None] = field(default_factory=dict)
    created: str = ""
    author: str = ""
    command_set: bool = False  # whether this stage has given CMD itself

    @property
    def env(self) -> dict[str, str]:
        return dict(word.partition("=")[::2] for word in self.run.get("Env") or [])

    @property
    def variables(self) -> dict[str, str]:
        """What `$name` means here: environment over arguments."""
        return {k: v for k, v in self.arguments.items() if v is not None} | self.env

    @property
    def shell(self) -> list[str]:
        return list(self.run.get("Shell") or ["/bin/sh", "-c"])

    @property
    def workdir(self) -> str:
        return self.run.get("WorkingDir") or "/"

    @property
    def chain(self) -> list[str]:
        return chain_ids(self.diff_ids)

    def set_env(self, name: str, value: str) -> None:
        env = self.env
        env[name] = value
        self.run["Env"] = [f"{k}={v}" for k, v in env.items()]

    def advance(self, *parts: str) -> str:
        """The key of a step from here."""
        return digest_words(self.key, *parts)


def digest_words(*parts: str) -> str:
    """A digest of several texts, such that no two lists share one."""
    return hashlib.sha256(
        "".join(f"{len(p)}:{p}" for p in parts).encode(errors="surrogateescape")
    ).hexdigest()


def start(image: Image | None, platform: Platform) -> State:
    """Where a stage begins: at an image, or at nothing (`FROM scratch`)."""
    if image is None:
        return State(digest_words("scratch", str(platform)), {"Env": [PATH]}, platform)
    return State(
        image.id,
        copy.deepcopy(image.config.run),
        image.config.platform,
        image.config.diff_ids,
        list(image.manifest.layers),
        list(image.config.raw.get("history") or []),
        created=image.config.created,
    )


def branch(state: State) -> State:
    """A copy for a stage that begins where another has ended; arguments do not carry over."""
    twin = copy.deepcopy(state)
    twin.arguments, twin.command_set = {}, False
    return twin


def finish(store: ImageStore, state: State, names: Sequence[Any]) -> Image:
    """Write the image. Call while the store is `adding`."""
    document: dict[str, Any] = {"created": state.created} if state.created else {}
    if state.author:
        document["author"] = state.author
    document |= {"architecture": state.platform.architecture, "os": state.platform.os}
    if state.platform.variant:
        document["variant"] = state.platform.variant
    document |= {
        "config": state.run,
        "rootfs": {"type": "layers", "diff_ids": state.diff_ids},
        "history": state.history,
    }
    config = store.blobs.put(dump(document), OCI_CONFIG)
    manifest = store.blobs.put(make_manifest(config, state.layers))
    return store.put(manifest.digest, names)


@dataclass(frozen=True, slots=True)
class Done:
    """A step's recorded result: its layer, or none where it changed no file, and when it ran."""

    created: str
    diff_id: str = ""
    layer: Descriptor | None = None


def recall(store: ImageStore, state: State, key: str) -> Done | None:
    """What a step gave before, if that is still all here."""
    path = _file(store, key)
    try:
        raw = json.loads(path.read_bytes())
        os.utime(path)
    except (FileNotFoundError, ValueError):
        return None
    if not raw["layer"]:
        return Done(raw["created"])
    layer = Descriptor(OCI_LAYER, raw["layer"]["digest"], raw["layer"]["size"])
    chain = chain_ids([*state.diff_ids, raw["diff_id"]])
    if not store.blobs.has(layer.digest) or not store.layers.has(chain[-1]):
        return None
    return Done(raw["created"], raw["diff_id"], layer)


def record(store: ImageStore, state: State, key: str, done: Done) -> None:
    """Remember a step; `state` is what it began with. The collector keeps its content while it is used now and then."""
    raw = {
        "created": done.created,
        "diff_id": done.diff_id,
        "layer": done.layer.json() if done.layer else None,
        "diff_ids": [*state.diff_ids, *([done.diff_id] if done.diff_id else [])],
        "blobs": [x.digest for x in state.layers] + ([done.layer.digest] if done.layer else []),
    }
    write_file(_file(store, key), dump(raw), store.scratch, durable=False)


def apply(state: State, key: str, text: str, done: Done | None, created: str = "") -> None:
    """Go on behind a step; without `done` it was one that cannot change files."""
    state.key = key
    state.created = done.created if done else created or state.created
    entry: dict[str, Any] = {"created": state.created, "created_by": text}
    if done and done.layer:
        state.diff_ids.append(done.diff_id)
        state.layers.append(done.layer)
    else:
        entry["empty_layer"] = True
    state.history.append(entry)


def _file(store: ImageStore, key: str) -> Path:
    return store.cache / f"{hex_of('sha256:' + key)}.json"
