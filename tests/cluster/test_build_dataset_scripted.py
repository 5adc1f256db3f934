"""A training set built on a real Ray cluster with scripted engines: stopped twice in the middle, the same rows."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray.cloudpickle import register_pickle_by_value

from safechain_ray.commands.build_dataset import Building, build_dataset
from safechain_ray.config import BuildConfig, read_config_as
from safechain_ray.runs.progress import RecordingReporter, Snapshot
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request
from tests.cluster.scripted_runs import GUARD, MODEL, SAFE
from tests.made_runs.by_draw import prompt_file

pytestmark = pytest.mark.usefixtures("one_driver")

register_pickle_by_value(sys.modules[__name__])  # the nodes can't import it

PROMPTS, K = 100, 3
UNSAFE = ({"unsafe": -0.1, "safe": -2.4},)


def number_in(text: str) -> int:
    return int(text.partition("roof number ")[2].partition("?")[0])


def respond(request: Request) -> str:
    """Another response for each seed; some prompts get one that is too long, or one without a thought."""
    number, seed = number_in(request.prompt), request.seed or 0
    if number % 10 == 3 and seed % 2:
        return "Round and round. " * 60
    thought = "" if number % 10 == 4 and seed % 2 else f"They ask for {number}, and I draw {seed}."
    return f"{thought}</think>\n\nFix it with slate {seed}."


def is_unsafe(request: Request) -> bool:
    """The guard finds something in every response to some prompts, and in a few responses to others."""
    number = number_in(request.prompt)
    slate = request.prompt.rpartition("slate ")[2].partition(".")[0]
    return number % 10 == 1 or (number % 10 == 2 and slate.isdecimal() and int(slate) % 3 == 0)


def verdict(request: Request) -> str:
    if number_in(request.prompt) % 10 == 5:
        return "banana"
    return "unsafe" if is_unsafe(request) else "safe"


def engines(seconds: float = 0.0) -> ScriptedEngines:
    guard = Script(verdict, logprobs=lambda request: UNSAFE if is_unsafe(request) else SAFE)
    return ScriptedEngines({MODEL: Script(respond, seconds=seconds), GUARD: guard})


NO_ENGINES = ScriptedEngines({name: Script(start_error="no engine may start") for name in (MODEL, GUARD)})


def config(address: str, folder: Path, output: str, **keys: Any) -> BuildConfig:
    usual = {
        "model": "demo-reasoner",
        "prompts": {"name": str(prompt_file(folder, PROMPTS)), "id_column": "id", "kind_column": "kind"},
        "samples": K,
        "sampling.max_tokens": 120,
        "judges": ["demo-guard"],
        "rows": 60,
        "output": str(folder / output),
        "resources.ray_address": address,
        "resources.block_rows": 8,
        "resources.max_running": 8,
    }
    return read_config_as(BuildConfig, None, usual | keys)


class StopsAt(RecordingReporter):
    """Interrupts the driver, as Ctrl-C does, once so many rows are committed."""

    def __init__(self, rows: int) -> None:
        super().__init__(self._stop)
        self._rows = rows

    def _stop(self, snapshot: Snapshot) -> None:
        if snapshot.committed.get("rows", 0) >= self._rows:
            raise KeyboardInterrupt


def rows(built: Building) -> list[dict[str, Any]]:
    folder = Path(built.folder.path)
    return [row for name in built.facts.files for row in pq.read_table(folder / name).to_pylist()]


@pytest.fixture(scope="module")
def undisturbed(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Building:
    folder = tmp_path_factory.mktemp("undisturbed")
    return build_dataset(config(cluster_address, folder, "set"), RecordingReporter(), engines())


@pytest.mark.long
def test_a_build_stopped_twice_ends_with_the_rows_of_one_that_was_not(
    undisturbed: Building, cluster_address: str, tmp_path: Path
) -> None:
    build = config(cluster_address, tmp_path, "set")
    for share in (1 / 4, 1 / 2):  # slowly: what is left takes many times as long as there is between two looks
        with pytest.raises(KeyboardInterrupt):
            build_dataset(build, StopsAt(int(PROMPTS * K * share)), engines(seconds=0.5))
        assert not (tmp_path / "set/data").exists()
    stopped = build_dataset(build, RecordingReporter(), engines())
    assert stopped.run.committed < PROMPTS * K
    assert rows(stopped) == rows(undisturbed)
    assert (stopped.facts.steps, stopped.facts.responses) == (undisturbed.facts.steps, undisturbed.facts.responses)


def test_the_counts_add_up_and_nothing_unsafe_or_unfinished_is_kept(undisturbed: Building) -> None:
    facts = undisturbed.facts
    out = {step.name: step.total_left_out for step in facts.steps}
    kept = rows(undisturbed)
    assert facts.steps[0].total_left - sum(out.values()) == facts.rows == len(kept) == 60
    assert sum(each.count for each in facts.responses) == PROMPTS * K
    # Of ten prompts one has unsafe responses and one no verdicts at all; of another some responses are unsafe.
    assert out["too many responses judged unsafe"] >= 10
    assert out["verdicts missing"] == 10
    by_digit = Counter(int(row["prompt_id"][1:]) % 10 for row in kept)
    assert by_digit[1] == by_digit[5] == 0
    assert all(row["safe_samples"] == K for row in kept)
    texts = [row["messages"][1]["content"] for row in kept]
    assert all(text.startswith("<think>\nThey ask for") and text.count("</think>") == 1 for text in texts)
    drawn = {text.partition("I draw ")[2].partition(".")[0] for text in texts}
    assert len(drawn) == 60


def test_a_finished_build_starts_no_engine_and_a_control_of_it_neither(
    undisturbed: Building, cluster_address: str, tmp_path: Path
) -> None:
    folder = Path(undisturbed.folder.path)
    again = build_dataset(undisturbed.config, RecordingReporter(), NO_ENGINES)
    assert (again.run.committed, again.facts) == (0, undisturbed.facts)
    keys = {"answers_only": True, "run": str(folder / "run"), "output": str(tmp_path / "control")}
    control = build_dataset(undisturbed.config.model_copy(update=keys), RecordingReporter(), NO_ENGINES)
    assert [row["sample_id"] for row in rows(control)] == [row["sample_id"] for row in rows(undisturbed)]
    assert all(row["messages"][1]["content"].startswith("Fix it with slate") for row in rows(control))
