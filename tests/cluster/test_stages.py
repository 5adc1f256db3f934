"""Engines without room side by side run one after the other, on a real Ray cluster of one small node."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from safechain_ray.cluster.session import ray_session
from safechain_ray.errors import EngineStartError, PlanError
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner, guard_script, labelled_rows
from tests.lean_ray import LEAN


@pytest.fixture(scope="module")
def small_cluster() -> Iterator[str]:
    """One node with room for one engine at a time, and one driver for all runs."""
    cluster = Cluster(initialize_head=True, head_node_args={**LEAN, "num_cpus": 3})
    with ray_session(cluster.address):
        yield cluster.address
    cluster.shutdown()


@pytest.fixture
def small(small_cluster: str, tmp_path: Path) -> Runner:
    return Runner(small_cluster, tmp_path / "run")


def test_engines_without_room_for_both_run_one_after_the_other(small: Runner) -> None:
    done = small(samples=1)

    assert "one after the other" in " ".join(small.reporter.sentences)
    assert done.committed == len(small.rows) == 60
    assert all(len(row["verdicts"]) == 2 for row in small.rows)
    assert not (small.output / "stages").exists()


def test_a_staged_run_judges_what_it_generated_and_generates_nothing_again(small: Runner) -> None:
    with pytest.raises(EngineStartError, match="no judge today"):
        small(guard=guard_script(start_error="no judge today"), samples=1)
    assert not (small.output / "metrics.json").exists()

    done = small(Script(start_error="nothing is left to generate"), samples=1)

    assert done.committed == len({row["sample_id"] for row in small.rows}) == 60


def test_judges_of_a_study_without_room_for_all_judge_the_rows_one_after_the_other(small: Runner) -> None:
    done = small.study(labelled_rows(small.output.parent, 20))

    assert "one after the other" in " ".join(small.reporter.sentences)
    assert {rater.name: rater.agreement.n for rater in done.study.raters} == {
        "demo-guard": 20,
        "llama-guard-3-1b": 20,
        "refusal-match": 20,
    }
    assert not (small.output / "stages").exists()


def test_a_model_that_needs_gpus_is_refused_where_there_are_none(small: Runner) -> None:
    with pytest.raises(PlanError, match=r"(?s)needs: model .*has: node .*--device cpu"):
        small(model="R1-7B", judges=["refusal-match"])
