"""Whole builds, with real processes in real overlays."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sampan.engine.build.builder import BuildFailed
from sampan.engine.build.dockerfile import DockerfileError
from sampan.engine.build.running import abandon
from sampan.engine.images import archive
from sampan.engine.images.store import ImageStore
from sampan.host import mounts, process

if TYPE_CHECKING:
    from tests.engine.build.conftest import Bench

pytestmark = pytest.mark.root


async def test_each_instruction_leaves_what_docker_leaves(bench: Bench) -> None:
    bench.write("app/main.sh", "echo hello", 0o755)
    image = await bench.build(
        """\
        # a comment
        ARG VERSION=latest
        FROM busybox:$VERSION
        ARG GREETING=hi
        ENV A=1 B="two words" C=$GREETING
        LABEL org.example.name="x y"
        WORKDIR /srv/app
        COPY app/ .
        RUN echo "$A $B $C" > said && \\
            # inside
            echo done
        USER ann
        RUN id -u > /tmp/uid; pwd > /tmp/pwd
        EXPOSE 80 53/udp
        VOLUME /data
        STOPSIGNAL SIGINT
        HEALTHCHECK --interval=1m30s --retries=2 CMD wget -q localhost
        ENTRYPOINT ["./main.sh"]
        CMD ["x"]
        """,
        names=["app:1", "app:2"],
    )
    run = image.config.run
    assert run["Env"] == ["PATH=/bin:/usr/bin", "A=1", "B=two words", "C=hi"]
    assert run["Labels"] == {"org.example.name": "x y"}
    assert (run["WorkingDir"], run["User"], run["StopSignal"]) == ("/srv/app", "ann", "SIGINT")
    assert run["ExposedPorts"] == {"53/udp": {}, "80/tcp": {}}
    assert run["Volumes"] == {"/data": {}}
    assert (run["Entrypoint"], run["Cmd"]) == (["./main.sh"], ["x"])
    check = {"Test": ["CMD-SHELL", "wget -q localhost"], "Interval": 90 * 10**9, "Retries": 2}
    assert run["Healthcheck"] == check
    assert bench.read(image, "srv/app/said") == "1 two words hi\n"
    assert bench.read(image, "tmp/uid") == "1000\n"
    assert bench.read(image, "tmp/pwd") == "/srv/app\n"
    assert bench.file(image, "srv/app/main.sh").stat().st_mode & 0o777 == 0o755
    assert len(image.config.diff_ids) == 5  # base, WORKDIR, COPY, RUN, RUN
    assert image.tags == ("docker.io/library/app:1", "docker.io/library/app:2")
    assert "Step 1/15 : FROM busybox:$VERSION\n" in bench.said
    assert "\ndone\n" in bench.said
    assert bench.said.endswith("Successfully tagged app:1\nSuccessfully tagged app:2\n")


async def test_a_second_build_runs_nothing_and_gives_the_same_image(bench: Bench) -> None:
    bench.write("data", "1")
    text = 'FROM busybox\nCOPY data /d\nRUN cat /d > /e\nCMD ["sh"]\n'
    first = await bench.build(text)
    second = await bench.build(text)
    assert first.id == second.id
    assert bench.said.count("Using cache") == 3
    os.utime(bench.context / "data", (1, 1))  # times do not matter, contents do
    assert (await bench.build(text)).id == first.id
    bench.write("data", "2")
    third = await bench.build(text)
    assert "Using cache" not in bench.said
    assert bench.read(third, "e") == "2"
    await bench.build(text, no_cache=True)
    assert "Using cache" not in bench.said


async def test_a_build_in_another_store_gives_the_same_layers(bench: Bench, tmp_path: Path) -> None:
    bench.write("d/a", "1")
    bench.write("d/b", "2")
    image = await bench.build("FROM busybox\nCOPY d /d\n", arguments={"SOURCE_DATE_EPOCH": "1700000000"})
    other = ImageStore(tmp_path / "other")
    archive.load(other, io.BytesIO(b"".join(archive.save(bench.store, ["busybox"]))))
    store, bench.store = bench.store, other
    again = await bench.build("FROM busybox\nCOPY d /d\n", arguments={"SOURCE_DATE_EPOCH": "1700000000"})
    bench.store = store
    assert again.id == image.id
    other.close()


async def test_stages_and_what_is_copied_between_them(bench: Bench) -> None:
    image = await bench.build(
        """\
        FROM busybox AS build
        RUN mkdir /out && echo made > /out/file && chown 5:6 /out/file && ln -s file /out/link
        FROM busybox AS unused
        RUN exit 1
        FROM build AS more
        RUN echo more > /out/more
        FROM scratch
        COPY --from=build /out/ /a/
        COPY --from=more --chown=1000:10 --chmod=0600 /out/more /b
        COPY --from=busybox /bin/busybox /busybox
        """
    )
    assert "unused" not in bench.said
    assert bench.read(image, "a/file") == "made\n"
    info = bench.file(image, "a/file").stat()
    assert (info.st_uid, info.st_gid) == (5, 6)
    assert os.readlink(bench.file(image, "a/link").parent / "link") == "file"
    assert bench.file(image, "busybox").stat().st_size > 100_000


async def test_owners_are_looked_up_in_the_stage(bench: Bench) -> None:
    bench.write("f", "x")
    image = await bench.build("FROM busybox\nCOPY --chown=ann:wheel --chmod=0600 f /f\n")
    info = bench.file(image, "f").stat()
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (1000, 10, 0o600)
    with pytest.raises(DockerfileError, match="unable to find user nobody-here"):
        await bench.build("FROM busybox\nCOPY --chown=nobody-here f /f\n")


async def test_deleting_a_file_hides_it_in_the_layer(bench: Bench) -> None:
    image = await bench.build(
        "FROM busybox\nRUN rm /etc/group && rm -rf /tmp && mkdir /tmp && echo 1 > /tmp/new\n"
    )
    with bench.store.blobs.open(image.manifest.layers[-1].digest) as f, tarfile.open(fileobj=f) as layer:
        names = set(layer.getnames())
    assert {"etc/.wh.group", "tmp/.wh..wh..opq", "tmp/new"} <= names
    assert not {"proc", "sys", "dev", "etc/resolv.conf"} & names


async def test_ignored_files_stay_out_and_links_cannot_lead_out(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    bench.write(".dockerignore", "*.log\nnode_modules\n!keep.log\n")
    bench.write("a.txt", "a")
    bench.write("a.log", "x")
    bench.write("keep.log", "kept")
    bench.write("node_modules/x/y", "big")
    image = await bench.build("FROM busybox\nCOPY . /all/\n")
    top = bench.file(image, "all")
    assert sorted(os.listdir(top)) == [".dockerignore", "Dockerfile", "a.txt", "keep.log"]
    (bench.context / "out").symlink_to("../secret")
    with pytest.raises(DockerfileError, match='"/out": not found'):
        await bench.build("FROM busybox\nCOPY out /out\n")


async def test_wildcards_globs_and_several_sources(bench: Bench) -> None:
    for name in ("a1.txt", "a2.txt", "b.md", "d/c.txt"):
        bench.write(name, name)
    image = await bench.build('FROM busybox\nCOPY a*.txt b.md /x/\nCOPY ["d", "/y"]\nCOPY */*.txt /z/\n')
    assert sorted(os.listdir(bench.file(image, "x"))) == ["a1.txt", "a2.txt", "b.md"]
    assert bench.read(image, "y/c.txt") == bench.read(image, "z/c.txt") == "d/c.txt"
    with pytest.raises(DockerfileError, match="destination must be a directory"):
        await bench.build("FROM busybox\nCOPY a1.txt b.md /x\n")
    with pytest.raises(DockerfileError, match="no source files were found"):
        await bench.build("FROM busybox\nCOPY *.nothing /x/\n")


async def test_add_unpacks_archives(bench: Bench) -> None:
    with tarfile.open(bench.context / "files.tar.gz", "w:gz") as f:
        f.add("/etc/hostname", "in/the/archive")
    image = await bench.build("FROM busybox\nADD files.tar.gz /opt\nCOPY files.tar.gz /opt/\n")
    assert bench.read(image, "opt/in/the/archive") == Path("/etc/hostname").read_text()
    assert bench.file(image, "opt/files.tar.gz").exists()


async def test_here_documents(bench: Bench) -> None:
    image = await bench.build(
        "FROM busybox\n"
        "ARG WHO=world\n"
        "RUN <<EOF\nset -e\necho one > /one\necho two > /two\nEOF\n"
        "RUN cat <<EOF > /three\nhello $WHO\nEOF\n"
        "COPY <<a.txt <<'b.txt' /texts/\nhello $WHO\na.txt\nhello $WHO\nb.txt\n"
        "RUN <<EOF\n#!/bin/cat\njust text\nEOF\n"
    )
    assert bench.read(image, "two") == "two\n"
    assert bench.read(image, "three") == "hello world\n"
    assert bench.read(image, "texts/a.txt") == "hello world\n"
    assert bench.read(image, "texts/b.txt") == "hello $WHO\n"
    assert "just text\n" in bench.said


async def test_a_command_that_fails_says_so_and_leaves_nothing(bench: Bench) -> None:
    with pytest.raises(
        BuildFailed, match=r"The command '/bin/sh -c echo no; exit 3' returned a non-zero code: 3"
    ) as e:
        await bench.build("FROM busybox\nRUN echo no; exit 3\n")
    assert e.value.status == 3
    assert os.listdir(bench.store.scratch.path) == []


async def test_a_cancelled_build_ends_its_processes(bench: Bench) -> None:
    task = asyncio.create_task(bench.build("FROM busybox\nRUN echo started; sleep 987654\n"))
    await bench.heard("started\n")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await process.run("pgrep", "-f", "sleep 987654", check=False)).stdout == b""
    assert os.listdir(bench.store.scratch.path) == []


async def test_arguments(bench: Bench) -> None:
    text = """\
        FROM busybox
        ARG A=default
        ARG B
        RUN echo "$A-$B-$TARGETARCH-" > /out
        ARG TARGETARCH
        RUN echo $TARGETARCH > /arch
        """
    image = await bench.build(text, arguments={"B": "given", "C": "unused"})
    assert bench.read(image, "out") == "default-given--\n"
    assert bench.read(image, "arch") == image.config.platform.architecture + "\n"
    assert "One or more build-args [C] were not consumed" in bench.said
    assert "A" not in dict(e.split("=", 1) for e in image.config.env)
    await bench.build(text, arguments={"B": "other"})
    assert bench.said.count("Using cache") == 0


async def test_triggers_run_in_the_image_built_on_top(bench: Bench) -> None:
    await bench.build("FROM busybox\nONBUILD COPY f /f\nONBUILD RUN cat /f > /g\n", names=["base"])
    bench.write("f", "from above")
    image = await bench.build("FROM base\nCMD true\n")
    assert bench.read(image, "g") == "from above"
    assert "OnBuild" not in image.config.run
    assert image.config.command == ["/bin/sh", "-c", "true"]


async def test_the_network_of_a_step(bench: Bench) -> None:
    image = await bench.build("FROM busybox\nRUN --network=none ip -o link | wc -l > /n\n")
    assert bench.read(image, "n") == "1\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "FROM busybox\nFOO bar\n",
            "dockerfile parse error on line 2: unknown instruction: FOO\n2 | FOO bar",
        ),
        ("FROM nowhere:9\n", "line 1: cannot reach registry docker.io"),
        ("FROM busybox\n\nCOPY missing /x\n", 'line 3: failed to compute cache key: "/missing": not found'),
        ("FROM busybox\nCOPY --from=9 /a /b\n", "invalid from flag value 9: stage index out of bounds"),
        (
            "FROM busybox\nRUN --mount=type=cache,target=/x true\n",
            "the --mount option of RUN is not supported",
        ),
        ("FROM busybox\nADD https://example.com/x /x\n", "ADD from a URL is not supported"),
        ("FROM busybox\nENV A\n", "can't find = in 'A'"),
    ],
)
async def test_errors_name_the_line_and_show_it(bench: Bench, text: str, says: str) -> None:
    with pytest.raises(DockerfileError) as e:
        await bench.build(text)
    assert says in str(e.value)


async def test_a_built_image_loads_elsewhere_whole(bench: Bench, tmp_path: Path) -> None:
    image = await bench.build("FROM busybox\nRUN rm /etc/group; echo 1 > /one\n", names=["thing:1"])
    data = b"".join(archive.save(bench.store, ["thing:1"]))
    other = ImageStore(tmp_path / "other")
    [loaded] = archive.load(other, io.BytesIO(data))
    assert (loaded.image.id, loaded.names) == (image.id, ("thing:1",))
    assert json.loads(json.dumps(loaded.image.config.raw)) == image.config.raw
    other.close()


async def test_what_a_killed_builder_leaves_is_taken_away(bench: Bench, tmp_path: Path) -> None:
    bench.write("Dockerfile", "FROM busybox\nRUN echo started; sleep 876543\n")
    program = f"""if True:
        import asyncio, sys
        from pathlib import Path
        from sampan.engine.build.builder import Options, build
        from sampan.engine.images.store import ImageStore
        say = lambda text: print(text, end="", flush=True)
        store, context = ImageStore(Path({str(bench.store.root)!r})), Path({str(bench.context)!r})
        asyncio.run(build(store, context, Options(), say, None))
    """
    builder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert builder.stdout
    async with asyncio.timeout(20):
        while await builder.stdout.readline() != b"started\n":
            pass
    builder.kill()
    await builder.wait()
    assert mounts.below(bench.store.root)
    await asyncio.to_thread(bench.store.clean, abandon)
    assert mounts.below(bench.store.root) == []
    assert bench.store.scratch.alone()
    assert (await process.run("pgrep", "-f", "sleep 876543", check=False)).stdout == b""
