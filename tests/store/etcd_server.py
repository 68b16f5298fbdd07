"""A real etcd for tests: loopback, any port, its own directory; it can be killed, paused and started again."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What etcd's log says once it serves: 3.4 in plain text, later ones in JSON.
_SERVING = re.compile(r"serving (?:insecure )?client .*?(?:on |\"address\": ?\")127\.0\.0\.1:(\d+)")


class EtcdServer:
    """One member. `options` are further flags; with `tls`, those that name certificates."""

    def __init__(self, directory: Path, options: tuple[str, ...] = (), scheme: str = "http") -> None:
        self._directory = directory
        self._options, self._scheme = options, scheme
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"etcd://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the port that it had before; returns once it serves."""
        program = shutil.which("etcd")
        assert program, "etcd is not installed; ./dev test installs it"
        self._directory.mkdir(exist_ok=True)
        listen, peer = f"{self._scheme}://127.0.0.1:{self.port}", "http://127.0.0.1:0"
        words = [program, "--data-dir", str(self._directory / "data"), "--enable-grpc-gateway=false"]
        words += ["--listen-client-urls", listen, "--advertise-client-urls", listen]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        words += ["--initial-cluster", f"default={peer}", *self._options]
        path = self._directory / "log"
        with open(path, "wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while not (found := _SERVING.search(path.read_text(errors="replace"))):
            assert time.monotonic() < until, path.read_text()
            assert self._process.poll() is None, path.read_text()
            time.sleep(0.01)
        self.port = int(found[1])

    def signal(self, number: signal.Signals) -> None:
        assert self._process
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()


@contextmanager
def etcd(directory: Path, *options: str, scheme: str = "http") -> Iterator[EtcdServer]:
    """A server that has started; afterwards it is gone."""
    server = EtcdServer(directory, options, scheme)
    server.start()
    try:
        yield server
    finally:
        server.stop()
