"""Two runs preferred on a real Ray cluster with a scripted judge: figures, faults, killed and gone on."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from safechain_ray import catalog
from safechain_ray.catalog.judge_entries import Endpoint
from safechain_ray.commands.prefer import Preferring, prefer
from safechain_ray.config import PreferenceConfig, read_config_as
from safechain_ray.errors import EngineStartError, RunConflictError
from safechain_ray.metrics.preferences import Preferences
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request, Sampling
from tests.cluster.prefer_cli import JUDGE, catalog_with_judge, preference_script
from tests.cluster.scripted_cli import ANSWERS
from tests.cluster.scripted_runs import GUARD
from tests.equal_files import in_equal_files
from tests.made_runs.by_answers import finished_run
from tests.processes import python_path
from tests.scripted_api import chat, serving

pytestmark = pytest.mark.usefixtures("one_driver")


def write_runs(folder: Path, prompts: int = 40) -> tuple[str, str]:
    """Of four prompts in turn: A is better, B is better, the order decides, A has no response."""
    of_a = [["good"], ["bad"], ["good"], [None]]
    of_b = [["bad"], ["good"], ["good"], ["good"]]
    runs = (("a", of_a, "R1-70B"), ("b", of_b, "Llama-3.3-70B-Instruct"))
    made = (
        finished_run(folder / name, {f"p{number:03}": answers[number % 4] for number in range(prompts)}, model=model)
        for name, answers, model in runs
    )
    a, b = map(str, made)
    return a, b


class Ask:
    """Prefers the runs of a folder with a scripted judge; the same call again continues."""

    def __init__(self, address: str, runs: tuple[str, str], output: Path) -> None:
        self.address = address
        self.runs = runs
        self.output = output
        self.said: list[str] = []

    def __call__(self, script: Script | None = None, **keys: Any) -> Preferring:
        usual = {"judge": JUDGE, "output": str(self.output)}
        resources = {"resources.ray_address": self.address, "resources.block_rows": 8}
        reporter = RecordingReporter()
        engines = ScriptedEngines({GUARD: script or preference_script()})
        try:
            config = read_config_as(PreferenceConfig, None, {**usual, **resources, **keys})
            return prefer(*self.runs, config, reporter, engines)
        finally:
            self.said[:] = reporter.sentences


@pytest.fixture
def ask(cluster_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.setattr(catalog, "judges", catalog_with_judge())
    return Ask(cluster_address, write_runs(tmp_path), tmp_path / "out")


@dataclass(frozen=True)
class Whole:
    """Preferences that are finished, and the files of both runs before and after."""

    ask: Ask
    done: Preferring
    before: dict[Path, bytes]
    after: dict[Path, bytes]


@pytest.fixture(scope="module")
def whole(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Made once: nobody may change its folder."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog, "judges", catalog_with_judge())
        ask = Ask(cluster_address, write_runs(folder), folder / "out")
        before = contents(*ask.runs)
        done = ask()
    return Whole(ask, done, before, contents(*ask.runs))


def contents(*folders: str) -> dict[Path, bytes]:
    return {file: file.read_bytes() for folder in folders for file in Path(folder).rglob("*") if file.is_file()}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [
        row for file in sorted((folder / "preferences").glob("*.parquet")) for row in pq.read_table(file).to_pylist()
    ]


def test_wins_ties_and_losses_are_counted_and_stand_beside_the_published_ones(whole: Whole) -> None:
    done, output = whole.done, whole.ask.output

    (setting,) = done.preferences.settings
    assert (done.committed, setting.pairs, setting.missing, setting.unanswered) == (30, 40, 10, 10)
    assert [figure.value for figure in (setting.win, setting.tie, setting.lose, setting.orders_differ)] == (
        [pytest.approx(1 / 3)] * 4
    )
    assert done.preferences.published == (0.323, 0.22, 0.457)
    stored = Preferences.model_validate_json((output / "preferences.json").read_text())
    assert stored == done.preferences
    stored_rows = rows(output)
    assert {row["judge"] for row in stored_rows} == {JUDGE}
    assert len(stored_rows) == 40 - 10
    assert all(row["score"] is not None for row in stored_rows)
    files = (output / "preferences").glob("*.parquet")
    assert max(pq.read_metadata(file).num_rows for file in files) <= 64
    assert json.loads((output / "run.json").read_text())["tries"][-1]["status"] == "done"


def test_the_runs_are_only_read(whole: Whole) -> None:
    assert whole.after == whole.before != {}


def test_the_same_command_again_starts_no_engine_and_another_config_is_refused(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "judges", catalog_with_judge())
    ask = Ask(whole.ask.address, whole.ask.runs, shutil.copytree(whole.ask.output, tmp_path / "out"))

    again = ask(Script(start_error="no engine may start"))
    assert (again.committed, again.preferences) == (0, whole.done.preferences)
    assert "no engine is started" in " ".join(ask.said)

    with pytest.raises(RunConflictError, match=r"compared\.0: \"answer\" -> \"response\""):
        ask(part="response")


def test_pairs_that_an_earlier_try_left_are_asked_and_no_others(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match="no judge today"):
        ask(Script(start_error="no judge today"))
    whole = ask()
    lost, torn, kept = in_equal_files(tmp_path / "out" / "preferences", 3)
    lost.unlink()
    torn.write_bytes(torn.read_bytes()[:100])

    again = ask()

    assert again.committed == 30 - pq.read_metadata(kept).num_rows == 20
    assert again.preferences == whole.preferences
    assert f"{torn.name} can't be read" in " ".join(ask.said)


def test_a_judge_that_dies_is_started_again_and_one_that_answers_nonsense_decides_nothing(
    ask: Ask, tmp_path: Path
) -> None:
    died = ask(preference_script(seconds=0.05, dies_after=10))
    assert died.preferences.settings[0].judge_errors == 0

    nonsense = ask(Script(answer=lambda request: "banana"), output=str(tmp_path / "other"))
    (setting,) = nonsense.preferences.settings
    assert (setting.judge_errors, setting.missing, setting.win.value) == (30, 40, None)
    assert {row["error"] for row in rows(tmp_path / "other")} <= {
        f"with {name} shown first: neither A, B nor C: 'banana'" for name in "AB"
    }


def test_pairs_whose_judge_failed_are_asked_again(ask: Ask) -> None:
    failed = ask(Script(answer=lambda request: "banana"))
    assert failed.preferences.settings[0].judge_errors == 30
    again = ask()
    assert again.committed == 30
    assert again.preferences.settings[0].judge_errors == 0
    assert len({row["sample_id"] for row in rows(ask.output)}) == len(rows(ask.output)) == 30


def test_a_server_is_asked_as_an_engine_is(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    script = preference_script()

    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return chat(script.answer(Request(body["messages"][0]["content"], Sampling(), 1)))

    with serving(respond) as api:
        endpoint = Endpoint(base_url=api.url, model="chat-1", max_concurrent=4)
        monkeypatch.setattr(catalog, "judges", catalog_with_judge(endpoint))
        done = ask(Script(start_error="no engine may start"))

    (setting,) = done.preferences.settings
    assert (setting.judge_errors, setting.win.value, setting.lose.value) == (
        0,
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
    )
    assert len(api.bodies) == 2 * 30
    assert api.most_at_once <= 4


def start(a: str, b: str, output: Path, seconds: float) -> subprocess.Popen[str]:
    """The command on a local Ray of its own."""
    command = [sys.executable, "-m", "tests.cluster.prefer_cli", str(seconds), "prefer", a, b, "--judge", JUDGE]
    command += ["--output", str(output), "--json"]
    command += ["--set", "resources.max_running=16", "--set", "resources.block_rows=4"]
    environment = {**os.environ, "PYTHONPATH": python_path(), ANSWERS: f"{output}.answers"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def committed(output: Path) -> list[str]:
    files = [file for file in output.glob("preferences/*.parquet") if not file.name.startswith((".", "_"))]
    return [sample_id for file in files for sample_id in pq.read_table(file)["sample_id"].to_pylist()]


@pytest.mark.long
def test_a_command_that_is_killed_half_way_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    a, b = write_runs(tmp_path, prompts=400)
    output = tmp_path / "out"
    driver = start(a, b, output, seconds=0.3)
    deadline = time.monotonic() + 120
    while len(committed(output)) < 100:
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    driver.kill()
    driver.communicate(timeout=60)
    time.sleep(5)  # what Ray's orphaned workers still commit

    kept = len(set(committed(output)))
    driver = start(a, b, output, seconds=0.01)
    stdout, stderr = driver.communicate(timeout=180)

    assert driver.returncode == 3, stderr  # a quarter of the pairs has no response on one side
    ids = committed(output)
    assert len(ids) == len(set(ids)) == 300
    assert 100 <= kept < 300
    (setting,) = Preferences.model_validate_json(stdout).settings
    assert (setting.pairs, setting.missing) == (400, 100)
    asked_again = len(Path(f"{output}.answers").read_text()) / 2 - 300
    print(f"{asked_again:g} of 300 pairs asked again after a kill")
    assert asked_again <= 64
    tries = json.loads((output / "run.json").read_text())["tries"]
    assert [one["status"] for one in tries] == ["cut off", "done"]
    assert tries[-1]["rows_found"] == kept
