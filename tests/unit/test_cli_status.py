"""`safechain-ray status`: what it prints, watching until nothing is left to come, and its exit codes."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.errors import StorageError
from tests.made_runs.by_config import finished_run

# By its name: the package has the command itself as an attribute of that name.
command = import_module("safechain_ray.cli.status")


def status(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", *arguments])


def write(folder: Path, committed: int, finished: bool = False) -> Path:
    """A run of 10 rows that was written just now."""
    now = datetime.now(UTC).isoformat()
    live = {
        "total": 10,
        "done_before": 0,
        "committed": committed,
        "counts": {"ok": committed},
        "seconds": 9.0,
        "rows_per_second": 1.0,
    }
    content = {
        "identity": {"model": {"name": "R1-7B"}},
        "rows": 10,
        "updated": now,
        "tries": [{"started": now, "ended": None, "status": "done" if finished else "running", "live": live}],
        **({"finished": now} if finished else {}),
    }
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What happens while the command sleeps, nap by nap."""
    planned: list[Callable[[], Any]] = []
    monkeypatch.setattr(command.time, "sleep", lambda seconds: planned.pop(0)())
    return planned


def test_a_finished_run_is_done_and_the_command_ends_with_0(tmp_path: Path):
    finished_run(tmp_path / "run")
    result = status(str(tmp_path / "run"))
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert f"Run {tmp_path}/run: done; 180 of 180 rows." in text
    assert "demo-reasoner done 180/180" in text


def test_a_sweep_shows_every_model_and_one_that_failed_is_no_failure_of_the_command(tmp_path: Path):
    write(tmp_path / "R1-7B", 4)
    models = [
        {"model": "R1-7B", "folder": "R1-7B", "status": "running"},
        {"model": "R1-8B", "folder": "R1-8B", "status": "failed", "error": "CUDA out of memory"},
    ]
    (tmp_path / "sweep.json").write_text(json.dumps({"models": models}))
    result = status(str(tmp_path))
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "1 running, 1 failed; 4 of 10 rows and 1 not begun." in text
    assert "R1-8B failed: CUDA out of memory" in text


def test_json_is_one_document(tmp_path: Path):
    tree = json.loads(status(str(write(tmp_path / "run", 4)), "--json").stdout)
    assert (tree["kind"], tree["models"][0]["state"], tree["models"][0]["rows"]) == ("run", "running", 4)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("", "The path of a folder is empty"),
        ("ftp://host/run", "ftp:// is not supported"),
        ("s3://", "names no bucket"),
        ("{folder}", "holds no run and no sweep"),
        ("{folder}/not-there", "There is no folder"),
    ],
)
def test_a_wrong_uri_ends_with_2_and_a_sentence(tmp_path: Path, place: str, says: str):
    for arguments in ((), ("--watch",)):
        result = status(place.format(folder=tmp_path), *arguments)
        assert result.exit_code == 2
        assert says in result.stderr
        assert "Traceback" not in result.output


def test_help_has_examples_and_the_exit_codes():
    text = status("--help").stdout
    assert "safechain-ray status s3://bucket/main_table --watch" in text
    assert "Exit codes: 0 the folder was read" in text


def test_watching_without_a_terminal_prints_what_changes_and_ends_when_all_is_done(
    tmp_path: Path, naps: list[Callable[[], Any]]
):
    run = write(tmp_path / "run", 4)
    naps += [lambda: None, lambda: write(run, 7), lambda: write(run, 10, finished=True)]
    result = status(str(run), "--watch", "--interval", "30")
    assert result.exit_code == 0
    lines = [line.partition(" ")[2] for line in result.stdout.splitlines()]
    assert [line for line in lines if line.startswith("R1-7B")] == [
        "R1-7B: running, 4/10 rows (40%), 0:06 to go, 4 ok.",
        "R1-7B: running, 7/10 rows (70%), 0:03 to go, 7 ok.",
        "R1-7B: done, 10/10 rows (100%), 10 ok.",
    ]
    assert naps == []


def test_watching_as_json_is_one_line_a_look(tmp_path: Path, naps: list[Callable[[], Any]]):
    run = write(tmp_path / "run", 4)
    naps += [lambda: None, lambda: write(run, 10, finished=True)]
    looks = [json.loads(line) for line in status(str(run), "--watch", "--json").stdout.splitlines()]
    assert [look["is_over"] for look in looks] == [False, False, True]


def test_a_store_error_while_watched_is_reported_and_the_read_is_retried(
    tmp_path: Path, naps: list[Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
):
    run = write(tmp_path / "run", 4)
    read = command.read_status

    def outage() -> None:
        def fails(uri: str) -> Any:
            raise StorageError("Can't read s3://bucket/run: timed out.")

        monkeypatch.setattr(command, "read_status", fails)

    def recovery() -> None:
        monkeypatch.setattr(command, "read_status", read)
        write(run, 10, finished=True)

    naps += [outage, recovery]
    result = status(str(run), "--watch")
    assert result.exit_code == 0
    says = "The status of the last read is shown, and the read is retried. Can't read s3://bucket/run: timed out."
    assert says in result.stdout
    assert "R1-7B: done" in result.stdout


def test_a_store_that_does_not_answer_at_first_ends_with_1(monkeypatch: pytest.MonkeyPatch):
    def fails(uri: str) -> Any:
        raise StorageError("Can't reach s3://bucket/run: timed out.")

    monkeypatch.setattr(command, "read_status", fails)
    assert status("s3://bucket/run", "--watch").exit_code == 1


def test_ctrl_c_ends_watching_without_a_word(tmp_path: Path, naps: list[Callable[[], Any]]):
    def interrupted() -> Iterator[None]:
        raise KeyboardInterrupt

    naps.append(interrupted)
    result = status(str(write(tmp_path / "run", 4)), "--watch")
    assert (result.exit_code, result.stderr) == (130, "")


def test_a_terminal_gets_one_table_that_is_drawn_anew(
    tmp_path: Path, naps: list[Callable[[], Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    run = write(tmp_path / "run", 4)
    naps.append(lambda: write(run, 10, finished=True))
    shown = status(str(run), "--watch").stdout
    assert "\x1b[" in shown
    assert "4/10" in shown
    assert "10/10" in shown
