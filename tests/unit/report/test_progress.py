"""Progress in one sentence, in plain lines and on a live display."""

import io
from collections import Counter
from typing import Any

import pytest
from rich.console import Console

from safechain_ray.cluster.progress import PoolProgress, Stage
from safechain_ray.report import progress
from safechain_ray.report.progress import (
    LiveProgress,
    PlainProgress,
    _active,
    drawn,
    pool_state,
    progress_for,
    sentence,
)
from safechain_ray.runs.progress import PoolRate, PrefixedReporter, Snapshot

HOSTILE = "[bold]part-1.parquet[/bold] \x1b[31mcan't be read\x1b[0m [/nonsense]"


def pool(ready: int = 1, **counts: int) -> PoolProgress:
    return PoolProgress(ready, Counter(counts))


def snapshot(pools: dict[str, PoolProgress] | None = None, **fields: Any) -> Snapshot:
    """`fields` are those of the snapshot and of its stage; `stage` are its pools."""
    of_stage = {"total": 1565, "done_before": 0, "pools": fields.pop("stage", ("model", "guard"))}
    of_stage |= {name: fields.pop(name) for name in ("total", "done_before", "number", "stages") if name in fields}
    usual = {"committed": {}, "pools": pools or {}, "seconds": 60.0}
    return Snapshot(Stage(**of_stage), **{**usual, **fields})


def plain() -> tuple[PlainProgress, io.StringIO]:
    out = io.StringIO()
    return PlainProgress(Console(file=out, width=40)), out


def test_while_engines_load_every_pool_is_named_as_loading_and_nothing_is_estimated():
    assert sentence(snapshot(seconds=75.0)) == (
        "0/1,565 rows (0%), 0 unsafe verdicts, 1:15 so far. model: loading; guard: loading."
    )


def test_a_running_stage_reports_rows_throughput_time_to_go_and_its_pools():
    pools = {
        "model": pool(rows_in=900, rows_out=700, tokens=120_000),
        "guard": pool(rows_in=700, rows_out=650, tokens=1_300),
    }
    committed = {"rows": 640, "ok": 600, "truncated": 40, "unsafe": 210}
    rates = {"model": PoolRate(20.0, 2000.0), "guard": PoolRate(10.0, 20.0)}
    assert sentence(snapshot(pools, committed=committed, rates=rates)) == (
        "640/1,565 rows (41%), 210 unsafe verdicts, 40 truncated, 2,000 tokens/s, 1:00 so far, 1:32 to go. "
        "model: 200 rows in flight, 700 done; guard: 50 rows in flight, 650 done."
    )


def test_rows_that_wait_for_their_commit_are_not_0_00_to_go():
    pools = {name: pool(rows_in=48, rows_out=48) for name in ("model", "guard")}
    rates = {"model": PoolRate(20.0, 0.0), "guard": PoolRate(10.0, 0.0)}
    assert "(0%), 0 unsafe verdicts, 1:00 so far. model:" in sentence(snapshot(pools, rates=rates, total=48))
    committed = {"rows": 48, "ok": 48, "unsafe": 0}
    assert "1:00 so far, 0:00 to go" in sentence(snapshot(pools, rates=rates, total=48, committed=committed))


def test_a_stage_of_rules_alone_has_no_pools_and_no_tokens():
    assert sentence(snapshot(stage=())) == "0/1,565 rows (0%), 0 unsafe verdicts, 1:00 so far."
    assert sentence(snapshot(stage=(), committed={"rows": 313, "unsafe": 9})) == (
        "313/1,565 rows (20%), 9 unsafe verdicts, 1:00 so far, 4:00 to go."
    )


def test_a_comparison_tells_wins_ties_and_losses_in_place_of_unsafe_verdicts():
    decisions = ("win", "tie", "lose")
    at_first = sentence(snapshot(decisions=decisions))
    assert "0 wins, 0 ties, 0 losses, 1:00 so far" in at_first
    later = sentence(snapshot(decisions=decisions, committed={"rows": 9, "win": 4, "tie": 3, "lose": 1, "missing": 1}))
    assert "4 wins, 3 ties, 1 losses, 1 missing verdicts" in later
    assert "unsafe" not in later


def test_tokens_before_the_first_commit_have_a_speed_but_no_end():
    text = sentence(snapshot({"model": pool(rows_in=64, tokens=6_000)}, rates={"model": PoolRate(0.0, 100.0)}))
    assert "100 tokens/s, 1:00 so far. model: 64 rows in flight, 0 done; guard: loading." in text


