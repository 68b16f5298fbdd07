"""Files are replaced whole: whoever reads, at whatever moment, meets the old or the new."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sampan.host import files


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_with_its_mode(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "secret"
    files.write(path, b"old", durable=durable)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "private unless told"
    files.write(path, "new", 0o644, durable=durable)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == ["secret"]


@pytest.mark.root
def test_it_is_its_owners_before_it_has_its_name(tmp_path: Path) -> None:
    files.write(tmp_path / "key", b"x", owner=(61184, 61185))
    found = (tmp_path / "key").stat()
    assert (found.st_uid, found.st_gid) == (61184, 61185)


def test_a_failure_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "inside").touch()
    with pytest.raises(OSError):
        files.write(tmp_path / "name", b"x")
    assert os.listdir(tmp_path) == ["name"]


def test_readers_never_meet_half_a_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "x", {b"a" * 100_000, b"b" * 200_000}
    files.write(path, b"a" * 100_000, durable=False)
    done = threading.Event()

    def writer() -> None:
        for text in [*texts] * 50:
            files.write(path, text, durable=False)
        done.set()

    thread = threading.Thread(target=writer)
    thread.start()
    while not done.is_set():
        assert path.read_bytes() in texts
    thread.join()
