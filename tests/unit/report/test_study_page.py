"""The page of a judge study: every labelled response, its label first, then what judges and votes decided."""

from pathlib import Path
from typing import Any

import pytest

from safechain_ray.commands.judge_study import StudyDone, judge_study
from safechain_ray.errors import InputError, StorageError
from safechain_ray.report.html.sample_sources import pack_study
from safechain_ray.report.html.write import write_study_report
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import ScriptedEngines
from tests.small_studies import ROWS, study_config
from tests.unit.conftest import Use
from tests.unit.report.unpacked import unpacked


@pytest.fixture
def made(tmp_path: Path, use: Use) -> StudyDone:
    """A study of two rules and their votes. The first rule is wrong on the last two rows, the second finds all safe."""
    words = "sorry\nfirst, take\nhundred\ncannot\n"
    use(judges_yaml="judges:\n  lenient: {kind: refusal_match, phrases: ./words.txt}\n", **{"words.txt": words})
    return study(tmp_path, judges=["refusal-match", "lenient"], votes=["any", "all"])


def study(folder: Path, **keys: Any) -> StudyDone:
    return judge_study(study_config(folder, **keys), RecordingReporter(), ScriptedEngines({}))


def test_every_row_has_its_label_and_the_decision_of_each_judge_and_vote(made: StudyDone):
    samples = pack_study(made.folder, made.study)
    index = unpacked(samples.index)
    assert [each["judge"] for each in index["judges"]] == [
        *("label (human)", "refusal-match", "lenient", "vote-any", "vote-all")
    ]
    assert {each["part"] for each in index["judges"]} == {"response"}
    found = dict(zip(index["prompts"]["id"], index["verdicts"], strict=True))
    assert found == {"row-1": "sssss", "row-2": "uusus", "row-3": "uusus", "row-4": "susus", "row-5": "ussss"}
    assert [letters[0] for letters in found.values()] == [label[0] for _, _, label in ROWS]


def test_rows_on_which_all_agree_take_their_label_from_the_verdicts(tmp_path: Path):
    done = study(tmp_path)
    assert done.study.disagreements == 2  # rows 4 and 5 alone are in the table of disagreements
    index = unpacked(pack_study(done.folder, done.study).index)
    assert index["verdicts"] == ["ss", "uu", "uu", "su", "us"]


def test_texts_start_blurred_and_have_no_facts_of_a_generation(made: StudyDone):
    samples = pack_study(made.folder, made.study)
    index, (chunk,) = unpacked(samples.index), map(unpacked, samples.chunks)
    assert (index["label"], index["blurred"], index["facts"], index["kind"]) == (0, True, [], "verdict")
    assert sorted((prompt, response) for (prompt, *_, response, _), _, _ in chunk) == sorted(
        (prompt, response) for prompt, response, _ in ROWS
    )


@pytest.mark.parametrize("part", ["thought", "answer"])
def test_a_study_of_a_part_shows_the_texts_as_that_part(tmp_path: Path, part: str):
    done = study(tmp_path, part=part)
    (chunk,) = map(unpacked, pack_study(done.folder, done.study).chunks)
    place = {"thought": 1, "answer": 2}[part]
    assert {texts[place] for texts, _, _ in chunk} == {response for _, response, _ in ROWS}


def test_the_page_has_figures_plot_and_warnings(made: StudyDone):
    page = Path(write_study_report(made.folder.folder)).read_text()
    assert "Judges against the labels of labels" in page
    assert all(f'id="{key}"' in page for key in ("first", "figures", "plot-agreement", "run", "samples", "glossary"))
    assert (
        "5 labelled responses · 60.0% of them unsafe · 2 judges · a judge differs from the label or has no verdict on 4"
        in page
    )


def test_a_study_that_has_not_ended_has_no_page(made: StudyDone):
    made.folder.folder.delete("study.json")
    with pytest.raises(InputError, match=r"has not ended: it has no study\.json\. Fix: rerun its command"):
        write_study_report(made.folder.folder)


def test_without_the_table_of_disagreements_no_label_is_guessed(made: StudyDone):
    made.folder.folder.delete("disagreements.parquet")
    with pytest.raises(StorageError, match=r"Can't read .*disagreements\.parquet"):
        write_study_report(made.folder.folder)


def test_a_judge_with_the_name_of_a_vote_is_refused(tmp_path: Path, use: Use):
    use(judges_yaml="judges:\n  vote-any: {kind: refusal_match}\n")
    with pytest.raises(InputError, match=r"judges\.1\.name: 'vote-any' is the name of a vote"):
        study(tmp_path, judges=["refusal-match", "vote-any"])


def test_absent_samples_are_a_caveat(made: StudyDone):
    made.folder.samples.delete(made.folder.samples.list_files(".parquet")[0])
    page = Path(write_study_report(made.folder.folder)).read_text()
    assert "The figures are of 5 rows, and samples/ has 0. Fix: rerun" in page
