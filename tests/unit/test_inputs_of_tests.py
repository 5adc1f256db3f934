"""No test takes its input from outside the checkout, and the tests are one package."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
OUTSIDE = re.compile(r"[\"']shared[\"'/]|\.\./shared")


def test_only_one_file_looks_beside_the_project():
    here = Path(__file__).name
    found = [path.name for path in TESTS.rglob("*.py") if OUTSIDE.search(path.read_text(encoding="utf-8"))]
    assert sorted(set(found) - {here}) == ["real_data.py"]


def test_every_folder_of_tests_is_a_package():
    """Helpers are imported as `tests.…`. A folder without `__init__.py` would be put on the path by pytest."""
    folders = {path.parent for path in TESTS.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
