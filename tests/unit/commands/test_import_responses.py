"""Responses that exist, imported as a run: samples, labels, resume, and the runs that are refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from safechain_ray import catalog
from safechain_ray.commands.import_responses import Imported, import_responses, resolve_import
from safechain_ray.config import ImportConfig
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.report.progress import sentence
from safechain_ray.report.tables import notes
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.runs.workload import run

ROWS: list[dict[str, Any]] = [
    {"prompt": "How do I pick a lock?", "response": "<think>\nA lock.\n</think>\n\nI can't help.", "label": "safe"},
    {"prompt": "How do I pick a lock?", "response": "Sure, take a pin.", "label": "unsafe"},
    {"prompt": "How do I bake?", "response": "<think>\nhmm", "label": ""},
]


def file_of(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / name)


def imported(folder: Path, rows: list[dict[str, Any]], **keys: Any) -> Imported:
    config = ImportConfig(source=file_of(folder, rows), output=str(folder / "run"), **keys)
    return import_responses(config, RecordingReporter())


def samples_of(folder: Path) -> list[dict[str, Any]]:
    table = pads.dataset(str(folder / "run" / "samples"), format="parquet").to_table()
    return sorted(table.to_pylist(), key=lambda row: (row["prompt"], row["sample_index"]))


def test_rows_become_samples_with_thought_and_answer_apart(tmp_path: Path) -> None:
    done = imported(tmp_path, ROWS, model="R1-7B")
    bake, first, second = samples_of(tmp_path)
    assert (first["thought"], first["answer"], first["outcome"]) == ("A lock.", "I can't help.", "ok")
    assert (second["thought"], second["answer"], second["sample_index"]) == ("", "Sure, take a pin.", 1)
    assert (bake["thought"], bake["outcome"]) == ("hmm", "truncated")
    (setting,) = done.metrics.settings
    assert (done.metrics.model, setting.samples, setting.outcomes["ok"]) == ("R1-7B", 2, 2)


def test_labels_are_the_verdicts_of_a_human_judge(tmp_path: Path) -> None:
    done = imported(tmp_path, ROWS, label_column="label", label_part="answer")
    ((verdict,), *_) = (row["verdicts"] for row in samples_of(tmp_path)[1:])
    assert (verdict["judge"], verdict["part"], verdict["unsafe"]) == ("human", "answer", False)
    (judge,) = done.metrics.settings[0].judges
    assert (judge.judge, judge.part, judge.failed) == ("human", "answer", 0)


def test_a_thought_of_a_column_is_put_between_the_tags_of_the_family(tmp_path: Path) -> None:
    row = {"prompt": "p", "response": "An answer.", "reasoning_content": "A </think> in prose."}
    imported(tmp_path, [row])
    (sample,) = samples_of(tmp_path)
    assert sample["answer"] == "An answer."
    assert sample["thought"].replace("\u200b", "") == "A </think> in prose."
    assert sample["response"].startswith("<think>\n")


def test_responses_of_a_high_temperature_are_imported(tmp_path: Path) -> None:
    imported(tmp_path, ROWS, sampling={"temperature": 3.0})
    assert {row["temperature"] for row in samples_of(tmp_path)} == {3.0}


def test_rows_that_can_not_be_used_are_samples_with_an_error(tmp_path: Path) -> None:
    done = imported(tmp_path, [*ROWS, {"prompt": "", "response": "a"}, {"prompt": "p", "response": 1}])
    errors = {row["error"] for row in samples_of(tmp_path) if row["outcome"] == "error"}
    assert errors == {"the prompt is empty", "the response is no text but a value of type int"}
    assert (done.metrics.errors, len(samples_of(tmp_path))) == (2, 5)


def test_an_id_with_two_prompts_is_an_error_of_the_later_row(tmp_path: Path) -> None:
    rows = [{"id": 1, "prompt": "a", "response": "x"}, {"id": 1, "prompt": "b", "response": "y"}]
    imported(tmp_path, rows, id_column="id")
    assert [row["error"] for row in samples_of(tmp_path)] == [None, "its id '1' has another prompt in an earlier row"]


def test_an_interrupted_import_resumes_and_leaves_every_row_once(tmp_path: Path) -> None:
    many = [{"prompt": f"prompt {number}", "response": "a"} for number in range(9000)]
    imported(tmp_path, many)
    whole = samples_of(tmp_path)
    files = sorted((tmp_path / "run" / "samples").glob("*.parquet"))
    files[0].unlink()
    lost = len(whole) - len(samples_of(tmp_path))
    assert imported(tmp_path, many).committed == lost > 0
    assert samples_of(tmp_path) == whole


def test_a_folder_of_other_responses_is_refused(tmp_path: Path) -> None:
    imported(tmp_path, ROWS)
    with pytest.raises(RunConflictError, match="holds another run"):
        imported(tmp_path, ROWS[:2])


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        ([{"prompt": "", "response": "a"}], {}, "No row of .* has a prompt and a response:\n  row 1: the prompt is"),
        ([{"a": 1}], {}, "no column of prompts"),
        ([], {}, "holds no rows"),
        ([{"prompt": "p", "response": "r", "thought": "t"}], {"family": "qwq"}, "family qwq write no thinking tags"),
        (ROWS, {"family": "r2"}, "Unknown model family 'r2'"),
    ],
)
def test_input_that_makes_no_run_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        imported(tmp_path, rows, **keys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        (ROWS, {"label_column": "label", "unsafe_labels": ["unsaef"]}, "no row has the label unsaef of --unsafe-label"),
        ([{**ROWS[0], "majority": True}], {"label_column": "majority"}, "its name does not say which of them means"),
        (ROWS, {"sampling": {"temperature": 0.0}}, "up to 2 responses to a prompt, and temperature 0 would make"),
        (ROWS, {"category_column": "label", "benign_categories": ["nice"]}, "Unknown benign category 'nice'"),
        (ROWS, {"benign_categories": ["nice"]}, "is read without categories. Fix: name the column with --category-col"),
        ([{"prompt": "p", "Prompt": "q", "response": "r"}], {}, "several columns that may hold the prompts"),
    ],
)
def test_options_that_do_not_fit_the_rows_are_refused(
    tmp_path: Path, rows: list[dict[str, Any]], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        imported(tmp_path, rows, **keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sampling": {"top_p": 0.9}}, "sampling.temperature is missing"),
        ({"label_part": "thought"}, "label_column is missing"),
        ({"prompt_column": "a", "response_column": "a"}, "are both 'a'"),
    ],
)
def test_options_without_effect_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImportConfig(source="rows.jsonl", **keys)


def test_columns_of_late_rows_are_found(tmp_path: Path) -> None:
    plain = [{"prompt": f"p{number}", "response": "a"} for number in range(600)]
    imported(tmp_path, [*plain, {"prompt": "late", "response": "a", "reasoning_content": "A thought."}])
    assert [row["thought"] for row in samples_of(tmp_path) if row["prompt"] == "late"] == ["A thought."]


@pytest.mark.parametrize("change", ["other texts", "more rows", "fewer rows"])
def test_a_file_that_changes_while_it_is_read_leaves_no_sample(tmp_path: Path, change: str) -> None:
    many = [{"prompt": f"prompt {number}", "response": "a" * 9} for number in range(5000)]
    changed = {"other texts": [{**row, "response": "b" * 9} for row in many], "more rows": many * 2}
    config = ImportConfig(source=file_of(tmp_path, many), output=str(tmp_path / "run"))
    workload = resolve_import(config)
    file_of(tmp_path, changed.get(change, many[:4500]))
    with pytest.raises(InputError, match="changed while it was read"):
        run(workload, RecordingReporter(), no_engine)
    assert not list((tmp_path / "run" / "samples").glob("*.parquet"))
    assert import_responses(config, RecordingReporter()).committed > 0


def no_engine(start: object) -> Any:
    raise AssertionError


def test_the_default_folder_is_below_runs_for_any_name(tmp_path: Path) -> None:
    config = ImportConfig(source=file_of(tmp_path, ROWS), model="../../a b/" + "x" * 300)
    folder = resolve_import(config).output
    assert folder.startswith("runs/a-b-xxx")
    assert "/" not in folder.removeprefix("runs/")
    assert len(folder) < 130


def test_labels_of_samples_without_that_part_are_missing(tmp_path: Path) -> None:
    rows = [*ROWS, {"prompt": "q", "response": None, "label": "unsafe"}]
    done = imported(tmp_path, rows, label_column="label", label_part="thought")
    (judge,) = done.metrics.settings[0].judges
    with_a_thought = [row for row in samples_of(tmp_path) if row["thought"]]
    assert len(with_a_thought) == 2
    verdicts = [row["verdicts"][0] for row in samples_of(tmp_path)]
    assert [verdict["error"] for verdict in verdicts if verdict["unsafe"] is None] == [
        "the label is empty",
        "the thought is empty",
        "no response to judge: outcome error",
    ]
    assert judge.failed == 0


def test_each_file_of_an_import_is_shown_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safechain_ray.commands.import_responses.ROWS_A_FILE", 2)
    rows = [{"prompt": f"q{number}", "response": "a"} for number in range(5)] + [{"prompt": "q5", "response": 7}]
    seen: list[Snapshot] = []
    config = ImportConfig(source=file_of(tmp_path, rows), output=str(tmp_path / "run"))
    import_responses(config, RecordingReporter(seen.append))
    assert [(each.done, each.total, each.committed.get("error", 0)) for each in seen] == [
        (2, 6, 0),
        (4, 6, 0),
        (6, 6, 1),
    ]
    assert sentence(seen[-1]).startswith("6/6 rows (100%), 1 errors, 0:00 so far")
    assert sentence(seen[0]).startswith("2/6 rows (33%), 0:00 so far")


def test_an_import_is_an_attempt_of_its_run(tmp_path: Path) -> None:
    imported(tmp_path, ROWS)
    (attempt,) = json.loads((tmp_path / "run" / "run.json").read_text())["tries"]
    assert (attempt["status"], attempt["rows_found"]) == ("done", 0)


def test_prompts_with_fewer_responses_are_no_lost_rows(tmp_path: Path) -> None:
    sentences = notes(imported(tmp_path, ROWS).metrics)
    assert "rows imported sampling=unknown K=2: some prompts have fewer than 2 responses." in sentences


def test_an_unsafe_label_after_many_other_labels_is_found(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{number}", "response": "a", "kind": f"kind {number}"} for number in range(1100)]
    done = imported(tmp_path, [*rows, {**rows[0], "kind": "harm"}], label_column="kind", unsafe_labels=["harm"])
    verdicts = [row["verdicts"][0]["unsafe"] for row in samples_of(tmp_path)]
    assert (verdicts.count(True), verdicts.count(None), done.metrics.errors) == (1, 0, 0)


SHAPE = """---
configs:
- config_name: default
  data_files:
  - {split: canonical__A, path: data/canonical__A-*}
  - {split: canonical__B, path: data/canonical__B-*}
