"""What a service manager and its service tell one another: sockets, readiness, the wish to stop.

Sources: sd_listen_fds(3), sd_notify(3). Without a manager all of this does nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket

# Taken out of the environment at once: they are for this process, and runc, for one, would act on them.
_NOTIFY_SOCKET = os.environ.pop("NOTIFY_SOCKET", "")
_LISTEN_PID = os.environ.pop("LISTEN_PID", "")
_LISTEN_FDS = os.environ.pop("LISTEN_FDS", "0")


def listening_sockets() -> list[socket.socket]:
    """The sockets that the manager bound for us, from descriptor 3 on."""
    if str(os.getpid()) != _LISTEN_PID:
        return []
    found = [socket.socket(fileno=3 + i) for i in range(int(_LISTEN_FDS))]
    for s in found:
        s.setblocking(False)
        os.set_inheritable(s.fileno(), False)
    return found


def notify(*, ready: bool = False, status: str = "") -> None:
    """Tell the manager that we are ready, or what we are doing."""
    if not _NOTIFY_SOCKET:
        return
    lines = [*(["READY=1"] if ready else []), *([f"STATUS={status}"] if status else [])]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.sendto("\n".join(lines).encode(), _NOTIFY_SOCKET)
        except OSError:
            pass  # a manager that is away learns it from its successor's adoption


def asked_to_stop() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)
    return event


async def until(stop: asyncio.Event, work: asyncio.Task[None]) -> None:
    """Run `work` until it ends or `stop` is set, then cancel it. An error of its own is raised."""
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, work}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    if not work.cancelled() and (error := work.exception()):
        raise error
