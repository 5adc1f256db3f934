"""A judge study on a real Ray cluster of two nodes, with scripted engines: figures, faults, going on."""

import json
from pathlib import Path

import pytest

from safechain_ray.errors import EngineStartError, RunConflictError
from safechain_ray.testing import Script
from tests.cluster.scripted_runs import Runner, guard_script, labelled_rows

pytestmark = pytest.mark.usefixtures("one_driver")

UNSAFE = ({"safe": -2.4, "unsafe": -0.1},)


def unsafe_guard() -> Script:
    """Finds every response unsafe."""
    return guard_script(answer=lambda request: "unsafe\nS2", logprobs=lambda request: UNSAFE)


def test_every_judge_and_vote_is_held_against_every_row(run: Runner, tmp_path: Path) -> None:
    done = run.study(labelled_rows(tmp_path, 40), guard=unsafe_guard(), votes=["majority", "all"])

    shares = {rater.name: rater.agreement.f1.value for rater in done.study.raters}
    all_unsafe = pytest.approx(2 / 3)
    assert shares == {
        "demo-guard": all_unsafe,
        "llama-guard-3-1b": 0,
        "refusal-match": all_unsafe,
        "vote-majority": all_unsafe,
        "vote-all": 0,
    }
    assert done.study.disagreements == 40
    assert json.loads((run.output / "run.json").read_text())["tries"][-1]["status"] == "done"


def test_a_study_that_was_cut_off_goes_on_and_a_finished_one_starts_no_engine(run: Runner, tmp_path: Path) -> None:
    labelled = labelled_rows(tmp_path, 40)
    with pytest.raises(EngineStartError, match="no judge today"):
        run.study(labelled, guard=guard_script(start_error="no judge today"))

    assert run.study(labelled, guard=guard_script(seconds=0.1, dies_after=20)).committed == 40
    assert len({row["sample_id"] for row in run.rows}) == len(run.rows) == 40

    again = run.study(labelled, guard=guard_script(start_error="no engine may start"))
    assert again.committed == 0
    assert "no engine is started" in " ".join(run.reporter.sentences)


def test_a_judge_that_answers_nonsense_has_missing_verdicts(run: Runner, tmp_path: Path) -> None:
    nonsense = guard_script(answer=lambda request: "banana", logprobs=lambda request: ())
    done = run.study(labelled_rows(tmp_path, 10), guard=nonsense, votes=["any", "all"])

    missing = {rater.name: rater.agreement.missing for rater in done.study.raters}
    # RS-Match finds all of them unsafe and the other guard none: no missing verdict turns either vote.
    assert missing == {"demo-guard": 10, "llama-guard-3-1b": 0, "refusal-match": 0, "vote-any": 0, "vote-all": 0}
    assert done.study.missing_verdicts == 10

    again = run.study(labelled_rows(tmp_path, 10), guard=unsafe_guard(), votes=["any", "all"])
    assert (again.committed, again.study.missing_verdicts) == (10, 0)
    assert len({row["sample_id"] for row in run.rows}) == len(run.rows) == 10


def test_other_judges_in_the_same_output_are_refused(run: Runner, tmp_path: Path) -> None:
    labelled = labelled_rows(tmp_path, 5)
    run.study(labelled, judges=["refusal-match"])
    with pytest.raises(RunConflictError, match="judges"):
        run.study(labelled)
