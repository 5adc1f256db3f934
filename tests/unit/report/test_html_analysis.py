"""The fine-grained analysis in the HTML report: in the page of an analysed run, and reported where it is outdated."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from safechain_ray.cli import app
from safechain_ray.commands.fine_grained import analyse
from safechain_ray.errors import InputError
from safechain_ray.report.html.write import write_report
from safechain_ray.report.plots.fine_grained import analysis_plots
from safechain_ray.runs.folder import RunFolder
from tests.made_runs.by_config import finished_run
from tests.unit.report.drawn import hovers


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return finished_run(tmp_path)


def page(run: RunFolder) -> str:
    return Path(write_report(run.folder)).read_text(encoding="utf-8")


def test_a_run_without_an_analysis_has_no_section_of_it(run: RunFolder):
    assert 'id="analysis"' not in page(run)


def test_one_command_makes_the_analysis_and_the_report_with_it(run: RunFolder):
    done = CliRunner().invoke(app, ["report", str(run.folder), "--fine-grained", "--html", "--json"])
    assert json.loads(done.stdout) == {"report": f"{run.folder}/report.html"}
    assert 'id="analysis"' in Path(f"{run.folder}/report.html").read_text(encoding="utf-8")


def test_an_analysis_is_between_the_plots_and_the_facts(run: RunFolder):
    analyse(str(run.folder))
    places = [page(run).index(f'<section id="{key}"') for key in ("plots", "analysis", "run")]
    assert places == sorted(places)


def test_the_four_shares_of_thought_and_answer_are_those_of_the_analysis(run: RunFolder):
    analysis = analyse(str(run.folder))
    thought_answer, _ = analysis_plots(analysis)
    (table,) = analysis.settings[0].thought_answer
    safe, unsafe = table.thought_safe, table.thought_unsafe
    counts = [safe.safe, unsafe.safe, safe.unsafe, unsafe.unsafe]
    shown = [int(re.search(r"%, ([\d,]+) of", hover)[1].replace(",", "")) for hover in hovers(thought_answer.wide)]
    assert shown == counts
    assert sum(counts) == 120  # three samples of each of 40 harmful prompts


def test_the_curves_of_safe_at_k_end_at_the_figures_of_metrics_json(run: RunFolder):
    analysis = analyse(str(run.folder))
    _, sample_count = analysis_plots(analysis)
    points = {(each.judge, each.part): each.points[-1] for each in analysis.settings[0].sample_counts}
    shown = " ".join(hovers(sample_count.wide))
    for (judge, part), point in points.items():
        assert f"{judge}, {part}; Safe@3: {100 * point.safe_at_k.value:.1f}%" in shown
        assert f"{judge}, {part}; ConsSafe@3: {100 * point.cons_safe_at_k.value:.1f}%" in shown


def test_a_judge_that_came_after_the_analysis_is_reported(run: RunFolder):
    analyse(str(run.folder))
    text = run.folder.read_text("metrics.json").replace('"judge": "refusal-match"', '"judge": "late-judge"')
    run.folder.write_text("metrics.json", text)
    shown = page(run)
    late = "late-judge on the answer, late-judge on the response, late-judge on the thought"
    assert f"The analysis was made before {late} was judged. Fix: run " in shown
    assert "report RUN --fine-grained --html" in shown


def test_samples_that_were_generated_again_since_are_reported(run: RunFolder):
    analyse(str(run.folder))
    assert "generated again since" not in page(run)
    metrics = json.loads(run.folder.read_text("metrics.json"))
    _, *harmful = reversed(metrics["settings"][0]["outcomes_by_category"].values())
    harmful[0] |= {"ok": harmful[0]["ok"] - 1, "truncated": 1}
    run.folder.write_text("metrics.json", json.dumps(metrics))
    assert "The analysis was computed from samples that were generated again since" in page(run)


def test_an_analysis_of_other_harmful_prompts_is_reported(run: RunFolder):
    analyse(str(run.folder))
    older = json.loads(run.folder.read_text("analysis.json"))
    del older["settings"][0]["harmful_rows"]  # an earlier version, which pooled harmful and benign prompts
    run.folder.write_text("analysis.json", json.dumps(older))
    assert "The analysis covers other prompts than those that count as harmful above" in page(run)


def test_an_unreadable_analysis_is_an_error_with_the_fix(run: RunFolder):
    run.folder.write_text("analysis.json", '{"model": 1}')
    with pytest.raises(InputError, match=r"analysis\.json is no fine-grained analysis: .*--fine-grained` to make"):
        page(run)
