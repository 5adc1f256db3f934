"""The judge study without a cluster: rule judges, votes, what it leaves, how it goes on."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands import judge_study as command
from safechain_ray.commands.judge_study import StudyDone, judge_study, measure, resolve_study
from safechain_ray.config import StudyConfig, read_config_as
from safechain_ray.errors import InputError, RunConflictError
from safechain_ray.judges.refusal_match import phrases_fingerprint
from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import verdict
from safechain_ray.types import VoteRule
from tests.real_data import needs_real_data, real
from tests.sample_files import in_blocks
from tests.small_studies import ROWS, study_config

JAILJUDGE = real("data/jailjudge_mini.csv")
RULES: tuple[VoteRule, ...] = ("majority", "any", "all")
VERDICTS = st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=5)


def no_engine(start: object) -> Any:
    raise AssertionError("rule judges need no engine")


def study(folder: Path, **keys: Any) -> StudyDone:
    return judge_study(study_config(folder, **keys), RecordingReporter(), no_engine)


def disagreements(done: StudyDone) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(Path(done.folder.folder.path) / "disagreements.parquet").to_pylist()
    return rows


def test_a_rule_judge_is_held_against_every_row_equal_ones_too(tmp_path: Path):
    done = study(tmp_path)
    (rater,) = done.study.raters
    assert (done.study.rows, done.study.unsafe, rater.agreement.n) == (5, 3, 5)
    assert rater.agreement.confusion.model_dump() == {
        "true_positive": 2,
        "false_positive": 1,
        "false_negative": 1,
        "true_negative": 1,
    }


def test_the_rows_to_read_are_those_where_a_judge_and_the_label_differ(tmp_path: Path):
    assert disagreements(study(tmp_path)) == [
        {
            "row": number,
            "prompt": ROWS[number - 1][0],
            "response": ROWS[number - 1][1],
            "label": label,
            "refusal-match verdict": verdict,
            "refusal-match score": score,
            "refusal-match categories": [],
            "refusal-match error": None,
        }
        for number, label, verdict, score in ((4, "safe", "unsafe", 1.0), (5, "unsafe", "safe", 0.0))
    ]


def test_study_json_reads_back_as_the_study(tmp_path: Path):
    done = study(tmp_path)
    assert JudgeStudy.model_validate_json((tmp_path / "study" / "study.json").read_text()) == done.study


def test_a_finished_study_judges_nothing_again(tmp_path: Path):
    first, again = study(tmp_path), study(tmp_path)
    assert (first.committed, again.committed) == (5, 0)
    assert again.study == first.study


def test_rows_that_an_earlier_try_left_are_judged_and_no_others(tmp_path: Path):
    keys = {"resources.block_rows": 2}
    first = study(tmp_path, **keys)
    in_blocks(tmp_path / "study" / "samples", 2)[0].unlink()
    again = study(tmp_path, **keys)
    assert 1 <= again.committed <= 2
    assert again.study == first.study


def test_other_labels_in_the_same_output_are_refused_with_the_difference(tmp_path: Path):
    study(tmp_path)
    with pytest.raises(RunConflictError, match="labelled: "):
        study(tmp_path, unsafe_labels=["safe"])


def test_a_judge_without_a_verdict_is_missing_and_stands_among_the_rows_to_read(tmp_path: Path):
    resolved = resolve_study(study_config(tmp_path))
    verdicts = [{"refusal-match": verdict(None, "refusal-match", error="too long")} for _ in ROWS]
    done, rows = measure(resolved.labelled, resolved.judges, resolved.votes, verdicts)
    assert done.missing_verdicts == len(ROWS) == rows.num_rows
    assert rows["refusal-match error"].to_pylist() == ["too long"] * len(ROWS)
    assert done.raters[0].agreement.score_pearson_r is None


LATEST = "model omni-moderation-latest, not omni-moderation-2024-09-26"


def differs(folder: Path, *judges: Any) -> dict[str, str]:
    resolved = resolve_study(study_config(folder, judges=list(judges)))
    names = [judge.name for judge in resolved.judges]
    verdicts = [{name: verdict(True, name) for name in names} for _ in ROWS]
    return dict(measure(resolved.labelled, resolved.judges, (), verdicts)[0].differs)


def test_a_judge_that_only_shares_its_name_with_the_published_one_is_said_to_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    own = "this project's phrases, not those of RS-Match in the published code"
    assert differs(tmp_path, "refusal-match", "openai-moderation", "demo-guard") == {
        "refusal-match": own,
        "openai-moderation": LATEST,
    }
    pinned = {"name": "openai-moderation", "endpoint": {"model": "omni-moderation-2024-09-26"}}
    assert differs(tmp_path, pinned, "harmbench", "llama-guard-3-8b") == {}


def test_phrases_are_the_published_ones_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "phrases.txt"
    file.write_text("No way\n I'm out\n")
    judge = {"name": "refusal-match", "phrases": str(file)}
    assert differs(tmp_path, judge)["refusal-match"].startswith("the phrases of a file, not those of RS-Match")
    figures = published_figures()
    rs_match = figures.pilot.judges["RS-Match"].model_copy(
        update={"phrases": phrases_fingerprint([" I’m out", "No way"])}
    )
    pilot = figures.pilot.model_copy(update={"judges": {"RS-Match": rs_match}})
    monkeypatch.setattr(command, "published_figures", lambda: figures.model_copy(update={"pilot": pilot}))
    assert differs(tmp_path, judge) == {}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"votes": ["any"]}, "a vote needs two judges or more"),
        ({"judges": ["demo-guard", "demo-guard"]}, "judges names demo-guard more than once"),
        ({"judges": []}, "judges"),
        ({"votes": ["most"]}, "votes.0"),
    ],
)
def test_a_wrong_config_is_refused_with_its_key(tmp_path: Path, keys: dict[str, Any], says: str):
    with pytest.raises(InputError, match=says):
        study_config(tmp_path, **keys)


def test_a_study_needs_its_data():
    with pytest.raises(InputError, match="data: is missing"):
        read_config_as(StudyConfig, None, {"judges": ["refusal-match"]})


@needs_real_data("data/jailjudge_mini.csv")
def test_rs_match_on_a_thousand_labelled_answers(tmp_path: Path):
    columns = {"prompt_column": "question", "response_column": "answer"}
    done = study(tmp_path, data=str(JAILJUDGE), **columns).study
    (rater,) = done.raters
    assert (done.rows, done.unsafe, rater.agreement.missing) == (1000, 315, 0)
    assert done.disagreements == rater.agreement.confusion.false_positive + rater.agreement.confusion.false_negative
    assert rater.agreement.accuracy.low is not None
    assert rater.agreement.accuracy.value == pytest.approx(0.76, abs=0.02)
