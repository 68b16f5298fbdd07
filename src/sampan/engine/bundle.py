"""What has to be looked up on this machine before a container's spec can be made.

All of it blocks: use a thread.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sampan.engine import users
from sampan.engine.spec import DeviceNode, SpecError
from sampan.host import files
from sampan.machinery.cri import messages


def identity(config: Any, image: dict[str, Any], rootfs: Path) -> users.Identity:
    """Who the container's process is. Raises users.UnknownUser."""
    security = config.linux.security_context
    wanted = users.Wanted(
        image_user=image.get("User") or "",
        uid=security.run_as_user.value if security.HasField("run_as_user") else None,
        name=security.run_as_username,
        gid=security.run_as_group.value if security.HasField("run_as_group") else None,
        groups=tuple(security.supplemental_groups),
        strict=security.supplemental_groups_policy == messages.Strict,
    )
    return users.resolve(
        wanted, files.read_inside(rootfs, "etc/passwd"), files.read_inside(rootfs, "etc/group")
    )


def devices(config: Any) -> list[DeviceNode]:
    """The devices asked for; every one of the host for a privileged container. Raises SpecError."""
    found: dict[str, DeviceNode] = {}
    if config.linux.security_context.privileged:
        for directory, inside, names in os.walk("/dev"):
            inside[:] = [d for d in inside if d not in ("pts", "shm", "mqueue", "fd", ".lxc", ".udev")]
            for name in names:
                path = os.path.join(directory, name)
                if path != "/dev/console" and (node := _device(path, path, "rwm")):
                    found[path] = node
    for wanted in config.devices:
        node = _device(wanted.host_path, wanted.container_path, wanted.permissions or "rwm")
        if not node:
            raise SpecError(f"{wanted.host_path} is no device of this node")
        found[wanted.container_path] = node
    return list(found.values())


def _device(source: str, target: str, access: str) -> DeviceNode | None:
    try:
        found = os.stat(source)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        return None
    numbers = os.major(found.st_rdev), os.minor(found.st_rdev)
    return DeviceNode(target, kind, *numbers, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, access)


def sources(config: Any, images: Callable[[int, str], Path]) -> dict[str, str]:
    """What stands on this machine behind each mount, by its path in the container.

    A host path that is missing is made, as a directory. `images` mounts an image, the container's n-th mount, and
    returns where. Raises SpecError, and what `images` raises.
    """
    found = {}
    for number, mount in enumerate(config.mounts):
        if mount.image.image:
            found[mount.container_path] = _inside(images(number, mount.image.image), mount.image_sub_path)
            continue
        path = os.path.realpath(mount.host_path)
        try:
            if not os.path.exists(path):
                os.makedirs(path, exist_ok=True)
        except OSError as e:
            raise SpecError(f"cannot make the host path {mount.host_path} of a mount: {e.strerror}") from e
        found[mount.container_path] = path
    return found


def _inside(root: Path, part: str) -> str:
    """A part of an image, which no link leads out of. Raises SpecError."""
    path = os.path.realpath(root / part)
    if os.path.commonpath([path, root]) != str(root) or not os.path.exists(path):
        raise SpecError(f"the image to be mounted has no path {part!r}")
    return path


def profile(config: Any) -> dict[str, Any] | None:
    """The seccomp profile that a file of this node holds, where the container asks for one.

    Raises SpecError.
    """
    security = config.linux.security_context
    if security.seccomp.profile_type != messages.SecurityProfile.Localhost or not security.HasField(
        "seccomp"
    ):
        return None
    path = security.seccomp.localhost_ref
    try:
        found: dict[str, Any] = json.loads(Path(path).read_bytes())
    except (OSError, ValueError) as e:
        raise SpecError(f"cannot load seccomp profile {path}: {e}") from e
    return found
