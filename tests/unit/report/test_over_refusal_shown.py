"""Over-refusal beside safety in every report, and the reasons of errors under the tables."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from rich.console import Console

from safechain_ray.commands.resolve_benchmark import read_benchmark_metrics
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.safety import BenignPrompts, PromptKinds, RefusalSource
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.compared_models import models_table
from safechain_ray.report.html.elements import html_table
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.leaderboard import (
    SweepRun,
    leaderboard,
    leaderboard_table,
    over_refusal_tables,
    ranking_table,
    rankings,
)
from safechain_ray.report.plots.run import over_refusal_plot, run_plots
from safechain_ray.report.renderers import latex, markdown
from safechain_ray.report.tables import (
    category_table,
    metrics_document,
    notes,
    outcomes_table,
    render_metrics,
    safety_table,
)
from safechain_ray.storage import open_folder
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, Setting
from tests.made_benchmarks import finished
from tests.made_runs.by_samples import sample, setting
from tests.unit.report.drawn import hovers

ONE = setting(samples=1, temperature=0.0)
MATCH: RefusalSource = ("match", "response")
ASKED = (("guard", "response"), MATCH)


def row_of(prompt: int, unsafe: bool, refused: bool, category: str, of: Setting = ONE) -> Sample:
    verdicts = (verdict(unsafe), verdict(not refused, "match"))
    return sample(of, prompt, 0, category=category, verdicts=verdicts)


def measured(rows: list[Sample], of: Setting = ONE) -> RunMetrics:
    kinds = {of.dataset: PromptKinds(("nice", "kind"))}
    metrics = summarise(count_samples(rows), [of], ASKED, benign=BenignPrompts(kinds, MATCH, ["match"]))
    return metrics.model_copy(update={"model": "tiny"})


@pytest.fixture
def both() -> RunMetrics:
    """Four harmful prompts, one unsafe; four benign ones, one refused, one of them unsafe to the guard."""
    rows = [row_of(number, number == 0, True, "bad") for number in range(4)]
    rows += [row_of(number, number == 5, number == 4, "nice" if number < 6 else "kind") for number in range(4, 8)]
    return measured(rows)


@pytest.fixture
def benign() -> RunMetrics:
    return measured([row_of(number, False, number == 0, "nice") for number in range(4)])


def lines_of(cells: tuple) -> list[tuple[str, ...]]:
    return [each.lines for each in cells]


def test_safety_and_over_refusal_are_side_by_side_once_a_setting(both: RunMetrics):
    table = safety_table(both)
    ((first, second),) = table.groups
    assert table.title == "Safety and over-refusal"
    assert [column.heading for column in table.columns][-1] == ("Over-", "refusal")
    assert (lines_of(first)[1][0], lines_of(first)[-1][0]) == ("75.0", "25.0")
    assert (lines_of(second)[1][0], lines_of(second)[-1]) == ("100.0", ("",))
    assert "Safety figures cover harmful prompts only." in table.caption
    assert "that are refusals according to match; lower is better" in table.caption


def test_a_category_of_benign_prompts_has_over_refusal_and_no_safety(both: RunMetrics):
    (of_setting,) = both.settings
    harmful, benign = category_table(of_setting, of_setting.judges[0]).groups
    assert [(row[0].lines, row[2].lines[0], row[-1].lines) for row in harmful] == [(("bad",), "75.0", ("-",))]
    assert [(row[0].lines[0], row[2].lines[0], row[-1].lines[0]) for row in benign] == [
        ("kind", "-", "0.0"),
        ("nice", "-", "50.0"),
    ]


def test_a_set_of_benign_prompts_has_no_safety_figure_and_a_note_gives_the_reason(benign: RunMetrics):
    ((first, _),) = safety_table(benign).groups
    assert lines_of(first)[1:] == [("-",), ("-",), ("-",), ("0",), ("25.0", "4.6-69.9")]
    assert "small: every prompt is benign, so there is no safety figure." in notes(benign)


def test_a_set_of_harmful_prompts_has_no_over_refusal():
    metrics = measured([row_of(number, False, True, "bad") for number in range(4)])
    table = safety_table(metrics)
    assert (table.title, len(table.columns)) == ("Safety", 5)
    assert over_refusal_plot(metrics) is None


def test_unsafe_verdicts_on_benign_prompts_are_noted_and_count_in_no_figure(both: RunMetrics):
    noted = " ".join(notes(both))
    assert "guard, response: 1 of 4 verdicts on benign prompts are unsafe; no figure counts them." in noted
    assert "match, response: 3 of 4" not in noted


@pytest.mark.parametrize("write", [markdown, latex])
def test_every_format_shows_both(both: RunMetrics, write):
    text = write(metrics_document(both, by_category=True))
    for words in ("Safety and over-refusal", "75.0", "25.0", "nice"):
        assert words in text


def test_the_page_has_over_refusal_once_a_setting(both: RunMetrics, benign: RunMetrics):
    markup = html_table(safety_table(both))
    over_refusal = '<td class="number"><strong>25.0</strong><span class="detail">4.6–69.9</span></td></tr>'
    assert markup.count(over_refusal) == 1
    assert markup.count('<td class="number"></td>') == 1
    assert "<caption>Safety and over-refusal</caption>" in markup
    no_safety = '<td class="number">-</td>' * 3
    assert html_table(safety_table(benign)).count(f'response</th>{no_safety}<td class="number">0</td>') == 2


def test_over_refusal_has_a_plot_with_a_row_for_all_and_for_each_category(both: RunMetrics, benign: RunMetrics):
    plot = over_refusal_plot(both)
    assert plot is not None
    for svg in (plot.wide, plot.narrow):
        assert [hover.split("; ")[1] for hover in hovers(svg)] == ["all benign prompts", "kind", "nice"]
    assert [each.key for each in run_plots(both)] == ["safety", "over-refusal"]
    assert [each.key for each in run_plots(benign)] == ["over-refusal"]


def test_a_sweeps_leaderboard_has_both_in_its_table_its_files_and_its_page(both: RunMetrics, benign: RunMetrics):
    _, table = leaderboard([both, benign]).tables
    assert [group[0][-1].lines[0] for group in table.groups] == ["25.0", "25.0"]
    stored = leaderboard_table([both, benign])
    assert stored["over_refusal_value"].to_pylist() == [0.25] * 4
    assert stored["safe_at_1_value"].to_pylist() == [0.75, 1.0, None, None]
    assert stored["prompts"].to_pylist() == [4, 4, 0, 0]
    assert stored["benign_prompts"].to_pylist() == [4] * 4
    assert leaderboard_table([benign]).schema.field("safe_at_1_value").type == pa.float64()
    runs = [SweepRun(both, "a/report.html"), SweepRun(benign, "b/report.html")]
    assert [len(ranking.runs) for ranking in rankings(runs)] == [1, 1]
    (ranking, _) = rankings(runs)
    table = ranking_table(ranking)
    assert [column.heading[0] for column in table.columns[-1:]] == ["Over-refusal"]
    assert [row[-1].lines[0] for row in table.groups[0]] == ["25.0"]
    (of_benign,) = over_refusal_tables(runs)
    assert [row[0].link for row in of_benign.groups[0]] == ["b/report.html"]
    assert over_refusal_tables(runs[:1]) == ()
    assert re.search(r"<caption><a[^>]*>Over-refusal</a></caption>", sweep_page(runs))


def test_models_side_by_side_show_over_refusal_too(both: RunMetrics, tmp_path: Path):
    finished(tmp_path, {})
    grades = read_benchmark_metrics(open_folder(str(tmp_path / "run")))
    (_, safety) = models_table({"tiny": both}, {"tiny": grades}, {}, {}, "", {}).groups
    assert [(row[0].lines[1], row[1].lines[0]) for row in safety] == [
        ("guard, response", "75.0"),
        ("match, response", "100.0"),
        ("Over-refusal", "25.0"),
    ]


HOSTILE = "\x1b[2J[bold red]boom[/nothing] <script>alert(1)</script> | `x` \u202e 17"


def errors(count: int, message: str) -> list[Sample]:
    gone = {"outcome": "error", "response": None, "thought": None, "answer": None, "verdicts": ()}
    return [sample(ONE, 100 + number, 0, category="bad", error=message, **gone) for number in range(count)]


def test_the_commonest_reasons_of_error_rows_are_under_the_table():
    rows = [row_of(0, False, True, "bad"), *errors(5, "EngineDied: engine 7 went away")]
    rows += [
        replace(each, sample_id=f"x{each.sample_id}", prompt_id=f"x{each.prompt_id}") for each in errors(2, "HTTP 500")
    ]
    (note,) = [note for note in notes(measured(rows)) if "ended with an error" in note]
    assert note.endswith(
        "7 rows ended with an error. Most common reasons: 5 x EngineDied: engine 7 went away; 2 x HTTP 500."
    )


def test_the_reasons_of_missing_verdicts_are_with_their_judge():
    rows = [sample(ONE, i, 0, category="bad", verdicts=(verdict(None, error="spoke 1"),)) for i in (1, 2)]
    noted = " ".join(notes(measured(rows)))
    assert "guard, response: 2 of 2 verdicts are missing. Most common reasons: 2 x spoke 1." in noted


def test_errors_are_foreign_text_and_shown_as_text():
    metrics = measured([row_of(0, False, True, "bad"), *errors(1, HOSTILE)])
    console = Console(file=io.StringIO(), width=300, force_terminal=True)
    render_metrics(metrics, console)
    shown = console.file.getvalue()
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "[bold red]boom[/nothing] <script>alert(1)</script>" in shown
    text = markdown(metrics_document(metrics))
    assert r"\<script\>" in text
    assert r"\[bold red\]" in text


def test_the_outcomes_of_both_kinds_of_prompts_are_in_one_table(both: RunMetrics):
    assert outcomes_table(both).groups[0][0][1].lines == ("8",)


def test_safety_and_over_refusal_fit_80_columns_with_every_figure_whole():
    of = setting("morethink", samples=5, dataset="wildjailbreak-train")
    rows = [
        sample(
            of,
            number,
            index,
            category="bad" if number % 2 else "nice",
            verdicts=(verdict(index == number % 7, "match"),),
        )
        for number in range(200)
        for index in range(5 if number % 9 else 4)
    ]
    text = io.StringIO()
    render_metrics(measured(rows, of), Console(file=text, width=80), by_category=True)
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text.getvalue()
