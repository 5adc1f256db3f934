"""The benchmarks are commands, not a package: their folder is put on the path as Python does for a command."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "bench"))
