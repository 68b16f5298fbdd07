"""The instructions that change no file: each a plain function on the state. Each returns what the history says."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable

from sampan.engine.build import words
from sampan.engine.build.dockerfile import Instruction, instruction
from sampan.engine.build.state import State

_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_PORT = re.compile(r"(?:[^:]*:)*(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)


def _env(state: State, each: Instruction, escape: str) -> str:
    pairs = words.pairs(each.rest, state.variables, escape)
    for name, value in pairs:
        state.set_env(name, value)
    return "ENV " + " ".join(f"{k}={v}" for k, v in pairs)


def _label(state: State, each: Instruction, escape: str) -> str:
    pairs = words.pairs(each.rest, state.variables, escape)
    state.run["Labels"] = {**(state.run.get("Labels") or {}), **dict(pairs)}
    return "LABEL " + " ".join(f"{k}={v}" for k, v in pairs)


def argv(state: State, each: Instruction) -> list[str]:
    """The command line of RUN, CMD or ENTRYPOINT: its JSON form as it is, else through the shell."""
    return list(each.words) if each.words is not None else [*state.shell, each.rest]


def _cmd(state: State, each: Instruction, escape: str) -> str:
    state.run["Cmd"] = argv(state, each)
    state.command_set = True
    return f"CMD {json.dumps(state.run['Cmd'])}"


def _entrypoint(state: State, each: Instruction, escape: str) -> str:
    state.run["Entrypoint"] = argv(state, each)
    if not state.command_set:
        state.run.pop("Cmd", None)  # the base's CMD was meant for the base's entrypoint
    return f"ENTRYPOINT {json.dumps(state.run['Entrypoint'])}"


def _user(state: State, each: Instruction, escape: str) -> str:
    state.run["User"] = words.expand(each.rest, state.variables, escape)
    return f"USER {state.run['User']}"


def _expose(state: State, each: Instruction, escape: str) -> str:
    found: dict[str, dict[str, str]] = {}
    for port in words.split(each.rest, state.variables, escape):
        match = _PORT.fullmatch(port)
        if not match or int(match[2] or match[1]) > 65535:
            raise words.WordError(f"invalid containerPort: {port}")
        for number in range(int(match[1]), int(match[2] or match[1]) + 1):
            found[f"{number}/{(match[3] or 'tcp').lower()}"] = {}
    state.run["ExposedPorts"] = dict(sorted({**(state.run.get("ExposedPorts") or {}), **found}.items()))
    return f"EXPOSE {each.rest}"


def _volume(state: State, each: Instruction, escape: str) -> str:
    paths = list(each.words) if each.words is not None else words.split(each.rest, state.variables, escape)
    paths = [words.expand(p, state.variables, escape) for p in paths]
    if not all(paths):
        raise words.WordError("VOLUME specified can not be an empty string")
    state.run["Volumes"] = {**(state.run.get("Volumes") or {}), **{p: {} for p in paths}}
    return f"VOLUME {json.dumps(paths)}"


def _stopsignal(state: State, each: Instruction, escape: str) -> str:
    state.run["StopSignal"] = words.expand(each.rest, state.variables, escape)
    return f"STOPSIGNAL {state.run['StopSignal']}"


def _shell(state: State, each: Instruction, escape: str) -> str:
    if not each.words:
        raise words.WordError("SHELL requires the arguments to be in JSON form")
    state.run["Shell"] = list(each.words)
    return f"SHELL {json.dumps(each.words)}"


def _maintainer(state: State, each: Instruction, escape: str) -> str:
    state.author = each.rest
    return f"MAINTAINER {each.rest}"


def _onbuild(state: State, each: Instruction, escape: str) -> str:
    inner = instruction(each.rest, each.line, each.source)
    if inner.keyword in ("ONBUILD", "FROM", "MAINTAINER"):
        raise words.WordError(f"{inner.keyword} isn't allowed as an ONBUILD trigger")
    state.run["OnBuild"] = [*(state.run.get("OnBuild") or []), each.rest]
    return f"ONBUILD {each.rest}"


def duration(text: str) -> int:
    """Nanoseconds of a Go duration such as 1m30s. Raises WordError."""
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise words.WordError(f"time: invalid duration {text!r}")
    return sum(int(float(n) * _UNITS[unit]) for n, unit in _DURATION.findall(text))


def _healthcheck(state: State, each: Instruction, escape: str) -> str:
    kind, _, rest = each.rest.partition(" ")
    if kind.upper() == "NONE":
        state.run["Healthcheck"] = {"Test": ["NONE"]}
        return "HEALTHCHECK NONE"
    if kind.upper() != "CMD" or not rest.strip():
        raise words.WordError(f"unknown type {kind} in HEALTHCHECK (try CMD)")
    command = instruction(f"CMD {rest}", each.line, each.source)
    test = ["CMD", *command.words] if command.words is not None else ["CMD-SHELL", command.rest]
    check: dict[str, object] = {"Test": test}
    names = {
        "interval": "Interval",
        "timeout": "Timeout",
        "start-period": "StartPeriod",
        "start-interval": "StartInterval",
    }
    for flag, value in each.flags.items():
        if flag == "retries":
            if not value.isdigit():
                raise words.WordError(f"--retries must be a number, not {value!r}")
            check["Retries"] = int(value)
        else:
            check[names[flag]] = duration(value)
    state.run["Healthcheck"] = check
    return f"HEALTHCHECK {each.rest}"


def workdir(state: State, each: Instruction, escape: str) -> str:
    """Set the working directory, relative to the one before; the caller makes it. Returns what the history says."""
    path = words.expand(each.rest, state.variables, escape)
    state.run["WorkingDir"] = posixpath.normpath(posixpath.join("/", state.workdir, path))
    return f"WORKDIR {path}"


INSTRUCTIONS: dict[str, Callable[[State, Instruction, str], str]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
}
