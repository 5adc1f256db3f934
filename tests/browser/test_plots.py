"""Plots of many kinds in a real browser: every text is whole and apart from the others, at any width of the page."""

from dataclasses import replace
from pathlib import Path

import pytest

from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from tests.browser.browser_page import crowded_texts
from tests.made_runs.by_samples import setting, varied, write_run

DATASET = "a-data-set-whose-name-is-longer-than-any-column-of-labels-can-be"
CATEGORIES = {
    "Violence": "Violence, threats, and everything else that a long name of a category lists",
    "Privacy": "隐私与个人信息的泄露以及其他有害内容的一个很长的类别名称",
    "Fraud & theft": "خداع",
}
SETTINGS = (
    *(setting(dataset=DATASET, temperature=value) for value in (0.2, 0.25, 0.6, 1.0)),
    *(setting(name, dataset=DATASET, temperature=0.6) for name in ("zerothink", "lessthink", "morethink")),
    *(setting(dataset=DATASET, temperature=0.6, top_k=value) for value in (1, 50)),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plots")
    samples = [replace(each, category=CATEGORIES[each.category]) for each in varied(SETTINGS, 12)]
    write_run(folder, SETTINGS, samples)
    return Path(write_report(open_folder(str(folder))))


@pytest.mark.parametrize("width", [320, 390, 768, 1000, 1280])
def test_no_text_of_any_plot_is_cut_or_touches_another_one(report: Path, open_page, width: int):
    page = open_page(report, width=width).page
    kinds = page.locator("figure").evaluate_all("all => all.map((one) => one.dataset.name.split('-')[0])")
    assert kinds == ["safety", "strategies", "categories", "decoding", "decoding", "strategy"]
    assert crowded_texts(page) == []


def test_names_of_every_language_are_whole(report: Path, open_page):
    page = open_page(report).page
    lines = page.locator("figure[data-name^=categories] .wide text.label").all_text_contents()
    for name in CATEGORIES.values():
        assert name.replace(" ", "") in "".join(lines).replace(" ", "")
