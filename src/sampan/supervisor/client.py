"""Asking a supervisor: one line of JSON over its socket, and one back."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

TIMEOUT = 3.0


def ask(run: Path, request: str, **more: int) -> dict[str, Any]:
    """The answer of the supervisor whose sockets are in `run`; `more` goes along. Raises OSError, ValueError."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(run / "supervisor.sock"))
        connection.sendall(json.dumps({"do": request, **more}).encode() + b"\n")
        answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        return answer
