"""Containers: made from an image and a configuration, started under a shim, watched to their end, removed.

The record on disk leads (records.py has the states): what is about to be made is written down before it is
made. While a container runs, one task holds the session with its shim and waits for the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.engine import bundle, shims, signals, spec
from sampan.engine.context import Context, from_json, to_json
from sampan.engine.images import snapshots
from sampan.engine.images.store import Image
from sampan.engine.records import CREATED, EXITED, RUNNING, STARTING, Container, Records, Sandbox
from sampan.engine.runtime import SERVICE
from sampan.engine.sandboxes import Sandboxes
from sampan.engine.shims import Exit, Session, ShimError, Start
from sampan.host import cgroups, files, trace
from sampan.host.process import ProcessError
from sampan.machinery.cri import messages

START_TIMEOUT = 60.0
KILL_TIMEOUT = 10.0
LOST = 137

CREATED_EVENT, STARTED_EVENT, STOPPED_EVENT, DELETED_EVENT = range(4)


class ContainerError(Exception):
    """Something could not be done with a container; says what and why."""


@dataclass(slots=True)
class Live:
    """What we hold of a container while it is here: its shim's session, the task that waits for its end, the
    end itself.
    """

    ended: asyncio.Event
    session: Session | None = None
    watch: asyncio.Task[None] | None = None


class Containers:
    """The containers of this engine; the caller sees to it that create, start and remove of one do not
    overlap.
    """

    def __init__(self, context: Context, sandboxes: Sandboxes, notify: Callable[[Container, int], None]):
        self._context, self._sandboxes, self._notify = context, sandboxes, notify
        self.records = Records(context.root / "containers", Container)
        self._live: dict[str, Live] = {}
        self._configs: dict[str, Any] = {}
        self._resources: dict[str, tuple[object, Any]] = {}

    def config(self, record: Container) -> Any:
        """The container's ContainerConfig, shared: not to be changed."""
        found = self._configs.get(record.id)
        if found is None:
            found = from_json("ContainerConfig", record.config)
            if record.id in self.records:
                self._configs[record.id] = found
        return found

    def resources(self, record: Container) -> Any:
        """The container's LinuxContainerResources as last updated, shared: not to be changed."""
        made_of, found = self._resources.get(record.id, (None, None))
        if made_of is not record.resources:
            found = from_json("LinuxContainerResources", record.resources)
            if record.id in self.records:
                self._resources[record.id] = (record.resources, found)
        return found

    def directory(self, record: Container) -> Path:
        return self._context.container_directory(record.id)

    def _of(self, record: Container) -> Live:
        return self._live.setdefault(record.id, Live(asyncio.Event()))

    # Making

    async def create(self, name: str, sandbox: Sandbox, config: Any, image: Image) -> Container:
        """Prepare a container to be started; nothing is left of it where that fails."""
        pod = self._sandboxes.config(sandbox)
        record = Container(
            name, sandbox.id, to_json(config), image.id, time.time_ns(), cgroup=f"{sandbox.cgroup}/{name}"
        )
        if pod.log_directory and config.log_path:
            record.log = str(Path(pod.log_directory, config.log_path))
        wanted = signals.from_cri(config.stop_signal) or signals.number(image.config.stop_signal)
        record.stop = wanted or signals.TERM
        record.resources = to_json(config.linux.resources)
        self.records.save(record)
        try:
            with trace.span("prepare rootfs", SERVICE):
                rootfs = await asyncio.to_thread(snapshots.prepare, self._context.images, name, image)
            made = await asyncio.to_thread(self._bundle, record, config, sandbox, image, rootfs)
            record.message = "; ".join(made)
            self.records.advance(record, "prepared")
        except BaseException:
            await asyncio.shield(self.remove(record, quietly=True))
            raise
        self._notify(record, CREATED_EVENT)
        return record

    def _bundle(
        self, record: Container, config: Any, sandbox: Sandbox, image: Image, rootfs: Path
    ) -> list[str]:
        """Write the container's spec; what could not be granted."""
        images = self._context.images

        def mounted(number: int, name: str) -> Path:
            return snapshots.prepare(images, f"{record.id}.{number}", images.find(name))

        identity = bundle.identity(config, image.config.run, rootfs)
        record.uid, record.gid, record.groups = identity.uid, identity.gid, list(identity.groups)
        pod = self._sandboxes.config(sandbox)
        made, warnings = spec.make(
            spec.Given(
                config=config,
                image=image.config.run,
                rootfs=str(rootfs),
                identity=identity,
                machine=self._context.machine,
                cgroup=record.cgroup,
                namespaces=self._namespaces(config, sandbox),
                hostname=pod.hostname,
                files=self._sandboxes.files(sandbox),
                devices=bundle.devices(config),
                sources=bundle.sources(config, mounted),
                profile=bundle.profile(config),
            )
        )
        home = self.directory(record)
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        files.write(home / "config.json", json.dumps(made), durable=False)
        if record.log:
            Path(record.log).parent.mkdir(parents=True, exist_ok=True)
        return warnings

    def _namespaces(self, config: Any, sandbox: Sandbox) -> dict[str, str]:
        """The pod's namespaces, and the PID namespace by the container's own wish. Raises SpecError."""
        found = self._sandboxes.paths(sandbox)
        shared = found.pop("pid", "")
        options = config.linux.security_context.namespace_options
        if options.pid == messages.CONTAINER:
            found["pid"] = ""
        elif options.pid == messages.POD:
            # A sandbox that was not asked to hold one leaves each container its own.
            found["pid"] = shared
        elif options.pid == messages.TARGET:
            target = self.records.get(options.target_id)
            if not target or target.state != RUNNING or target.sandbox != sandbox.id:
                raise spec.SpecError(
                    f"target container {options.target_id} of the PID namespace is not running in this pod"
                )
            found["pid"] = f"/proc/{target.pid}/ns/pid"
        return found

    # Starting

    async def start(self, record: Container) -> None:
        """Run a created container.

        Raises ContainerError with the runtime's words; the container has then exited with 128.
        """
        self.records.advance(record, "start")
        config = self.config(record)
        home, context = self.directory(record), self._context
        runtime = context.runtime.command
        try:
            with trace.span(f"{runtime} run", SERVICE, peer=runtime, attributes={"container": record.id}):
                session = await shims.launch(
                    context.shim,
                    "run",
                    home,
                    self._options(record, config),
                    context.runtime.run_argv(record.id, home, tty=config.tty),
                    listen=await asyncio.to_thread(shims.listener, home),
                )
                self._of(record).session = session
                begun = await session.started(START_TIMEOUT)
        except (ShimError, TimeoutError, OSError) as e:
            await self._failed(record, str(e) or f"the runtime had not started it after {START_TIMEOUT:g} s")
            raise ContainerError(f"failed to start container {record.id}: {record.message}") from e
        self._running(record, begun)

    def _options(self, record: Container, config: Any) -> list[str]:
        logs = self._context.logs
        found = ["--oom", str(self._context.cgroups.oom_file(record.cgroup))]
        if record.log:
            found += ["--log", record.log, "--log-size", str(logs.size), "--log-files", str(logs.files)]
        wanted = {"--tty": config.tty, "--stdin": config.stdin, "--stdin-once": config.stdin_once}
        return found + [option for option, given in wanted.items() if given]

    def _running(self, record: Container, begun: Start) -> None:
        record.pid, record.started = begun.pid, begun.time
        self.records.note(record, "started")
        self._watch(record)
        self._notify(record, STARTED_EVENT)

    async def _failed(self, record: Container, message: str) -> None:
        live = self._of(record)
        if live.session:
            await live.session.signal(signal.SIGKILL)
            await live.session.close()
            live.session = None
        await self._clean(record)
        now = time.time_ns()
        self._end(record, Exit(128, now, error=message))

    # The end

    def _watch(self, record: Container) -> None:
        live = self._of(record)
        live.watch = asyncio.get_running_loop().create_task(
            self._until_end(record, live), name=f"watch {record.id[:12]}"
        )

    async def _until_end(self, record: Container, live: Live) -> None:
        assert live.session
        found = await live.session.ended()
        await live.session.close()
        live.session = None
        if found is None:
            found = await asyncio.to_thread(shims.read_exit, self.directory(record))
        if found is None:
            found = await self.lost(record)
        # The end is told first; taking away what the runtime left is nobody's hurry.
        self._end(record, found)
        await self._clean(record)

    async def lost(self, record: Container) -> Exit:
        """A running container whose shim is gone: nobody knows it any more, so it ends."""
        await asyncio.to_thread(self._context.cgroups.kill, record.cgroup)
        return Exit(
            LOST,
            time.time_ns(),
            signal=signal.SIGKILL,
            error="the process that watched the container was lost",
        )

    def _end(self, record: Container, found: Exit) -> None:
        record.finished, record.status = found.time, found.status
        record.reason, record.message = reason(found), found.error
        self.records.note(record, "ended")
        self._of(record).ended.set()
        self._notify(record, STOPPED_EVENT)

    async def _clean(self, record: Container) -> None:
        """Take away what the runtime holds of an ended container: processes that are left, its state, its
        cgroup.
        """
        groups = self._context.cgroups
        await asyncio.to_thread(groups.kill, record.cgroup)
        try:
            await self._context.runtime.delete(record.id)
        except ProcessError:
            await asyncio.to_thread(shutil.rmtree, self._context.runtime.root / record.id, True)
        await asyncio.to_thread(groups.remove, record.cgroup)

    async def stop(self, record: Container, grace: float) -> None:
        """Ask a container to end, and kill it where it has not after `grace` seconds.

        Idempotent. Raises ContainerError.
        """
        if record.state not in (STARTING, RUNNING):
            return
        live = self._of(record)
        if grace > 0:
            await self._signal(record, live, record.stop)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await live.ended.wait()
                return
        await self._signal(record, live, signal.SIGKILL)
        try:
            async with asyncio.timeout(KILL_TIMEOUT):
                await live.ended.wait()
        except TimeoutError:
            raise ContainerError(
                f"container {record.id} did not end {KILL_TIMEOUT:g} s after it was killed"
            ) from None

    async def _signal(self, record: Container, live: Live, number: int) -> None:
        if live.session:
            await live.session.signal(number)

    async def remove(self, record: Container, *, quietly: bool = False) -> None:
        """Remove a container, by force if it runs. Idempotent."""
        await self.stop(record, 0)
        live = self._of(record)
        if live.watch:
            await asyncio.wait({live.watch}, timeout=KILL_TIMEOUT)
            live.watch.cancel()
        self.records.note(record, "remove")
        await self._clean(record)
        await asyncio.to_thread(self._delete, record)
        self.records.forget(record.id)
        self._configs.pop(record.id, None)
        self._resources.pop(record.id, None)
        self._live.pop(record.id, None)
        if not quietly:
            self._notify(record, DELETED_EVENT)

    def _delete(self, record: Container) -> None:
        snapshots.remove(self._context.images, record.id)
        for number, mount in enumerate(self.config(record).mounts):
            if mount.image.image:
                snapshots.remove(self._context.images, f"{record.id}.{number}")
        shutil.rmtree(self.directory(record), ignore_errors=True)

    # Recovery

    async def adopt(self, record: Container, session: Session) -> None:
        """Take up a container that ran on while no engine was there."""
        self._of(record).session = session
        try:
            begun = await session.started(START_TIMEOUT)
        except (ShimError, TimeoutError) as e:
            await self._failed(record, str(e))
            return
        if record.state == STARTING:
            self._running(record, begun)
        else:
            self._watch(record)

    async def ended_meanwhile(self, record: Container, found: Exit) -> None:
        """Take note of an end that came while no engine was there."""
        if record.state == STARTING and not found.error:
            record.started = record.started or found.time
        self._end(record, found)
        await self._clean(record)

    async def close(self) -> None:
        """Let go of all sessions; containers run on."""
        for live in self._live.values():
            if live.watch:
                live.watch.cancel()
                await asyncio.gather(live.watch, return_exceptions=True)
            if live.session:
                await live.session.close()
        self._live.clear()

    # Inside a running container

    def session(self, record: Container) -> Session:
        """The shim's session of a running container. Raises ContainerError."""
        live = self._of(record)
        if record.state != RUNNING or not live.session:
            raise ContainerError(f"container {record.id} is in {state_name(record)} state")
        return live.session

    async def exec(
        self, record: Container, argv: Sequence[str], *, tty: bool, stdin: bool, bound: bool = False
    ) -> Session:
        """Start one more process in a running container;

        `bound` ends it with the session. Raises ContainerError.
        """
        self.session(record)
        home = await asyncio.to_thread(self._exec_directory, record, list(argv), tty)
        options = [o for o, given in {"--tty": tty, "--stdin": stdin, "--bound": bound}.items() if given]
        runtime = self._context.runtime
        shown = {"container": record.id}
        session = None
        try:
            with trace.span(f"{runtime.command} exec", SERVICE, peer=runtime.command, attributes=shown):
                session = await shims.launch(
                    self._context.shim, "exec", home, options, runtime.exec_argv(record.id, tty=tty)
                )
                await session.started(START_TIMEOUT)
        except BaseException as e:
            if session:
                await session.signal(signal.SIGKILL)
                await session.close()
            if isinstance(e, ShimError | TimeoutError | OSError):
                raise ContainerError(f"failed to exec in container {record.id}: {e}") from e
            raise
        finally:
            await asyncio.to_thread(shutil.rmtree, home, True)
        return session

    def _exec_directory(self, record: Container, argv: list[str], tty: bool) -> Path:
        directory = self.directory(record)
        process = json.loads((directory / "config.json").read_bytes())["process"]
        if tty and not any(word.startswith("TERM=") for word in process["env"]):
            process["env"].append("TERM=xterm")
        home = Path(tempfile.mkdtemp(prefix="exec-", dir=directory))
        (home / "process.json").write_text(json.dumps({**process, "args": argv, "terminal": tty}))
        return home

    async def attach(self, record: Container) -> Session:
        """The container's own streams, from now on. Raises ContainerError."""
        self.session(record)
        session = await shims.connect(self.directory(record))
        if not session:
            raise ContainerError(f"container {record.id} is ending")
        await session.subscribe()
        return session

    async def update(self, record: Container, resources: Any) -> None:
        """Set new limits on a created or running container. Raises OSError where the kernel refuses them."""
        merged = from_json("LinuxContainerResources", record.resources)
        merged.MergeFrom(resources)
        if record.state == RUNNING:
            wanted = cgroups.Limits(**spec.limits(resources))
            await asyncio.to_thread(self._context.cgroups.limit, record.cgroup, wanted)
        elif record.state == CREATED:
            await asyncio.to_thread(self._update_spec, record, merged)
        record.resources = to_json(merged)
        self.records.save(record)

    def _update_spec(self, record: Container, resources: Any) -> None:
        path = self.directory(record) / "config.json"
        made = json.loads(path.read_bytes())
        config = from_json("ContainerConfig", record.config)
        config.linux.resources.CopyFrom(resources)
        kept = made["linux"]["resources"]["devices"]
        made["linux"]["resources"] = {**spec.resources(config), "devices": kept}
        files.write(path, json.dumps(made), durable=False)


def reason(found: Exit) -> str:
    """Why a container ended, in CRI's words."""
    if found.error:
        return "StartError" if found.status == 128 else "ContainerStatusUnknown"
    if found.oom and found.status:
        return "OOMKilled"
    return "Error" if found.status else "Completed"


STATE_NAMES = {CREATED: "CONTAINER_CREATED", STARTING: "CONTAINER_CREATED", RUNNING: "CONTAINER_RUNNING"}


def state_name(record: Container) -> str:
    """CRI's name for the container's state."""
    return STATE_NAMES.get(
        record.state, "CONTAINER_EXITED" if record.state == EXITED else "CONTAINER_UNKNOWN"
    )
