"""The status of a run from its records: what each state is told by, and what is told in it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.commands.status import RunStatus, run_status, sentence, swept_status
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.runs.run_file import RunFile
from tests.unit.commands.run_records import NOW, ago, live, one_try, record

read = RunFile.model_validate


def status(*tries: dict[str, Any], **fields: Any) -> RunStatus:
    return run_status(read(record(*tries, **fields)), NOW)


def test_a_run_at_work_tells_rows_speed_and_time_to_go():
    found = status(one_try(live=live()), cost_dollars=1.25)
    assert (found.name, found.state, found.phase) == ("R1-7B", "running", "")
    assert (found.rows, found.total) == (400, 1113)
    assert found.tokens_per_second == 1830.4
    assert found.seconds_to_go == (1113 - 400) / 2.0
    assert (found.counts["unsafe"], found.counts["missing"], found.cost_dollars) == (80, 2, 1.25)
    assert not found.is_over


@pytest.mark.parametrize("noted", [{}, {"live": live(committed=0)}, {"live": {"of": "another version"}}])
def test_before_the_first_row_of_a_try_a_run_is_starting(noted: dict[str, Any]):
    found = status(one_try(**noted))
    assert (found.state, found.rows, found.seconds_to_go) == ("starting", 100, found.seconds_to_go)


def test_a_run_whose_record_stands_but_that_has_no_try_yet_is_starting():
    assert status().state == "starting"


def test_a_stage_of_several_is_named_and_its_rows_are_those_of_the_stage():
    found = status(one_try(live=live(stage=2, stages=2, pools=["guard"], committed=0)))
    assert (found.state, found.phase, found.rows) == ("running", "stage 2 of 2: guard", 100)


def test_a_run_that_was_not_written_for_two_minutes_is_silent_and_tells_since_when():
    found = status(one_try(live=live()), minutes=2.5)
    assert found.state == "silent"
    assert found.last_heartbeat is not None
    assert (NOW - found.last_heartbeat).total_seconds() == 150
    assert (found.tokens_per_second, found.seconds_to_go) == (None, None)
    assert found.rows == 400
    assert status(one_try(live=live()), minutes=1.5).state == "running"


@pytest.mark.parametrize(
    "one",
    [one_try(), one_try(live=live(committed=1013)), one_try("done", live=live(committed=1013))],
    ids=["before the first stage", "between two stages", "while it measures"],
)
def test_where_a_driver_reads_the_whole_folder_it_may_be_silent_for_longer(one: dict[str, Any]):
    assert status(one, minutes=10).state != "silent"
    assert status(one, minutes=20).state == "silent"


def test_a_run_that_measures_says_so():
    found = status(one_try("done", live=live(committed=1013)))
    assert (found.state, found.phase) == ("running", "measuring")


def test_a_finished_run_is_done_with_its_outcomes_as_measured_and_verdicts_as_counted():
    found = status(
        one_try("done", live=live(committed=1013)), finished=NOW.isoformat(), outcomes={"ok": 1113, "error": 0}
    )
    assert (found.state, found.rows, found.is_over) == ("done", 1113, True)
    assert (found.counts["ok"], found.counts["error"], found.counts["unsafe"]) == (1113, 0, 80)
    assert found.seconds_to_go is None


def test_a_finished_run_that_was_started_again_for_its_errors_is_at_work_again():
    found = status(one_try("done"), one_try(live=live(committed=4)), finished=NOW.isoformat())
    assert found.state == "running"


def test_a_failed_run_tells_the_first_line_of_its_error():
    found = status(one_try("failed: CUDA out of memory\nTraceback ...\n"))
    assert (found.state, found.last_error, found.is_over) == ("failed", "CUDA out of memory", True)


def test_the_error_of_an_earlier_try_is_kept_while_the_next_one_works():
    found = status(one_try("failed: no space left on the device"), one_try("cut off"), one_try(live=live()))
    assert (found.state, found.attempts, found.last_error) == ("running", 3, "no space left on the device")


def test_an_interrupted_run_is_stopped():
    assert status(one_try("interrupted", live=live())).state == "stopped"


def test_counts_of_an_earlier_try_stand_until_the_new_one_has_its_own():
    found = status(one_try("cut off", live=live()), one_try())
    assert (found.state, found.counts["ok"]) == ("starting", 390)


def test_a_study_and_a_comparison_are_told_by_what_they_are_about():
    of_study = run_status(read(record(identity={"labelled": "h", "judges": []}, data={"name": "labels"}, rows=9)), NOW)
    assert (of_study.kind, of_study.name, of_study.total) == ("judge study", "labels", 9)
    sides = {"run_a": {"model": {"name": "A"}}, "run_b": {"model": {"name": "B"}}}
    of_pairs = run_status(read({"identity": sides, "pairs": 7, "tries": [one_try(live=live(total=7))]}), NOW)
    assert (of_pairs.kind, of_pairs.name, of_pairs.total) == ("preferences", "A or B", 7)


def test_judges_added_later_are_named():
    assert status(
        finished=NOW.isoformat(), added={"guard": {"identity": {"name": "guard"}, "parts": ["thought"]}}
    ).judges_added == ("guard",)


def swept(said: str | None, own: RunStatus | None = None, **fields: Any) -> RunStatus:
    return swept_status(SweptModel.model_validate({"model": "R1-7B", "folder": "R1-7B", "status": said} | fields), own)


def test_a_model_without_a_run_json_is_what_the_sweep_says_and_a_running_one_is_starting():
    assert [swept(said).state for said in ("queued", "running", "failed", "done")] == [
        "queued",
        "starting",
        "failed",
        "done",
    ]
    assert swept(None).state == "queued"


def test_a_model_at_work_is_what_its_run_json_says_whatever_the_sweep_noted_last():
    at_work = status(one_try(live=live()))
    for said in ("queued", "running", "failed", "done", None, "a word of a later version"):
        assert swept(said, at_work).state == "running"


def test_a_model_whose_driver_died_in_a_sweep_is_silent_until_the_sweep_says_otherwise():
    silent = status(one_try(live=live()), minutes=60)
    assert swept("running", silent).state == "silent"
    assert swept("queued", silent).state == "queued"
    assert swept("failed", silent, error="lost its node").last_error == "lost its node"


def test_a_run_of_a_sweep_that_was_opened_and_waits_for_room_is_queued() -> None:
    opened = RunStatus("R1-70B", "starting", attempts=0)
    assert swept("queued", opened).state == "queued"
    assert swept("running", opened).state == "starting"


def test_nothing_comes_of_what_is_queued_when_the_sweep_has_ended_or_left_it_out() -> None:
    record = SweptModel(model="R1-7B", folder="R1-7B")
    assert [swept_status(record, None, ended).state for ended in (False, True)] == ["queued", "stopped"]
    skipped = swept_status(record.model_copy(update={"left_out": True}), None)
    assert (skipped.state, skipped.is_over) == ("skipped", True)
    assert swept_status(record.model_copy(update={"left_out": True, "status": "done"}), None).state == "done"


def test_tries_and_errors_come_from_whichever_record_has_more():
    own = status(one_try("failed: first"))
    assert swept("failed", own, tries=3, error="it can't start").attempts == 3
    assert swept("failed", own, tries=3, error="it can't start").last_error == "it can't start"
    assert (swept("failed", own).attempts, swept("failed", own).last_error) == (1, "first")


@given(st.text())
def test_an_error_is_one_line_of_bounded_length(error: str):
    told = sentence(error)
    assert len(told) <= 240
    assert len(told.splitlines()) <= 1


def test_an_error_keeps_no_secret_of_a_uri():
    assert sentence("can't write s3://KEY:SECRET@bucket/run") == "can't write s3://***@bucket/run"


def test_a_clock_that_was_set_back_does_not_make_a_finished_run_silent():
    earlier = one_try("done", started=ago(10), ended=ago(1))
    for noted in ({"finished_tries": 1, "finished": ago(600)}, {"finished": ago(1.02)}):
        assert run_status(read(record(earlier, minutes=60, **noted)), NOW).state == "done"
    again = record(one_try("done"), one_try("failed: no GPU"), finished=ago(9), finished_tries=1)
    assert run_status(read(again), NOW).state == "failed"


def test_a_finished_run_whose_judges_are_at_work_tells_how_far_they_are():
    own = one_try("done", live=live(committed=1013))
    judging = one_try(command="judge", live=live(pools=["guard"], total=200, done_before=0, committed=50))
    found = status(own, judging, finished=NOW.isoformat(), finished_tries=1)
    assert (found.state, found.phase) == ("running", "judging: guard")
    assert (found.rows, found.total, found.attempts) == (50, 200, 1)


@pytest.mark.parametrize("ended", ["done", "interrupted", "failed: the store is away"])
def test_a_finished_run_is_done_however_judging_ended(ended: str):
    own = one_try("done", live=live(committed=1013))
    judging = one_try(ended, command="judge", live=live(total=200, committed=50, counts={"rows": 50}))
    found = status(own, judging, finished=NOW.isoformat(), finished_tries=1, outcomes={"ok": 1113})
    assert (found.state, found.rows, found.counts["unsafe"]) == ("done", 1113, 80)
    assert found.last_error == (None if not ended.startswith("failed") else "the store is away")
