"""Each promise of docs/faults.md and docs/security.md names a test, and every test named there exists."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = ("faults.md", "security.md")


def text_of(page: str) -> str:
    return (PROJECT / "docs" / page).read_text(encoding="utf-8")


NAMED = [test for page in PAGES for test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of(page))]
PROMISES = [
    (page, row)
    for page in PAGES
    for table in re.findall(r"^\|[^\n]*held by \|\n\|[-|]+\n((?:\|.*\n)+)", text_of(page), re.MULTILINE)
    for row in table.splitlines()
]


def test_promises_are_found():
    assert min(Counter(page for page, _ in PROMISES).values()) > 25


@pytest.mark.parametrize(("page", "row"), PROMISES, ids=lambda part: part[:60])
def test_each_promise_names_its_test(page: str, row: str):
    held_by = row.rstrip("| ").rpartition(" | ")[2]
    assert re.search(r"`tests/[\w/]+\.py::test_\w+`", held_by) or held_by == "the same", f"docs/{page}: {row}"


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: part)
def test_a_test_that_holds_a_promise_exists(file: str, name: str):
    tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
