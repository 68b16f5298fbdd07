"""The kernel's library and its structures: compiled at need, kept beside the source, loaded once.

`load()` gives the function that kernel.c calls `place`, or None where there is no compiler; then twin.py does the
same work. The structures below are those of kernel.c, field by field.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from ctypes import c_int32, c_int64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "kernel.c"
# Fused multiplications and additions would round once where upstream rounds twice.
FLAGS = ("-O3", "-std=gnu11", "-fPIC", "-shared", "-ffp-contract=off", "-Wno-psabi")
# The directory of a library that cannot be kept.
FOR_ONCE = "sampan-kernel-"
LEAST, MOST, RATIO = 0, 1, 2
SPREAD, NEAR, APART = 0, 1, 2

Place = Callable[[Any, int, Any], int]

log = logging.getLogger(__name__)


class Share(ctypes.Structure):
    _fields_ = (("limit", c_void_p), ("used", c_void_p), ("want", c_int64), ("weight", c_int64))


class Add(ctypes.Structure):
    _fields_ = (("column", c_void_p), ("amount", c_int64))


class Axis(ctypes.Structure):
    _fields_ = (("domain", c_void_p), ("size", c_int64), ("refused", c_void_p), ("sums", c_void_p))


class Rule(ctypes.Structure):
    _fields_ = (
        ("counts", c_void_p), ("present", c_void_p), ("kind", c_int32), ("axis", c_int32),
        ("max_skew", c_int64), ("own", c_int64), ("min_domains", c_int64),
    )  # fmt: skip


class Soft(ctypes.Structure):
    _fields_ = (
        ("counts", c_void_p), ("domain", c_void_p), ("points", c_void_p), ("marked", c_void_p),
        ("size", c_int64), ("max_skew", c_int64), ("by_row", c_int64),
    )  # fmt: skip


class Term(ctypes.Structure):
    _fields_ = (("counts", c_void_p), ("axis", c_int64), ("weight", c_int64))


class Effect(ctypes.Structure):
    _fields_ = (("seat", c_void_p), ("counts", c_void_p), ("amount", c_int64))


_LISTS = ("needs", "fit", "balance", "adds", "axes", "rules", "softs", "terms", "effects")
_NUMBERS = (
    "fit_weight", "balance_weight", "taint_weight", "affinity_weight", "spread_weight", "near_weight",
    "strategy", "wide", "near_self", "soft_all",
)  # fmt: skip


class Query(ctypes.Structure):
    """One pod against all nodes: addresses of columns, and numbers."""

    _fields_ = (
        ("rows", c_int64), ("refused", c_void_p), ("pods", c_void_p), ("max_pods", c_void_p),
        *((f"n_{name}", c_int64) for name in _LISTS),
        *((name, c_void_p) for name in _LISTS),
        ("taints", c_void_p), ("affinity", c_void_p), ("fixed", c_void_p),
        *((name, c_int64) for name in _NUMBERS),
        ("without", c_void_p), ("shape", c_void_p), ("logs", c_void_p), ("odd", c_void_p), ("n_odd", c_int64),
        ("settled", c_int64), ("exclusive", c_int64),
        ("base", c_void_p), ("total", c_void_p), ("tree", c_void_p), ("raw", c_void_p),
    )  # fmt: skip


@cache
def load() -> Place | None:
    """The native kernel; None where it cannot be built. Blocks a second, once.

    SAMPAN_KERNEL=numpy forbids it, SAMPAN_KERNEL=FILE names a library that was built already.
    """
    chosen = os.environ.get("SAMPAN_KERNEL", "")
    if chosen == "numpy":
        return None
    try:
        library = _opened(Path(chosen) if chosen else build(_cache()))
    except (OSError, subprocess.SubprocessError) as e:
        log.warning(
            "the scheduler's kernel cannot be built (are gcc and libc6-dev installed?), numpy is used: %s", e
        )
        return None
    place = library.place
    place.argtypes, place.restype = (c_void_p, c_int64, c_void_p), c_int64
    found: Place = place
    return found


def _opened(path: Path) -> ctypes.CDLL:
    """The library; one that was built for once is mapped by now, and its file is not needed any more."""
    try:
        return ctypes.CDLL(str(path))
    finally:
        if path.parent.name.startswith(FOR_ONCE):
            shutil.rmtree(path.parent, ignore_errors=True)


def _cache() -> Path | None:
    """The user's own cache; a system's user may have no home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sampan"
    except RuntimeError:
        return None


def build(directory: Path | None, flags: Sequence[str] = ()) -> Path:
    """The library, compiled unless this very source was before: beside the source, in `directory`, or for once.

    Raises OSError, subprocess.SubprocessError.
    """
    made_from = SOURCE.read_bytes() + " ".join((*FLAGS, *flags, *_machine())).encode()
    name = f"kernel-{hashlib.sha256(made_from).hexdigest()[:16]}.so"
    places = [place for place in ([] if flags else [SOURCE.parent / "__pycache__"]) + [directory] if place]
    for place in places:
        if (place / name).exists():
            return place / name
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            temporary = tempfile.TemporaryDirectory(dir=place, prefix=".kernel")
        except OSError:
            continue
        with temporary as made:
            _compile(Path(made, name), flags)
            Path(made, name).rename(place / name)
        return place / name
    target = Path(tempfile.mkdtemp(prefix=FOR_ONCE), name)
    try:
        _compile(target, flags)
    except BaseException:
        shutil.rmtree(target.parent)
        raise
    return target


@cache
def _machine() -> tuple[str, ...]:
    """Flags for what this machine's processor can do; the library's name has them too."""
    if platform.machine() != "x86_64":
        return (f"-DMACHINE_{platform.machine()}",)
    cpuinfo = Path("/proc/cpuinfo").read_text()
    found = set(cpuinfo[cpuinfo.find("\nflags") :].partition("\n\n")[0].split())
    if {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= found:
        return ("-march=x86-64-v4", "-DLANES=8")
    return (
        ("-march=x86-64-v3",)
        if {"avx2", "bmi1", "bmi2", "fma", "lzcnt" if "lzcnt" in found else "abm"} <= found
        else ()
    )


def _compile(target: Path, flags: Sequence[str]) -> None:
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if not compiler:
        raise OSError("there is no C compiler")
    command = [compiler, *FLAGS, *_machine(), *flags, "-o", str(target), str(SOURCE), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise OSError(done.stderr.strip()[-500:])
