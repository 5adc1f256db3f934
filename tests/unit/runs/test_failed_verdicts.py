"""Samples whose own judges failed: which they are, and that they return to the judges' queue."""

from pathlib import Path

import pytest

from safechain_ray.runs.failed_verdicts import requeue, unfinished, with_failed_verdict
from safechain_ray.runs.file_index import repair_and_index
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import Folder, open_folder
from safechain_ray.testing import sample, verdict
from safechain_ray.types import Sample, samples_from_table, samples_table

FAILED = verdict(None, judge="guard", error="HTTP 503")
SAFE = verdict(False, judge="guard")
NO_TEXT = verdict(None, judge="guard", error="no thought to judge")
VOTE = verdict(None, judge="vote", error="undecided without the verdict of guard")

ROWS = (
    sample(sample_id="failed", verdicts=(FAILED, VOTE)),
    sample(sample_id="safe", verdicts=(SAFE,)),
    sample(sample_id="no text", verdicts=(NO_TEXT,)),
    sample(sample_id="another judge", verdicts=(SAFE, verdict(None, judge="other", error="HTTP 503"))),
)


def stored(folder: Folder) -> dict[str, Sample]:
    tables = map(folder.read_parquet, folder.list_files(".parquet"))
    return {row.sample_id: row for table in tables for row in samples_from_table(table)}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(open_folder(str(tmp_path)))
    folder.samples.write_parquet("a.parquet", samples_table(ROWS[:2]))
    folder.samples.write_parquet("b.parquet", samples_table(ROWS[2:]))
    return folder


def test_a_failed_verdict_is_one_of_the_named_judges_and_had_a_text_to_judge() -> None:
    assert with_failed_verdict(["guard"])(samples_table(ROWS)) == [True, False, False, False]
    assert with_failed_verdict(["guard", "other"])(samples_table(ROWS)) == [True, False, False, True]
    assert with_failed_verdict([])(samples_table(ROWS)) == [False] * 4
    assert with_failed_verdict(["guard"])(samples_table(())) == []


def test_requeued_samples_wait_in_the_first_stage_without_verdicts(run: RunFolder) -> None:
    assert requeue(run, ["guard"]) == {"failed"}
    assert stored(run.samples).keys() == {"safe", "no text", "another judge"}
    (waiting,) = stored(run.stage(0)).values()
    assert (waiting.sample_id, waiting.response, waiting.verdicts) == ("failed", ROWS[0].response, ())
    assert run.has_stages


def test_a_second_call_finds_nothing(run: RunFolder) -> None:
    requeue(run, ["guard"])
    assert requeue(run, ["guard"]) == set()


def test_a_crash_between_the_two_writes_loses_no_sample(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(folder: Folder, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "delete", crash)
        with pytest.raises(KeyboardInterrupt):
            requeue(run, ["guard"])
    repair_and_index(run.samples, retry_errors=True)
    assert requeue(run, ["guard"]) == {"failed"}
    assert stored(run.samples).keys() | stored(run.stage(0)).keys() == {row.sample_id for row in ROWS}


def test_rows_without_a_generation_count_as_failed(run: RunFolder) -> None:
    index = repair_and_index(run.samples, retry_errors=True, kind=unfinished(["guard"]))
    assert index.completed.keys() == {"safe", "no text", "another judge"}
    assert index.retried_errors == 1