def test_errors_blocks_missing_verdicts_and_restarts_are_reported():
    pools = {
        "model": pool(rows_in=8, rows_out=8, engine_restarts=2),
        "guard": pool(rows_in=8, rows_out=8, judge_errors=3),
    }
    text = sentence(snapshot(pools, committed={"rows": 8, "unsafe": 0, "blocked": 1, "error": 2, "missing": 5}))
    assert "0 unsafe verdicts, 1 blocked, 2 errors, 5 missing verdicts" in text
    assert "8 done, 2 engine restarts; guard: 0 rows in flight, 8 done, 3 judge errors." in text


def test_rows_of_an_earlier_try_are_done_but_do_not_speed_this_one_up():
    text = sentence(snapshot({"model": pool(rows_in=100)}, done_before=1465, committed={"rows": 50}))
    assert text.startswith("1,515/1,565 rows (97%)")
    assert "1:00 so far, 1:00 to go" in text


def test_a_judges_own_stage_does_not_count_the_tokens_of_the_stage_before():
    pools = {"model": pool(0, rows_in=1565, rows_out=1565, tokens=10**9), "guard": pool(rows_in=10, tokens=120)}
    rates = {"model": PoolRate(None, 10_000.0), "guard": PoolRate(0.1, 2.0)}
    assert ", 2 tokens/s," in sentence(snapshot(pools, stage=("guard",), rates=rates))


def test_hours_are_shown_as_hours():
    assert "2:00:05 so far" in sentence(snapshot(seconds=7205.2))


@pytest.mark.parametrize(("state", "words"), [(None, "loading"), (pool(0), "loading"), (pool(1), "0 rows in flight")])
def test_a_pool_is_loading_until_an_engine_is_ready(state: PoolProgress | None, words: str):
    assert pool_state(state).startswith(words)


def test_plain_lines_show_hostile_text_as_text():
    progress, out = plain()
    progress.report(HOSTILE)
    assert out.getvalue().endswith("[bold]part-1.parquet[/bold] can't be read [/nonsense]\n")
    assert "\x1b" not in out.getvalue()


def test_plain_lines_are_not_wrapped_for_logs_to_be_searched():
    progress, out = plain()
    progress.update(snapshot())
    assert len(out.getvalue().splitlines()) == 1


