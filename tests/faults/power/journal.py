"""What a program did to its disk, and what a power cut at any moment leaves of it.

`Disk` is two copies of each file: as the program sees it, and as it is for certain after a cut, which is what was
synced. What was written since the last sync may be there, in part, in any order, or not at all: `left` chooses. A
file's name lasts only once its directory was synced. Pessimistic as POSIX allows, which is more than ext4 would do.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct("=cIqI")
# What a disk writes at once.
SECTOR = 512


class Record(NamedTuple):
    """One thing that was done; the letters are told in shim.c."""

    kind: str
    path: str
    offset: int
    data: bytes


def read(path: Path) -> Iterator[Record]:
    """The records of a journal; its last may be cut off."""
    text, at = path.read_bytes(), 0
    while at + _HEAD.size <= len(text):
        kind, length, offset, size = _HEAD.unpack_from(text, at)
        at += _HEAD.size
        if at + length + size > len(text):
            return
        yield Record(
            kind.decode(), text[at : at + length].decode(), offset, text[at + length : at + length + size]
        )
        at += length + size


@dataclass
class File:
    """`pending` are the writes and cuts since the last sync; `named` whether its name lasts."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)
    named: bool = False


class Disk:
    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        # Names that were removed, but would be back after a cut.
        self.undead: dict[str, File] = {}
        self.said = ""

    @property
    def acknowledged(self) -> list[str]:
        """The whole lines that the program has said."""
        return self.said.split("\n")[:-1]

    def do(self, record: Record) -> None:
        path = record.path
        match record.kind:
            case "A":
                self.said += record.data.decode()
            case "C":
                self.files[path] = File()
            case "W" | "T":
                self.files.setdefault(path, File(named=True)).pending.append(record)
            case "S":
                self._sync(path)
            case "U":
                self._remove(path)
            case "R":
                moved = self.files.pop(path)
                self.files[record.data.decode()] = moved

    def _remove(self, path: str) -> None:
        file = self.files.pop(path, None)
        if file and file.named:
            self.undead[path] = file

    def _sync(self, path: str) -> None:
        if path in self.files:
            file = self.files[path]
            for record in file.pending:
                _apply(file.synced, record)
            file.pending.clear()
            return
        for name, file in self.files.items():  # a directory
            if Path(name).parent == Path(path):
                file.named = True
        self.undead = {n: f for n, f in self.undead.items() if Path(n).parent != Path(path)}

    def left(self, directory: Path, chance: random.Random, keep: float) -> None:
        """What a cut now leaves, in `directory`; of what was not synced, each sector with probability `keep`."""
        for name, file in {**self.undead, **self.files}.items():
            if not file.named and chance.random() >= keep:
                continue
            content = bytearray(file.synced)
            for record in file.pending:
                for part in _sectors(record):
                    if chance.random() < keep:
                        _apply(content, part)
            (directory / Path(name).name).write_bytes(content)


def _sectors(record: Record) -> Iterator[Record]:
    """A write as a disk does it, which a cut may interrupt."""
    if record.kind == "T":
        yield record
        return
    at = 0
    while at < len(record.data):
        size = SECTOR - (record.offset + at) % SECTOR
        yield record._replace(offset=record.offset + at, data=record.data[at : at + size])
        at += size


def _apply(content: bytearray, record: Record) -> None:
    if record.kind == "T":
        content[record.offset :] = b""
        content.extend(bytes(record.offset - len(content)))
        return
    end = record.offset + len(record.data)
    content.extend(bytes(max(0, end - len(content))))
    content[record.offset : end] = record.data
