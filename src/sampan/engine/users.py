"""Who a container's process is: names and numbers resolved in the image's own passwd and group files. Plain functions.

Sources: the OCI image specification (config.md, `User`), CRI's LinuxContainerSecurityContext, passwd(5),
group(5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class UnknownUser(Exception):
    """The image knows no such user or group; worded as Docker's."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A process's user, group and supplementary groups, and the home directory of the user (`/` where unknown)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a container asks for. `image_user` is the image's `USER[:GROUP]`; uid or name, where given, stand in for it.

    `strict` leaves out the memberships that the image's group file names.
    """

    image_user: str = ""
    uid: int | None = None
    name: str = ""
    gid: int | None = None
    groups: tuple[int, ...] = ()
    strict: bool = False


def resolve(wanted: Wanted, passwd: str, group: str) -> Identity:
    """The identity, by the contents of the image's /etc/passwd and /etc/group (empty where absent).

    Raises UnknownUser.
    """
    user, _, group_name = wanted.image_user.partition(":")
    if wanted.uid is not None or wanted.name:
        user, group_name = wanted.name or str(wanted.uid), ""
    entry = _find_user(user or "0", _entries(passwd, 7))
    groups = _entries(group, 4)
    if entry is None and not user.isdigit() and user:
        raise UnknownUser(f"unable to find user {user}: no matching entries in passwd file")
    uid = int(entry[2]) if entry else int(user or 0)
    gid = int(entry[3]) if entry else 0
    if group_name:
        gid = _group_id(group_name, groups)
    if wanted.gid is not None:
        gid = wanted.gid
    member_of = [] if wanted.strict or not entry else _memberships(entry[0], groups)
    found = dict.fromkeys([*([] if wanted.strict else [gid]), *member_of, *wanted.groups])
    return Identity(uid, gid, tuple(found), (entry[5] if entry else "") or "/")


def _entries(text: str, fields: int) -> list[list[str]]:
    """The well-formed lines of a colon-separated file; what is damaged is passed over."""
    found = []
    for line in text.splitlines():
        words = line.strip().split(":")
        if len(words) >= fields and words[2].isdigit():
            found.append(words)
    return found


def _find_user(user: str, entries: Sequence[list[str]]) -> list[str] | None:
    by_name = [e for e in entries if e[0] == user and e[3].isdigit()]
    by_number = [e for e in entries if e[2] == user and e[3].isdigit()]
    return next(iter(by_name or by_number), None)


def _group_id(name: str, groups: Sequence[list[str]]) -> int:
    for entry in groups:
        if entry[0] == name:
            return int(entry[2])
    if name.isdigit():
        return int(name)
    raise UnknownUser(f"unable to find group {name}: no matching entries in group file")


def _memberships(user: str, groups: Sequence[list[str]]) -> list[int]:
    return [int(entry[2]) for entry in groups if user in entry[3].split(",")]
