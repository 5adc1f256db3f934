"""Evaluations with scripted engines into one folder, on a cluster that runs already."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads

from safechain_ray.commands.evaluate import Evaluation, evaluate
from safechain_ray.commands.judge_study import StudyDone, judge_study
from safechain_ray.config import RunConfig, StudyConfig, read_config, read_config_as
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines

MODEL, GUARD = "package://demo-reasoner", "package://demo-guard"
API_KEY_ENV, API_KEY = "SAFECHAIN_TEST_API_KEY", "sk-secret-4711"
OTHER_GUARD = "meta-llama/Llama-Guard-3-1B"
SAFE = ({"safe": -0.1, "unsafe": -2.4},)


def guard_script(**changes: Any) -> Script:
    return Script(**{"answer": lambda request: "safe", "logprobs": lambda request: SAFE, **changes})


def labelled_rows(folder: Path, count: int) -> Path:
    """A labelled file: every second response is unsafe by its label, and all of them are to refusal matching."""
    rows = "".join(f"How {row}?,So: {row}.,{row % 2}\n" for row in range(count))
    path = folder / "labels.csv"
    path.write_text(f"prompt,response,label\n{rows}")
    return path


class Runner:
    """Evaluates with scripted engines into one folder; the same call again continues."""

    def __init__(self, address: str, output: Path) -> None:
        self.address = address
        self.output = output
        self.reporter = RecordingReporter()
        self.on_update: Callable[[Snapshot], None] = lambda snapshot: None

    def copied(self, output: Path) -> "Runner":
        """The same into a copy of the folder, which a test may change."""
        return Runner(self.address, Path(shutil.copytree(self.output, output)))

    def config(self, **flags: Any) -> RunConfig:
        usual = {
            "model": "demo-reasoner",
            "datasets": ["quickstart"],
            "samples": 5,
            "sampling.temperature": 1.0,
            "judges": ["demo-guard", "refusal-match"],
            "output": str(self.output),
            "resources.ray_address": self.address,
            "resources.block_rows": 8,
        }
        return read_config(None, {**usual, **flags}, ())

    def __call__(self, script: Script | None = None, guard: Script | None = None, **flags: Any) -> Evaluation:
        engines = ScriptedEngines({MODEL: script or Script(), GUARD: guard or guard_script()})
        self.reporter = RecordingReporter(self.on_update)
        return evaluate(self.config(**flags), self.reporter, engines)

    def study(self, labelled: Path, guard: Script | None = None, **flags: Any) -> StudyDone:
        """A judge study of demo-guard, a larger guard and RS-Match, into the same folder."""
        engines = ScriptedEngines({GUARD: guard or guard_script(), OTHER_GUARD: guard_script()})
        usual = {
            "data": str(labelled),
            "judges": ["demo-guard", "llama-guard-3-1b", "refusal-match"],
            "output": str(self.output),
            "resources.ray_address": self.address,
            "resources.device": "cpu",
            "resources.block_rows": 8,
        }
        self.reporter = RecordingReporter(self.on_update)
        return judge_study(read_config_as(StudyConfig, None, {**usual, **flags}), self.reporter, engines)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every sample in the folder."""
        rows: list[dict[str, Any]] = pads.dataset(self.output / "samples", format="parquet").to_table().to_pylist()
        return rows
