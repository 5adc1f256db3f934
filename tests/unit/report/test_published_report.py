"""The published figures beside ours, as a reader sees them."""

import io

from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.published import StandIns, beside
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.published import with_published
from safechain_ray.report.renderers import print_document
from safechain_ray.report.tables import metrics_document
from safechain_ray.types import Sampling, Setting, StrategySpec

FIGURES = published_figures()
OWN = StandIns()
PUBLISHED = StrategySpec(name="default", options={"compat": "paper"})
SETTINGS = (
    Setting(dataset="strongreject", strategy=PUBLISHED),
    Setting(
        dataset="strongreject-small", strategy=PUBLISHED, sampling=Sampling(temperature=0.6, top_p=0.95), samples=5
    ),
    Setting(dataset="xstest", strategy=PUBLISHED),
)
ASKED = (("llama-guard-3-8b", "response"), ("refusal-match", "response"))
EXPECTED = {"strongreject": 313, "strongreject-small": 60, "xstest": 450}


def run_of(model: str, settings: tuple[Setting, ...] = SETTINGS) -> RunMetrics:
    return summarise(merge([]), settings, ASKED, EXPECTED).model_copy(update={"model": model})


def shown(metrics: RunMetrics, stand_ins: StandIns = OWN, width: int = 80) -> str:
    found = beside(metrics, FIGURES, stand_ins)
    console = Console(file=io.StringIO(), width=width)
    print_document(with_published(metrics_document(metrics), metrics, found, FIGURES, stand_ins), console)
    return console.file.getvalue().split("Beside the published")[1]


def test_every_figure_of_the_paper_fits_in_80_columns_and_what_was_not_published_is_a_dash() -> None:
    text = shown(run_of("R1-7B"))
    assert "figures of R1-7B (SafeChain, arXiv:2502.12025)" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    rows = [line.split() for line in text.split("In percent")[0].splitlines()]
    for figure in ("36.4", "35.3", "30.0", "15.0"):
        assert sum(figure in row for row in rows) == 1
        assert sum(f"{figure}*" in row for row in rows) == 1  # by the other judge
    assert [row[-4:] for row in rows if row[:1] == ["xstest"]] == [["-"] * 4] * 2


def test_only_what_differs_is_starred_and_noted() -> None:
    text = " ".join(shown(run_of("R1-7B", SETTINGS[:1])).split())
    assert (
        "strongreject default compat=paper greedy K=1; refusal-match, response differs from the published one: judge "
        "refusal" in text
    )
    assert "llama-guard-3-8b, response differs" not in text
    assert "Every row differs" not in text


def test_a_difference_of_every_row_is_noted_once() -> None:
    text = " ".join(shown(run_of("demo-reasoner"), StandIns(model="R1-7B")).split())
    assert text.count("model demo-reasoner, not R1-7B") == 1
    assert "Every row differs from the published one: model demo-reasoner, not R1-7B." in text


def test_a_run_without_published_figures_shows_how_to_name_a_model_and_a_data_set() -> None:
    assert "--paper NAME adds the figures of another model" in " ".join(shown(run_of("demo-reasoner")).split())
    text = " ".join(shown(run_of("R1-7B")).split())
    assert "--paper-dataset xstest=NAME compares it with one of strongreject, wildjailbreak." in text


def test_the_judges_bos_is_noted_where_the_published_judge_is_asked() -> None:
    assert "llama-guard-3-8b: the published code sent its prompts with BOS twice" in " ".join(
        shown(run_of("R1")).split()
    )


def test_a_provider_that_filtered_is_noted() -> None:
    assert "Kimi-k1.5: its provider filtered" in " ".join(shown(run_of("Kimi-k1.5")).split())
    assert "filtered" not in shown(run_of("R1"))
