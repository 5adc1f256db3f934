"""Pages of benchmarks and of judge studies in a real browser: their filters, their texts, what they leave out."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import expect

from safechain_ray.commands.judge_study import judge_study
from safechain_ray.metrics.agreement import JudgeStudy
from safechain_ray.report.html.write import write_benchmark_report, write_study_report
from safechain_ray.runs.progress import RecordingReporter
from safechain_ray.testing import ScriptedEngines
from tests.browser.browser_page import Reader, crowded_texts
from tests.made_benchmarks import finished
from tests.small_studies import study_config

SIZES = [(1280, "light"), (390, "dark")]


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sums, two samples each: one sample wrong, one without a grade."""
    folder = tmp_path_factory.mktemp("benchmark")
    done = finished(folder, {1: False, 2: None}, samples=2, **{"sampling.temperature": 0.6})
    return Path(write_benchmark_report(done.folder.folder))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[JudgeStudy, Path]:
    folder = tmp_path_factory.mktemp("study")
    with ThreadPoolExecutor(1) as other:  # Playwright's loop runs in this thread
        done = other.submit(judge_study, study_config(folder), RecordingReporter(), ScriptedEngines({})).result()
    return done.study, Path(write_study_report(done.folder.folder))


@pytest.mark.parametrize(("grade", "count"), [("correct", 6), ("wrong", 1), ("missing", 1)])
def test_answers_are_filtered_by_their_grade(benchmark: Path, open_page, grade: str, count: int):
    reader = Reader(open_page(benchmark).page)
    expect(reader.page.locator("#verdict-name")).to_have_text("Grade")
    reader.filter(verdict=grade)
    assert reader.found() == count
    assert reader.article.locator("table.verdicts .pill").all_inner_texts() == [grade]


def test_an_answer_shows_what_was_graded_and_the_reference_without_a_blur(benchmark: Path, open_page):
    reader = Reader(open_page(benchmark).page)
    reader.filter(search="What is 3 plus 3?")
    assert reader.found() == 2
    blurred = reader.blurred()
    assert not any(blurred.values())
    assert {"Prompt", "Graded text", "Reference"} <= blurred.keys()
    assert "#### 6" in reader.article.locator("[aria-label=Reference] .text").inner_text()


def test_an_answer_without_a_grade_says_why(benchmark: Path, open_page):
    reader = Reader(open_page(benchmark).page)
    reader.filter(verdict="missing")
    assert "blocked; math" in reader.article.locator("table.verdicts").inner_text()


def test_filters_of_judges_are_left_out(benchmark: Path, open_page):
    page = Reader(open_page(benchmark).page).page
    for hidden in ("#by-judge", "#by-part", "#disagree"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#samples-title")).to_have_text("Samples")


def test_samples_of_a_problem_are_side_by_side_under_one_reference(benchmark: Path, open_page):
    reader = Reader(open_page(benchmark).page)
    reader.page.keyboard.press("c")
    columns = reader.article.locator(".column")
    expect(columns).to_have_count(2)
    expect(reader.article.locator("[aria-label=Reference]")).to_have_count(1)
    expect(reader.article.locator(".column [aria-label=Reference]")).to_have_count(0)


def test_a_judge_is_filtered_by_how_it_differs_from_the_label(study: tuple[JudgeStudy, Path], open_page):
    figures, page = study
    reader = Reader(open_page(page).page)
    cells = figures.raters[0].agreement.confusion
    reader.filter(disagree=True, judge="refusal-match")
    assert reader.found() == cells.false_positive + cells.false_negative == 2
    reader.filter(verdict="unsafe")
    assert reader.found() == cells.false_positive == 1
    reader.filter(verdict="safe")
    assert reader.found() == cells.false_negative == 1
    expect(reader.page.locator("#disagree-name")).to_have_text("Differs from the label")


def test_a_labelled_response_shows_its_label_first_and_starts_blurred(study: tuple[JudgeStudy, Path], open_page):
    reader = Reader(open_page(study[1]).page)
    reader.filter(judge="label (human)", verdict="unsafe")
    assert reader.found() == 3
    raters = reader.article.locator("table.verdicts tbody th").all_inner_texts()
    assert raters == ["label (human), response", "refusal-match, response"]
    assert all(reader.blurred().values())
    expect(reader.article.locator("h3")).to_have_text("row-2")
    reader.page.keyboard.press("c")  # a row is no sample of a prompt, so nothing is beside it
    expect(reader.article.locator(".column")).to_have_count(0)


@pytest.mark.parametrize(("width", "scheme"), SIZES)
@pytest.mark.parametrize("kind", ["benchmark", "study"])
def test_the_pages_fit_a_desktop_and_a_phone(request, open_page, kind: str, width: int, scheme: str):
    found = request.getfixturevalue(kind)
    page = open_page(found if kind == "benchmark" else found[1], scheme=scheme, width=width).page
    Reader(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert crowded_texts(page) == []
