"""Samples of one prompt side by side: all samples of a setting, or all settings, with outcome, verdicts and texts."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import ASKED, sample, setting, varied, write_run

SETTINGS = (setting(samples=3), setting("zerothink", samples=3), setting("lessthink", samples=2))
WORDS = {True: "unsafe", False: "safe", None: "missing"}


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return varied(SETTINGS, 30)


@pytest.fixture(scope="module")
def report(samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, SETTINGS, samples)
    return Path(write_report(open_folder(str(folder))))


@pytest.fixture
def page(report: Path, open_page) -> Page:
    page = open_page(report).page
    Reader(page)
    return page


def columns(page: Page) -> Locator:
    return page.locator("#sample .column")


def names(page: Page) -> list[str]:
    return page.locator("#sample .column header h4").all_inner_texts()


def expect_column(column: Locator, of: Sample) -> None:
    expect(column).to_contain_text(of.outcome)
    said = {(each.judge, each.part): each.unsafe for each in of.verdicts}
    verdicts = [f"{WORDS[said.get(asked)]} {asked[0]}, {asked[1]}" for asked in ASKED]
    assert column.locator("li").all_inner_texts() == verdicts
    for text in (of.thought, of.answer, of.error):
        if text is not None:
            expect(column).to_contain_text(text)


def test_the_samples_of_a_prompt_are_side_by_side_with_outcome_verdicts_and_texts(page: Page, samples: list[Sample]):
    page.get_by_role("button", name="Side by side").click()
    expect(columns(page)).to_have_count(3)
    assert names(page) == ["sample 1", "sample 2", "sample 3"]
    for column, of in zip(columns(page).all(), samples[:3], strict=True):
        expect_column(column, of)
    expect(page.locator("#sample .column.open h4")).to_have_text("sample 1")
    tops = {round(column.bounding_box()["y"]) for column in columns(page).all()}
    assert len(tops) == 1


def test_the_same_prompt_under_other_settings_is_side_by_side(page: Page, samples: list[Sample]):
    page.locator("#list li").nth(2).click()
    page.keyboard.press("c")
    page.get_by_label("Compare samples").select_option("settings")
    expect(columns(page).first.locator("h4")).to_have_text("small default K=3")
    expect(page.get_by_label("Compare samples")).to_be_focused()
    assert names(page) == ["small default K=3", "small zerothink K=3", "small lessthink K=2"]
    # The third sample of each setting; lessthink has two, so its first.
    for column, of in zip(columns(page).all(), (samples[2], samples[92], samples[180]), strict=True):
        expect_column(column, of)


def test_columns_are_chosen_and_stay_chosen_for_the_next_sample(page: Page):
    page.get_by_role("button", name="Side by side").click()
    page.locator("#sample .choices").get_by_label("sample 2").uncheck()
    expect(columns(page)).to_have_count(2)
    assert names(page) == ["sample 1", "sample 3"]
    page.locator("#list").focus()
    page.keyboard.press("j")
    expect(page.locator("#sample h3")).to_have_text("prompt-0, sample 2")
    assert names(page) == ["sample 1", "sample 3"]
    page.keyboard.press("c")
    expect(columns(page)).to_have_count(0)


def test_a_column_opens_its_sample(page: Page):
    page.get_by_role("button", name="Side by side").click()
    page.get_by_label("Compare samples").select_option("settings")
    page.get_by_role("button", name="Open small zerothink").click()
    expect(page.locator("#sample header p").first).to_contain_text("small zerothink")
    expect(page.locator("#list li[aria-selected=true]")).to_have_attribute("data-row", "90")
    expect(page.locator("#sample .column.open h4")).to_have_text("small zerothink K=3")


def test_texts_are_blurred_until_they_are_asked_for(page: Page):
    page.get_by_role("button", name="Side by side").click()
    expect(columns(page)).to_have_count(3)
    assert page.locator("#sample .text:not(.blurred)").count() == 0
    page.locator("#list").focus()
    page.keyboard.press("b")
    assert page.locator("#sample .text.blurred").count() == 0
    columns(page).first.get_by_role("button", name="Blur the thought").click()
    assert page.locator("#sample .text.blurred").count() == 1


def test_columns_scroll_on_a_phone_and_the_page_does_not(report: Path, open_page):
    page = open_page(report, width=390, height=800).page
    Reader(page)
    page.get_by_role("button", name="Side by side").click()
    expect(columns(page)).to_have_count(3)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    scrolled = page.locator("#sample .columns").evaluate("node => [node.scrollWidth > node.clientWidth, node.tabIndex]")
    assert scrolled == [True, 0]


def answer(page: Page) -> str:
    return columns(page).first.locator("[aria-label=Answer] .text").text_content() or ""


def test_many_samples_start_with_some_columns_and_long_texts_are_whole(tmp_path: Path, open_page):
    of = setting(samples=40)
    long = "a word " * 150_000
    samples = [sample(of, 0, index, answer=f"{index} {long}" if index < 5 else "short") for index in range(40)]
    write_run(tmp_path, [of], samples, [("guard", "response")])
    page = open_page(Path(write_report(open_folder(str(tmp_path))))).page
    Reader(page)
    page.get_by_role("button", name="Side by side").click()
    expect(columns(page)).to_have_count(8)
    assert len(answer(page)) < 10_000  # blurred
    columns(page).first.get_by_role("button", name="Show the answer").click()
    assert answer(page) == samples[0].answer
    page.locator("#sample .choices").get_by_label("sample 40").check()
    expect(columns(page)).to_have_count(9)


def test_the_samples_of_a_run_without_texts_have_their_verdicts(report: Path, open_page, tmp_path: Path):
    written = Path(write_report(open_folder(str(report.parent)), str(tmp_path / "small.html"), with_text=0))
    page = open_page(written).page
    Reader(page)
    page.get_by_role("button", name="Side by side").click()
    expect(columns(page)).to_have_count(3)
    expect(columns(page).first).to_contain_text("not in this file")
    assert columns(page).first.locator("li").count() == len(ASKED)
