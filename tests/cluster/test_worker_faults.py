"""What becomes of rows when engines, workers and nodes die, on a real Ray cluster: none lost, none doubled."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_runs import FaultRuns, GpuCluster, kill_process, number_in, number_of
from scripted_runs import guard_script

from safechain_ray.schema import Request


@pytest.fixture(scope="module")
def gpus() -> Iterator[GpuCluster]:
    cluster = GpuCluster()
    yield cluster
    cluster.shutdown()


@pytest.fixture
def runs(gpus: GpuCluster, tmp_path: Path) -> FaultRuns:
    return FaultRuns(gpus, tmp_path)


def test_what_kills_engines_workers_or_judges_is_set_aside_and_nothing_else(runs: FaultRuns) -> None:
    runs.cluster.with_gpus(2)
    plain = runs.script(seconds=0.1)

    def answer(request: Request) -> str:
        if number_of(request) == 33:
            kill_process()
        return plain.answer(request)

    script = runs.script(seconds=0.1, answer=answer, dies_on=lambda request: number_of(request) == 7)
    guard = guard_script(dies_on=lambda request: number_of(request) == 50, seconds=0.05)
    done = runs.run(script, guard, **runs.config(60, judges=["demo-guard", "refusal-match"]))

    assert len(runs.results()) == 60
    rows = {number_in(row["prompt"]): row for row in runs.run.rows}
    errors = {number: row["error"] for number, row in rows.items() if row["outcome"] == "error"}
    assert errors.keys() == {7, 33}
    assert all("3 engines died while this row was decoded" in error for error in errors.values()), errors
    unjudged = {number for number, row in rows.items() if row["verdicts"][0]["error"]}
    assert unjudged == {7, 33, 50}
    assert "3 engines died while this row was decoded" in rows[50]["verdicts"][0]["error"]
    assert rows[50]["outcome"] == "ok"
    assert done.metrics.settings[0].outcomes["ok"] == 58


def test_a_spot_notice_hands_the_rows_over_and_the_end_of_the_node_costs_nothing_more(runs: FaultRuns) -> None:
    doomed, _ = runs.cluster.with_gpus(2).gpu_nodes
    noticed: list[float] = []

    def notify() -> None:
        runs.cluster.notify(doomed)
        noticed.append(time.time())

    runs.when((60, notify), (160, lambda: runs.cluster.kill(doomed)), (160, runs.cluster.add))
    runs.run(runs.script(), **runs.config(400))

    assert len(runs.results()) == 400
    answers = runs.answers()
    late = [answer for answer in answers if answer.node == doomed.node_id and answer.seconds > noticed[0] + 5]
    assert late == []
    print(f"{len(answers) - 400} rows done again")
    assert len(answers) - 400 <= 32
    (newcomer,) = {answer.node for answer in answers} - {doomed.node_id, runs.cluster.gpu_nodes[0].node_id}
    print(sum(answer.node == newcomer for answer in answers))


def test_rows_of_a_node_that_dies_go_to_the_survivor_at_once(runs: FaultRuns) -> None:
    doomed, survivor = runs.cluster.with_gpus(2).gpu_nodes
    died: list[float] = []

    def kill() -> None:
        died.append(time.time())
        runs.cluster.kill(doomed)

    runs.when((60, kill))
    runs.run(runs.script(length=2000), **runs.config(300))
    assert len(runs.results()) == 300
    answers = runs.answers()
    print(f"{len(answers) - 300} rows done again")
    stolen = {answer.prompt for answer in answers if answer.node == doomed.node_id}
    again = [answer.seconds - died[0] for answer in answers if answer.node == survivor.node_id and answer.prompt in stolen]
    print("seconds until redone", again)