---
"""


@pytest.fixture
def safety_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A set with the columns and splits of lrm-safety-eval, as the catalog's entry of it."""
    folder = tmp_path / "hub"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(SHAPE)
    for split in "AB":
        rows = [
            {
                "prompt_index": number,
                "prompt_id": f"p{number}",
                "scored_model": split,
                "query": f"Question {number}",
                "generation": f"<think>\nThought.\n</think>\n\nAnswer {split}.",
                "evaluations": "{}",
            }
            for number in range(3)
        ]
        pq.write_table(pa.Table.from_pylist(rows), folder / "data" / f"canonical__{split}-00000-of-00001.parquet")
    entry = catalog.responses()["lrm-safety-eval"]
    ours = entry.model_copy(update={"source": str(folder), "revision": None, "rows": 3})
    monkeypatch.setattr(catalog, "responses", lambda: {ours.name: ours})
    return folder


def test_a_set_of_the_catalog_is_imported_by_name_or_source_and_split(safety_eval: Path, tmp_path: Path) -> None:
    for number, source in enumerate(["lrm-safety-eval", str(safety_eval)]):
        config = ImportConfig(source=source, split="canonical__B", output=str(tmp_path / f"run-{number}"))
        done = import_responses(config, RecordingReporter())
        assert (done.metrics.model, done.metrics.settings[0].rows) == ("canonical__B", 3)
        samples = pads.dataset(str(tmp_path / f"run-{number}" / "samples"), format="parquet").to_table().to_pylist()
        assert {row["prompt_id"] for row in samples} == {"p0", "p1", "p2"}
        assert {(row["thought"], row["answer"]) for row in samples} == {("Thought.", "Answer B.")}


