"""docs/faults.md and docs/security.md promise nothing that no test holds: every test that they name exists."""

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
NAMED = [
    test
    for page in ("faults.md", "security.md")
    for test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (PROJECT / "docs" / page).read_text(encoding="utf-8"))
]


def test_tests_are_named():
    assert len(NAMED) > 10


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: part)
def test_a_test_that_holds_a_promise_exists(file: str, name: str):
    tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
