"""Names of kernel parameters."""

from __future__ import annotations

import pytest

from sampan.machinery import sysctls


@pytest.mark.parametrize(
    ("written", "dotted"),
    [
        ("kernel.shmmax", "kernel.shmmax"),
        ("kernel/shmmax", "kernel.shmmax"),
        ("net/ipv4/conf/eth0.1/forwarding", "net.ipv4.conf.eth0/1.forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net.ipv4.conf.eth0/1.forwarding"),
    ],
)
def test_the_first_separator_tells_which_one_separates(written: str, dotted: str) -> None:
    assert sysctls.dotted(written) == dotted


def test_names_and_namespaces() -> None:
    assert [n for n in ("foo-", "bar..", "a/b", "kernel.shm_rmid_forced") if sysctls.valid(n)] == [
        "a/b",
        "kernel.shm_rmid_forced",
    ]
    names = (
        "net/ipv4/ip_forward",
        "kernel.msgmax",
        "user.max_user_namespaces",
        "kernel.domainname",
        "vm.swappiness",
    )
    assert [sysctls.namespace(n) for n in names] == ["Net", "IPC", "User", "UTS", ""]
