"""Each promise of docs/faults.md and docs/security.md names a test, and every test named there exists."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from safechain_ray.benchmarks.examination import LONGEST_TESTS
from safechain_ray.cluster.ray_internals import stream_context
from safechain_ray.cluster.spot.interruption_watcher import POLL_INTERVAL
from safechain_ray.config import ResourcesConfig
from safechain_ray.datasets import unpacking
from safechain_ray.engines.api_answers import MOST_PARTS
from safechain_ray.engines.api_wire import BYTES_A_LOGPROB, BYTES_A_TOKEN, BYTES_OF_AN_ENVELOPE
from safechain_ray.http_clients.provider_client import USUAL_BYTES
from safechain_ray.judges import openai_moderation
from safechain_ray.model_files.chat_template import LONGEST_PROMPT, MEMORY, PROCESSOR_SECONDS
from safechain_ray.runs.attempt import MOST_CHARACTERS, NOTE_SECONDS
from safechain_ray.types.known_secrets import LONG, MOST_FOUND

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


MIB, GIB = 2**20, 2**30

IN_WORDS = {120: "two minutes", 30: "half a minute"}
"""Of seconds."""

FIGURES = [
    ("security.md", f"({LONG} characters or more)"),
    ("security.md", f"a key of fewer than {LONG} characters"),
    ("security.md", f"over {MOST_FOUND} keys or pieces"),
    ("security.md", f"up to {BYTES_OF_AN_ENVELOPE // MIB} MiB plus {BYTES_A_TOKEN} bytes for each token"),
    ("security.md", f"({BYTES_A_LOGPROB} more for each log-probability)"),
    ("security.md", f"a moderation up to {openai_moderation.MOST_BYTES // MIB} MiB"),
    ("security.md", f"a list of models up to {USUAL_BYTES // MIB} MiB"),
    ("security.md", f"more than {MOST_PARTS:,} parts"),
    ("security.md", f"{PROCESSOR_SECONDS} s of processor time, {MEMORY // GIB} GiB of memory"),
    ("security.md", f"{LONGEST_PROMPT // MIB} million characters"),
    ("security.md", f"a child process with {unpacking._ARROW.memory // GIB} GiB"),
    ("security.md", f"may unpack to {LONGEST_TESTS // GIB} GiB"),
    ("faults.md", f"`resources.max_engine_deaths` ({ResourcesConfig().max_engine_deaths}) deaths"),
    ("faults.md", f"reads it within {POLL_INTERVAL:g} s"),
    ("faults.md", f"after {IN_WORDS[stream_context.GRACE_PERIOD]} one of them"),
    ("faults.md", f"done {IN_WORDS[NOTE_SECONDS]} before"),
    ("faults.md", f"of more than {MOST_CHARACTERS // MIB} million characters"),
]


@pytest.mark.parametrize(("page", "figure"), FIGURES)
def test_limits_of_the_pages_are_those_of_the_program(page: str, figure: str):
    assert figure in " ".join(text_of(page).split())
