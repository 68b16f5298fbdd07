"""Pods and containers of a real engine: they run, log, end, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.engine.running.running_pods import Pods, busybox, eventually, nothing_left

from sampan.engine.context import Logs
from sampan.engine.images.store import ImageStore
from sampan.host import mounts
from sampan.machinery.cri import CriError, messages

pytestmark = pytest.mark.root


async def test_a_container_runs_and_its_output_is_logged_in_the_cri_format(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "echo one; echo two >&2; exit 3")
    ended = await pods.ended(container)
    assert (ended.exit_code, ended.reason) == (3, "Error")
    assert ended.created_at < ended.started_at <= ended.finished_at
    lines = pods.log()
    assert sorted(line[1:] for line in lines) == [["stderr", "F", "two"], ["stdout", "F", "one"]]
    assert all(
        line[0].endswith("Z") and len(line[0]) == len("2026-01-02T03:04:05.000000000Z") for line in lines
    )


async def test_a_line_longer_than_sixteen_kilobytes_is_logged_in_parts(pods: Pods) -> None:
    container = await pods.run("sh", "-c", "head -c 40000 /dev/zero | busybox tr '\\0' x; echo; printf tail")
    await pods.ended(container)
    lines = pods.log()
    # The last has no end of line, and whoever reads it is to add none.
    assert [line[2] for line in lines] == ["P", "P", "F", "P"]
    assert len("".join(line[3] for line in lines[:3])) == 40000
    assert lines[3][3] == "tail"


async def test_the_pod_gives_name_resolution_memory_and_identity(pods: Pods) -> None:
    shown = await pods.output(
        "sh",
        "-c",
        "hostname; cat /etc/resolv.conf /etc/hosts; grep -c shm /proc/mounts; echo $FROM $HOSTNAME; id; pwd",
    )
    assert shown[0] == "pod-1"
    assert shown[1:3] == ["nameserver 192.0.2.53", "search example.test"]
    assert "127.0.0.1\tpod-1" in shown
    assert shown[-3:] == ["image pod-1", "uid=0(root) gid=0(root) groups=0(root)", "/"]


async def test_user_groups_and_working_directory_are_as_asked(pods: Pods) -> None:
    security = messages.LinuxContainerSecurityContext(
        run_as_username="app",
        supplemental_groups=[4000],
        namespace_options=messages.NamespaceOption(pid=messages.CONTAINER),
    )
    shown = await pods.output(
        "sh", "-c", "id; pwd; echo $HOME; echo >&2 ok", security=security, working_dir="/tmp/made"
    )
    assert shown[0] == "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra),4000"
    assert shown[1:3] == ["/tmp/made", "/home/app"]
    status = await pods.status(next(iter(pods.engine.containers.records)).id)
    assert (status.user.linux.uid, list(status.user.linux.supplemental_groups)) == (1000, [1000, 2000, 4000])


async def test_a_container_cannot_mount_or_see_the_host(pods: Pods) -> None:
    shown = await pods.output(
        "sh", "-c", "mount -t tmpfs x /tmp 2>&1; cat /proc/version | wc -c; touch /proc/sys/x 2>&1; ps | wc -l",
        security=messages.LinuxContainerSecurityContext(
            masked_paths=["/proc/version"],
            readonly_paths=["/proc/sys"],
            namespace_options=messages.NamespaceOption(pid=messages.CONTAINER),
        ),
    )  # fmt: skip
    assert "permission denied" in shown[0].lower()
    assert shown[1] == "0"
    assert "Read-only" in shown[2] or "No such file" in shown[2]
    assert int(shown[3]) < 8


async def test_volumes_are_mounted_read_only_or_writable(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "file").write_text("hello\n")
    kept = [
        messages.Mount(container_path="/ro", host_path=str(tmp_path / "given"), readonly=True),
        messages.Mount(container_path="/new/rw", host_path=str(tmp_path / "missing")),
    ]
    shown = await pods.output("sh", "-c", "cat /ro/file; touch /ro/x 2>&1; touch /new/rw/made", mounts=kept)
    assert shown[0] == "hello"
    assert "Read-only" in shown[1]
    assert (tmp_path / "missing" / "made").exists()


async def test_a_program_that_does_not_exist_fails_to_start_and_says_so(pods: Pods) -> None:
    container = await pods.create(await pods.pod(), "/no/such")
    with pytest.raises(CriError, match="no such file or directory"):
        await pods.call("StartContainer", container_id=container)
    status = await pods.status(container)
    assert (status.state, status.exit_code, status.reason) == (messages.CONTAINER_EXITED, 128, "StartError")


async def test_stop_asks_first_and_kills_after_the_grace_period(pods: Pods) -> None:
    polite = await pods.run("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done", name="polite")
    rude = await pods.run("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", name="rude")
    await asyncio.sleep(0.3)
    await pods.call("StopContainer", container_id=polite, timeout=10)
    assert (await pods.status(polite)).exit_code == 7
    await pods.call("StopContainer", container_id=rude, timeout=1)
    assert (await pods.status(rude)).exit_code == 137
    # Again, and for what never was: nothing to do.
    await pods.call("StopContainer", container_id=rude, timeout=1)
    await pods.call("StopContainer", container_id="unknown", timeout=1)


async def test_a_container_that_exceeds_its_memory_is_reported_as_oom_killed(pods: Pods) -> None:
    linux = messages.LinuxContainerConfig(
        resources=messages.LinuxContainerResources(memory_limit_in_bytes=16 << 20),
        security_context=messages.LinuxContainerSecurityContext(
            namespace_options=messages.NamespaceOption(pid=messages.CONTAINER)
        ),
    )
    container = await pods.run("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1", linux=linux)
    ended = await pods.ended(container)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


async def test_limits_can_be_changed_while_it_runs(pods: Pods) -> None:
    container = await pods.run("sleep", "1000")
    wanted = messages.LinuxContainerResources(memory_limit_in_bytes=64 << 20, cpu_shares=512)
    await pods.call("UpdateContainerResources", container_id=container, linux=wanted)
    record = pods.engine.containers.records.get(container)
    assert record
    stats = (await pods.call("ContainerStats", container_id=container)).stats
    assert stats.memory.available_bytes.value < 64 << 20
    assert stats.memory.usage_bytes.value > 0
    assert (await pods.status(container)).resources.linux.cpu_shares == 512


async def test_containers_of_a_pod_can_share_their_processes(pods: Pods) -> None:
    pod = await pods.pod(pid=messages.POD)
    await pods.run("sleep", "1000", pod=pod, name="first", pid=messages.POD)
    second = await pods.run("ps", pod=pod, name="second", pid=messages.POD)
    await pods.ended(second)
    assert any("sleep 1000" in line[3] for line in pods.log("second"))
    assert (await pods.call("PodSandboxStatus", pod_sandbox_id=pod)).status.state == messages.SANDBOX_READY


async def test_another_containers_processes_can_be_targeted(pods: Pods) -> None:
    pod = await pods.pod()
    first = await pods.run("sleep", "1000", pod=pod, name="first")
    security = messages.LinuxContainerSecurityContext(
        namespace_options=messages.NamespaceOption(pid=messages.TARGET, target_id=first)
    )
    await pods.ended(await pods.run("ps", pod=pod, name="second", security=security))
    assert any("sleep 1000" in line[3] for line in pods.log("second"))


async def test_a_pod_on_the_hosts_network_has_the_hosts_name(pods: Pods) -> None:
    pod = await pods.pod(network=messages.NODE)
    await pods.ended(await pods.run("cat", "/proc/sys/kernel/hostname", pod=pod))
    assert pods.log()[0][3] == os.uname().nodename
    assert not pods.network.attached


async def test_a_privileged_container_has_the_devices_and_may_mount(pods: Pods) -> None:
    pod = await pods.pod()
    security = messages.LinuxContainerSecurityContext(
        privileged=True, namespace_options=messages.NamespaceOption(pid=messages.CONTAINER)
    )
    await pods.ended(
        await pods.run(
            "sh", "-c", "mount -t tmpfs x /tmp && echo yes; ls /dev/kmsg", pod=pod, security=security
        )
    )
    assert [line[3] for line in pods.log()] == ["yes", "/dev/kmsg"]


async def test_sysctls_reach_only_the_pods_own_namespaces(pods: Pods) -> None:
    config = pods.pod_config()
    config.linux.sysctls["vm.swappiness"] = "1"
    with pytest.raises(CriError, match="not namespaced"):
        await pods.call("RunPodSandbox", config=config)
    config = pods.pod_config()
    config.linux.sysctls["net.ipv4.ip_unprivileged_port_start"] = "80"
    pod = (await pods.call("RunPodSandbox", config=config)).pod_sandbox_id
    await pods.ended(await pods.run("cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", pod=pod))
    assert pods.log()[0][3] == "80"


async def test_lists_are_filtered_by_state_pod_and_labels(pods: Pods) -> None:
    pod, other = await pods.pod(), await pods.pod()
    container = await pods.run("sleep", "1000", pod=pod, labels={"a": "b"})
    await pods.create(other, "sleep", "1000", name="waiting")

    async def ids(**fields: object) -> list[str]:
        found = await pods.call("ListContainers", filter=messages.ContainerFilter(**fields))
        return [c.id for c in found.containers]

    assert len(await ids()) == 2
    assert (
        await ids(pod_sandbox_id=pod) == await ids(label_selector={"a": "b"}) == await ids(id=container[:12])
    )
    assert await ids(state=messages.ContainerStateValue(state=messages.CONTAINER_RUNNING)) == [container]
    pods_found = await pods.call(
        "ListPodSandbox", filter=messages.PodSandboxFilter(label_selector={"app": "pod-2"})
    )
    assert [p.id for p in pods_found.items] == [other]


async def test_removing_a_pod_removes_everything(pods: Pods, home: Path) -> None:
    pod = await pods.pod(pid=messages.POD)
    container = await pods.run("sleep", "1000", pod=pod, pid=messages.POD)
    await pods.call("StopPodSandbox", pod_sandbox_id=pod)
    await pods.call("StopPodSandbox", pod_sandbox_id=pod)
    assert (await pods.status(container)).state == messages.CONTAINER_EXITED
    assert (await pods.call("PodSandboxStatus", pod_sandbox_id=pod)).status.state == messages.SANDBOX_NOTREADY
    await pods.call("RemovePodSandbox", pod_sandbox_id=pod)
    await pods.call("RemovePodSandbox", pod_sandbox_id=pod)
    assert nothing_left(pods, home)
    with pytest.raises(CriError, match="not found"):
        await pods.status(container)


async def test_events_tell_each_step_of_a_container(pods: Pods) -> None:
    pod = await pods.pod()
    seen: list[tuple[str, int]] = []

    async def listen() -> None:
        async for event in pods.engine.events():
            seen.append((event.pod_sandbox_status.id, event.container_event_type))

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    container = await pods.run("true", pod=pod)
    await pods.ended(container)
    await pods.call("RemoveContainer", container_id=container)
    await asyncio.sleep(0.05)
    listening.cancel()
    assert seen == [
        (pod, messages.CONTAINER_CREATED_EVENT),
        (pod, messages.CONTAINER_STARTED_EVENT),
        (pod, messages.CONTAINER_STOPPED_EVENT),
        (pod, messages.CONTAINER_DELETED_EVENT),
    ]


async def test_a_flood_of_output_is_rotated_and_harms_nobody(home: Path, cgroup: str) -> None:
    store = ImageStore(home / "images")
    busybox(store)
    pods = Pods(home, cgroup, store, Logs(size=1 << 20, files=3))
    await pods.start()
    flood = await pods.run("yes", name="flood")
    await pods.ended(await pods.run("echo", "calm", name="calm"))
    assert pods.log("calm")[0][3] == "calm"
    await eventually((home / "logs" / "flood.log.2").exists)
    await pods.call("StopContainer", container_id=flood, timeout=0)
    sizes = {p.name: p.stat().st_size for p in (home / "logs").glob("flood*")}
    assert set(sizes) == {"flood.log", "flood.log.1", "flood.log.2"}
    assert max(sizes.values()) <= 1 << 20
    assert all(line[1:] == ["stdout", "F", "y"] for line in pods.log("flood"))
    await pods.engine.stop_all(0)
    await pods.engine.close()
    assert nothing_left(pods, home)


async def test_a_log_that_was_moved_away_is_opened_anew(pods: Pods, home: Path) -> None:
    container = await pods.run("sh", "-c", "echo one; while [ ! -e /tmp/go ]; do sleep 0.02; done; echo two")
    log = home / "logs" / "main.log"
    await eventually(log.read_text)
    log.rename(home / "logs" / "old.log")
    await pods.call("ReopenContainerLog", container_id=container)
    await pods.call("ExecSync", container_id=container, cmd=["touch", "/tmp/go"])
    await pods.ended(container)
    assert [line[3] for line in pods.log()] == ["two"]


async def test_status_and_version_say_what_this_is(pods: Pods) -> None:
    status = await pods.call("Status", verbose=True)
    assert {c.type: c.status for c in status.status.conditions} == {
        "RuntimeReady": True,
        "NetworkReady": True,
    }
    assert "runtimeVersion" in status.info["info"]
    version = await pods.call("Version")
    assert (version.runtime_name, version.runtime_api_version) == ("sampan", "v1")
    assert (await pods.call("RuntimeConfig")).linux.cgroup_driver == messages.CGROUPFS
    with pytest.raises(CriError) as refused:
        await pods.call("CheckpointContainer")
    assert refused.value.code == "UNIMPLEMENTED"


async def test_a_full_disk_cuts_the_log_between_lines_and_nothing_else(pods: Pods, home: Path) -> None:
    (home / "logs").mkdir()
    mounts.mount("none", home / "logs", "tmpfs", data="size=256k")
    container = await pods.run("seq", "1", "100000")
    assert (await pods.ended(container)).exit_code == 0
    lines = pods.log()
    assert 1000 < len(lines) < 100000
    assert all(line[1:3] == ["stdout", "F"] and line[3].isdigit() for line in lines)


async def test_a_full_disk_keeps_no_container_from_ending_and_being_removed(home: Path, cgroup: str) -> None:
    store = ImageStore(home / "images")
    busybox(store)
    (home / "root").mkdir()
    mounts.mount("none", home / "root", "tmpfs", data="size=128k")
    pods = Pods(home, cgroup, store)
    await pods.start()
    pod = await pods.pod()
    container = await pods.run("sleep", "1000", pod=pod)
    with pytest.raises(OSError, match="space"):
        (home / "root" / "filler").write_bytes(bytes(1 << 20))
    with pytest.raises(CriError, match="No space left"):
        await pods.pod()
    await pods.call("StopContainer", container_id=container, timeout=0)
    assert (await pods.status(container)).exit_code == 137
    await pods.call("StopPodSandbox", pod_sandbox_id=pod)
    await pods.call("RemovePodSandbox", pod_sandbox_id=pod)
    await pods.engine.close()
    mounts.unmount(home / "root")
    for directory in ("root/sandboxes", "root/containers"):
        (home / directory).mkdir()
    assert nothing_left(pods, home)


async def test_a_missing_runtime_is_a_condition_and_refuses_pods(home: Path, cgroup: str) -> None:
    pods = Pods(home, cgroup, ImageStore(home / "images"))
    pods.engine.context.runtime.command = "no-such-runtime"
    await pods.start()
    conditions = {c.type: c for c in (await pods.call("Status")).status.conditions}
    assert not conditions["RuntimeReady"].status
    assert "no-such-runtime is not installed" in conditions["RuntimeReady"].message
    with pytest.raises(CriError) as refused:
        await pods.pod()
    assert refused.value.code == "UNAVAILABLE"
    await pods.engine.close()
