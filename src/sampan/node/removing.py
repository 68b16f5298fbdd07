"""Removing directories in which something may be mounted."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from sampan.host import mounts

log = logging.getLogger(__name__)


def remove(*paths: Path) -> None:
    """Remove directories after everything that is mounted below them; never what a mount shows. Blocks."""
    there = [path for path in paths if path.exists()]
    if not there:
        return
    mounted = [m.target for m in mounts.all()]
    for path in there:
        if any(_within(target, path) for target in mounted):
            mounts.unmount_below(path)
            if left := mounts.below(path):
                log.warning("%s stays: %s is still mounted", path, left[0].target)
                continue
        shutil.rmtree(path, ignore_errors=True)


def _within(target: str, path: Path) -> bool:
    return target == str(path) or target.startswith(f"{path}/")
