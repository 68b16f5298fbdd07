"""/livez, /readyz and /healthz: each with its checks, one by one under its own path, and `verbose` and `exclude`.

Source: the documentation's "Kubernetes API health endpoints".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sampan.apiserver import errors
from sampan.apiserver.call import Answer, Call
from sampan.http.messages import Response

if TYPE_CHECKING:
    from sampan.apiserver.server import ApiServer

CHECKED = ("livez", "readyz", "healthz")


def _checks(server: ApiServer, probe: str) -> dict[str, bool]:
    """Each check by name, and whether it passes."""
    found = {"ping": True, "background-tasks": not server.faults}
    if probe != "livez":
        found["poststarthook/bootstrap"] = server.ready
    return found


def answer(server: ApiServer, call: Call, path: str) -> Answer:
    _, probe, *rest = path.split("/")
    checks = _checks(server, probe)
    excluded = call.query.get("exclude", [])
    if rest:
        name = "/".join(rest)
        if name not in checks:
            raise errors.no_such_path()
        checks = {name: checks[name]}
    checks = {n: ok for n, ok in checks.items() if n not in excluded}
    good = all(checks.values())
    if good and not call.flag("verbose"):
        return _text(200, "ok")
    lines = [f"[{'+' if ok else '-'}]{name} {'ok' if ok else 'failed'}" for name, ok in checks.items()]
    lines.append(f"{probe} check {'passed' if good else 'failed'}\n")
    return _text(200 if good else 500, "\n".join(lines))


def _text(code: int, text: str) -> Response:
    return Response(
        code,
        text.encode(),
        {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"},
    )
