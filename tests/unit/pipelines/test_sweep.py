"""A sweep: every model its own run, one that fails leaves the others alone, what is found again is kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safechain_ray.config import RunConfig, SweepConfig
from safechain_ray.errors import EngineStartError, InputError
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.pipelines import sweep as pipeline
from safechain_ray.pipelines.observer import Silent
from safechain_ray.pipelines.sweep import SweepDone, is_sweep, read_sweep, sweep


def config(folder: Path, **keys: Any) -> SweepConfig:
    usual: dict[str, Any] = {
        "models": ["demo-reasoner", "R1-7B", "R1-8B"],
        "datasets": ["quickstart"],
        "judges": ["refusal-match"],
        "output": str(folder / "sweep"),
    }
    return SweepConfig.model_validate(usual | keys)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException | int]:
    """Stands for the evaluation of a run: what stands in it by a model's name is raised, or its count of errors."""
    ends: dict[str, BaseException | int] = {}

    def evaluate(run: RunConfig, observer: object, start_engine: object) -> Any:
        end = ends.get(run.model.name, 0)
        if isinstance(end, BaseException):
            raise end
        assert run.output is not None
        Path(run.output).mkdir(parents=True)
        metrics = RunMetrics(model=run.model.name, settings=())
        (Path(run.output) / "metrics.json").write_text(metrics.model_dump_json())
        return SimpleNamespace(errors=end)

    monkeypatch.setattr(pipeline, "evaluate", evaluate)
    return ends


def run(config: SweepConfig, observer: Silent | None = None, **names: tuple[str, ...]) -> SweepDone:
    return sweep(config, observer or Silent(), lambda *arguments: None, **names)  # type: ignore[arg-type, return-value]


def statuses(done: SweepDone) -> list[tuple[str, str]]:
    return [(model.model, model.status) for model in done.models]


def test_every_model_is_a_run_in_its_folder_and_the_sweep_holds_their_metrics(tmp_path: Path, evaluated: Any):
    done = run(config(tmp_path))
    assert statuses(done) == [("demo-reasoner", "done"), ("R1-7B", "done"), ("R1-8B", "done")]
    assert (tmp_path / "sweep" / "R1-7B" / "metrics.json").exists()
    assert is_sweep(str(tmp_path / "sweep"))
    assert [metrics.model for metrics in read_sweep(str(tmp_path / "sweep"))] == ["demo-reasoner", "R1-7B", "R1-8B"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EngineStartError("CUDA out of memory"), "CUDA out of memory"), (ValueError("odd"), "ValueError('odd')")],
)
def test_a_model_that_fails_leaves_the_others_alone_and_is_told(
    tmp_path: Path, evaluated: Any, error: Exception, reason: str
):
    evaluated["R1-7B"] = error
    observer = Silent()
    done = run(config(tmp_path), observer)
    assert statuses(done) == [("demo-reasoner", "done"), ("R1-7B", "failed"), ("R1-8B", "done")]
    assert done.failed
    assert f"R1-7B failed, the sweep goes on: {reason}" in observer.sentences
    told = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["models"]
    assert [model["error"] for model in told] == [None, reason, None]


def test_an_interrupt_ends_the_sweep_and_the_file_says_where(tmp_path: Path, evaluated: Any):
    evaluated["demo-reasoner"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        run(config(tmp_path))
    told = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["models"]
    assert [model["status"] for model in told] == ["running", "queued", "queued"]


def test_only_and_skip_choose_models_and_the_others_keep_what_they_had(tmp_path: Path, evaluated: Any):
    assert statuses(run(config(tmp_path), only=("R1-8B",))) == [
        ("demo-reasoner", "queued"),
        ("R1-7B", "queued"),
        ("R1-8B", "done"),
    ]
    assert statuses(run(config(tmp_path), skip=("R1-8B", "R1-7B"))) == [
        ("demo-reasoner", "done"),
        ("R1-7B", "queued"),
        ("R1-8B", "done"),
    ]


def test_errors_in_samples_are_summed_over_the_models(tmp_path: Path, evaluated: Any):
    evaluated |= {"R1-7B": 2, "R1-8B": 3}
    assert run(config(tmp_path)).errors == 5


@pytest.mark.parametrize(
    ("keys", "names", "says"),
    [
        ({}, {"only": ("R1-7b",)}, "Unknown model of the sweep 'R1-7b'. Did you mean 'R1-7B'?"),
        ({"models": ["demo-reasoner", "R1-7b"]}, {}, "Unknown model 'R1-7b'"),
        ({"models": ["demo-reasoner", "QwQ"], "strategies": ["zerothink"]}, {}, "zerothink"),
    ],
)
def test_what_cannot_work_in_one_run_is_refused_before_the_first_starts(
    tmp_path: Path, evaluated: Any, keys: dict[str, Any], names: dict[str, tuple[str, ...]], says: str
):
    with pytest.raises(InputError) as refused:
        run(config(tmp_path, **keys), **names)
    assert says in str(refused.value)
    assert not (tmp_path / "sweep" / "sweep.json").exists()


def test_a_folder_without_a_sweep_and_one_with_a_broken_file_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no sweep: there is no sweep\.json"):
        read_sweep(str(tmp_path))
    (tmp_path / "sweep.json").write_text('{"models": [{"name": 1}]}')
    with pytest.raises(InputError, match=r"sweep\.json is no sweep's"):
        read_sweep(str(tmp_path))
