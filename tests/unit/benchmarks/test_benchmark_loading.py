"""Loading of benchmark problems: prompts, references and refusals."""

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from safechain_ray.benchmarks.base import Problem, load_problems, with_source
from safechain_ray.catalog import benchmarks
from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.errors import InputError
from tests.real_data import needs_real_data, real

SHARED = real("data")
SUMS = [{"id": 1, "q": "1 + 1?", "a": "2"}, {"id": 2, "q": "What is {2}?", "a": "2"}]


def entry(source: str = "", **fields: Any) -> BenchmarkEntry:
    known = {"name": "sums", "kind": "file", "source": source, "grader": "math", "prompt_source": "here"}
    own = {"prompt": "Solve {q}", "reference": {"gold": "a"}, "id_column": "id"}
    return BenchmarkEntry.model_validate(known | own | fields)


def written(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def sums(tmp_path: Path) -> str:
    return written(tmp_path / "sums.jsonl", SUMS)


def test_a_problem_has_its_id_what_is_asked_and_what_its_grader_needs(sums: str):
    assert load_problems(entry(sums)) == (
        Problem("1", "Solve 1 + 1?", {"gold": "2"}),
        Problem("2", "Solve What is {2}?", {"gold": "2"}),
    )


def test_a_limit_takes_the_first_ones(sums: str):
    assert [each.problem_id for each in load_problems(entry(sums), limit=1)] == ["1"]
    with pytest.raises(InputError, match=r"limit: 0 is too small\. Fix: give 1 or more problems\.$"):
        load_problems(entry(sums), limit=0)


def test_without_an_id_column_the_id_is_a_hash_of_what_is_asked(sums: str):
    first, second = load_problems(entry(sums, id_column=None))
    assert len(first.problem_id) == 12
    assert load_problems(entry(sums, id_column=None))[1].problem_id == second.problem_id != first.problem_id


def test_another_template_asks_where_a_column_is_empty(tmp_path: Path):
    rows = [{"id": 1, "q": "A", "a": "x", "code": "def f():"}, {"id": 2, "q": "B", "a": "y", "code": ""}]
    benchmark = entry(
        written(tmp_path / "a.jsonl", rows), prompt="{q} with {code}", prompt_without={"code": "{q} alone"}
    )
    assert [each.prompt for each in load_problems(benchmark)] == ["A with def f():", "B alone"]


def test_an_item_of_a_list_and_doubled_braces_may_stand_in_a_template(tmp_path: Path):
    source = written(tmp_path / "a.jsonl", [{"id": 1, "tests": ["t0", "t1"]}])
    (problem,) = load_problems(entry(source, prompt="{tests[0]} {{x}}", reference={"tests": "tests"}))
    assert problem == Problem("1", "t0 {x}", {"tests": ["t0", "t1"]})


def test_a_style_may_strip_what_it_puts_into_its_template_and_nothing_else(tmp_path: Path):
    row = {"id": 1, "q": "\n\ndef f():\n    ", "a": "2"}
    styles = {"bare": {"description": "stripped", "prompt": "[{q}]", "strip": True, "max_tokens": 5}}
    default = entry(written(tmp_path / "a.jsonl", [row]), styles=styles, prompt="[{q}]", reference={"gold": "q"})
    styled = default.in_style("bare")
    assert (styled.style, styled.max_tokens, styled.grader) == ("bare", 5, "math")
    (plain,), (stripped,) = load_problems(default), load_problems(styled)
    assert (plain.prompt, stripped.prompt) == ("[\n\ndef f():\n    ]", "[def f():]")
    assert plain.reference == stripped.reference == {"gold": row["q"]}
    assert load_problems(with_source(styled, default.source))[0].prompt == "[def f():]"


def test_a_style_with_a_template_that_reads_no_column_is_refused_with_the_catalog():
    with pytest.raises(ValidationError, match="has no column in braces"):
        entry(styles={"bad": {"description": "none", "prompt": "no column"}})


def test_more_files_hold_the_rest_of_the_rows(tmp_path: Path):
    first = written(tmp_path / "one.jsonl", SUMS[:1])
    written(tmp_path / "two.jsonl", SUMS[1:])
    found = load_problems(entry(first, more_files=["two.jsonl"], rows=2))
    assert [each.problem_id for each in found] == ["1", "2"]


def test_a_benchmark_of_the_package_is_read_from_the_package():
    benchmark = entry(
        "datasets/data/quickstart.csv",
        kind="package",
        id_column="prompt_id",
        prompt="{prompt}",
        reference={"c": "category"},
    )
    assert len(load_problems(benchmark)) == 60


def test_a_local_file_takes_the_place_of_the_source_and_may_be_a_part(tmp_path: Path):
    benchmark = benchmarks()["livecodebench"]
    row = dict.fromkeys(benchmark.columns, "x")
    here = with_source(benchmark, written(tmp_path / "part.jsonl", [row]))
    assert (here.rows, here.revision, here.kind) == (None, None, "file")
    assert len(load_problems(here)) == 1


def test_an_id_of_the_hub_may_take_its_place_too():
    elsewhere = with_source(benchmarks()["gsm8k"], "somebody/gsm8k")
    assert (elsewhere.kind, elsewhere.source, elsewhere.split) == ("huggingface", "somebody/gsm8k", "test")


def test_a_missing_column_is_refused_with_those_that_there_are(sums: str):
    with pytest.raises(
        InputError, match=r"no column 'answer'\. Its columns: id, q, a\. Fix: give .* 'sums' reads: id, q, answer\.$"
    ):
        load_problems(entry(sums, reference={"gold": "answer"}))


def test_another_number_of_rows_is_refused(sums: str):
    with pytest.raises(InputError, match="has 2 rows, but benchmark 'sums' has 3"):
        load_problems(entry(sums, rows=3))


def test_rows_that_can_not_be_problems_are_refused_together(tmp_path: Path):
    rows = [
        {"id": 1, "q": "A", "a": "x"},
        {"id": 2, "q": None, "a": "x"},
        {"id": 1, "q": "B", "a": "x"},
        {"id": " ", "q": "B", "a": "x"},
        {"id": 5, "q": [], "a": "x"},
    ]
    with pytest.raises(InputError) as refusal:
        load_problems(entry(written(tmp_path / "bad.jsonl", rows), prompt="{q[0]}"))
    said = str(refusal.value)
    assert "4 rows that can't be problems of 'sums'" in said
    assert "row 2: no value in q" in said
    assert "row 3: repeats the id '1' of row 1" in said
    assert "row 4: the id (id) is empty" in said
    assert "row 5: the prompt can't be formatted (IndexError" in said


@pytest.mark.parametrize("template", ["no column", "{}", "{q.__class__}", "{q!r}", "{q:>9}", r"\boxed{your answer}"])
def test_a_template_that_reads_no_column_is_refused_with_the_catalog(template: str):
    with pytest.raises(ValidationError):
        entry(prompt=template)


def test_more_files_belong_to_a_file():
    with pytest.raises(ValidationError, match="more_files belong to kind file"):
        entry(kind="huggingface", source="a/b", more_files=["c.jsonl"])


@needs_real_data("data")
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("gsm8k", "gsm8k_test.jsonl"),
        ("math500", "math500.jsonl"),
        ("aime24", "aime24.jsonl"),
        ("humaneval", "HumanEval.jsonl.gz"),
        ("mbpp-full", "mbpp.jsonl"),
    ],
)
def test_the_published_files_are_the_benchmarks_of_the_catalog(name: str, file: str):
    data = (SHARED / file).read_bytes()
    lines = (gzip.decompress(data) if file.endswith(".gz") else data).decode().strip().split("\n")
    found = load_problems(with_source(benchmarks()[name], str(SHARED / file)))
    assert len(found) == len(lines) == benchmarks()[name].rows
    assert len({each.problem_id for each in found}) == len(found)
    assert json.loads(json.dumps([dict(each.reference) for each in found]))
    assert all(each.prompt.strip() for each in found)
