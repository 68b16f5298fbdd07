"""Unpack a layer while its archive still arrives: by the time an image's manifest is read, most of the work is done.

Which layers are below is not known then. It matters only for archives that leave directories out; these are unpacked
again, in the ordinary way.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Sequence

from sampan.engine.images.compression import Decompressed, decompressor
from sampan.engine.images.layers import Layers
from sampan.engine.images.model import ImageError
from sampan.engine.images.store import ImageStore
from sampan.engine.images.unpack import Unpacked, look_like, unpack


def looks_like_layer(head: bytes) -> bool:
    """Whether content that begins so may be a layer: a tar archive, or compressed."""
    return head[257:262] == b"ustar" or decompressor(head) is not None


class Ahead:
    """One archive being unpacked in a thread. `feed` it all, then `finish`, then `adopt` or `discard`."""

    def __init__(self, store: ImageStore):
        self._pieces: queue.Queue[bytes] = queue.Queue(16)
        self._rest: memoryview = memoryview(b"")
        self._ended = False
        self._tree = store.scratch.new("ahead-")
        self._tree.mkdir(mode=0o755)
        self._done: Unpacked | None = None
        self._diff_id = ""
        self._thread = threading.Thread(target=self._run, name="unpack ahead")
        self._thread.start()

    def feed(self, piece: bytes) -> None:
        if self._thread.is_alive():
            self._pieces.put(piece)

    def finish(self) -> None:
        """The archive is complete: wait until it is unpacked."""
        self.feed(b"")
        self._thread.join()

    def adopt(self, layers: Layers, chain: Sequence[str], diff_id: str, blob: str) -> None:
        """Make it the topmost layer of `chain`, if it is that and the ones below are there; it is used up then."""
        done, self._done = self._done, None
        own = self._diff_id or blob  # what is not compressed has one digest for both
        fits = done and diff_id == own and not (done.implied and len(chain) > 1)
        if done and fits and not layers.has(chain[-1]):
            if len(chain) > 1 and not done.rooted:
                look_like(self._tree, layers.path(chain[-2]))
            layers.adopt(self._tree, chain[-1], done.size, blob)
        else:
            self.discard()

    def discard(self) -> None:
        shutil.rmtree(self._tree, ignore_errors=True)

    def read(self, size: int, /) -> bytes:
        """For the thread: the archive as a file."""
        if not self._rest and not self._ended:
            piece = self._pieces.get()
            self._ended = not piece
            self._rest = memoryview(piece)
        out, self._rest = self._rest[:size], self._rest[size:]
        return bytes(out)

    def _run(self) -> None:
        try:
            stream = Decompressed(self, plain=False)
            done = unpack(stream, self._tree)
            self._diff_id = stream.digest()
            self._done = done
        except (ImageError, OSError):
            self._done = None  # no layer, or a damaged one: the ordinary way will say what is wrong
        finally:
            while not self._ended:  # let the feeder go on
                self._ended = not self._pieces.get()
