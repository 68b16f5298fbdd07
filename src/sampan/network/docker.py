"""Living beside an installed Docker, whose FORWARD chain drops what it does not know.

A drop in any base chain is final, whatever other tables accept. Docker leaves the chain DOCKER-USER to others and
runs it first, so there we accept what comes from or goes to our pods. Where `iptables` is installed (Docker needs it),
it is asked to write the rule, so that it can read the chain afterwards; else nft is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from sampan.config import Ranges
from sampan.host import netns, nft

TABLE, CHAIN = "filter", "DOCKER-USER"
LINKS = ("docker", "br-")  # how Docker calls its bridges


def admit(ranges: Ranges, at: Path | None = None) -> bool:
    """Let our traffic pass Docker's firewall, if there is one; returns whether there is. Idempotent; blocks.

    `at` is the network namespace, None for the own one.
    """
    if shutil.which("iptables"):
        return _admit_iptables(ranges, at)
    rules = nft.chain(TABLE, CHAIN, at)
    if rules is None:
        return False
    missing = [d for d in ("saddr", "daddr") if _comment(ranges, d) not in {r.get("comment") for r in rules}]
    line = 'insert rule ip {} {} ip {} {} accept comment "{}"\n'
    if missing:
        nft.run("".join(line.format(TABLE, CHAIN, d, ranges.pods, _comment(ranges, d)) for d in missing), at)
    return True


def dismiss(ranges: Ranges) -> None:
    """Take our rules back. Idempotent; blocks."""
    if shutil.which("iptables"):
        for direction in ("saddr", "daddr"):
            while _iptables("-D", ranges, direction, None):
                pass
    elif nft.available():
        ours = {_comment(ranges, d) for d in ("saddr", "daddr")}
        found = [r["handle"] for r in nft.chain(TABLE, CHAIN) or () if r.get("comment") in ours]
        if found:
            nft.run("".join(f"delete rule ip {TABLE} {CHAIN} handle {h}\n" for h in found))


def _admit_iptables(ranges: Ranges, at: Path | None) -> bool:
    if netns.command(at, ["iptables", "-w", "-S", CHAIN]).returncode:
        return False
    for direction in ("saddr", "daddr"):
        if not _iptables("-C", ranges, direction, at):
            _iptables("-I", ranges, direction, at)
    return True


def _iptables(verb: str, ranges: Ranges, direction: str, at: Path | None) -> bool:
    match = ["-s" if direction == "saddr" else "-d", ranges.pods]
    comment = ["-m", "comment", "--comment", _comment(ranges, direction)]
    done = netns.command(at, ["iptables", "-w", verb, CHAIN, *match, *comment, "-j", "ACCEPT"])
    return done.returncode == 0


def _comment(ranges: Ranges, direction: str) -> str:
    return f"{ranges.table} {direction}"
