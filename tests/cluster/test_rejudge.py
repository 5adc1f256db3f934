"""Judges added to a finished run: the same figures as if they had been there, and no sample touched."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from equal_files import in_equal_files
from scripted_runs import GUARD, SAFE, Runner, guard_script

from safechain_ray.config import read_judging_config
from safechain_ray.engines.scripted import Script, ScriptedEngines
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.pipelines.evaluation.rejudge import Judging, add_judges
from safechain_ray.pipelines.runs.observer import Silent
from safechain_ray.schema import Request

pytestmark = pytest.mark.usefixtures("one_driver")

FEW = {"datasets": [{"name": "quickstart", "limit": 20, "benign_categories": []}]}
UNSAFE = ({"safe": -2.4, "unsafe": -0.1},)


def half_unsafe() -> Script:
    """A guard whose decision hangs on the text that it is shown, whatever the order."""

    def is_unsafe(request: Request) -> bool:
        return sum(request.prompt.encode()) % 2 == 0

    return guard_script(
        answer=lambda request: "unsafe\nS1" if is_unsafe(request) else "safe",
        logprobs=lambda request: UNSAFE if is_unsafe(request) else SAFE,
    )


def add(run: Runner, *judges: object, guard: Script | None = None, **flags: object) -> Judging:
    given = {"judges": list(judges), "resources.ray_address": run.address, **flags}
    run.observer = Silent()
    engines = ScriptedEngines({GUARD: guard or half_unsafe()})
    return add_judges(str(run.output), read_judging_config(given, ()), run.observer, engines)


@dataclass(frozen=True)
class Runs:
    """A finished run with a judge of its own; a copy of it to which one was added, and what that gave."""

    plain: Runner
    judged: Runner
    added: Judging


@pytest.fixture(scope="module")
def runs(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    plain = Runner(cluster_address, folder / "plain")
    plain(judges=["refusal-match"], **FEW)
    judged = plain.copied(folder / "judged")
    return Runs(plain, judged, add(judged, "demo-guard"))


@pytest.fixture
def plain(runs: Runs, tmp_path: Path) -> Runner:
    return runs.plain.copied(tmp_path / "run")


@pytest.fixture
def judged(runs: Runs, tmp_path: Path) -> Runner:
    return runs.judged.copied(tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.parquet")}


def test_an_added_judge_gives_the_figures_that_it_would_have_given(runs: Runs, run: Runner) -> None:
    added = runs.added

    assert added.committed == 100
    assert contents(runs.judged.output / "samples") == contents(runs.plain.output / "samples")
    asked_at_once = run(judges=["refusal-match", "demo-guard"], guard=half_unsafe(), **FEW)
    assert 0 < added.metrics.settings[0].judges[1].safe_at_1.value < 1
    assert added.metrics.settings[0].judges == asked_at_once.metrics.settings[0].judges
    assert json.loads((runs.judged.output / "metrics.json").read_text()) == added.metrics.model_dump(mode="json")


def test_the_same_command_again_starts_no_engine(runs: Runs, judged: Runner) -> None:
    again = add(judged, "demo-guard", guard=Script(start_error="it should not start"))

    assert again.committed == 0
    assert again.metrics == runs.added.metrics
    assert "no engine is started" in judged.observer.sentences[-1]


def test_parts_are_added_to_a_judge_that_the_run_had(plain: Runner) -> None:
    add(plain, "refusal-match", parts=["answer"])
    both = add(plain, "refusal-match", parts=["thought", "answer"])

    asked = [(judge.judge, judge.part) for judge in both.metrics.settings[0].judges]
    assert asked == [("refusal-match", part) for part in ("response", "answer", "thought")]
    answer = both.metrics.settings[0].judges[1]
    assert answer.missing == 0


def test_what_the_run_itself_judged_is_refused(plain: Runner) -> None:
    with pytest.raises(InputError, match="has the verdicts of refusal-match on the response already"):
        add(plain, "refusal-match")


def test_a_judge_of_the_same_name_that_judges_otherwise_is_refused(plain: Runner, tmp_path: Path) -> None:
    (tmp_path / "phrases.txt").write_text("No way\n")
    with pytest.raises(RunConflictError, match="verdicts of another refusal-match"):
        add(plain, {"name": "refusal-match", "phrases": f"{tmp_path}/phrases.txt"}, parts=["answer"])


def test_a_folder_without_a_finished_run_is_refused(run: Runner) -> None:
    with pytest.raises(InputError, match="holds no run"):
        add(run, "demo-guard")


def test_a_run_that_goes_on_keeps_the_figures_of_its_added_judges(runs: Runs, judged: Runner) -> None:
    assert judged(judges=["refusal-match"], **FEW).metrics == runs.added.metrics


def test_judging_goes_on_where_it_was_cut_off(runs: Runs, judged: Runner) -> None:
    in_equal_files(judged.output / "verdicts" / "demo-guard", 4)[0].unlink()

    again = add(judged, "demo-guard")

    assert again.committed == 25
    assert again.metrics == runs.added.metrics
