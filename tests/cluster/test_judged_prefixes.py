"""Thoughts judged in growing pieces on a real cluster: beside the run's verdicts, resumable, in no safety metric."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from safechain_ray.commands.fine_grained import analyse
from safechain_ray.commands.judge import judge_thought_prefixes
from safechain_ray.config import JudgingConfig, read_config_as
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import PIECES_SCHEMA
from tests.cluster.scripted_runs import GUARD, SAFE, Runner, guard_script
from tests.equal_files import in_equal_files

pytestmark = pytest.mark.usefixtures("one_driver")

FEW = {"datasets": [{"name": "quickstart", "limit": 10, "benign_categories": []}], "judges": ["refusal-match"]}
UNSAFE = ({"safe": -2.4, "unsafe": -0.1},)
THOUGHT = "A first step. " * 4 + "A wicked step. " + "A last step. " * 3


def wary() -> Script:
    """A guard to which everything with a wicked step in it is unsafe."""
    return guard_script(
        answer=lambda request: "unsafe\nS1" if "wicked" in request.prompt else "safe",
        logprobs=lambda request: UNSAFE if "wicked" in request.prompt else SAFE,
    )


@pytest.fixture(scope="module")
def whole(one_driver: None, cluster_address: str, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A run of 50 samples; the thoughts of about half of them turn wicked in the fifth of eight sentences."""
    run = Runner(cluster_address, tmp_path_factory.mktemp("whole") / "run")

    def answer(request: object) -> str:
        number = sum(str(request).encode()) % 2
        thought = THOUGHT if number == 0 else THOUGHT.replace("wicked", "kindly")
        return f"<think>\n{thought}</think>\n\nHere you are."

    run(script=Script(answer=answer), **FEW)
    return run


@pytest.fixture
def finished(whole: Runner, tmp_path: Path) -> Runner:
    return whole.copied(tmp_path / "run")


@pytest.fixture
def cut(finished: Runner) -> Callable[..., int]:
    def judged(guard: Script | None = None, judge: object = "demo-guard", **flags: object) -> int:
        given = {"judges": [judge], "pieces": 8, "resources.ray_address": finished.address, **flags}
        finished.reporter = RecordingReporter()
        engines = ScriptedEngines({GUARD: guard or wary()})
        config = read_config_as(JudgingConfig, None, given)
        return judge_thought_prefixes(str(finished.output), config, finished.reporter, engines).committed

    return judged


def test_the_first_unsafe_piece_is_found_and_no_metric_changes(finished: Runner, cut: Callable[..., int]) -> None:
    metrics = (finished.output / "metrics.json").read_bytes()

    assert cut() == 50

    assert (finished.output / "metrics.json").read_bytes() == metrics
    assert not (finished.output / "verdicts").exists()
    table = pads.dataset(finished.output / "pieces" / "demo-guard", format="parquet").to_table()
    assert table.schema.names == PIECES_SCHEMA.names
    (found,) = analyse(str(finished.output)).settings[0].first_unsafe
    wicked = sum("wicked" in row["thought"] for row in finished.rows)
    assert 0 < wicked < 50
    assert (found.judge, found.pieces, found.n, found.missing) == ("demo-guard", 8, 50, 0)
    assert found.counts == (0, 0, 0, 0, wicked, 0, 0, 0, 50 - wicked)


def test_judging_in_pieces_goes_on_where_it_was_cut_off(finished: Runner, cut: Callable[..., int]) -> None:
    cut()
    whole = analyse(str(finished.output))
    in_equal_files(finished.output / "pieces" / "demo-guard", 5)[0].unlink()

    assert cut() == 10

    assert analyse(str(finished.output)) == whole
    assert cut(guard=Script(start_error="it should not start")) == 0
    assert re.search("no engine is started", finished.reporter.sentences[-1])


def test_what_can_say_nothing_of_a_thoughts_beginning_is_refused(finished: Runner, cut: Callable[..., int]) -> None:
    with pytest.raises(InputError, match="refusal-match can't judge thoughts in pieces"):
        cut(judge="refusal-match")
    cut(guard=wary())
    with pytest.raises(RunConflictError, match="verdicts of another demo-guard"):
        cut(judge={"name": "demo-guard", "engine": {"context_length": 1024}})
