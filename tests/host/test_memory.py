"""What survives a full collection is not walked again; what is garbage still goes."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program: str) -> str:
    """Run it in a process of its own: the collector is the whole process's."""
    words = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def test_survivors_are_set_aside() -> None:
    assert (
        run("""
            import gc
            from sampan.host import memory
            memory.set_aside_survivors()
            kept = [[n] for n in range(10_000)]
            gc.collect()
            print(gc.get_freeze_count() >= 10_000, len(gc.get_objects()) < 5_000)
        """)
        == "True True"
    )


def test_new_cycles_are_still_collected() -> None:
    assert (
        run("""
            import gc, weakref
            from sampan.host import memory
            class Node: pass
            memory.set_aside_survivors()
            gc.collect()
            one = Node(); one.self = one
            gone = weakref.ref(one)
            del one
            gc.collect()
            print(gone())
        """)
        == "None"
    )
