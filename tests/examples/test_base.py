"""Base images, made from the archive that apt is configured for."""

from __future__ import annotations

from pathlib import Path

import apt
import make
import pytest
import trees

from sampan.engine.docker.client import EngineClient

OLD = """\
# comment
deb [arch=amd64 signed-by=/x.gpg] http://mirror.example/debian bookworm main contrib
deb http://security.example/debian-security bookworm-security main
deb http://mirror.example/debian bookworm-backports main
deb http://other.example/tool nodistro main
deb-src http://mirror.example/debian bookworm main
"""
NEW = """\
Types: deb
# a comment inside
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://disabled.example/debian
Suites: bookworm
Components: main
Enabled: no
"""


def test_sources_in_both_forms() -> None:
    old = apt.choose(apt.parse_list(OLD), "bookworm", "bookworm", "", "")
    assert old.mirror == "http://mirror.example/debian"
    assert "security.example" in old.sources
    assert "other.example" not in old.sources
    assert "backports" not in old.sources
    new = apt.choose(apt.parse_stanzas(NEW), "bookworm", "bookworm", "", "")
    assert "Suites: bookworm bookworm-updates\n" in new.sources
    assert "disabled.example" not in new.sources


def test_another_release_of_the_machine_lends_its_mirror() -> None:
    text = "deb http://mirror.example/debian trixie main\ndeb http://s.example trixie-security main\n"
    found = apt.choose(apt.parse_list(text), "trixie", "bookworm", "", "")
    assert "Suites: bookworm\n" in found.sources
    assert "Suites: bookworm-security\n" in found.sources
    with pytest.raises(ValueError, match="no source for Debian's bookworm"):
        apt.choose(apt.parse_list(text), "bookworm", "bookworm", "", "")


def test_only_how_to_reach_the_archive_is_taken_from_the_machine(tmp_path: Path) -> None:
    directory = tmp_path / "etc/apt"
    (directory / "apt.conf.d").mkdir(parents=True)
    (directory / "auth.conf.d").mkdir()
    (directory / "sources.list").write_text(OLD)
    (directory / "apt.conf.d/10proxy").write_text('Acquire::http::Proxy "http://proxy.example:3128";\n')
    (directory / "apt.conf.d/20hook").write_text(
        'DPkg::Post-Invoke { "rm -rf /"; };\nAcquire::Languages "de";\n'
    )
    (directory / "auth.conf.d/x.conf").write_text("machine mirror.example login a password b\n")
    (tmp_path / "etc/os-release").write_text('VERSION_CODENAME=bookworm\nNAME="Debian"\n')
    found = apt.read("bookworm", tmp_path)
    assert found.settings == 'Acquire::http::Proxy "http://proxy.example:3128";\n'
    assert found.credentials.startswith("machine mirror.example")


@pytest.mark.root
async def test_busybox_is_made_once_and_then_loaded(engine: EngineClient, tmp_path: Path) -> None:
    said: list[str] = []
    maker = make.Maker(engine, tmp_path / "cache", said.append)
    maker.online = False
    await maker.have("busybox:latest")
    assert any("Step 2/3 : ADD rootfs.tar /" in s for s in said)
    first = await engine.inspect("busybox")
    assert first["Config"]["Cmd"] == ["sh"]
    assert first["Size"] < 10_000_000
    said.clear()
    await maker.have("busybox:latest")
    assert said == []
    await engine.remove("busybox")
    await maker.have("busybox:latest")
    assert "loading from" in said[0]
    assert (await engine.inspect("busybox"))["Id"] == first["Id"]


@pytest.mark.root
async def test_what_cannot_be_made_says_so(engine: EngineClient, tmp_path: Path) -> None:
    with pytest.raises(trees.MakingFailed, match=r"cannot make ubuntu:24\.04: one of busybox:latest"):
        await make.make("unused", tmp_path, ["ubuntu:24.04"], print)
    nowhere = apt.Apt("http://127.0.0.1:9/debian", "", "", "")
    with pytest.raises(trees.MakingFailed, match=r"the archive is http://127.0.0.1:9/debian"):
        await trees.debian(nowhere, tmp_path / "out.tar", print)


@pytest.mark.campaign
@pytest.mark.root
async def test_all_base_images_and_the_shop_from_nothing(
    engine: EngineClient, tmp_path: Path, examples: Path
) -> None:
    maker = make.Maker(engine, tmp_path / "cache", print)
    maker.online = False
    for name in make.BASES:
        await maker.have(name)
    uses = {
        "python:3.11-slim": "python -c 'import sys; assert sys.version_info[:2] == (3, 11)' && pip --version",
        "postgres:15": "postgres --version && id postgres | grep uid=999",
        "busybox:latest": "ls / && wget --help 2>&1 | grep -i usage",
    }
    for name, command in uses.items():
        context = tmp_path / "use"
        context.mkdir(exist_ok=True)
        (context / "Dockerfile").write_text(f"FROM {name}\nRUN {command}\n")
        assert [d async for d in engine.build(context)]
    for part in ("api", "web"):
        async for _ in engine.build(examples / "shop" / part, names=[f"shop-{part}:1"]):
            pass
    assert (await engine.inspect("shop-api:1"))["Config"]["User"] == "10001"
