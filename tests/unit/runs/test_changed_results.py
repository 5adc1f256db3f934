"""What gives other results than in earlier versions makes another run, and only that: an older folder is refused."""

from pathlib import Path
from typing import Any

import pytest

from safechain_ray.errors import RunConflictError
from safechain_ray.runs.folder import RunFolder
from safechain_ray.runs.identity import explained
from safechain_ray.storage import open_folder
from tests.made_runs.stored import write_tree
from tests.unit.runs.small_runs import resolved

PAPER = {"name": "morethink", "compat": "paper"}
GREEDY = {"sampling": {"temperature": 0, "max_tokens": 600}, "samples": 1}


@pytest.mark.parametrize(
    ("keys", "marks"),
    [
        ({"strategies": ["default", "zerothink", "lessthink"]}, None),
        ({"strategies": ["morethink"], **GREEDY}, None),
        ({"strategies": ["default", "morethink"]}, {"morethink_seeds": "one for each call"}),
        ({"strategies": [PAPER]}, {"morethink_seeds": "one for each call", "morethink_bos": "twice"}),
        ({"strategies": [PAPER], **GREEDY}, {"morethink_bos": "twice"}),
    ],
    ids=["others", "greedy", "sampled", "paper", "paper, greedy"],
)
def test_only_runs_whose_results_change_are_other_runs(keys: dict[str, Any], marks: dict[str, str] | None) -> None:
    assert resolved(**keys).identity().get("decoding") == marks


def test_a_folder_of_sampled_morethink_from_before_is_refused_with_the_reason_and_the_fix(tmp_path: Path) -> None:
    identity = resolved(strategies=["morethink"]).identity()
    older = {key: value for key, value in identity.items() if key != "decoding"}
    folder = RunFolder(open_folder(str(tmp_path)))
    write_tree(folder, {"identity": older})
    stored = folder.read_run()
    assert stored is not None
    with pytest.raises(RunConflictError) as refused:
        folder.check_same(stored, identity)
    said = str(refused.value)
    assert 'decoding: "(absent)" -> {"morethink_seeds": "one for each call"}' in said
    assert "The derivation of morethink's seeds has changed" in said
    assert "so that a rerun needs another --output" in said
    assert said.count("Fix: ") == 1
    assert "Fix: give another --output" in said


@pytest.mark.parametrize(
    ("keys", "mark"),
    [
        ({}, None),
        ({"parts": ["thought"]}, 2),
        ({"parts": ["response", "answer"], "strategies": ["zerothink", "default"]}, 2),
        ({"parts": ["answer"], "strategies": ["zerothink", "lessthink", "morethink"]}, None),
    ],
    ids=["whole responses", "thoughts", "one strategy leaves the tag to the model", "strategies that open the thought"],
)
def test_only_runs_whose_thoughts_are_divided_by_new_rules_are_other_runs(
    keys: dict[str, Any], mark: int | None
) -> None:
    assert resolved(**keys).identity().get("reading") == mark


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"model": {"name": "openai:org/m", "base_url": "http://localhost:1/v1"}}, 'model.reading: "(absent)" -> 2'),
        ({"parts": ["answer"]}, 'reading: "(absent)" -> 2'),
    ],
    ids=["an API", "a local model"],
)
def test_a_folder_whose_thoughts_were_divided_by_other_rules_is_refused_with_the_reason_and_the_fix(
    tmp_path: Path, keys: dict[str, Any], line: str
) -> None:
    identity = resolved(judges=["refusal-match"], **keys).identity()
    older = {key: value for key, value in identity.items() if key != "reading"}
    older["model"] = {key: value for key, value in identity["model"].items() if key != "reading"}
    folder = RunFolder(open_folder(str(tmp_path)))
    write_tree(folder, {"identity": older})
    stored = folder.read_run()
    assert stored is not None
    with pytest.raises(RunConflictError) as refused:
        folder.check_same(stored, identity)
    said = str(refused.value)
    assert line in said
    assert "The rules that divide a response into thought and answer have changed" in said
    assert "so that a rerun needs another --output" in said
    assert said.count("Fix: ") == 1
    assert "Fix: give another --output" in said


def test_a_difference_that_only_sounds_like_a_mark_has_no_reason() -> None:
    line = 'prompts.reading: "1" -> "2"'
    assert explained([line]) == f"  {line}"
