"""Walk a Dockerfile's stages and make an image of the last one, step by step, taking from the cache what it can."""

from __future__ import annotations

import asyncio
import json
import posixpath
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from sampan.engine.build import configure, copying, diff, plan, rootfs, running, state, words
from sampan.engine.build.copying import Source
from sampan.engine.build.dockerfile import Dockerfile, DockerfileError, Instruction, instruction, parse
from sampan.engine.build.ignore import compile as compile_ignore
from sampan.engine.build.state import Done, State
from sampan.engine.images import references, snapshots
from sampan.engine.images.model import (
    OCI_LAYER,
    Descriptor,
    ImageError,
    ImageNotFound,
    Platform,
    chain_ids,
    host_platform,
)
from sampan.engine.images.pull import adding
from sampan.engine.images.store import Image, ImageStore
from sampan.engine.images.unpack import look_like
from sampan.engine.users import UnknownUser
from sampan.host import mounts, process, trace
from sampan.machinery.images import Reference

_PROXIES = {"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"}
_PROXIES |= {name.lower() for name in _PROXIES}

Pull = Callable[[Reference, Platform], Awaitable[Image]]


class BuildFailed(ImageError):
    """A command of the Dockerfile failed; the message names it and its status."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Options:
    """How to build. `pull` asks the registry for base images even where they are here."""

    dockerfile: str = "Dockerfile"
    names: Sequence[str] = ()
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    platform: Platform = field(default_factory=host_platform)
    no_cache: bool = False
    pull: bool = False
    network: bool = True


async def build(
    store: ImageStore, context: Path, options: Options, output: Callable[[str], None], pull: Pull
) -> Image:
    """Build an image from a directory. `output` gets the text a person reads, as the classic builder words it.

    Raises DockerfileError, BuildFailed or another ImageError.
    """
    names = [references.parse(n) for n in options.names]
    file = copying.resolve(context, options.dockerfile)
    if not file.is_file():
        raise ImageNotFound(f"Cannot locate specified Dockerfile: {options.dockerfile}")
    text = await asyncio.to_thread(file.read_text, errors="surrogateescape")
    with trace.span(f"build {options.names[0] if options.names else options.dockerfile}", "builder"):
        async with adding(store):
            return await _Build(store, context, parse(text), options, output, pull).run(names)


class _Build:
    def __init__(
        self,
        store: ImageStore,
        context: Path,
        dockerfile: Dockerfile,
        options: Options,
        output: Callable[[str], None],
        pull: Pull,
    ):
        self.store, self.context, self.options = store, context, options
        self.output, self.pull = output, pull
        self.escape = dockerfile.escape
        here = host_platform()
        self.platforms = {
            **_platform_arguments("TARGET", options.platform),
            **_platform_arguments("BUILD", here),
        }
        self.stages, self.globals = plan.stages(dockerfile, {**self.platforms, **options.arguments})
        self.needed = plan.needed(self.stages, options.target)
        self.total = sum(1 + len(s.steps) for s in self.needed)
        self.count = 0
        self.finished: dict[int, State] = {}
        self.consumed: set[str] = set(self.globals)
        self.cached = not options.no_cache
        self.ignored = self._ignore()

    def _ignore(self) -> Callable[[str], bool]:
        for name in (f"{self.options.dockerfile}.dockerignore", ".dockerignore"):
            path = copying.resolve(self.context, name)
            if path.is_file():
                return compile_ignore(path.read_text(errors="surrogateescape"))
        return compile_ignore("")

    async def run(self, names: Sequence[Reference]) -> Image:
        current = State("")
        for stage in self.needed:
            current = await self._stage(stage)
            self.finished[stage.index] = current
        if self.options.labels:
            current.run["Labels"] = {**(current.run.get("Labels") or {}), **self.options.labels}
        image = await asyncio.to_thread(state.finish, self.store, current, names)
        unused = sorted(set(self.options.arguments) - self.consumed - _PROXIES - {"SOURCE_DATE_EPOCH"})
        if unused:
            self.output(f"[Warning] One or more build-args [{' '.join(unused)}] were not consumed\n")
        self.output(f"Successfully built {image.id[7:19]}\n")
        for name in names:
            self.output(f"Successfully tagged {name.familiar}\n")
        return image

    def _announce(self, each: Instruction) -> None:
        self.count += 1
        flags = "".join(f"--{k}={v} " for k, v in each.flags.items())
        self.output(f"Step {self.count}/{self.total} : {each.keyword} {flags}{each.rest}\n")

    async def _stage(self, stage: plan.Stage) -> State:
        self._announce(stage.opening)
        current = await self._open(stage)
        self.output(f" ---> {current.key.removeprefix('sha256:')[:12]}\n")
        triggers = current.run.pop("OnBuild", None) or []
        if triggers:
            self.output(f"# Executing {len(triggers)} build trigger{'s' if len(triggers) > 1 else ''}\n")
        inherited = [instruction(text, stage.opening.line, f"ONBUILD {text}") for text in triggers]
        self.total += len(inherited)
        for each in (*inherited, *stage.steps):
            self._announce(each)
            try:
                await self._instruction(current, stage, each)
            except (words.WordError, UnknownUser) as e:
                raise each.error(str(e)) from None
            except ImageError as e:
                if isinstance(e, DockerfileError | BuildFailed):
                    raise
                raise each.error(str(e)) from e
            self.output(f" ---> {current.key.removeprefix('sha256:')[:12]}\n")
        return current

    async def _open(self, stage: plan.Stage) -> State:
        platform = Platform.parse(stage.platform) if stage.platform else self.options.platform
        if earlier := plan.find(self.stages, stage.base, stage.index):
            return state.branch(self.finished[earlier.index])
        if stage.base == "scratch":
            return state.start(None, platform)
        return state.start(await self._image(stage.base, platform, stage.opening), platform)

    async def _image(self, name: str, platform: Platform, each: Instruction) -> Image:
        """An image by name, from here where it is, else from its registry."""
        try:
            reference = references.parse(name)
            if not self.options.pull:
                try:
                    image = await asyncio.to_thread(self.store.find, name)
                    if image.config.platform.accepts(platform):
                        return image
                except ImageNotFound:
                    pass
            self.output(f"Pulling {reference.familiar}\n")
            return await self.pull(reference, platform)
        except ImageError as e:
            raise each.error(str(e)) from e

    async def _instruction(self, current: State, stage: plan.Stage, each: Instruction) -> None:
        if each.keyword == "ARG":
            self._argument(current, each)
        elif each.keyword == "RUN":
            await self._run(current, each)
        elif each.keyword in ("COPY", "ADD"):
            await self._copy(current, stage, each)
        elif each.keyword == "WORKDIR":
            text = configure.workdir(current, each, self.escape)
            await self._step(
                current, current.advance("WORKDIR", current.workdir), text, self._make_workdir(current)
            )
        else:
            text = configure.INSTRUCTIONS[each.keyword](current, each, self.escape)
            await self._step(
                current, current.advance(text, json.dumps(current.run, sort_keys=True)), text, None
            )

    def _argument(self, current: State, each: Instruction) -> None:
        """Declare ARGs: a value given to the build, else the default, else that of a global ARG of the name."""
        for name, default in plan.argument(each, current.variables, self.escape):
            self.consumed.add(name)
            given = self.options.arguments.get(name)
            inherited = default if default is not None else self.globals.get(name, self.platforms.get(name))
            current.arguments[name] = given if given is not None else inherited

    # Steps that change files

    async def _step(
        self,
        current: State,
        key: str,
        text: str,
        work: Callable[[Path], Awaitable[None]] | None,
        *,
        running: bool = False,
    ) -> None:
        """Take a step's result from the cache, or do it: `work` gets a directory whose `rootfs` is the stage so far."""
        done = await asyncio.to_thread(state.recall, self.store, current, key) if self.cached else None
        if done:
            self.output(" ---> Using cache\n")
        else:
            created = self._now()
            if work is None:
                done = Done(created)
            else:
                name = secrets.token_hex(6)
                if running:
                    self.output(f" ---> Running in {name}\n")
                async with self._mounted(current) as home:
                    await work(home)
                    await asyncio.to_thread(mounts.unmount, home / "rootfs", lazy=True)
                    done = await asyncio.to_thread(self._commit, current, home / "upper", created)
                if running:
                    self.output(f"Removing intermediate container {name}\n")
            await asyncio.to_thread(state.record, self.store, current, key, done)
        state.apply(current, key, text, done)

    def _now(self) -> str:
        epoch = self.options.arguments.get("SOURCE_DATE_EPOCH", "")
        when = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
        return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _commit(self, current: State, upper: Path, created: str) -> Done:
        """Make a layer of what a step has changed."""
        if diff.is_empty(upper):
            return Done(created)
        size = diff.size(upper)
        digest, length = self.store.blobs.put_from(diff.archive(upper))
        chain = chain_ids([*current.diff_ids, digest])[-1]
        self.store.layers.adopt(upper, chain, size, digest)
        return Done(created, digest, Descriptor(OCI_LAYER, digest, length))

    @asynccontextmanager
    async def _mounted(self, current: State) -> AsyncIterator[Path]:
        """A stage's files, writable, at `rootfs` of the directory given; what is written ends with it."""
        home = self.store.scratch.new("build-")
        await asyncio.to_thread(self._mount, current, home)
        try:
            yield home
        finally:
            await asyncio.shield(asyncio.to_thread(rootfs.discard, home))

    def _mount(self, current: State, home: Path) -> None:
        for name in ("upper", "work", "rootfs"):
            (home / name).mkdir(parents=True)
        (home / "upper").chmod(0o755)
        lowers = self.store.layers.unpack(current.diff_ids, current.layers)
        if lowers:
            look_like(home / "upper", lowers[-1])
        snapshots.mount(lowers, home)

    def _make_workdir(self, current: State) -> Callable[[Path], Awaitable[None]]:
        async def work(home: Path) -> None:
            await asyncio.to_thread(rootfs.make_directory, home / "rootfs", current)

        return work

    # RUN

    async def _run(self, current: State, each: Instruction) -> None:
        argv, script = self._command(current, each)
        arguments = {k: v for k, v in current.arguments.items() if v is not None}
        shown = " ".join(argv) if each.words is None else json.dumps(argv)
        key = current.advance(
            "RUN",
            json.dumps(argv),
            script,
            json.dumps(sorted(arguments.items())),
            each.flags.get("network", ""),
        )
        proxies = {k: v for k, v in self.options.arguments.items() if k in _PROXIES}
        env = {**proxies, **arguments, **current.env}
        env.setdefault("PATH", state.PATH.removeprefix("PATH="))
        network = self.options.network and each.flags.get("network", "default") != "none"

        async def work(home: Path) -> None:
            user = await asyncio.to_thread(rootfs.identity, home / "rootfs", current.run.get("User") or "")
            await asyncio.to_thread(rootfs.make_directory, home / "rootfs", current)
            file = home / "script" if script else None
            if file:
                file.write_text(script)
                file.chmod(0o755)
            config = running.spec(
                home / "rootfs",
                argv,
                env,
                current.workdir,
                user,
                name=home.name,
                network=network,
                script=file,
            )
            status = await self._execute(home, config)
            if status:
                raise BuildFailed(
                    f"The command '{' '.join(argv)}' returned a non-zero code: {status}", status
                )

        await self._step(current, key, f"RUN {shown}", work, running=True)

    async def _execute(self, home: Path, config: dict[str, object]) -> int:
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            return await running.run(home, home.name, config, lambda data: self.output(decoder.decode(data)))
        except process.ProcessError as e:
            raise ImageError(str(e)) from e

    def _command(self, current: State, each: Instruction) -> tuple[list[str], str]:
        """The command line of a RUN, and the script that a here-document with an interpreter line gives it."""
        if not each.heredocs or each.words is not None:
            return configure.argv(current, each), ""
        first = each.heredocs[0]
        if (
            len(each.heredocs) == 1
            and not each.rest.partition(first.name)[0].strip("<-'\" \t")
            and each.rest.endswith((first.name, first.name + "'", first.name + '"'))
        ):
            return (
                ([running.SCRIPT], first.text)
                if first.text.startswith("#!")
                else ([*current.shell, first.text], "")
            )
        whole = each.rest + "\n" + "".join(f"{h.text}{h.name}\n" for h in each.heredocs)
        return [*current.shell, whole], ""

    # COPY and ADD

    async def _copy(self, current: State, stage: plan.Stage, each: Instruction) -> None:
        variables = current.variables
        if each.words is not None:
            listed = [words.expand(w, variables, self.escape) for w in each.words]
        else:
            listed = words.split(each.rest, variables, self.escape)
        if len(listed) < 2:
            raise each.error(f"{each.keyword} requires at least two arguments, but only one was provided")
        target = listed[-1] if listed[-1].startswith("/") else posixpath.join(current.workdir, listed[-1])
        if each.keyword == "ADD" and any(w.startswith(("http://", "https://", "git@")) for w in listed[:-1]):
            raise each.error(
                "ADD from a URL is not supported by this builder: RUN curl, or download it into the context"
            )
        flags = {k: words.expand(v, variables, self.escape) for k, v in each.flags.items()}
        async with (
            self._source_root(stage, each, flags) as (root, ignored),
            self._texts(each, variables) as texts,
        ):
            found = await asyncio.to_thread(rootfs.find, root, listed[:-1], ignored, texts)
            if len(found) > 1 and not target.endswith("/") and len(listed) > 2:
                raise each.error(
                    f"When using {each.keyword} with more than one source file, "
                    "the destination must be a directory and end with a /"
                )
            content = await asyncio.to_thread(copying.digest, found, ignored)
            key = current.advance(each.keyword, content, target, json.dumps(sorted(flags.items())))

            async def work(home: Path) -> None:
                await asyncio.to_thread(rootfs.put, home / "rootfs", found, target, flags, ignored, each)

            text = f"{each.keyword} {''.join(f'--{k}={v} ' for k, v in flags.items())}{' '.join(listed)}"
            await self._step(current, key, text, work)

    @asynccontextmanager
    async def _source_root(
        self, stage: plan.Stage, each: Instruction, flags: Mapping[str, str]
    ) -> AsyncIterator[tuple[Path, Callable[[str], bool]]]:
        """Where sources are: the context, an earlier stage, or an image."""
        name = flags.get("from", "")
        if not name:
            yield self.context, self.ignored
            return
        if earlier := plan.find(self.stages, name, stage.index):
            other = self.finished[earlier.index]
        elif name.isdigit():
            raise each.error(f"invalid from flag value {name}: stage index out of bounds")
        else:
            other = state.start(await self._image(name, self.options.platform, each), self.options.platform)
        async with self._mounted(other) as home:
            yield home / "rootfs", lambda path: False

    @asynccontextmanager
    async def _texts(
        self, each: Instruction, variables: Mapping[str, str]
    ) -> AsyncIterator[dict[str, Source]]:
        """Here-documents as files to copy, by how COPY names them."""
        home = self.store.scratch.new("texts-")
        home.mkdir()
        try:
            found = {}
            for heredoc in each.heredocs:
                path = home / heredoc.name
                text = (
                    words.expand_text(heredoc.text, variables, self.escape)
                    if heredoc.expand
                    else heredoc.text
                )
                path.write_text(text, errors="surrogateescape")
                path.chmod(0o644)
                found[heredoc.name] = Source(path, heredoc.name)
            yield found
        finally:
            shutil.rmtree(home)


def _platform_arguments(prefix: str, platform: Platform) -> dict[str, str]:
    return {
        f"{prefix}PLATFORM": str(platform),
        f"{prefix}OS": platform.os,
        f"{prefix}ARCH": platform.architecture,
        f"{prefix}VARIANT": platform.variant,
    }