def test_plain_lines_come_at_most_every_ten_seconds_and_the_last_one_at_the_end(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter, out = plain()
    with reporter:
        for second in range(25):
            now = 1000.0 + second
            reporter.update(snapshot(committed={"rows": second}))
    lines = out.getvalue().splitlines()
    assert [line.split()[1].split("/")[0] for line in lines] == ["0", "10", "20", "24"]


def test_after_five_minutes_a_line_a_minute_is_enough(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter, out = plain()
    for second in range(0, 600, 5):
        now = 1000.0 + second
        reporter.update(snapshot(seconds=float(second)))
    assert len(out.getvalue().splitlines()) == 30 + 5


def test_the_last_row_of_a_stage_is_reported_at_once_and_only_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress.time, "monotonic", lambda: 1000.0)
    reporter, out = plain()
    with reporter:
        for rows in (0, 800, 1565, 1565):
            reporter.update(snapshot(committed={"rows": rows}))
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["0/1,565", "1,565/1,565"]


def test_each_run_of_a_sweep_has_its_own_lines_with_its_name(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter, out = plain()
    models = [PrefixedReporter(reporter, "R1-7B"), PrefixedReporter(reporter, "R1-8B")]
    with reporter:
        for second in range(12):
            now = 1000.0 + second
            for model in models:
                model.update(snapshot(committed={"rows": second}))
        models[1].report("part-1.parquet can't be read.")
    lines = [line.partition(" ")[2] for line in out.getvalue().splitlines()]
    assert [line.split(" rows")[0] for line in lines] == [
        "R1-7B: 0/1,565",
        "R1-8B: 0/1,565",
        "R1-7B: 10/1,565",
        "R1-8B: 10/1,565",
        "R1-8B: part-1.parquet can't be read.",
        "R1-7B: 11/1,565",
        "R1-8B: 11/1,565",
    ]


def test_a_run_that_ended_hours_ago_is_not_reported_again_at_the_end_of_its_sweep(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    reporter, out = plain()
    with reporter:
        for second in (0, 5):
            now = 1000.0 + second
            PrefixedReporter(reporter, "it failed").update(snapshot(committed={"rows": second}))
        now = 9000.0
        PrefixedReporter(reporter, "it works").update(snapshot())
    assert [line.partition(" ")[2].split(":")[0] for line in out.getvalue().splitlines()] == ["it failed", "it works"]


def test_a_stage_of_several_is_named():
    assert sentence(snapshot(number=1, stages=2)).startswith("stage 1 of 2: 0/1,565 rows")
    assert sentence(snapshot(number=2, stages=2, run="R1-7B")).startswith("R1-7B, stage 2 of 2: 0/1,565 rows")


def test_a_run_that_never_updated_ends_without_a_line():
    reporter, out = plain()
    with reporter:
        pass
    assert out.getvalue() == ""


def test_the_live_display_shows_outcomes_and_pools_and_hostile_text_as_text():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with LiveProgress(console) as live:
        live.report(HOSTILE)
        live.update(snapshot({"model": pool(rows_in=900, rows_out=700)}, committed={"rows": 640, "error": 2}))
    shown = out.getvalue()
    assert "[bold]part-1.parquet[/bold] can't be read [/nonsense]" in shown
    for words in ("640/1,565 rows", "2 errors", "200 rows in flight", "guard"):
        assert words in shown


def bars(shown: Snapshot) -> dict[str, str]:
    """Label -> share of each bar that the live display draws."""
    out = io.StringIO()
    Console(file=out, width=120).print(drawn(shown))
    lines = (line.split() for line in out.getvalue().splitlines())
    return {line[0]: next(word for word in line if word.endswith("%")) for line in lines if "%" in " ".join(line)}


def test_both_bars_move_before_the_first_block_is_committed():
    pools = {"model": pool(rows_in=900, rows_out=783), "guard": pool(rows_in=700, rows_out=313)}
    assert bars(snapshot(pools)) == {"generated": "50%", "judged": "20%"}


def test_bars_include_the_rows_of_earlier_attempts_and_never_exceed_all_rows():
    assert bars(snapshot({"model": pool(rows_in=9, rows_out=9)}, done_before=1560)) == {
        "generated": "100%",
        "judged": "100%",
    }


def test_rules_and_graders_have_a_bar_of_the_committed_rows():
    pools = {"model": pool(rows_in=900, rows_out=783)}
    assert bars(snapshot(pools, stage=("model",), committed={"rows": 313})) == {"generated": "50%", "finished": "20%"}
    assert bars(snapshot(stage=(), committed={"rows": 313})) == {"finished": "20%"}


def test_the_time_to_go_is_that_of_the_slowest_pool():
    pools = {"model": pool(rows_in=900, rows_out=565), "guard": pool(rows_in=700, rows_out=465)}
    rates = {"model": PoolRate(100.0, 1.0), "guard": PoolRate(10.0, 1.0)}
    assert snapshot(pools, rates=rates).seconds_left == pytest.approx(110)
    assert snapshot(pools, rates={"model": rates["model"]}).seconds_left == pytest.approx(10)
    assert snapshot(pools).seconds_left is None


def test_the_live_display_shows_runs_side_by_side_and_drops_those_that_fell_silent(monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    seen: dict[str, tuple[float, Snapshot]] = {}
    for name in ("R1-7B", "R1-8B"):
        seen[name] = (now, snapshot(run=name))
        now += 10
    assert [each.run for each in _active(seen)] == ["R1-8B"]


def test_a_terminal_gets_the_live_display_and_everything_else_lines():
    assert isinstance(progress_for(Console(file=io.StringIO(), force_terminal=True)), LiveProgress)
    assert isinstance(progress_for(Console(file=io.StringIO())), PlainProgress)


def test_only_graded_rows_can_be_without_a_grade_and_only_judged_ones_without_a_verdict():
    out = io.StringIO()
    Console(file=out, width=160).print(drawn(snapshot()))
    assert "missing verdicts" in out.getvalue()
    assert "without a grade" not in out.getvalue()
    out = io.StringIO()
    Console(file=out, width=160).print(drawn(snapshot(decisions=("correct", "wrong"))))
    assert "without a grade" in out.getvalue()
    assert "missing verdicts" not in out.getvalue()
