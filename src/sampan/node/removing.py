"""Removing directories in which something may be mounted."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from sampan.host import mounts

log = logging.getLogger(__name__)


def remove_directory(path: Path) -> None:
    """Remove a directory after everything that is mounted below it; never what a mount shows."""
    if not path.exists():
        return
    mounts.unmount_below(path)
    if left := mounts.below(path):
        log.warning("%s stays: %s is still mounted", path, left[0].target)
        return
    shutil.rmtree(path, ignore_errors=True)
