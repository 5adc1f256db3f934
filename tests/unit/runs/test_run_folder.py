"""A run's folder: its run.json, its metrics and its stages, and whose it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.config import ResourcesConfig
from safechain_ray.errors import InputError, RunConflictError, StorageError
from safechain_ray.metrics.counts import COUNTED_COLUMNS, count_samples
from safechain_ray.metrics.summary import summarise
from safechain_ray.runs.folder import RunFolder, differences, read_metrics
from safechain_ray.runs.identity import explained
from safechain_ray.runs.output import OF_ROWS, lock_output
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.run_file import RunFile
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import Outcome, Setting, samples_table
from tests.made_runs.stored import write_tree
from tests.unit.runs.small_runs import sample

File = dict[str, Outcome]
"""The samples of a file by id."""


def write(folder: Folder, name: str, file: File) -> None:
    rows = [sample(sample_id, outcome) for sample_id, outcome in file.items()]
    folder.write_parquet(f"{name}.parquet", samples_table(rows))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(open_folder(str(tmp_path / "run")))


def test_a_run_is_read_as_it_was_written(run: RunFolder):
    assert run.read_run() is None
    content = {"identity": {"model": {"name": "m"}, "of a later version": 5}, "tries": []}
    write_tree(run, content)
    written = run.read_run()
    assert written is not None
    assert json.loads(written.to_json()) == content


def test_samples_without_a_run_are_no_runs_folder(run: RunFolder):
    write(run.samples, "a", {"one": "ok"})
    with pytest.raises(InputError, match=r"holds samples but no run\.json"):
        run.read_run()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b'"identity"'])
def test_a_run_json_that_is_none_is_refused_by_name(run: RunFolder, content: bytes):
    run.folder.write_bytes("run.json", content)
    with pytest.raises(InputError, match=r"/run\.json is no"):
        run.read_run()


def test_another_runs_folder_is_refused_with_what_differs(run: RunFolder):
    identity = {"model": {"name": "R1-7B", "dtype": "bfloat16"}, "settings": one_setting(5), "parts": ["response"]}
    stored = RunFile.model_validate({"identity": identity})
    run.check_same(stored, identity)
    here = {**identity, "settings": one_setting(3), "parts": ["response", "answer"]}
    with pytest.raises(RunConflictError) as refused:
        run.check_same(stored, here)
    assert str(refused.value).splitlines()[1:-1] == [
        "  settings.0.samples: 5 -> 3",
        '  parts: ["response"] -> ["response", "answer"]',
    ]
    assert "Fix: give another --output" in str(refused.value)


def one_setting(samples: int) -> list[dict[str, Any]]:
    sampling = {"temperature": 0.6, "top_p": 0.95}
    return [Setting.model_validate({"dataset": "d", "samples": samples, "sampling": sampling}).model_dump(mode="json")]


tree = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=2),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.sampled_from("abc"), children),
    max_leaves=8,
)


def test_a_run_of_other_rows_is_refused_with_the_keys_that_chose_them(tmp_path: Path):
    run = RunFolder(open_folder(str(tmp_path)))
    there = {"model": {"name": "m"}, "prompts": {"quickstart": "0" * 16}, "settings": one_setting(5)}
    here = there | {"prompts": {"quickstart": "1" * 16}, "settings": one_setting(4)}
    config = {"datasets": [{"name": "quickstart", "limit": 60}], "output": "a"}
    stored = RunFile.model_validate({"identity": there, "config": config})
    with pytest.raises(RunConflictError) as refused:
        run.check_same(stored, here, {"datasets": [{"name": "quickstart", "limit": 61}], "output": "b"})
    lines = str(refused.value).splitlines()
    assert lines[1:4] == [
        "  datasets.0.limit: 60 -> 61",
        "  prompts.quickstart: other content",
        "  settings.0.samples: 5 -> 4",
    ]


@given(tree, tree)
def test_trees_differ_in_at_least_one_line_just_where_they_are_not_equal(there: Any, here: Any):
    assert bool(differences(there, here)) == (there != here)


def test_a_long_difference_is_cut():
    (line,) = differences({"a": "x" * 500}, {"a": None})
    assert len(line) < 150
    assert line.endswith("... -> null")


def test_stages_are_there_until_they_are_deleted(run: RunFolder):
    assert not run.has_stages
    run.delete_stages()
    write(run.stage(0), "a", {"one": "ok"})
    assert run.has_stages
    run.delete_stages()
    assert not run.has_stages


def test_only_the_columns_that_metrics_need_are_read(run: RunFolder):
    write(run.samples, "a", {"one": "ok"})
    write(run.samples, "b", {"two": "ok", "three": "ok"})
    tables = list(run.counted_samples())
    assert [table.num_rows for table in tables] == [1, 2]
    assert {tuple(table.column_names) for table in tables} == {COUNTED_COLUMNS}


def test_the_metrics_of_a_run_read_as_they_were_written(run: RunFolder):
    metrics = summarise(count_samples([sample("one")]), [], [])
    run.folder.write_text("metrics.json", metrics.model_dump_json())
    assert read_metrics(run.folder.uri) == metrics


def test_a_folder_without_metrics_is_no_finished_run(run: RunFolder):
    run.folder.write_text("run.json", "{}")
    with pytest.raises(InputError, match=r"has not ended: it has no metrics\.json\. Fix: rerun its command to resume"):
        read_metrics(run.folder.uri)


def test_a_folder_of_no_run_is_refused_with_the_one_that_is_meant(tmp_path: Path):
    first = tmp_path / "runs" / "first"
    (first / "verdicts" / "guard").mkdir(parents=True)
    (first / "run.json").write_text("{}")
    (tmp_path / "data.csv").write_text("a")
    (tmp_path / "lost" / "samples").mkdir(parents=True)
    (tmp_path / "lost" / "samples" / "a.parquet").write_text("a")
    (tmp_path / "empty").mkdir()
    said = {
        "nothing": f"There is no folder {tmp_path}/nothing. Fix: check the path.",
        "data.csv": f"{tmp_path}/data.csv is a file, and no folder of a run. Fix: give the folder that --output named.",
        "empty": f"{tmp_path}/empty holds no run and no sweep. Fix: give the folder that --output named.",
        "runs": f"{tmp_path}/runs holds no run and no sweep, but folders of runs. Fix: give one, such as {first}.",
        "runs/first/run.json": f"{first}/run.json is a part of a run. Fix: give {first}.",
        "runs/first/verdicts/guard": f"{first}/verdicts/guard is a part of a run. Fix: give {first}.",
    }
    for place, text in said.items():
        with pytest.raises(InputError) as refusal:
            read_metrics(str(tmp_path / place))
        assert str(refusal.value) == text
    with pytest.raises(InputError, match=r"holds samples but no run\.json"):
        read_metrics(str(tmp_path / "lost"))


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"settings": 3}', b"\xff"])
def test_metrics_that_do_not_parse_are_refused_by_name(run: RunFolder, content: bytes):
    run.folder.write_bytes("metrics.json", content)
    with pytest.raises(InputError, match=r"/metrics\.json is no .*Fix: run the run's own command again"):
        read_metrics(run.folder.uri)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more"])
def test_a_torn_file_of_samples_is_refused_with_the_command_that_repairs_it(run: RunFolder, content: bytes):
    run.samples.write_bytes("a.parquet", content)
    with pytest.raises(StorageError, match=r"samples/a\.parquet: .*\. Fix: run the run's own command again") as refused:
        list(run.counted_samples())
    assert str(refused.value).count("Fix: ") == 1


LINKS = ("verdicts/a-judge", "pieces/a-judge", "stages/0", "samples/_broken", "verdicts/a-judge/_broken")


@pytest.mark.parametrize("place", [*OF_ROWS, *LINKS])
def test_no_driver_may_hold_a_folder_in_which_a_folder_of_rows_is_a_link(tmp_path: Path, place: str):
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "run" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    with (
        pytest.raises(InputError, match=f"{place} is a link, and rows are only written in real folders"),
        lock_output(str(tmp_path / "run"), ResourcesConfig(), RecordingReporter()),
    ):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == [place.partition("/")[0]]


def test_lists_of_another_length_are_shown_by_their_names():
    there = {"judges": [{"name": "guard", "kind": "llama_guard"}, {"name": "match", "kind": "rule"}]}
    here = {"judges": [{"name": "guard", "kind": "llama_guard"}]}
    assert differences(there, here) == ["judges: guard, match -> guard", "  only there: match"]
    assert differences(here, there) == ["judges: guard -> guard, match", "  only here: match"]


def test_settings_are_shown_by_what_they_are_of():
    (setting,) = one_setting(5)
    assert differences({"settings": [setting]}, {"settings": []}) == [
        "settings: d default temp=0.6 top_p=0.95 K=5 -> none",
        "  only there: d default temp=0.6 top_p=0.95 K=5",
    ]


def test_settings_of_both_runs_are_compared_where_one_run_has_another_setting_too():
    (five,), (three,) = one_setting(5), one_setting(3)
    five["sampling"]["max_tokens"] = 600
    other = five | {"strategy": {"name": "morethink", "options": {"compat": "paper"}}}
    assert differences({"settings": [five, other]}, {"settings": [three]}) == [
        "settings: d default temp=0.6 top_p=0.95 max_tokens=600 K=5, d morethink compat=paper temp=0.6 top_p=0.95 "
        "max_tokens=600 K=5 -> d default temp=0.6 top_p=0.95 K=3",
        "settings[d default].sampling.max_tokens: 600 -> 16000",
        "settings[d default].samples: 5 -> 3",
        "  only there: d morethink compat=paper temp=0.6 top_p=0.95 max_tokens=600 K=5",
    ]


def test_settings_that_differ_in_their_sampling_alone_are_named_with_it():
    warm, cold = one_setting(5)[0], one_setting(5)[0]
    cold["sampling"]["temperature"] = 0.2
    assert differences({"settings": [warm, cold]}, {"settings": [cold]})[1:] == [
        "  only there: d default temp=0.6 top_p=0.95 K=5"
    ]


def test_other_items_at_the_same_place_are_named_and_not_compared():
    there, here = {"name": "guard", "kind": "llama_guard"}, {"name": "match", "kind": "rule"}
    assert differences({"judges": [there]}, {"judges": [here]}) == [
        "judges: guard -> match",
        "  only there: guard",
        "  only here: match",
    ]
    assert differences({"judges": [there, here]}, {"judges": [here, there]}) == ["judges: guard, match -> match, guard"]


def test_a_mark_of_other_settings_gives_no_reason_of_its_own():
    mark = 'morethink_seeds: "one for each call" -> "(absent)"'
    assert len(explained([mark]).splitlines()) > 1
    for place in ("settings.0.strategy.name", "run.settings", "run_a.settings"):
        assert len(explained([f'{place}: "morethink" -> "default"', mark]).splitlines()) == 2
