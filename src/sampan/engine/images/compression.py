"""Compressed layers: gzip and zstd, told by their first bytes, read and written as streams."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from sampan.engine.images.model import ImageError
from sampan.engine.images.tar import Source

_GZIP, _ZSTD, _BZIP2, _XZ = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"
_PIECE = 1 << 18


class _Decompressor(Protocol):
    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...


def decompressor(head: bytes) -> Callable[[], _Decompressor] | None:
    """What makes a decompressor for content that begins with `head`; None where it is not compressed."""
    if head.startswith(_GZIP):
        return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS)
    if head.startswith(_ZSTD):
        import zstandard

        return lambda: zstandard.ZstdDecompressor().decompressobj()
    if head.startswith(_BZIP2):
        import bz2

        return bz2.BZ2Decompressor
    if head.startswith(_XZ):
        import lzma

        return lzma.LZMADecompressor
    return None


class Decompressed:
    """Read a stream that may be compressed; `digest()` is then that of what was read. Concatenated members are one.

    `hashed` off does without the digest; `plain` off likewise where the stream is not compressed.
    """

    def __init__(self, source: Source, *, hashed: bool = True, plain: bool = True):
        self._source = source
        self._buffer = bytearray()
        head = source.read(512)
        make = decompressor(head)
        self._hash = hashlib.sha256() if hashed and (plain or make) else None
        self._pieces = self._inflate(make, head) if make else self._plain(head)

    def read(self, size: int, /) -> bytes:
        while len(self._buffer) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._buffer += piece
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        if self._hash:
            self._hash.update(data)
        return data

    def digest(self) -> str:
        """Reads on to the end; the digest of the whole, empty where none was wanted."""
        while self.read(_PIECE):
            pass
        return "sha256:" + self._hash.hexdigest() if self._hash else ""

    def _plain(self, head: bytes) -> Iterator[bytes]:
        if head:
            yield head
        while piece := self._source.read(_PIECE):
            yield piece

    def _inflate(self, make: Callable[[], _Decompressor], data: bytes) -> Iterator[bytes]:
        import lzma

        inflate = make()
        while data:
            try:
                piece = inflate.decompress(data)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as e:
                raise ImageError(f"compressed content is damaged: {e}") from None
            except Exception as e:  # zstandard.ZstdError, without importing it for all
                raise ImageError(f"compressed content is damaged: {e}") from e
            if piece:
                yield piece
            data = b""
            if inflate.eof:
                data = inflate.unused_data
                if data.strip(b"\0"):
                    inflate = make()
                    continue
            data = self._source.read(_PIECE // 4)
            if inflate.eof:
                if not data.strip(b"\0"):
                    continue
                inflate = make()
        if not inflate.eof:
            raise ImageError("compressed content ends too early")


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Compress; the same bytes always give the same result."""
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    crc = size = 0
    for piece in pieces:
        crc, size = zlib.crc32(piece, crc), size + len(piece)
        if out := squeeze.compress(piece):
            yield out
    yield squeeze.flush() + crc.to_bytes(4, "little") + (size & 0xFFFFFFFF).to_bytes(4, "little")
