"""The page of what differs between models, in a real browser: its figures, its plot, and that all of it can be read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from safechain_ray.commands.compare_models import ComparedModels, compare_models
from safechain_ray.report.html.write import write_comparison
from safechain_ray.types import Sampling, Setting
from tests.browser.browser_page import contrasts, crowded_texts
from tests.made_benchmarks import finished
from tests.made_runs.by_verdicts import write_run

FIVE = Setting(dataset="strongreject", sampling=Sampling(temperature=0.6), samples=5)
TEXTS = {f"p{i}": f"Question {i}?" for i in range(40)}


@dataclass(frozen=True)
class Compared:
    models: ComparedModels
    page: Path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Two runs of 40 prompts, five samples each, the second one safer, and two of four problems."""
    folder = tmp_path_factory.mktemp("compared")
    for name, unsafe in (("before", 3), ("after", 1)):
        verdicts = {prompt: [number < unsafe for number in range(5)] for prompt in TEXTS}
        write_run(folder / name, [(FIVE, verdicts)], TEXTS, name)
        (folder / f"{name}-benchmarks").mkdir()
        finished(folder / f"{name}-benchmarks", {0: False})
    runs = [folder / "before", folder / "after"]
    benchmarks = [folder / f"{run.name}-benchmarks" / "run" for run in runs]
    models = compare_models([str(each) for each in (*runs, *benchmarks)])
    write_comparison(models, str(folder / "page.html"), None)
    return Compared(models, folder / "page.html")


def test_the_plot_has_a_line_for_every_difference_with_its_figure(compared: Compared, open_page):
    page = open_page(compared.page).page
    assert compared.models.safety is not None
    wanted = [each for pair in compared.models.safety.pairs for judge in pair.judges for each in judge.differences]
    shown = page.locator("#plots figure").first.locator(".wide .point .value").all_text_contents()
    assert shown == [f"{100 * each.value:+.1f}" for each in wanted if each.value is not None]
    assert shown == ["+40.0", "+100.0", "+0.0"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(compared: Compared, open_page, scheme: str):
    found = contrasts(open_page(compared.page, scheme=scheme).page)
    assert [(ratio, words) for ratio, words in found if ratio < 4.5] == []
    assert len(found) > 40


@pytest.mark.parametrize("width", [360, 1280])
def test_no_width_scrolls_the_page_sideways(compared: Compared, open_page, width: int):
    assert open_page(compared.page, width=width).page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_no_text_of_the_plot_is_cut_or_touches_another_one(compared: Compared, open_page, width: int):
    assert crowded_texts(open_page(compared.page, width=width).page) == []


def test_no_label_of_the_plot_reaches_into_its_scale(compared: Compared, open_page):
    page = open_page(compared.page).page
    scale = page.locator("#plots .wide path[stroke='var(--line)']").first.bounding_box()
    assert scale is not None
    labels = page.locator("#plots .wide text.group, #plots .wide text.label").all()
    assert len(labels) > 4
    for label in labels:
        box = label.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] < scale["x"]