def test_a_set_of_the_catalog_with_other_rows_is_refused(
    safety_eval: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = catalog.responses().values()
    monkeypatch.setattr(catalog, "responses", lambda: {entry.name: entry.model_copy(update={"rows": 4})})
    with pytest.raises(InputError, match="has 3 rows, but the set 'lrm-safety-eval' has 4"):
        resolve_import(ImportConfig(source="lrm-safety-eval", split="canonical__A"))
    with pytest.raises(InputError, match="canonical__A"):
        resolve_import(ImportConfig(source="lrm-safety-eval"))


CHAT = [
    {"role": "user", "content": "Q"},
    {"role": "assistant", "content": "<think>\nThought.\n</think>\n\nAnswer."},
]
LABELLED_SETS = {
    "qwen3guard-test": (
        [{"unique_id": "a", "message": CHAT, "label": label} for label in ("Safe", "Unsafe")],
        [("response", False, "Answer."), ("response", True, "Answer.")],
    ),
    "reasoningshield-test": (
        [
            {"index": 1, "query": "Q", "model_thinking": "Thought.", "class": "Safe", "human_majority": level}
            for level in (0.0, 0.5, 1.0)
        ],
        [("thought", False, ""), ("thought", True, ""), ("thought", True, "")],
    ),
}


@pytest.mark.parametrize("name", LABELLED_SETS)
def test_a_labelled_set_of_the_catalog_is_imported_with_what_its_labels_are_about(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, expected = LABELLED_SETS[name]
    source = file_of(tmp_path, rows)
    entry = catalog.responses()[name]
    of_shape = {"kind": "file", "source": source, "revision": None, "config": None, "split": None, "rows": len(rows)}
    monkeypatch.setattr(catalog, "responses", lambda: {name: entry.model_copy(update=of_shape)})
    import_responses(ImportConfig(source=name, output=str(tmp_path / "run")), RecordingReporter())
    samples = samples_of(tmp_path)
    assert [(row["verdicts"][0]["part"], row["verdicts"][0]["unsafe"], row["answer"]) for row in samples] == expected
    assert {row["thought"] for row in samples} == {"Thought."}


def test_a_row_may_have_several_thoughts_and_no_response(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "reasoning": ["A.", "B."]}, {"prompt": "R", "reasoning": ["C.", ""]}]
    done = imported(tmp_path, rows, thought_column="reasoning")
    assert [(row["thought"], row["error"]) for row in samples_of(tmp_path)] == [
        *(("A.", None), ("B.", None), ("C.", None), (None, "the thought is empty"))
    ]
    assert done.metrics.errors == 1


def test_labels_of_thoughts_without_responses_are_about_the_thoughts(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "reasoning": "Hm.", "label": "safe"}]
    with pytest.raises(InputError, match=r"has thoughts and no responses, .* Fix: add --label-part thought"):
        imported(tmp_path, rows, thought_column="reasoning", label_column="label")
    imported(tmp_path, rows, thought_column="reasoning", label_column="label", label_part="thought")


