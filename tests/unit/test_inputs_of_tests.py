"""No test chooses its input by what lies beside the project, and one command collects all tests."""

import re
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
OUTSIDE = re.compile(r"[\"']shared[\"'/]|\.\./shared")


def test_only_one_file_looks_beside_the_project():
    here = Path(__file__).name
    found = [path.name for path in TESTS.rglob("*.py") if OUTSIDE.search(path.read_text(encoding="utf-8"))]
    assert sorted(set(found) - {here}) == ["real_data.py"]


def test_no_two_test_files_share_a_name():
    """pytest refuses two files of one name in one run, and the tests of published data are one run over all folders."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
