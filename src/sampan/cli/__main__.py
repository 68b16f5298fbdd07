"""`python -m sampan.cli` is the `sampan` command."""

import sys

from sampan.cli import main

sys.exit(main())
