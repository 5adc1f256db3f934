"""No test chooses its input by what lies beside the project: only one file looks there, and it skips."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
OUTSIDE = re.compile(r"[\"']shared[\"'/]|\.\./shared")


def test_only_one_file_looks_beside_the_project():
    here = Path(__file__).name
    found = [path.name for path in TESTS.rglob("*.py") if OUTSIDE.search(path.read_text(encoding="utf-8"))]
    assert sorted(set(found) - {here}) == ["real_data.py"]
