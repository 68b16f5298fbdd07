"""Opening a recording: a cluster without nodes, whose store is what was recorded up to a moment, only to be read."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from sampan.config import Config
from sampan.lifecycle.configure import Options, Unusable


def open_recording(config: Config, options: Options) -> Config:
    """Put the recording into the cluster's store; the configuration says so. Raises Unusable."""
    from sampan.store import recording
    from sampan.store.api import StoreError

    assert options.replay
    if (config.store.exists() or config.store_url) and not config.replay:
        raise Unusable(f"cluster {config.name!r} is no recording; give another --name")
    directory = config.store.parent
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        opened = recording.load(options.replay, config.store, _until(options.at))
    except StoreError as e:
        raise Unusable(str(e)) from e
    for path in directory.iterdir():
        os.chown(path, config.uid, config.gid)
    when = datetime.datetime.fromtimestamp(opened.time, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    told = f"a recording ({Path(options.replay).name}) as of {when}, revision {opened.revision}"
    return config.with_(replay=told, nodes=0)


def _until(at: str) -> Callable[[int, float], bool]:
    """Whether a write is at or before a moment: a revision, or seconds since the epoch; empty for the end."""
    if not at:
        return lambda revision, time: True
    if at.isdigit() and len(at) < 10:
        return lambda revision, time: revision <= int(at)
    return lambda revision, time: time <= float(at)
