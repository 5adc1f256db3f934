"""A status as a table, as lines for logs, and as JSON."""

import io
import json
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from safechain_ray.commands.status import FolderStatus, RunStatus
from safechain_ray.report.status import status_lines, status_summary, status_table, summary_line

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HEARD = datetime(2026, 11, 21, 2, 13, 5, tzinfo=UTC)
RUNNING = RunStatus(
    "R1-7B",
    "running",
    last_heartbeat=NOW,
    rows=400,
    total=1113,
    tokens_per_second=1830.4,
    seconds_to_go=2471.0,
    counts={"rows": 400, "ok": 390, "truncated": 10, "unsafe": 80, "missing": 2},
    attempts=1,
)
FAILED = RunStatus(
    "R1-8B", "failed", last_heartbeat=HEARD, rows=0, total=1113, attempts=2, last_error="CUDA out of memory"
)
SILENT = RunStatus("R1-70B", "silent", last_heartbeat=HEARD, rows=9, total=1113, attempts=1)
DONE = RunStatus("Kimi", "done", rows=1113, total=1113, counts={"ok": 1113, "unsafe": 0}, cost_dollars=1.5, attempts=1)
QUEUED = RunStatus("QwQ", "queued")


def sweep(*models: RunStatus) -> FolderStatus:
    return FolderStatus("s3://bucket/table", "sweep", NOW, models)


def drawn(status: FolderStatus, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(status_table(status))
    return out.getvalue()


def test_the_summary_counts_states_rows_and_money():
    assert summary_line(sweep(DONE, RUNNING, FAILED, SILENT, QUEUED)) == (
        "Sweep s3://bucket/table: 1 queued, 1 running, 1 silent, 1 failed, 1 done; "
        "1,522 of 4,452 rows and 1 not begun; $1.50."
    )
    assert summary_line(FolderStatus("runs/a", "run", NOW, (RUNNING,))) == ("Run runs/a: running; 400 of 1,113 rows.")


def test_the_table_has_a_line_a_model_within_80_characters_and_a_sentence_for_each_trouble():
    text = drawn(sweep(DONE, RUNNING, FAILED, SILENT, QUEUED))
    (running,) = [line.split() for line in text.splitlines() if line.strip().startswith("R1-7B ")]
    assert running == ["R1-7B", "running", "400/1,113", "1,830", "41:11", "390", "10", "80", "2"]
    sentences = " ".join(text.split())
    assert "R1-8B failed at 2026-11-21 02:13:05 UTC in attempt 2: CUDA out of memory" in sentences
    assert (
        "R1-70B is recorded as running, but its driver has written nothing since 2026-11-21 02:13:05 UTC" in sentences
    )
    assert "Read at 03:00:00 UTC." in sentences
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_empty_columns_are_left_out():
    heading = next(line for line in drawn(sweep(DONE, QUEUED)).splitlines() if "Model" in line)
    assert heading.split() == ["Model", "State", "Rows", "ok", "safe", "$"]


def test_a_line_tells_all_that_a_log_is_searched_for():
    assert list(status_lines(sweep(RUNNING, QUEUED, DONE))) == [
        "R1-7B: running, 400/1,113 rows (36%), 1,830 tokens/s, 41:11 to go, 390 ok, 10 truncated, 80 unsafe, "
        "2 missing verdicts.",
        "QwQ: queued.",
        "Kimi: done, 1,113/1,113 rows (100%), 1,113 ok, 0 unsafe, $1.50.",
    ]


def test_an_interrupted_run_and_an_earlier_failure_are_reported():
    stopped = RunStatus("A", "stopped", last_heartbeat=HEARD, rows=1, total=2, last_error="the disk was full")
    (line,) = status_lines(sweep(stopped))
    assert "A was interrupted at 2026-11-21 02:13:05 UTC. Rerun the command to resume." in line
    assert "An earlier attempt of A failed: the disk was full" in line


def test_a_phase_and_judges_that_were_added_are_reported():
    staged = RunStatus("A", "running", phase="stage 1 of 2: model", rows=1, total=2, judges_added=("guard",))
    (line,) = status_lines(sweep(staged))
    assert line == "A: running (stage 1 of 2: model), 1/2 rows (50%). Judges added to A later: guard."
    assert "stage 1 of 2: model" in drawn(sweep(staged))


def test_preferences_show_wins_ties_and_losses():
    pairs = RunStatus("A or B", "running", kind="preferences", rows=9, total=20, counts={"win": 4, "tie": 3, "lose": 2})
    assert "4 wins, 3 ties, 2 losses" in next(status_lines(FolderStatus("f", "preferences", NOW, (pairs,))))


def test_json_holds_every_figure_and_times_as_text():
    tree: dict[str, Any] = json.loads(json.dumps(status_summary(sweep(RUNNING, FAILED))))
    assert (tree["folder"], tree["kind"], tree["is_over"]) == ("s3://bucket/table", "sweep", False)
    assert tree["read"] == "2026-11-21T03:00:00+00:00"
    assert tree["models"][0]["counts"]["truncated"] == 10
    assert tree["models"][1] | {"counts": None} == {
        "name": "R1-8B",
        "state": "failed",
        "kind": "run",
        "phase": "",
        "heard": "2026-11-21T02:13:05+00:00",
        "rows": 0,
        "total": 1113,
        "tokens_per_second": None,
        "seconds_to_go": None,
        "counts": None,
        "cost_dollars": None,
        "tries": 2,
        "last_error": "CUDA out of memory",
        "judges_added": [],
    }


def test_foreign_text_can_not_write_to_the_terminal():
    hostile = RunStatus("\x1b[2J[red]m[/]", "failed", last_error="\x1b]0;title\x07[bold]no[/bold]")
    assert "\x1b" not in drawn(sweep(hostile))
    assert "[red]m[/]" in drawn(sweep(hostile))
    (line,) = status_lines(sweep(hostile))
    assert "\x1b" not in line
