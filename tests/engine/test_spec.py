"""What the runtime is told: decided from plain values."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.engine import seccomp, signals, spec
from sampan.engine.spec import Given, Machine
from sampan.engine.users import Identity, UnknownUser, Wanted, resolve
from sampan.machinery.cri import messages

ALL = ("CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT")


def given(config: Any = None, **changes: Any) -> Given:
    defaults: dict[str, Any] = {
        "config": config or messages.ContainerConfig(command=["true"]),
        "image": {
            "Env": ["PATH=/image", "A=image"],
            "Entrypoint": ["/entry"],
            "Cmd": ["arg"],
            "WorkingDir": "/work",
        },
        "rootfs": "/rootfs",
        "identity": Identity(1000, 1000, (1000,), "/home/app"),
        "machine": Machine(ALL, open_files=4096, oom_score_adj=-10, cgroup_version=1),
        "cgroup": "/pod/one",
        "namespaces": {"network": "/run/net", "pid": ""},
    }
    return Given(**{**defaults, **changes})


def security(**fields: Any) -> Any:
    linux = messages.LinuxContainerConfig(security_context=messages.LinuxContainerSecurityContext(**fields))
    return messages.ContainerConfig(command=["true"], linux=linux)


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ([], [], ["/entry", "arg"]),
        ([], ["mine"], ["/entry", "mine"]),
        (["run"], [], ["run"]),
        (["run"], ["fast"], ["run", "fast"]),
    ],
)
def test_the_command_line_combines_image_and_configuration(
    command: list[str], args: list[str], expected: list[str]
) -> None:
    config = messages.ContainerConfig(command=command, args=args)
    assert spec.arguments(config, {"Entrypoint": ["/entry"], "Cmd": ["arg"]}) == expected


def test_a_container_without_any_command_is_refused() -> None:
    with pytest.raises(spec.SpecError, match="no command specified"):
        spec.arguments(messages.ContainerConfig(), {})


def test_what_cannot_be_granted_is_refused_not_forgotten() -> None:
    apparmor = messages.SecurityProfile(
        profile_type=messages.SecurityProfile.Localhost, localhost_ref="tight"
    )
    with pytest.raises(spec.SpecError, match="AppArmor profile tight"):
        spec.make(given(security(apparmor=apparmor)))
    with pytest.raises(spec.SpecError, match="CDI"):
        spec.make(given(messages.ContainerConfig(CDI_devices=[messages.CDIDevice(name="vendor/gpu=0")])))


def test_the_environment_is_the_images_then_the_configurations() -> None:
    config = messages.ContainerConfig(envs=[messages.KeyValue(key="A", value=b"mine")], tty=True)
    assert spec.environment(given(config, hostname="h")) == [
        "PATH=/image", "HOSTNAME=h", "TERM=xterm", "A=mine", "HOME=/home/app",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"]),
        (["NET_ADMIN"], ["KILL"], ["CAP_CHOWN", "CAP_NET_ADMIN", "CAP_SYS_CHROOT"]),
        (["cap_kill"], ["ALL"], ["CAP_KILL"]),
        (["ALL"], ["CHOWN"], ["CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]),
        (["SYS_TIME"], [], ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_CHROOT"]),
    ],
)
def test_capabilities_are_the_default_ones_with_changes(
    add: list[str], drop: list[str], expected: list[str]
) -> None:
    wanted = messages.Capability(add_capabilities=add, drop_capabilities=drop)
    made, warnings = spec.make(given(security(capabilities=wanted)))
    assert made["process"]["capabilities"]["bounding"] == expected
    assert made["process"]["capabilities"]["effective"] == expected
    assert "ambient" not in made["process"]["capabilities"]
    assert warnings == (["this machine cannot grant CAP_SYS_TIME"] if add == ["SYS_TIME"] else [])


def test_a_privileged_container_gets_all_that_we_have_and_no_filter() -> None:
    made, _ = spec.make(
        given(security(privileged=True, masked_paths=["/proc/kcore"], readonly_paths=["/proc/sys"]))
    )
    assert made["process"]["capabilities"]["bounding"] == list(ALL)
    assert "seccomp" not in made["linux"]
    assert made["linux"]["maskedPaths"] == made["linux"]["readonlyPaths"] == []
    assert made["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]


def test_what_the_machine_forbids_is_clamped_with_a_warning() -> None:
    config = messages.ContainerConfig(
        command=["true"],
        linux=messages.LinuxContainerConfig(resources=messages.LinuxContainerResources(oom_score_adj=-997)),
    )
    made, warnings = spec.make(given(config))
    assert made["process"]["oomScoreAdj"] == -10
    assert made["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": 4096, "soft": 4096}]
    assert warnings == ["oom_score_adj -997 needs CAP_SYS_RESOURCE; it is -10"]


def test_a_volume_takes_the_place_of_the_pods_own_file() -> None:
    config = messages.ContainerConfig(
        command=["true"],
        mounts=[
            messages.Mount(container_path="/etc/hosts", host_path="/mine", readonly=True),
            messages.Mount(
                container_path="/a/b", host_path="/b", propagation=messages.PROPAGATION_HOST_TO_CONTAINER
            ),
            messages.Mount(container_path="/a", host_path="/link"),
        ],
    )
    made, _ = spec.make(
        given(
            config,
            files={"/etc/hosts": "/pod/hosts", "/etc/hostname": "/pod/hostname"},
            sources={"/a": "/real"},
        )
    )
    binds = [(m["destination"], m["source"], m["options"][1:]) for m in made["mounts"] if m["type"] == "bind"]
    assert binds == [
        ("/etc/hostname", "/pod/hostname", ["rprivate", "rw"]),
        ("/a", "/real", ["rprivate", "rw"]),
        ("/etc/hosts", "/mine", ["rprivate", "ro"]),
        ("/a/b", "/b", ["rslave", "rw"]),
    ]
    assert made["linux"]["rootfsPropagation"] == "rslave"


def test_namespaces_are_joined_made_or_the_hosts() -> None:
    made, _ = spec.make(given())
    assert made["linux"]["namespaces"] == [
        {"type": "mount"}, {"type": "network", "path": "/run/net"}, {"type": "pid"},
    ]  # fmt: skip


def test_limits_are_told_only_where_they_are_set() -> None:
    wanted = messages.LinuxContainerResources(
        cpu_shares=512, cpu_period=100000, memory_limit_in_bytes=1 << 20
    )
    config = messages.ContainerConfig(linux=messages.LinuxContainerConfig(resources=wanted))
    found = spec.resources(config)
    assert (found["cpu"], found["memory"]) == ({"shares": 512}, {"limit": 1 << 20})


def test_the_default_filter_follows_the_capabilities() -> None:
    def allowed(*capabilities: str) -> set[str]:
        rules = seccomp.default(capabilities, "x86_64")["syscalls"]
        return {
            name for rule in rules if "args" not in rule and "errnoRet" not in rule for name in rule["names"]
        }

    assert {"openat", "execve", "arch_prctl"} <= allowed()
    assert (
        not {"mount", "unshare", "clone", "reboot", "init_module", "kexec_load", "bpf", "keyctl"} & allowed()
    )
    assert {"mount", "unshare", "clone"} <= allowed("CAP_SYS_ADMIN")
    assert "reboot" in allowed("CAP_SYS_BOOT")
    # Without the capability clone works, but for new namespaces; and clone3 says that there is no such call.
    named = {rule["names"][0]: rule for rule in seccomp.default([], "x86_64")["syscalls"]}
    assert named["clone"]["args"][0]["value"] == 0x7E020000
    assert named["clone3"]["errnoRet"] == 38


PASSWD = "root:x:0:0::/root:/bin/sh\ndamaged\napp:x:1000:100::/home/app:/bin/sh\n4711:x:5:6::/:\n"
GROUP = "root:x:0:\nusers:x:100:app\nextra:x:200:root,app\n"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), Identity(0, 0, (0, 200), "/root")),
        (Wanted("app"), Identity(1000, 100, (100, 200), "/home/app")),
        (Wanted("1000"), Identity(1000, 100, (100, 200), "/home/app")),
        (Wanted("app:extra"), Identity(1000, 200, (200, 100), "/home/app")),
        (Wanted("77:88"), Identity(77, 88, (88,), "/")),
        (Wanted("4711"), Identity(5, 6, (6,), "/")),
        (Wanted("app", uid=0), Identity(0, 0, (0, 200), "/root")),
        (Wanted("", uid=1000, gid=5, groups=(7,)), Identity(1000, 5, (5, 100, 200, 7), "/home/app")),
        (Wanted("app", groups=(7,), strict=True), Identity(1000, 100, (7,), "/home/app")),
    ],
)
def test_users_are_found_in_the_images_own_files(wanted: Wanted, expected: Identity) -> None:
    assert resolve(wanted, PASSWD, GROUP) == expected


@pytest.mark.parametrize("wanted", ["nobody", "app:nogroup"])
def test_an_unknown_name_is_refused(wanted: str) -> None:
    with pytest.raises(UnknownUser, match="unable to find"):
        resolve(Wanted(wanted), PASSWD, GROUP)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("term", 15),
        ("9", 9),
        ("SIGRTMIN+3", 37),
        ("RTMAX-1", 63),
        ("SIGWINCH", 28),
        ("nonsense", 0),
    ],
)
def test_signals_by_name(text: str, number: int) -> None:
    assert signals.number(text) == number


def test_signals_of_cri_are_those_of_linux() -> None:
    assert signals.from_cri(messages.SIGNAL_SIGQUIT) == 3
    assert signals.from_cri(messages.SIGNAL_RUNTIME_DEFAULT) == signals.from_cri(4711) == 0
    for name, value in messages.Signal.items():
        number = signals.from_cri(value)
        assert bool(number) == (name != "SIGNAL_RUNTIME_DEFAULT"), name
        assert signals.from_cri(signals.to_cri(number)) == number
