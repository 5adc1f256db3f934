"""The prose check: what it reads, what it refuses, and what it leaves alone."""

import re
from pathlib import Path

import pytest

from scripts.prose import Rule, Text, plain, read_rules, refused, sentences, texts_of
from tests.deployment import ROOT

TOLD = [Rule(re.compile(r"\btold\b", re.IGNORECASE), "reports", frozenset())]


def found(file: Path) -> list[str]:
    return [line.split(": ", 1)[0].removeprefix(f"{file}:") for line in refused(list(texts_of([file])), TOLD)]


PYTHON = '''"""Told in a docstring."""

NAME = "told"

# Told in a comment.
def refuse(name: str) -> None:
    """A sentence of a function.

    It was told here.
    """
    raise ValueError(f"The user {name} was told about it.")
'''


def test_docstrings_comments_and_messages_are_read_and_short_texts_are_not(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(PYTHON)
    assert sorted(map(int, found(file))) == [1, 5, 9, 11]


PAGE = """# A page that was told

Users are `told` nothing, and `code` is left alone.

```
told
```

| cell | they are told |
|---|---|
"""


def test_pages_are_read_without_their_code(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(PAGE)
    assert found(file) == ["1", "9"]


SETTINGS = """# The first line
# was told.
key: told  # and told here
other: told
"""


def test_comments_of_settings_are_read_and_their_values_are_not(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(SETTINGS)
    assert found(file) == ["1", "3"]


def test_a_line_can_be_left_out(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("# It was told.  prose: ignore\n")
    assert found(file) == []


def test_a_rule_for_messages_leaves_docstrings_alone() -> None:
    rules = [Rule(re.compile("told"), "reports", frozenset({"message"}))]
    texts = [Text(Path("a.py"), 1, kind, "it was told") for kind in ("docstring", "message")]
    assert len(refused(texts, rules)) == 1


@pytest.mark.parametrize(
    ("text", "count"),
    [("One sentence. Another one.", 2), ("A version 2.0 of e.g. this", 1), ("It ends? Yes! `code` begins.", 3)],
)
def test_sentences_end_before_a_capital(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_marks_links_and_code_are_no_words() -> None:
    assert plain("See **the** [page](https://example.org/told) of `told`.") == "See the page of CODE."


def test_the_rules_of_the_project_are_regular_expressions_with_advice() -> None:
    rules = read_rules(ROOT / "scripts" / "prose.yaml")
    assert len(rules) > 15
    assert all(rule.instead for rule in rules)
