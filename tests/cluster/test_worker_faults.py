"""What becomes of rows when engines, workers and nodes die, on a real Ray cluster: none lost, none doubled."""

import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray

from safechain_ray.cluster.ray_internals import stream_context
from safechain_ray.runs import attempt
from safechain_ray.types import Request
from tests.cluster.fault_runs import (
    FaultRuns,
    GpuCluster,
    answers_in,
    kill_process,
    long_answer,
    noted,
    number_in,
    number_of,
    round_or_answer,
)
from tests.cluster.scripted_runs import guard_script

pytestmark = pytest.mark.long

ROWS = 300
ROWS_IN_FLIGHT = 32
"""Twice `max_running`: what one engine has at a time."""


@pytest.fixture(scope="module")
def gpus() -> Iterator[GpuCluster]:
    cluster = GpuCluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(gpus: GpuCluster, tmp_path_factory: pytest.TempPathFactory) -> FaultRuns:
    """What the same prompts come to when nothing happens."""
    runs = FaultRuns(gpus.with_gpus(1), tmp_path_factory.mktemp("undisturbed"))
    runs.run(runs.script(seconds=0), **runs.config(ROWS))
    assert len(runs.results()) == ROWS
    return runs


@pytest.fixture
def runs(gpus: GpuCluster, tmp_path: Path) -> FaultRuns:
    return FaultRuns(gpus, tmp_path)


def quiet_run(runs: FaultRuns, folders: pytest.TempPathFactory, prompts: int, **flags: Any) -> FaultRuns:
    """The same prompts on the same cluster when nothing happens."""
    quiet = FaultRuns(runs.cluster, folders.mktemp("quiet"))
    quiet.run(quiet.script(seconds=0), guard_script(), **quiet.config(prompts, **flags))
    assert len(quiet.results()) == prompts
    return quiet


def without(results: Mapping[str, dict[str, Any]], numbers: Collection[int]) -> dict[str, dict[str, Any]]:
    return {sample: row for sample, row in results.items() if number_in(row["prompt"]) not in numbers}


def deaths_in(error: str) -> int:
    found = re.search(r"(\d+) engines died while this row was decoded", error)
    assert found, error
    return int(found[1])


