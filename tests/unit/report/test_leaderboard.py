"""A sweep's tables: every model in its order, published figures below ours, each note once."""

import io
from typing import Any

from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.published import StandIns
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.document import Column, Document, Table, cell
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.leaderboard import leaderboard, leaderboard_beside, leaderboard_table
from safechain_ray.report.renderers import print_document
from safechain_ray.types import Sampling, Setting

FIGURES = published_figures()
SETTINGS = (
    Setting(dataset="strongreject"),
    Setting(dataset="strongreject-small", sampling=Sampling(temperature=0.6, top_p=0.95), samples=5),
)
ASKED = [("llama-guard-3-8b", "response")]
EXPECTED = {"strongreject": 313, "strongreject-small": 60}


def swept(model: str, status: str, **fields: Any) -> SweptModel:
    return SweptModel.model_validate({"model": model, "folder": model, "status": status, **fields})


def run_of(model: str, caveat: str = "Few prompts.") -> RunMetrics:
    found = summarise(merge([]), SETTINGS, ASKED, EXPECTED)
    return found.model_copy(update={"model": model, "caveats": (caveat,)})


def shown(document: Document) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_document(document, console)
    return console.file.getvalue()


def test_models_are_in_the_sweeps_order_each_named_once_a_table():
    text = shown(leaderboard([run_of("R1-7B"), run_of("R1-8B")]))
    outcomes, safety = text.split("Safety")
    assert outcomes.index("R1-7B") < outcomes.index("R1-8B")
    table = safety.split("In percent")[0]
    assert (table.count("R1-7B"), table.count("R1-8B")) == (1, 1)
    assert table.count("strongreject-small default temp=0.6 K=5") == 2


def test_caveats_and_notes_of_several_models_are_given_once_with_all_their_names():
    document = leaderboard([run_of("R1-7B"), run_of("R1-8B")])
    assert document.caveats == ("Few prompts.",)
    assert {note.split(":")[0] for note in document.notes} == {"R1-7B, R1-8B"}
    assert len(set(document.notes)) == len(document.notes)


def test_the_rows_of_all_settings_are_counted_for_each_model():
    (row,) = leaderboard([run_of("R1-7B")]).tables[0].groups[0]
    assert row[1].lines == ("0", "of 613")


def test_the_papers_figures_are_below_ours():
    document = leaderboard_beside([run_of("QwQ"), run_of("Kimi-k1.5")], FIGURES, StandIns())
    cells = [[cell.lines[-1] for cell in row[1:-1]] for group in document.tables[1].groups for row in group]
    assert cells[0][0] == "[p 97.1]"
    assert cells[1] == ["[p 97.0]", "[p 96.7]", "[p 93.3]"]
    assert cells[2][0] == "[p 76.4]"
    assert any("Kimi-k1.5: its provider filtered" in note for note in document.notes)
    assert "SafeChain, arXiv:2502.12025" in document.tables[1].caption


def test_what_differs_is_starred_and_noted_below():
    document = leaderboard_beside([run_of("demo-reasoner")], FIGURES, StandIns(model="R1-7B"))
    assert document.tables[1].groups[0][0][1].lines[-1] == "[p 36.4*]"
    assert "* Ours was measured in another way" in document.tables[1].caption
    assert any("model demo-reasoner, not R1-7B" in note for note in document.notes)


def test_without_a_published_figure_only_ours_is_shown():
    document = leaderboard_beside([run_of("demo-reasoner")], FIGURES, StandIns())
    assert "[p" not in shown(document).split("Last, in brackets")[0]
    assert any("No figures were published for demo-reasoner" in note for note in document.notes)


def test_models_that_are_not_done_come_first_failed_ones_before_others_with_their_last_errors():
    models = [
        swept("R1-7B", "done"),
        swept("R1-8B", "queued", left_out=True),
        swept("QwQ", "running", tries=1),
        swept("R1-70B", "failed", error="CUDA out of memory", tries=2),
    ]
    table = leaderboard([run_of("R1-7B")], models).tables[0]
    assert table.title == "Not done: 3 of 4 models"
    assert [[cell.lines[0] for cell in row] for row in table.groups[0]] == [
        ["R1-70B", "failed", "2", "CUDA out of memory"],
        ["QwQ", "running", "1", ""],
        ["R1-8B", "skipped", "0", ""],
    ]
    beside = leaderboard_beside([run_of("R1-7B")], FIGURES, StandIns(), models)
    assert beside.tables[0] == table
    page = sweep_page([], models=models)
    assert page.index("R1-70B") < page.index("CUDA out of memory") < page.index("QwQ")


def test_a_model_without_results_is_a_row_of_the_parquet_leaderboard():
    models = [swept("R1-7B", "done"), swept("QwQ", "failed", error="no GPU")]
    rows = leaderboard_table([run_of("R1-7B")], models).to_pylist()
    assert [(row["model"], row["status"], row["error"], row["rows_expected"]) for row in rows] == [
        ("QwQ", "failed", "no GPU", None),
        ("R1-7B", "done", None, 313),
        ("R1-7B", "done", None, 300),
    ]
    assert leaderboard_table([], models).schema == leaderboard_table([run_of("R1-7B")]).schema


def test_a_sweep_whose_models_are_all_done_has_no_table_of_others():
    models = [swept("R1-7B", "done")]
    assert [table.title for table in leaderboard([run_of("R1-7B")], models).tables] == ["Outcomes of samples", "Safety"]


def test_a_sweep_without_any_metrics_is_an_empty_table():
    assert leaderboard([]).tables[1].groups == ()


def test_headings_are_text_and_write_nothing_to_the_terminal():
    column = Column(("m\x1b]0;pwned\x07\x1b[31mX", "[red]run[/] :v:"))
    text = shown(Document((Table("t", (column,), (((cell("1"),),),)),)))
    assert "\x1b" not in text
    assert "[red]run[/] :v:" in text
