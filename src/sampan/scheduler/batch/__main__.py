"""The solver as a child process: a problem on standard input, better and better packings into a file.

    python -m sampan.scheduler.batch FILE SECONDS < problem.json

The file is replaced whole each time, so whoever kills this process finds the best so far.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import orjson

from sampan.scheduler.batch.problem import Packing, Problem
from sampan.scheduler.batch.solve import solve


def main() -> int:
    target, seconds = Path(sys.argv[1]), float(sys.argv[2])
    given = orjson.loads(sys.stdin.buffer.read())
    classes = np.array(given["order"], dtype=np.int64)
    for packing in solve(Problem.from_json(given["problem"]), given["objective"], seconds, classes=classes):
        _write(target, packing)
    return 0


def _write(target: Path, packing: Packing) -> None:
    part = target.with_suffix(".part")
    part.write_bytes(orjson.dumps({"bins": packing.bins, "left": packing.left}))
    os.replace(part, target)


if __name__ == "__main__":
    sys.exit(main())
