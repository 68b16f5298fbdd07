"""Stages: what a Dockerfile's parts are called, which of them a target needs, and what their FROM lines say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sampan.engine.build import words
from sampan.engine.build.dockerfile import Dockerfile, Instruction
from sampan.engine.images.model import ImageError


@dataclass(frozen=True, slots=True)
class Stage:
    """One FROM and what follows it. `base` is an image's name, `scratch`, or an earlier stage's name or number."""

    index: int
    name: str
    base: str
    platform: str
    opening: Instruction
    steps: tuple[Instruction, ...]


def stages(dockerfile: Dockerfile, arguments: Mapping[str, str]) -> tuple[list[Stage], dict[str, str]]:
    """The stages in order, and the global ARGs (declared before the first FROM) with their values.

    Raises DockerfileError.
    """
    scope: dict[str, str] = dict(arguments)
    declared: dict[str, str] = {}
    found: list[Stage] = []
    groups: list[list[Instruction]] = []
    for each in dockerfile.instructions:
        if each.keyword == "FROM":
            groups.append([each])
        elif groups:
            groups[-1].append(each)
        else:
            for name, default in argument(each, scope | declared, dockerfile.escape):
                declared[name] = arguments.get(name, default or "")
    for group in groups:
        found.append(_stage(len(found), group, {**scope, **declared}, dockerfile.escape))
    return found, declared


def argument(each: Instruction, variables: Mapping[str, str], escape: str) -> list[tuple[str, str | None]]:
    """The names an ARG declares, with their defaults. Raises DockerfileError."""
    try:
        parts = words.split(each.rest, variables, escape)
    except words.WordError as e:
        raise each.error(str(e)) from None
    found: list[tuple[str, str | None]] = []
    for part in parts:
        name, equals, value = part.partition("=")
        if not name:
            raise each.error("ARG names can not be blank")
        found.append((name, value if equals else None))
    return found


def _stage(index: int, group: Sequence[Instruction], variables: Mapping[str, str], escape: str) -> Stage:
    opening = group[0]
    try:
        parts = words.split(opening.rest, variables, escape)
        platform = words.expand(opening.flags.get("platform", ""), variables, escape)
    except words.WordError as e:
        raise opening.error(str(e)) from None
    if len(parts) == 3 and parts[1].upper() == "AS":
        name = parts[2].lower()
    elif len(parts) == 1:
        name = ""
    elif not parts:
        raise opening.error(f"base name ({opening.rest}) should not be blank")
    else:
        raise opening.error("FROM requires either one or three arguments")
    return Stage(index, name, parts[0], platform, opening, tuple(group[1:]))


def find(all: Sequence[Stage], name: str, before: int | None = None) -> Stage | None:
    """The stage of that name or number, among those before one."""
    among = all if before is None else all[:before]
    for stage in reversed(among):
        if stage.name == name.lower() or str(stage.index) == name:
            return stage
    return None


def needed(all: Sequence[Stage], target: str = "") -> list[Stage]:
    """The stages that the target (by default the last) is built from, in order. Raises ImageError."""
    last = find(all, target) if target else all[-1]
    if last is None:
        raise ImageError(f"failed to reach build target {target} in Dockerfile")
    wanted: set[int] = set()
    todo = [last]
    while todo:
        stage = todo.pop()
        if stage.index in wanted:
            continue
        wanted.add(stage.index)
        names = [stage.base, *(s.flags["from"] for s in stage.steps if "from" in s.flags)]
        todo += [found for n in names if (found := find(all, n, stage.index))]
    return [s for s in all if s.index in wanted]
