"""Control groups: figures and files as plain functions, then the real ones of this machine."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.host import cgroups
from sampan.host.cgroups import Cgroups, Limits, Usage


def test_limits_become_files_of_version_1() -> None:
    limits = Limits(cpu_shares=1, cpu_quota=50000, cpu_period=100000, memory=1 << 20, pids=-1, cpus="0")
    assert cgroups.v1_files(limits) == {
        "cpu/cpu.shares": "2",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/cpu.cfs_quota_us": "50000",
        "memory/memory.limit_in_bytes": "1048576",
        "pids/pids.max": "max",
        "cpuset/cpuset.cpus": "0",
    }


def test_limits_become_files_of_version_2() -> None:
    limits = Limits(
        cpu_shares=1024, cpu_quota=50000, memory=1 << 20, swap=3 << 20, pids=10, unified={"memory.high": "5"}
    )
    assert cgroups.v2_files(limits) == {
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "memory.max": "1048576",
        "memory.swap.max": "2097152",
        "pids.max": "10",
        "memory.high": "5",
    }
    assert cgroups.v2_files(Limits(cpu_quota=-1, memory=-1)) == {"cpu.max": "max 100000", "memory.max": "max"}
    assert cgroups.v2_files(Limits()) == {}


@given(st.integers(-5, 1 << 20), st.integers(-5, 1 << 20))
def test_weights_keep_the_order_of_shares_within_bounds(a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 1 <= cgroups.weight(low) <= cgroups.weight(high) <= 10000


def test_usage_is_read_from_files_of_version_1() -> None:
    stat = (
        "cache 1\ntotal_inactive_file 300\ntotal_rss 400\ntotal_pgfault 5\ntotal_pgmajfault 6\ntotal_swap 7\n"
    )
    files = {
        "cpuacct/cpuacct.usage": "123\n",
        "memory/memory.stat": stat + "hierarchical_memory_limit 9223372036854771712\n",
        "memory/memory.usage_in_bytes": "1000\n",
        "pids/pids.current": "3\n",
    }
    assert cgroups.v1_usage(files) == Usage(123, 1000, 700, 400, 0, 7, 5, 6, 3)
    assert cgroups.v1_usage({}) == Usage()


def test_usage_is_read_from_files_of_version_2() -> None:
    files = {
        "cpu.stat": "usage_usec 123\nuser_usec 1\n",
        "memory.stat": "anon 400\ninactive_file 300\npgfault 5\npgmajfault 6\n",
        "memory.current": "1000\n",
        "memory.max": "max\n",
        "memory.swap.current": "7\n",
        "pids.current": "3\n",
    }
    assert cgroups.v2_usage(files) == Usage(123000, 1000, 700, 400, 0, 7, 5, 6, 3)


def test_version_2_hands_controllers_down_and_kills_by_its_switch(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    groups = cgroups.detect(tmp_path)
    assert groups.version == 2
    groups.create("/a/b", Limits(pids=5))
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
    assert (tmp_path / "a" / "b" / "pids.max").read_text() == "5"
    assert groups.oom_file("/a/b") == tmp_path / "a" / "b" / "memory.events"
    (tmp_path / "a" / "cgroup.kill").write_text("")
    assert groups.kill("/a")
    assert (tmp_path / "a" / "cgroup.kill").read_text() == "1"


@pytest.fixture
def group() -> Iterator[tuple[Cgroups, str]]:
    groups, name = cgroups.detect(), f"/sampan-test-{secrets.token_hex(4)}"
    yield groups, name
    groups.kill(name)
    assert groups.remove(name)


@pytest.mark.root
def test_a_real_group_limits_counts_kills_and_goes(group: tuple[Cgroups, str]) -> None:
    groups, name = group
    groups.create(f"{name}/inner", Limits(memory=64 << 20, pids=20))
    groups.create(f"{name}/inner", Limits(memory=32 << 20))
    with subprocess.Popen(["sleep", "1000"]) as child:
        groups.add(f"{name}/inner", child.pid)
        assert groups.processes(name) == {child.pid}
        usage = groups.usage(f"{name}/inner")
        assert usage.pids == 1
        assert usage.memory_limit == 32 << 20
        assert not groups.remove(name, timeout=0)
        assert groups.kill(name, timeout=0) in (True, False)
        assert child.wait(10) == -9
    assert groups.kill(name)
    assert groups.oom_kills(f"{name}/inner") == 0
    assert groups.children(name) == {"inner"}
    assert groups.remove(name)
    assert not groups.exists(name)
    assert groups.usage(name) == Usage()
