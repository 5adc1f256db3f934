"""A sweep of many models side by side on a real Ray cluster with logical GPUs and scripted engines."""

import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pyarrow.dataset as pads
import pytest
import ray
from ray.cluster_utils import Cluster

from safechain_ray import catalog
from safechain_ray.commands.sweep import active_runs, schedule
from safechain_ray.commands.sweep.schedule import SweepOptions
from safechain_ray.commands.sweep.sweep import SweepDone, sweep
from safechain_ray.config import SweepConfig, read_config_as
from safechain_ray.engines.start import EngineStart, StartEngine
from safechain_ray.errors import EngineStartError
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Engine, Request
from tests.cluster.scripted_runs import GUARD, guard_script
from tests.lean_ray import LEAN

pytestmark = pytest.mark.long

SIZES = {"R1-70B": 4, "QwQ": 2, "R1-14B": 1, "R1-7B": 1}
"""Models of the paper with the GPUs that a replica of each takes of 80 GB."""


@pytest.fixture(scope="module")
def gpu_cluster() -> Iterator[str]:
    """A head without GPUs and two nodes with four each."""
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 32})
    for _ in range(2):
        cluster.add_node(num_cpus=16, num_gpus=4)
    yield cluster.address
    cluster.shutdown()


class Sweeper:
    """Sweeps with scripted engines into one folder; the same call again continues."""

    def __init__(self, address: str, output: Path) -> None:
        self.address = address
        self.output = output
        self.reporter = RecordingReporter()
        self.snapshots: list[Snapshot] = []
        self.on_snapshot: Callable[[Snapshot], None] = self.snapshots.append
        self.start_engine: Callable[[ScriptedEngines], StartEngine] = lambda engines: engines

    def __call__(self, models: dict[str, Script], guard: Script | None = None, **flags: Any) -> SweepDone:
        keys = {
            "models": list(models),
            "datasets": [{"name": "quickstart", "limit": 20}],
            "samples": 5,
            "sampling.temperature": 0.6,
            "judges": ["demo-guard", "refusal-match"],
            "output": str(self.output),
            "resources.ray_address": self.address,
            "resources.block_rows": 8,
            "resources.max_running": 16,
        }
        named = {key: flags.pop(key) for key in ("only", "skip", "options") if key in flags}
        config = read_config_as(SweepConfig, None, {**keys, **flags})
        scripts = {catalog.models()[name].source: script for name, script in models.items()}
        self.reporter = RecordingReporter(self.on_snapshot)
        engines = ScriptedEngines({**scripts, GUARD: guard or guard_script()})
        return sweep(config, self.reporter, self.start_engine(engines), **named)

    def rows(self, model: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (
            pads.dataset(self.output / model / "samples", format="parquet").to_table().to_pylist()
        )
        return rows

    def said(self, words: str) -> list[str]:
        return [sentence for sentence in self.reporter.sentences if words in sentence]


@pytest.fixture
def swept(gpu_cluster: str, tmp_path: Path) -> Sweeper:
    return Sweeper(gpu_cluster, tmp_path / "sweep")


def complete(swept: Sweeper, models: dict[str, Any]) -> bool:
    """Whether every model has each of its 100 samples once, each with both verdicts."""
    rows = {model: swept.rows(model) for model in models}
    return all(
        len(of_model) == len({row["sample_id"] for row in of_model}) == 100
        and all(len(row["verdicts"]) == 2 for row in of_model)
        for of_model in rows.values()
    )


def test_models_stand_side_by_side_share_their_judge_and_each_sample_is_there_once(swept: Sweeper) -> None:
    models = {name: Script(seconds=0.3) for name in SIZES}

    done = swept(models)

    assert [model.status for model in done.models] == ["done"] * 4, done.models
    assert complete(swept, models)
    assert swept.said("demo-guard judges for all models")
    at_work = {snapshot.run for snapshot in swept.snapshots if snapshot.pools.get("model")}
    assert at_work == set(SIZES)
    order = [sentence.split(" starts")[0] for sentence in swept.said(" starts: ")]
    assert order[0] == "R1-70B"
    tree = json.loads((swept.output / "sweep.json").read_text())
    assert [model["tries"] for model in tree["models"]] == [1] * 4


def test_a_model_grows_into_the_room_that_others_leave_and_a_done_sweep_starts_no_engine(
    swept: Sweeper, tmp_path: Path
) -> None:
    workers = tmp_path / "workers"
    workers.mkdir()
    others = [swept.output / name / "metrics.json" for name in ("R1-70B", "R1-14B")]

    def answers_when_it_has_grown(request: Request) -> str:
        """Each process of the pool leaves a mark; none answers before the others are done and three are there."""
        (workers / str(os.getpid())).touch()
        give_up = time.monotonic() + 240
        while time.monotonic() < give_up:
            if all(other.exists() for other in others) and len(list(workers.iterdir())) == 3:
                break
            time.sleep(0.1)
        return "</think>\n\nI can't help with that."

    models = {"R1-70B": Script(), "QwQ": Script(answer=answers_when_it_has_grown), "R1-14B": Script()}
    swept(models, **{"resources.max_running": 4, "resources.block_rows": 4})

    assert complete(swept, models)
    assert len(list(workers.iterdir())) == 3  # of two GPUs each: with the judge's one GPU is left
    assert swept.said("QwQ scales up to 3 replicas")

    again = swept({name: Script(start_error="no engine may start") for name in models})
    assert [model.status for model in again.models] == ["done"] * 3
    assert len(swept.said("no engine is started")) == 3


def test_a_model_starts_in_the_places_that_the_last_rows_of_another_one_leave_little_by_little(
    swept: Sweeper, tmp_path: Path
) -> None:
    """Two models of five replicas each, and a judge, want eleven of eight GPUs: three replicas must end first."""
    names = ("R1-14B", "R1-7B")
    samples = [swept.output / name / "samples" for name in names]
    places, mine = [tmp_path / f"replica-{number}" for number in range(10)], list[int]()

    def both_have_samples() -> bool:
        return all(list(folder.glob("*.parquet")) for folder in samples)

    def is_free(place: Path) -> bool:
        try:
            place.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def waits_once(request: Request) -> str:
        """The first model's replicas have no more rows after 0, 25 and 50 seconds; two wait for the other model."""
        if not mine:  # as it is in each process
            mine.append(next(number for number, place in enumerate(places) if is_free(place)))
            give_up = time.monotonic() + (0, 25, 50, 200, 200, *[0] * 5)[mine[0]]
            while time.monotonic() < give_up and not both_have_samples():
                time.sleep(0.1)
        return "</think>\n\nI can't help with that."

    models = {name: Script(answer=waits_once) for name in names}
    swept(models, **{"resources.replicas": 5, "resources.max_running": 4, "resources.block_rows": 4})

    assert complete(swept, models)
    order = [words for words in swept.reporter.sentences if " starts: " in words or " is done" in words]
    assert [" starts: " in words for words in order] == [True, True, False, False], order


def test_when_time_is_up_every_model_has_a_fair_part_of_each_setting_and_the_same_command_goes_on(
    swept: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"strategies": ["default", "zerothink"], "resources.max_running": 8, "resources.replicas": 1}
    names = ("R1-70B", "R1-7B")
    samples = [swept.output / name / "samples" for name in names]

    def all_have_begun() -> bool:
        return all(list(folder.glob("*.parquet")) for folder in samples)

    def clock() -> float:
        """The night is over as soon as each model has samples."""
        return time.time() + 86_400 * all_have_begun()

    def waits_for_the_other() -> Script:
        given, give_up = count(), time.time() + 240

        def answer(request: Request) -> str:
            """After 80 of 200 answers none before the other model has begun too, and then two a second.

            Neither can be done before the sweep has seen that the night is over.
            """
            if next(given) >= 80:
                while not all_have_begun() and time.time() < give_up:
                    time.sleep(0.1)
                time.sleep(0.5)
            return "</think>\n\nI can't help with that."

        return Script(answer=answer, seconds=0.3)

    monkeypatch.setattr(schedule, "time", SimpleNamespace(time=clock, monotonic=time.monotonic))
    done = swept(
        {name: waits_for_the_other() for name in names}, options=SweepOptions(deadline=time.time() + 40_000), **settings
    )

    assert set(done.incomplete) == set(names), swept.reporter.sentences
    for metrics in done.metrics:
        rows = [setting.rows for setting in metrics.settings]
        assert 0 < sum(rows) < 200
        assert max(rows) - min(rows) <= 26  # a few blocks of 8 may be done before others that began with them
        assert all(setting.judges[0].all_missing == 100 - setting.rows for setting in metrics.settings)

    monkeypatch.undo()
    ended = swept({name: Script() for name in names}, **settings)
    assert [model.status for model in ended.models] == ["done"] * 2
    assert all(len({row["sample_id"] for row in swept.rows(name)}) == 200 for name in names)


def failing_at_first(marks: Path, failures: int) -> Callable[[ScriptedEngines], StartEngine]:
    """Engines of which the judge's fails to start until `marks` holds as many marks of failures."""

    def among(engines: ScriptedEngines) -> StartEngine:
        def start_engine(start: EngineStart) -> Engine:
            if start.needs.source == GUARD and len(list(marks.iterdir())) < failures:
                (marks / uuid4().hex).touch()
                raise EngineStartError("CUDA out of memory: another process has the GPU")
            return engines(start)

        return start_engine

    return among


@pytest.mark.parametrize(("failures", "status"), [(2, "done"), (100, "failed")])
def test_a_judge_for_all_that_does_not_start_is_started_again_but_not_for_ever(
    swept: Sweeper, tmp_path: Path, failures: int, status: str
) -> None:
    marks = tmp_path / "failed-starts"
    marks.mkdir()
    models = {name: Script() for name in ("R1-14B", "R1-7B")}
    swept.start_engine = failing_at_first(marks, failures)

    done = swept(models, options=SweepOptions(retries=0))

    assert [model.status for model in done.models] == [status] * 2, done.models
    if status == "done":
        assert len(list(marks.iterdir())) == 2
        assert complete(swept, models)
    else:
        assert len(list(marks.iterdir())) == 3
        assert all("another process has the GPU" in str(model.error) for model in done.models)


def test_a_judge_for_all_that_lost_its_node_gets_the_place_of_a_models_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes of two GPUs: the judge's dies once the models hold all others. What is left is two GPUs."""
    monkeypatch.setattr(active_runs, "GRACE_PERIOD", 3.0)
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 32})
    nodes = [cluster.add_node(num_cpus=16, num_gpus=2) for _ in range(2)]
    lost: list[str] = []

    def lose_the_judges_node(snapshot: Snapshot) -> None:
        if lost or snapshot.committed.get("rows", 0) < 20 or ray.available_resources().get("GPU", 0) > 0:
            return
        actors = ray._private.state.actors().values()
        (judges,) = (actor["Address"]["NodeID"] for actor in actors if actor["ActorClassName"] == "SharedWorker")
        lost.append(judges)
        cluster.remove_node(next(node for node in nodes if node.node_id == judges), allow_graceful=False)

    try:
        swept = Sweeper(cluster.address, tmp_path / "sweep")
        swept.on_snapshot = lose_the_judges_node
        models = {name: Script(seconds=1.5) for name in ("R1-14B", "R1-7B")}
        done = swept(models, **{"resources.max_running": 4, "resources.block_rows": 4})
    finally:
        cluster.shutdown()

    assert lost
    assert [model.status for model in done.models] == ["done"] * 2, done.models
    assert complete(swept, models)
    assert swept.said("a judge of all models has no GPU")