def test_what_kills_engines_workers_or_judges_is_set_aside_and_nothing_else(
    runs: FaultRuns, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runs.cluster.with_gpus(2)

    def answer(request: Request) -> str:
        if number_of(request) == 33:
            kill_process()
        return long_answer(request)

    script = runs.script(0.1, answer, dies_on=lambda request: number_of(request) == 7)
    guard = guard_script(dies_on=lambda request: number_of(request) == 50, seconds=0.05)
    done = runs.run(script, guard, **runs.config(60, judges=["demo-guard", "refusal-match"]))

    assert len(runs.results()) == 60
    rows = {number_in(row["prompt"]): row for row in runs.run.rows}
    errors = {number: row["error"] for number, row in rows.items() if row["outcome"] == "error"}
    assert errors.keys() == {7, 33}
    assert all(deaths_in(error) >= 3 for error in errors.values()), errors  # more: in engines that another row killed
    unjudged = {number for number, row in rows.items() if row["verdicts"][0]["error"]}
    assert unjudged == {7, 33, 50}
    assert deaths_in(rows[50]["verdicts"][0]["error"]) >= 3
    assert rows[50]["outcome"] == "ok"
    assert done.metrics.settings[0].outcomes["ok"] == 58
    quiet = quiet_run(runs, tmp_path_factory, 60, judges=["demo-guard", "refusal-match"])
    assert without(runs.results(), errors.keys() | unjudged) == without(quiet.results(), errors.keys() | unjudged)


def test_a_spot_notice_hands_the_rows_over_and_a_node_that_joins_gets_its_share(
    runs: FaultRuns, undisturbed: FaultRuns, tmp_path: Path
) -> None:
    doomed, survivor = runs.cluster.with_gpus(2).gpu_nodes
    old = {doomed.node_id, survivor.node_id}
    noticed: list[float] = []
    notes, room_is_left = runs.notes, tmp_path / "room-is-left"

    def newcomers() -> set[str]:
        return {answer.node for answer in answers_in(notes)} - old

    def waits(request: Request) -> bool:
        """From when the node goes, those of the beginning wait for the one that joins to give an answer.

        What they hold by then is less than what is left: the newcomer finds rows however long it takes to come.
        """
        return ray.get_runtime_context().get_node_id() in old and room_is_left.exists() and not newcomers()

    def notify() -> None:
        runs.cluster.notify(doomed)
        noticed.append(time.time())

    runs.when(
        (50, notify), (120, room_is_left.touch), (120, lambda: runs.cluster.kill(doomed)), (120, runs.cluster.add)
    )
    # As many as there are nodes: Ray Data lets the idle one go, and a later one must find its GPU free.
    runs.run(runs.script(1.0, waits=waits), **runs.config(ROWS, **{"resources.replicas": 2}))

    assert runs.results() == undisturbed.results()
    assert runs.metrics() == undisturbed.metrics()
    assert len(newcomers()) == 1
    after = [answer for answer in runs.answers() if answer.seconds > noticed[0] + 15]
    assert doomed.node_id not in {answer.node for answer in after}
    assert runs.again() <= ROWS_IN_FLIGHT
    events = " ".join(sentence for sentence in runs.run.reporter.sentences if sentence.startswith("Node"))
    # A node that is gone before the next poll is reported once: it "is gone after draining".
    assert all(each in events for each in ("draining", "is gone", "has joined")), events


def test_rows_of_a_node_that_dies_go_to_the_survivor_without_waiting_for_its_return(
    runs: FaultRuns, undisturbed: FaultRuns
) -> None:
    doomed, _ = runs.cluster.with_gpus(2).gpu_nodes

    runs.when((50, lambda: runs.cluster.kill(doomed)))
    runs.run(runs.script(), **runs.config(ROWS))

    assert runs.results() == undisturbed.results()
    assert runs.metrics() == undisturbed.metrics()
    assert runs.again() <= ROWS_IN_FLIGHT


def test_chains_of_thought_and_their_judge_go_on_when_all_gpus_were_gone_for_a_while(
    runs: FaultRuns, tmp_path_factory: pytest.TempPathFactory
) -> None:
    flags = {"judges": ["demo-guard", "refusal-match"], "strategies": [{"name": "morethink", "max_rounds": 6}]}
    quiet = FaultRuns(runs.cluster.with_gpus(2), tmp_path_factory.mktemp("quiet"))
    quiet.run(quiet.script(0, round_or_answer), **quiet.config(100, **flags))
    calls = len(quiet.answers()) // 100

    killed = []

    def kill_all() -> bool:
        """Kill the model's node, then its judge's, at a moment without rows that are finished and not committed.

        All calls of such rows are made again. Chains that are about to be finished would be when their node dies.
        """
        answers = runs.answers()
        made = Counter(number_in(answer.prompt) for answer in answers)
        if sum(count > calls - 4 for count in made.values()) > runs.committed:
            return False
        runs.cluster.kill(next(node for node in runs.cluster.gpu_nodes if node.node_id == answers[-1].node))
        runs.cluster.with_gpus(0)
        killed.append(len(made))
        return True

    runs.when((30, kill_all), (30, runs.cluster.add), (30, runs.cluster.add))
    runs.run(runs.script(0.5, round_or_answer), guard_script(seconds=0.05), **runs.config(100, **flags))

    assert killed
    assert {row["forced_rounds"] for row in runs.results().values()} == {6}
    assert runs.results() == quiet.results()
    assert runs.metrics() == quiet.metrics()
    # Only the call that a chain was at is made again, not the chain's up to eight.
    assert runs.again() <= ROWS_IN_FLIGHT


def test_a_judge_whose_node_dies_gets_the_gpu_of_a_replica_where_no_other_is_left(
    runs: FaultRuns, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_context, "GRACE_PERIOD", 2.0)
    cluster = runs.cluster.with_gpus(3)
    judged, killed = tmp_path / "judged.jsonl", tmp_path / "killed"
    judged.touch()

    def kill_judges_node() -> None:
        node = answers_in(judged)[-1].node
        cluster.kill(next(one for one in cluster.gpu_nodes if one.node_id == node))
        killed.touch()

    def half_of_them_at_first(request: Request) -> str:
        """A judge must not be done before its node is killed."""
        give_up = time.monotonic() + 60
        while len(answers_in(judged)) >= 75 and not killed.exists() and time.monotonic() < give_up:
            time.sleep(0.1)
        return "safe"

    runs.when((30, kill_judges_node))
    guard = guard_script(answer=noted(judged, half_of_them_at_first))
    flags = {"judges": ["demo-guard", "refusal-match"], "resources.replicas": 2}
    runs.run(runs.script(), guard, **runs.config(150, **flags))

    quiet = quiet_run(runs, tmp_path_factory, 150, judges=["demo-guard", "refusal-match"])
    assert len(runs.results()) == 150
    assert runs.results() == quiet.results()
    assert runs.metrics() == quiet.metrics()
    assert {verdict["error"] for row in runs.run.rows for verdict in row["verdicts"]} == {None}
    assert len({answer.node for answer in answers_in(judged)}) == 2
    assert runs.again() <= ROWS_IN_FLIGHT


def test_chains_of_thought_go_on_where_they_were_when_their_driver_is_gone(
    runs: FaultRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "NOTE_SECONDS", 0.0)
    runs.cluster.with_gpus(1)
    flags = {"strategies": [{"name": "morethink", "max_rounds": 10}]}

    def gone() -> None:
        raise KeyboardInterrupt

    runs.when((20, gone))
    with pytest.raises(KeyboardInterrupt):
        runs.run(runs.script(0.3, round_or_answer), **runs.config(60, **flags))
    assert (runs.run.output / "progress" / "rounds.json").exists()
    runs.when()
    runs.run(runs.script(0, round_or_answer), **runs.config(60, **flags))

    assert {row["forced_rounds"] for row in runs.results().values()} == {10}
    assert len(runs.results()) == 60
    assert not (runs.run.output / "progress").exists()
    calls = len(runs.answers())
    # Undisturbed it is 12 calls a row; rounds of the last second may not have been noted.
    assert calls - 60 * 12 <= 6 * ROWS_IN_FLIGHT
