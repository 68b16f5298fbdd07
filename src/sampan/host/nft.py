"""nftables through its own program: a script is one transaction, carried out whole or not at all.

Blocking calls, for a thread: starting `nft` takes about 3 ms. Source: nft(8), libnftables-json(5).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from sampan.host import netns


class NftError(Exception):
    """nft refused the script; the message says which line and why."""


def available() -> bool:
    return shutil.which("nft") is not None


def run(script: str, at: Path | None = None) -> None:
    """Carry out a script atomically in the network namespace held at `at`, or in the own one."""
    _nft(["-f", "-"], at, script)


def table(name: str, at: Path | None = None) -> list[dict[str, Any]] | None:
    """Everything in the IPv4 table `name`, in nft's JSON, or None where there is no such table."""
    if name not in tables(at):
        return None
    return _json(["list", "table", "ip", name], at)


def tables(at: Path | None = None) -> list[str]:
    """The names of all IPv4 tables."""
    return [t["table"]["name"] for t in _json(["list", "tables", "ip"], at) if "table" in t]


def chain(of: str, name: str, at: Path | None = None) -> list[dict[str, Any]] | None:
    """The rules of one chain in nft's JSON, or None where there is no such chain."""
    try:
        found = _json(["list", "chain", "ip", of, name], at)
    except NftError:
        return None
    return [r["rule"] for r in found if "rule" in r]


def delete_table(name: str) -> str:
    """A script line or two that delete a table whether or not it exists."""
    return f"add table ip {name}\ndelete table ip {name}\n"


def _json(words: list[str], at: Path | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_nft(["-j", *words], at))["nftables"]
    return found


def _nft(words: list[str], at: Path | None, script: str = "") -> bytes:
    try:
        done = netns.command(at, ["nft", *words], script.encode())
    except FileNotFoundError as e:
        raise NftError("nft is not installed; install the package nftables") from e
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise NftError(f"nft {' '.join(words)} failed: {said[:2000]}")
    return done.stdout
