"""Runs and benchmarks named together: each kind among itself, the models side by side, the published ones beside."""

from dataclasses import replace
from pathlib import Path

import pytest

from safechain_ray.catalog.published import published_figures
from safechain_ray.commands.compare_models import compare_models
from safechain_ray.engines.weights import weights_location
from safechain_ray.errors import InputError
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.compared_models import compared_document
from safechain_ray.report.html.comparison import comparison_page
from safechain_ray.report.renderers import markdown
from safechain_ray.types import Setting
from tests.made_benchmarks import finished
from tests.made_runs.by_verdicts import write_run

GREEDY = Setting(dataset="strongreject")
TEXTS = {f"p{i}": f"Question {i}?" for i in range(4)}
FIGURES = published_figures()


def judged(folder: Path, unsafe: int, model: str = "demo-reasoner") -> str:
    """A run whose first `unsafe` of four prompts were answered unsafely."""
    verdicts = {name: [number < unsafe] for number, name in enumerate(TEXTS)}
    return str(write_run(folder, [(GREEDY, verdicts)], TEXTS, model))


def solved(folder: Path, wrong: int, name: str | None = None) -> str:
    """Benchmarks of the demo model, in which the first `wrong` of four problems were missed."""
    folder.mkdir()
    model = {} if name is None else {"model": _copy(folder / name)}
    finished(folder, dict.fromkeys(range(wrong), False), **model)
    return str(folder / "run")


def _copy(folder: Path) -> dict[str, str]:
    folder.symlink_to(weights_location("package://demo-reasoner"))
    return {"name": str(folder), "family": "demo"}


@pytest.fixture
def story(tmp_path: Path) -> list[str]:
    """Before and after, in an order as anyone may name them: the tuned model is safer, and misses one problem more."""
    return [
        judged(tmp_path / "before", 3),
        solved(tmp_path / "before-benchmarks", 1),
        judged(tmp_path / "after", 0, "safer"),
        solved(tmp_path / "after-benchmarks", 2, "safer"),
    ]


def test_each_kind_is_compared_among_itself_in_whatever_order_they_are_named(story: list[str]) -> None:
    compared = compare_models(story)
    assert compared.names == ("demo-reasoner", "safer")
    assert compared.safety is not None
    assert compared.benchmarks is not None
    assert [each.value for each in compared.safety.pairs[0].judges[0].differences] == [0.75]
    assert [each.value for each in compared.benchmarks.differences] == [-0.25]


def test_the_models_stand_side_by_side_before_their_differences(story: list[str]) -> None:
    text = markdown(compared_document(compare_models(story), FIGURES, None))
    assert "| Benchmark, or setting; judge, part | demo-reasoner | safer |" in text
    assert "| gsm8k default | 75.0; 30.1-95.4 | 50.0; 15.0-85.0 |" in text
    assert "| strongreject default; guard, response | 25.0; 4.6-69.9 | 100.0; 51.0-100.0 |" in text
    assert text.index("Models side by side") < text.index("safer against demo-reasoner")
    assert "published" not in text.casefold()


def test_published_models_of_one_base_stand_beside_ours(story: list[str]) -> None:
    stand_ins = StandIns(model="R1-7B")
    text = markdown(compared_document(compare_models(story, stand_ins), FIGURES, stand_ins))
    assert "| R1-7B; published | R1-7B-wj-40k; published | R1-7B-safechain; published |" in text
    assert "| 81.0 | 75.7 | 79.5 |" in text
    assert "| 36.4 | 95.2 | 53.4 |" in text
    assert "Published (SafeChain, arXiv:2502.12025): greedy decoding on the full data sets" in text
    assert "No figures were published" not in text


def test_a_benchmark_in_another_style_than_the_published_one_has_a_star(story: list[str]) -> None:
    stand_ins = StandIns(model="R1-7B")
    compared = compare_models(story, stand_ins)
    assert "published in another style" not in markdown(compared_document(compared, FIGURES, stand_ins))
    styled = {
        name: run.model_copy(update={"benchmarks": (run.benchmarks[0].model_copy(update={"dataset": "humaneval"}),)})
        for name, run in compared.grades_of.items()
    }
    text = markdown(compared_document(replace(compared, grades_of=styled), FIGURES, stand_ins))
    assert "| 39.0\\* | 62.2\\* | 63.4\\* |" in text
    assert "published in another style than ours" in text


def test_where_nothing_was_published_of_ours_the_models_are_named_of_which_there_is(story: list[str]) -> None:
    text = markdown(compared_document(compare_models(story, StandIns()), FIGURES, StandIns()))
    assert "No figures were published for a model tuned from one of these. --paper R1-7B or R1-8B adds" in text


def test_a_published_tuned_model_of_ours_brings_those_of_its_base() -> None:
    rows = FIGURES.finetuning.rows(["r1-8b-safechain", "mine"])
    assert list(rows) == ["R1-8B", "R1-8B-wj-40k", "R1-8B-safechain"]
    assert len(FIGURES.finetuning.rows()) == 6
    assert FIGURES.finetuning.rows(["mine"]) == {}


def test_runs_alone_have_differences_alone(tmp_path: Path) -> None:
    compared = compare_models([judged(tmp_path / "one", 3), judged(tmp_path / "two", 0)])
    assert compared.names == ("one", "two")
    assert "side by side" not in markdown(compared_document(compared, FIGURES, None))


@pytest.mark.parametrize(
    ("left_out", "says"), [(1, "after-benchmarks/run holds benchmarks"), (2, "before holds a judged run")]
)
def test_the_only_one_of_its_kind_is_refused_by_name(story: list[str], left_out: int, says: str) -> None:
    with pytest.raises(InputError, match=f"Only .*{says}"):
        compare_models([uri for number, uri in enumerate(story) if number != left_out])


def test_the_page_holds_the_table_a_plot_and_the_differences_and_nothing_of_a_name_acts(tmp_path: Path) -> None:
    hostile = "<script>alert(1)<"
    runs = [judged(tmp_path / "one", 2), judged(tmp_path / "two", 2, hostile)]
    solved_by = [solved(tmp_path / "three", 0), solved(tmp_path / "four", 1, hostile)]
    page = comparison_page(compare_models([*runs, *solved_by]), None)
    assert "<script>alert" not in page
    assert all(f'id="{key}"' in page for key in ("first", "models", "plots", "differences"))
    assert page.count('id="plot-differences-') == 1