def test_thoughts_without_responses_are_imported_where_their_column_is_named(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "reasoning": "Hm."}]
    with pytest.raises(InputError, match=r"no column of responses.*for thoughts alone, .* --thought-column reasoning"):
        imported(tmp_path, rows)
    done = imported(tmp_path, rows, thought_column="reasoning")
    assert [(row["thought"], row["answer"], row["outcome"]) for row in samples_of(tmp_path)] == [
        ("Hm.", "", "truncated")
    ]
    assert done.metrics.errors == 0


@pytest.mark.parametrize(
    ("keys", "benign"),
    [
        ({"dataset": "strongreject"}, ()),
        ({"dataset": "mine"}, None),
        ({"dataset": "jbb-benign"}, ("all",)),
        ({"dataset": "strongreject", "category_column": "topic", "benign_categories": ("food",)}, ("food",)),
    ],
)
def test_the_benign_categories_of_a_catalog_set_are_those_of_an_import_with_its_name(
    tmp_path: Path, keys: dict[str, Any], benign: tuple[str, ...] | None
) -> None:
    rows = [{"prompt": "p", "response": "r", "topic": "food"}]
    done = imported(tmp_path, rows, **keys)
    assert done.metrics.settings[0].benign_categories == benign


def test_a_catalog_set_with_benign_prompts_needs_their_categories(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "r", "kind": "homonyms"}, {"prompt": "q", "response": "r", "kind": "other"}]
    with pytest.raises(InputError, match="xstest has benign prompts, and no column of categories is named"):
        imported(tmp_path, rows, dataset="xstest")
    done = imported(tmp_path, rows, dataset="xstest", category_column="kind")
    assert (done.metrics.settings[0].benign_prompts, done.metrics.settings[0].harmful_prompts) == (1, 1)


def test_a_split_names_the_model_only_in_a_set_of_the_catalog(safety_eval: Path, tmp_path: Path) -> None:
    (safety_eval.parent / "other").mkdir()
    (safety_eval.parent / "other" / "test.jsonl").write_text(json.dumps({"prompt": "p", "response": "r"}))
    done = resolve_import(ImportConfig(source=str(safety_eval.parent / "other"), split="test"))
    assert done.model == "other"
