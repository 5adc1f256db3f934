"""The top of a sweep's page: failed models with their reasons, the time of all, GPU-hours and cost."""

from typing import Any

import pytest

from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.sweep_overview import effort, headlines, models_table, reasons
from safechain_ray.runs.run_file import RunFile

START = "2026-11-30T20:00:00+00:00"


def attempt(start: str = START, end: str | None = "2026-11-30T22:00:00+00:00", **facts: Any) -> dict[str, Any]:
    pool = {"pool": "model", "device": "cuda", "replicas": 2, "gpus": 4}
    return {"started": start, "ended": end, "status": "done", "stages": [[pool]], **facts}


def run(*attempts: dict[str, Any], **facts: Any) -> RunFile:
    return RunFile.model_validate({"identity": {"model": {"name": "tiny"}}, "tries": list(attempts), **facts})


def swept(model: str, status: str = "done", error: str | None = None, attempts: int = 1) -> SweptModel:
    return SweptModel.model_validate(
        {"model": model, "folder": model, "status": status, "error": error, "tries": attempts}
    )


def test_time_and_gpus_of_all_attempts_count() -> None:
    found = effort(run(attempt(), attempt("2026-12-01T00:00:00+00:00", "2026-12-01T00:30:00+00:00")))

    assert found is not None
    assert (found.seconds, found.gpu_hours, found.dollars) == (9000, 20, None)


def test_an_attempt_that_was_cut_off_lasted_to_its_last_note() -> None:
    live = {"total": 9, "done_before": 0, "committed": 3, "counts": {}, "seconds": 600.0}
    found = effort(run(attempt(end=None, live=live)))

    assert found is not None
    assert found.seconds == 600


def test_judges_that_were_added_later_are_no_time_of_the_sweep() -> None:
    later = attempt("2026-12-07T10:00:00+00:00", "2026-12-07T12:00:00+00:00", command="judge")
    found = effort(run(attempt(), later))

    assert found is not None
    assert found == effort(run(attempt()))
    assert effort(run(later)) is None


@pytest.mark.parametrize("stages", [None, "cuda", [[{"device": "cuda"}]], [["cuda"]]])
def test_a_plan_that_another_version_noted_otherwise_has_no_gpus(stages: Any) -> None:
    found = effort(run(attempt(stages=stages)))

    assert found is not None
    assert found.gpu_hours == 0


def test_the_headlines_say_how_many_failed_how_long_it_took_and_what_it_cost() -> None:
    models = [swept("a"), swept("b", "failed", "CUDA out of memory"), swept("c", "queued")]
    runs = {"a": run(attempt(), cost_dollars=1.5), "b": run(attempt("2026-11-30T21:00:00+00:00"))}
    efforts = {name: found for name, each in runs.items() if (found := effort(each))}

    found = [(each.figure, each.words, each.is_warning) for each in headlines(models, efforts)]

    assert found == [
        ("1", "of 3 models done", False),
        ("1", "failed", True),
        ("1", "not done yet", True),
        ("2:00:00", "from 2026-11-30 20:00 to 11-30 22:00 UTC", False),
        ("24.0", "GPU-hours", False),
        ("$1.50", "paid to providers", False),
    ]


def test_failed_models_come_first_with_their_reason() -> None:
    models = [swept("a"), swept("b", "failed", "CUDA out of memory", 2)]
    table = models_table(models, {}, {"a": "a/report.html"})

    assert list(reasons(models)) == ["b (failed, 2 attempts): CUDA out of memory"]
    assert [[cell.lines[0] for cell in row] for row in table.groups[0]] == [
        ["b", "failed", "", "2"],
        ["a", "done", "", "1"],
    ]
    assert table.groups[0][1][0].link == "a/report.html"


def test_a_model_that_the_latest_command_did_not_start_has_no_count_of_attempts() -> None:
    assert list(reasons([swept("b", "failed", "no GPU", 0)])) == ["b (failed): no GPU"]


def test_the_page_begins_with_what_ran_and_its_text_is_inert() -> None:
    page = sweep_page([], models=[swept("b", "failed", "<script>alert(1)</script>")])

    assert page.index('id="models"') < page.index('id="first"')
    assert "<script>alert(1)" not in page


def test_a_sweep_without_a_run_has_no_time() -> None:
    assert [each.words for each in headlines([swept("a", "queued")], {})] == ["of 1 models done", "not done yet"]
