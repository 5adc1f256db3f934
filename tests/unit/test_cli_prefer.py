"""`safechain-ray prefer`: its flags, what it prints, how it ends, and that other commands refuse its judges."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from safechain_ray.cli import app
from safechain_ray.commands import prefer as pipeline
from safechain_ray.commands.prefer import Preferring
from safechain_ray.config import PreferenceConfig, read_config_as
from safechain_ray.metrics.preferences import LeftOut, Preferences
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from tests.made_runs.by_answers import finished_run

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

JUDGE = "prefer-llama-3.3-70b"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


PREFERENCES = Preferences(
    model_a="R1-7B",
    model_b="R1-8B",
    run_a="a",
    run_b="b",
    judge=JUDGE,
    part_a="answer",
    part_b="answer",
    settings=(),
    left_out=LeftOut(samples_a=0, samples_b=0, other_prompt=0, settings_a=(), settings_b=()),
    caveats=(),
    published_by="p",
    published=None,
)


@pytest.fixture
def preferring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, str, PreferenceConfig]]:
    """Puts an end in the place of the pipeline; keeps what it was called with."""
    seen: list[tuple[str, str, PreferenceConfig]] = []

    def prefer(run_a: str, run_b: str, config: PreferenceConfig, *others: Any) -> Preferring:
        seen.append((run_a, run_b, config))
        return Preferring(RunFolder(open_folder(str(tmp_path / "out"))), PREFERENCES, 0)

    monkeypatch.setattr(pipeline, "prefer", prefer)
    return seen


def test_every_flag_reaches_its_key(preferring: list[tuple[str, str, PreferenceConfig]]):
    flags = {
        "--strategy": "zerothink",
        "--part": "response",
        "--output": "out",
        "--device": "cpu",
        "--gpu-memory": "48",
        "--replicas": "2",
        "--max-requests": "10",
        "--ray-address": "auto",
        "--stall-timeout": "5",
        "--set": "judge.engine.context_length=4096",
    }
    call("prefer", "runs/a", "runs/b", "--judge", JUDGE, *(word for flag in flags.items() for word in flag))
    resources = {
        "device": "cpu",
        "gpu_memory": 48,
        "judge_replicas": 2,
        "max_requests": 10,
        "ray_address": "auto",
        "stall_timeout_minutes": 5,
    }
    tree = {
        "judge": {"name": JUDGE, "engine": {"context_length": 4096}},
        "part": "response",
        "strategies": ["zerothink"],
        "output": "out",
        "resources": resources,
    }
    assert preferring == [("runs/a", "runs/b", read_config_as(PreferenceConfig, None, tree))]


def test_it_prints_a_table_and_the_place_or_json(preferring: list[Any], tmp_path: Path):
    result = call("prefer", "a", "b", "--judge", JUDGE)
    assert result.exit_code == 0, result.output
    assert "R1-7B (A, answer) against R1-8B (B, answer)" in result.stdout
    assert f"Results: {tmp_path / 'out'}" in result.stdout
    found = json.loads(call("prefer", "a", "b", "--judge", JUDGE, "--json").stdout)
    assert found == PREFERENCES.model_dump(mode="json")


def test_missing_pairs_end_with_3(preferring: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Preferences, "missing", 1)
    assert call("prefer", "a", "b", "--judge", JUDGE).exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prefer", "A", "B", "--judge", "demo-guard"), "gives verdicts on one response and compares none"),
        (("prefer", "A", "B", "--judge", "prefer-llama"), "Did you mean 'prefer-llama-3.3-70b'?"),
        (("prefer", "A", "/no/such/run", "--judge", JUDGE), "There is no folder /no/such/run"),
        (("prefer", "A", "A", "--judge", JUDGE), "is named twice"),
        (("prefer", "A", "B", "--judge", JUDGE, "--part", "answers"), "part: must be 'response', 'thought'"),
        (("prefer", "A", "--judge", JUDGE), "Missing argument 'RUN_B'"),
        (("prefer", "A", "B"), "Missing option '-j' / '--judge'"),
        (("judge", "A", "--judge", JUDGE), "compares two responses and gives no verdict on one"),
        (("evaluate", "-m", "demo-reasoner", "-d", "quickstart", "-j", JUDGE), "`safechain-ray prefer RUN_A RUN_B"),
        (("judge-study", "--data", "quickstart-labelled", "--judge", JUDGE), "gives no verdict on one"),
    ],
)
def test_wrong_input_ends_with_2_and_a_sentence(tmp_path: Path, arguments: tuple[str, ...], says: str):
    runs = {name: str(finished_run(tmp_path / name, {"x": ["1"]})) for name in "AB"}
    result = call(*(runs.get(word, word) for word in arguments))
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "Traceback" not in result.output
