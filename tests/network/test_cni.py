"""Other people's CNI plugins, played by small scripts that note how they were called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.network.machine import Machine, on_a_machine

from sampan.network import cni
from sampan.network.attachment import Bandwidth, NetworkError, PortMapping
from sampan.network.cni import CniNetwork

# A plugin that appends its call to a file and gives an address; it fails where the file `VERB-TYPE` exists.
PLUGIN = """#!/bin/sh
here=$(dirname "$0"); type=$(basename "$0"); config=$(cat)
printf '{"type": "%s", "command": "%s", "id": "%s", "netns": "%s", "args": "%s", "config": %s}\\n' \\
    "$type" "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_ARGS" "$config" >> "$here/calls"
if [ -e "$here/$CNI_COMMAND-$type" ]; then
    echo '{"cniVersion": "1.0.0", "code": 7, "msg": "no", "details": "not today"}'; exit 1
fi
[ "$CNI_COMMAND" = ADD ] && cat <<END
{"cniVersion": "1.0.0", "ips": [{"address": "10.99.0.5/24", "gateway": "10.99.0.1", "interface": 1}],
 "interfaces": [{"name": "veth1"}, {"name": "eth0", "mac": "0a:00:00:00:00:05", "sandbox": "$CNI_NETNS"}],
 "by": "$type"}
END
exit 0
"""


def network(directory: Path) -> CniNetwork:
    plugins, configurations = directory / "bin", directory / "net.d"
    for made in (plugins, configurations):
        made.mkdir()
    for name in ("first", "second"):
        (plugins / name).write_text(PLUGIN)
        (plugins / name).chmod(0o755)
    both = [{"type": "first", "mtu": 1400}, {"type": "second", "capabilities": {"portMappings": True}}]
    text = {"cniVersion": "1.0.0", "name": "mine", "plugins": both}
    (configurations / "10-mine.conflist").write_text(json.dumps(text))
    return CniNetwork(directory / "state", configurations=configurations, plugins=[plugins])


def calls(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / "bin" / "calls").read_text().splitlines()]


@on_a_machine
async def test_a_sandbox_is_attached_checked_and_detached(machine: Machine) -> None:
    net, path = network(machine.directory), machine.netns("pod")
    await net.start()
    got = await net.attach(
        "s1",
        path,
        namespace="shop",
        name="web",
        uid="u1",
        port_mappings=(PortMapping(80, 8080),),
        bandwidth=Bandwidth(ingress=10**6),
    )
    assert (got.addresses, got.gateway, got.mac) == (("10.99.0.5",), "10.99.0.1", "0a:00:00:00:00:05")
    assert (got.interface, got.host_interface) == ("eth0", "veth1")
    assert await net.attach("s1", path) == got, "again changes nothing"
    await net.check("s1")
    await net.detach("s1")
    await net.detach("s1")

    made = calls(machine.directory)
    assert [(c["command"], c["type"]) for c in made] == [
        ("ADD", "first"), ("ADD", "second"),
        ("CHECK", "first"), ("CHECK", "second"),
        ("DEL", "second"), ("DEL", "first"),
    ]  # fmt: skip
    first, second = made[0], made[1]
    assert first["config"] == {"type": "first", "mtu": 1400, "cniVersion": "1.0.0", "name": "mine"}
    assert second["config"]["prevResult"]["by"] == "first"  # type: ignore[index]
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    assert second["config"]["runtimeConfig"] == {"portMappings": ports}  # type: ignore[index]
    assert "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web" in str(first["args"])
    assert not list((machine.directory / "state").iterdir())


@on_a_machine
async def test_a_failed_add_is_taken_back(machine: Machine) -> None:
    net, path = network(machine.directory), machine.netns("pod")
    await net.start()
    (machine.directory / "bin" / "ADD-second").touch()
    with pytest.raises(NetworkError, match=r"second, ADD for sandbox s1: no; not today \(code 7\)"):
        await net.attach("s1", path)
    assert [c["command"] for c in calls(machine.directory)] == ["ADD", "ADD", "DEL", "DEL"]
    assert not list((machine.directory / "state").iterdir())


@on_a_machine
async def test_recover_detaches_what_nobody_knows_by_the_configuration_of_its_time(machine: Machine) -> None:
    net, path = network(machine.directory), machine.netns("pod")
    await net.start()
    await net.attach("s1", path)
    await net.attach("s2", path)
    (machine.directory / "net.d" / "10-mine.conflist").unlink()  # the administrator moved on
    again = CniNetwork(
        machine.directory / "state", configurations=machine.directory / "net.d", plugins=net._plugins
    )
    assert "no CNI network is configured" in again.problem()
    await again.recover({"s2"})
    assert [(c["command"], c["id"]) for c in calls(machine.directory)[-2:]] == [("DEL", "s1")] * 2
    assert [f.stem for f in (machine.directory / "state").iterdir()] == ["s2"]


@on_a_machine
async def test_a_plugin_that_is_not_installed(machine: Machine) -> None:
    net, path = network(machine.directory), machine.netns("pod")
    await net.start()
    (machine.directory / "bin" / "first").unlink()
    with pytest.raises(NetworkError, match=r"CNI plugin first of network mine is not in .*; install it"):
        await net.attach("s1", path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ({"cniVersion": "9.0.0", "name": "x", "plugins": [{"type": "a"}]}, "CNI version 9.0.0"),
        ({"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}, "no name"),
        ({"cniVersion": "1.0.0", "name": "x", "plugins": []}, "no plugins"),
    ],
)
def test_configurations_that_cannot_be_used(text: dict[str, object], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        cni.parse_network(text)
