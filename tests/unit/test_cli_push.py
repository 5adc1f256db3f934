"""`safechain-ray push` and `export`: messages, JSON, warnings, and what they refuse."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from tests.made_benchmarks import finished
from tests.unit.sharing.runs import quickstart_run, run_with_later_judge, varied_run
from tests.writable_hub import use_hub, writable_hub

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_run_is_written_to_a_folder_and_the_place_is_printed(tmp_path: Path) -> None:
    run, shared = quickstart_run(tmp_path / "run"), tmp_path / "published"
    result = call("push", str(run), "--output", str(shared))
    assert (result.exit_code, result.stdout) == (0, f"Written: {shared}\n")
    assert "Writing samples/part-00000.parquet" in result.stderr
    assert "Warning" not in result.stderr
    assert 'load_dataset("published", "samples"' in (shared / "README.md").read_text()


def test_a_push_prints_the_address_and_json_has_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with_later_judge(tmp_path / "run")
    with writable_hub() as hub:
        use_hub(hub.address, monkeypatch)
        result = call("push", str(run), "org/name", "--public")
        assert (result.exit_code, result.stdout) == (0, f"Pushed: {hub.address}/datasets/org/name\n")
        assert not hub.repositories["org/name"].private
        tree = json.loads(call("push", str(run), "org/name", "--json").stdout)
        assert tree == {
            "location": f"{hub.address}/datasets/org/name",
            "files": 7,
            "deleted": 0,
            "commit": hub.repositories["org/name"].head,
            "rows": 3,
            "warnings": [],
        }


def test_restricted_prompts_and_an_unfinished_run_are_warned_of(tmp_path: Path) -> None:
    result = call("push", str(varied_run(tmp_path / "run")), "--output", str(tmp_path / "published"))
    assert result.exit_code == 0
    assert (
        "Warning: Prompts of these data sets are left out. small: its terms are not in the catalog. Responses may quote"
        in result.stderr
    )
    run = run_with_later_judge(tmp_path / "half", finished=False)
    result = call("push", str(run), "--output", str(tmp_path / "half-shared"))
    assert result.exit_code == 0
    assert "Warning: The run has not ended: " in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["push", "{run}"],
            "There is no place to push to. Fix: name a repository (OWNER/NAME), or give --output FOLDER.",
        ),
        (
            ["push", "{run}", "--output", "x", "--private"],
            "--private and --public are for the hub. Fix: leave them out",
        ),
        (["push", "{run}", "name"], "'name' is no name of a repository. Fix: write OWNER/NAME."),
        (["push", "{run}-not", "org/name"], "There is no folder"),
        (["push", "{benchmark}", "org/name"], "holds a benchmark. Fix: name a run of `evaluate`"),
        (["push", "{empty}", "org/name"], "has no samples yet. Fix: rerun its own command to resume."),
        (["push", "{folder}", "org/name"], "but folders of runs. Fix: give one, such as"),
        (["export", "{run}-not", "--format", "inspect", "--output", "x"], "There is no folder"),
    ],
)
def test_what_can_not_be_shared_is_refused_with_the_fix(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arguments[0] == "export":
        pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
    monkeypatch.setenv("HF_TOKEN", "hf_any")
    run_with_later_judge(tmp_path / "run")
    (tmp_path / "benchmark").mkdir()
    finished(tmp_path / "benchmark", {})
    empty = run_with_later_judge(tmp_path / "empty", finished=False)
    for file in (empty / "samples").iterdir():
        file.unlink()
    places: dict[str, Any] = {
        "run": tmp_path / "run",
        "benchmark": tmp_path / "benchmark" / "run",
        "empty": empty,
        "folder": tmp_path,
    }
    result = call(*(argument.format(**places) for argument in arguments))
    assert result.exit_code == 2
    assert says in result.stderr


def test_export_without_the_extra_names_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("safechain_ray.sharing.")]:
        if name.rpartition(".")[2] in ("export", "inspect_log", "inspect_samples"):
            monkeypatch.delitem(sys.modules, name)
    for name in ["inspect_ai", *(name for name in sys.modules if name.startswith("inspect_ai."))]:
        monkeypatch.setitem(sys.modules, name, None)
    result = call("export", str(tmp_path), "--format", "inspect", "--output", str(tmp_path / "logs"))
    assert result.exit_code == 2
    assert result.stderr == (
        '--format inspect needs the package inspect-ai. Fix: pip install "safechain-ray[inspect]".\n'
    )


def test_export_prints_the_folder_and_json_has_each_log(tmp_path: Path) -> None:
    pytest.importorskip("inspect_ai", reason="the extra `inspect` is not installed")
    run, logs = varied_run(tmp_path / "run"), tmp_path / "logs"
    result = call("export", str(run), "--format", "inspect", "--output", str(logs))
    assert (result.exit_code, result.stdout) == (0, f"Logs (2): {logs}\n")
    result = call(
        *("export", str(run), "--format", "inspect", "--output", str(logs), "--samples-per-log", "45", "--json")
    )
    tree = json.loads(result.stdout)
    assert sorted(tree["logs"].values()) == [30, 45, 45]
    assert len(tree["split"]) == 1
    assert "has more than 45 samples and is split into several logs" in result.stderr
