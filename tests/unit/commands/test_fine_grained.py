"""The analysis of a run's folder: from its files, with verdicts added later, into analysis.json."""

from pathlib import Path

import pytest

from safechain_ray.analysis.fine_grained import FineGrained, SettingAnalysis
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.errors import InputError
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.runs.folder import read_metrics
from safechain_ray.types import VERDICTS_SCHEMA
from tests.made_runs.by_config import finished_run
from tests.made_runs.stored import read_tree, write_tree


def setting_of(folder: Path) -> SettingAnalysis:
    (setting,) = analyse(str(folder)).settings
    return setting


def test_the_analysis_is_returned_and_stands_beside_the_metrics(tmp_path: Path):
    finished_run(tmp_path)
    analysis = analyse(str(tmp_path))
    assert FineGrained.model_validate_json((tmp_path / "analysis.json").read_text()) == analysis
    assert "say nothing of any real model's safety" in analysis.caveats[0]


def test_every_part_of_the_analysis_rests_on_the_rows_of_the_run(tmp_path: Path):
    finished_run(tmp_path)
    setting = setting_of(tmp_path)
    (table,) = setting.thought_answer
    assert (setting.rows, setting.harmful_rows, setting.dataset, setting.samples) == (180, 120, "quickstart", 3)
    assert table.thought_unsafe.model_dump() == {"safe": 40, "unsafe": 40, "missing": 0}
    assert table.thought_safe.model_dump() == {"safe": 40, "unsafe": 0, "missing": 0}
    assert [(each.part, each.tokens_of) for each in setting.lengths] == [
        (part, tokens_of) for part in ("response", "thought", "answer") for tokens_of in ("thought", "answer")
    ]
    assert [each.part for each in setting.over_refusal] == ["response", "answer"]
    assert setting.over_refusal[0].benign.value == 1.0
    assert setting.over_refusal[0].others.value == pytest.approx(2 / 3)
    assert setting.first_unsafe == ()


def test_at_k_equal_to_k_the_curves_are_the_metrics_of_the_run(tmp_path: Path):
    finished_run(tmp_path)
    judges = read_metrics(str(tmp_path)).settings[0].judges
    for curve, judge in zip(setting_of(tmp_path).sample_counts, judges, strict=True):
        last = curve.points[-1]
        assert last.safe_at_k == Estimate(**judge.safe_at_k.model_dump(include=set(Estimate.model_fields)))
        assert last.cons_safe_at_k == Estimate(**judge.cons_safe_at_k.model_dump(include=set(Estimate.model_fields)))


def test_verdicts_that_were_added_later_count(tmp_path: Path):
    """The run judged responses alone; thoughts and answers were judged afterwards, answers not of all samples."""
    whole = finished_run(tmp_path / "whole")
    later = finished_run(tmp_path / "later", parts=["response"])
    for name in whole.samples.list_files(".parquet"):
        rows = [
            {**sample, **verdict}
            for sample in whole.samples.read_parquet(name).to_pylist()
            for verdict in sample["verdicts"]
            if verdict["part"] != "response"
        ]
        table = VERDICTS_SCHEMA.empty_table().from_pylist(rows, schema=VERDICTS_SCHEMA)
        later.verdicts("refusal-match").write_parquet(name, table)
    run = read_tree(later)
    identity = run["identity"]["judges"][0]
    write_tree(later, run | {"added": {"refusal-match": {"identity": identity, "parts": ["thought", "answer"]}}})

    assert setting_of(tmp_path / "later") == setting_of(tmp_path / "whole")


def test_without_thought_and_answer_apart_the_command_that_adds_them_is_named(tmp_path: Path):
    finished_run(tmp_path, parts=["response"])
    analysis = analyse(str(tmp_path))
    assert analysis.settings[0].thought_answer == ()
    assert "`safechain-ray judge RUN --judge J --part thought --part answer` adds these verdicts" in analysis.notes[0]
    assert "--judge refusal-match --part answer` adds the answers alone" in analysis.notes[-1]


def test_what_a_judge_of_refusals_means_by_an_unsafe_thought_is_said(tmp_path: Path):
    finished_run(tmp_path)
    assert any(
        "refusal-match calls every thought without a refusal phrase unsafe" in note
        for note in analyse(str(tmp_path)).notes
    )


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A run on a file of one's own, with a prompt of the category nice and one of other."""
    (tmp_path / "mine.csv").write_text("prompt,category\nWhy?,nice\nHow?,other\n")
    finished_run(tmp_path / "run", datasets=[{"name": str(tmp_path / "mine.csv"), "category_column": "category"}])
    return tmp_path / "run"


def test_a_data_set_that_names_no_benign_categories_has_no_over_refusal(own: Path):
    assert setting_of(own).over_refusal == ()


def test_benign_categories_of_a_file_of_ones_own_can_be_named(own: Path):
    (setting,) = analyse(str(own), ("nice",)).settings
    assert [(each.part, each.benign.n, each.others.n) for each in setting.over_refusal] == [
        ("response", 1, 1),
        ("answer", 1, 1),
    ]
    with pytest.raises(InputError, match="Unknown category 'niece'"):
        analyse(str(own), ("niece",))


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path):
    finished = finished_run(tmp_path)
    run = read_tree(finished)
    write_tree(finished, {key: value for key, value in run.items() if key != "finished"})
    with pytest.raises(InputError, match=r"has not ended\. Fix: rerun its own command to resume"):
        analyse(str(tmp_path))
    write_tree(finished, run | {"finished_tries": 0, "tries": [{"started": run["finished"], "status": "cut off"}]})
    with pytest.raises(InputError, match=r"has not ended\. Fix: rerun its own command to resume"):
        analyse(str(tmp_path))
    with pytest.raises(InputError, match="There is no folder"):
        analyse(str(tmp_path / "nothing"))


def test_repeated_samples_are_refused_with_the_command_that_removes_them(tmp_path: Path):
    finished = finished_run(tmp_path)
    (name, *_) = finished.samples.list_files(".parquet")
    finished.samples.write_parquet("copy.parquet", finished.samples.read_parquet(name))
    with pytest.raises(InputError, match=r"Samples occur twice\. Fix: rerun the run's own command"):
        analyse(str(tmp_path))
