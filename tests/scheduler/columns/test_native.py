"""The kernel is built once for a machine, stays within its arrays, and is done without where it cannot be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sampan.scheduler.columns import native

HERE = Path(__file__).parent
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-g", "-O1")


def run(environment: dict[str, str], *words: str) -> str:
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, *words], env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_library_is_built_once(tmp_path: Path) -> None:
    first = native.build(tmp_path, ["-DTEST"])
    made = first.stat().st_mtime_ns
    assert native.build(tmp_path, ["-DTEST"]) == first
    assert first.stat().st_mtime_ns == made
    assert native.build(tmp_path, ["-DOTHER"]) != first


def test_it_is_built_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither beside the source nor in the user's cache: the library is loaded, and leaves no file behind."""
    source, temporary = tmp_path / "source", tmp_path / "temporary"
    source.mkdir()
    temporary.mkdir()
    shutil.copy(native.SOURCE, source)
    for name in ("__pycache__", "cache"):
        (source / name).touch()
    monkeypatch.setattr(native, "SOURCE", source / "kernel.c")
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("XDG_CACHE_HOME", str(source / "cache"))
    assert native.load.__wrapped__() is not None
    assert not list(temporary.iterdir())


def test_it_reads_and_writes_only_its_arrays(tmp_path: Path) -> None:
    """The choices of test_placer again, by a library that checks every access and every undefined step."""
    library = native.build(tmp_path, SANITIZED)
    preload = [
        subprocess.run(
            ["cc", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True
        ).stdout
        for name in ("asan", "ubsan")
    ]
    environment = {
        "SAMPAN_KERNEL": str(library),
        "LD_PRELOAD": " ".join(name.strip() for name in preload),
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    chosen = "changes_nothing or (choice and native) or (judged and plugins)"
    words = f"-m pytest -q -p no:faulthandler -p no:xdist {HERE / 'test_placer.py'} -k".split()
    assert "100%" in run(environment, *words, chosen)


def test_numpy_serves_where_there_is_no_compiler(tmp_path: Path) -> None:
    """With no program to be found, a placer still places."""
    code = (
        "from random import Random; from tests.scheduler.columns import worlds;"
        "from sampan.scheduler.columns import native; from sampan.scheduler.columns.placer import Placer;"
        "from sampan.scheduler.plugins import default_profile; from sampan.scheduler.pods import PodInfo;"
        "import sys, pathlib; native.SOURCE = pathlib.Path(sys.argv[1], 'kernel.c'); native.SOURCE.touch();"
        "pod = PodInfo({'metadata': {'name': 'p'}, 'spec': {}});"
        "placer = Placer(worlds.cluster(Random(1), 20, 0));"
        "print(native.load(), bool(placer.place(default_profile(), pod).node))"
    )
    empty = tmp_path / "bin"
    empty.mkdir()
    paths = os.pathsep.join([str(HERE.parent.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    said = run(
        {"PATH": str(empty), "PYTHONPATH": paths, "XDG_CACHE_HOME": str(tmp_path)}, "-c", code, str(tmp_path)
    )
    assert said.split() == ["None", "True"]
