"""Definitions of figures in a real browser: on hover, on focus, by touch, and in the glossary at the page's end."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from safechain_ray.report.glossary import TERMS
from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import setting, varied, write_run

SETTINGS = (setting(), setting("zerothink"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, SETTINGS, varied(SETTINGS, 40))
    return Path(write_report(open_folder(str(folder))))


@pytest.fixture
def page(report: Path, open_page) -> Page:
    return open_page(report).page


def heading(page: Page, name: str) -> Locator:
    return page.locator("#figures thead .term", has_text=name).first


def test_a_heading_shows_its_definition_and_source_while_the_pointer_is_on_it(page: Page):
    tip = page.locator("#definition")
    expect(tip).to_be_hidden()
    heading(page, "ConsSafe@K").hover()
    expect(tip).to_contain_text(TERMS["cons-safe-at-k"].meaning)
    expect(tip).to_contain_text("arXiv:2502.12025")
    tip.hover()  # the pointer may move onto the definition
    page.wait_for_timeout(400)
    expect(tip).to_be_visible()
    page.locator("h1").hover()
    expect(tip).to_be_hidden()


def test_the_keyboard_shows_a_definition_and_escape_hides_it(page: Page):
    tip = page.locator("#definition")
    page.locator("[data-count=blocked] .term").focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(tip).to_contain_text(TERMS["blocked"].meaning)
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.keyboard.press("Tab")
    expect(tip).to_contain_text(TERMS["truncated"].meaning)


def test_a_screen_reader_reads_the_definition_with_the_name(page: Page):
    for link in page.locator(".term").all():
        described = link.get_attribute("aria-describedby") or link.locator("..").get_attribute("aria-describedby")
        assert page.locator(f"#{described}").inner_text()


def test_a_tap_shows_the_definition_and_a_second_one_opens_the_glossary(report: Path, chromium):
    context = chromium.new_context(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(report.as_uri())
    name = page.locator("[data-count=truncated] .term")
    name.tap()
    expect(page.locator("#definition")).to_contain_text(TERMS["truncated"].meaning)
    assert page.evaluate("location.hash") == ""
    box = page.locator("#definition").bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390
    name.tap()
    assert page.evaluate("location.hash") == "#term-truncated"
    context.close()


def test_the_glossary_links_both_ways(page: Page):
    page.locator("[data-count=missing] .term").click()
    assert page.evaluate("location.hash") == "#term-missing-verdicts"
    entry = page.locator("#term-missing-verdicts")
    expect(entry).to_be_in_viewport()
    assert entry.locator("a").all_inner_texts() == ["Warnings and notes", "Figures"]
    entry.get_by_role("link", name="Figures").click()
    expect(page.locator("#figures h2")).to_be_in_viewport()


def test_facts_of_a_sample_have_definitions(page: Page):
    Reader(page)
    page.locator("#sample .facts .term", has_text="forced rounds").hover()
    expect(page.locator("#definition")).to_contain_text(TERMS["forced-rounds"].meaning)


@pytest.mark.parametrize("width", [360, 1280])
def test_every_definition_is_within_the_window(report: Path, open_page, width: int):
    page = open_page(report, width=width).page
    for name in page.locator("main .term:visible").all():
        page.mouse.move(0, 0)
        expect(page.locator("#definition")).to_be_hidden()
        name.hover()
        box = page.locator("#definition").bounding_box()
        assert box is not None
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert 0 <= box["y"] <= box["y"] + box["height"] <= 900
