"""Links to samples: the address follows what is read, a link opens its sample, Back and Forward return."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import setting, varied, write_run

SETTINGS = (setting(), setting("zerothink"))
NO_CLIPBOARD = "Object.defineProperty(Navigator.prototype, 'clipboard', { get: () => undefined });"


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return varied(SETTINGS, 60)


@pytest.fixture(scope="module")
def report(samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, SETTINGS, samples)
    return Path(write_report(open_folder(str(folder))))


@pytest.fixture
def reader(report: Path, open_page) -> Reader:
    return Reader(open_page(report).page)


def address(page: Page) -> str:
    return page.evaluate("location.hash")


def title(each: Sample) -> str:
    return f"{each.prompt_id}, sample {each.sample_index + 1}"


def expect_open(page: Page, each: Sample) -> None:
    expect(page.locator("#sample")).to_contain_text(each.sample_id)
    expect(page.locator("#sample h3")).to_have_text(title(each))


def find(samples: list[Sample], prompt: int, index: int, of: int = 0) -> Sample:
    wanted = (f"prompt-{prompt}", index, SETTINGS[of].setting_id)
    return next(each for each in samples if (each.prompt_id, each.sample_index, each.setting_id) == wanted)


def listed(page: Page, place: int) -> None:
    page.locator("#list li").nth(place).click()


def test_a_page_without_a_link_leaves_its_address_alone(reader: Reader):
    assert reader.found() == 240
    reader.filter(outcome="ok")
    assert reader.found() > 0
    assert address(reader.page) == ""


def test_opening_a_sample_sets_the_address_and_back_and_forward_return(reader: Reader, samples: list[Sample]):
    page = reader.page
    first, second = find(samples, 1, 0), find(samples, 2, 1)
    for place, each in ((2, first), (5, second)):
        listed(page, place)
        expect_open(page, each)
        assert address(page) == f"#sample={each.sample_id}"
    page.go_back()
    expect_open(page, first)
    assert reader.selected() == 3
    page.go_forward()
    expect_open(page, second)
    page.go_back()
    page.go_back()
    expect_open(page, find(samples, 0, 0))
    assert address(page) == ""


def test_samples_gone_through_by_keys_are_one_step_of_back(reader: Reader, samples: list[Sample]):
    page = reader.page
    listed(page, 2)
    expect_open(page, find(samples, 1, 0))
    listed(page, 4)
    expect_open(page, find(samples, 2, 0))
    for _ in range(3):
        reader.press("j")
    assert reader.selected() == 8
    expect(page.locator("#sample")).to_contain_text(find(samples, 3, 1).sample_id)
    assert address(page) == f"#sample={find(samples, 3, 1).sample_id}"
    page.go_back()
    expect_open(page, find(samples, 1, 0))


def test_a_link_opens_its_sample_on_its_page_of_the_list(report: Path, open_page, samples: list[Sample]):
    wanted = find(samples, 44, 1, 1)
    page = open_page(report, fragment=f"#sample={wanted.sample_id}").page
    expect_open(page, wanted)
    reader = Reader(page)
    assert reader.selected() == 120 + 2 * 44 + 2
    expect(page.locator("#sample")).to_be_in_viewport()
    expect(page.locator("#sample")).to_be_focused()


def test_a_link_opens_a_sample_that_the_filters_hide_and_says_so(reader: Reader, samples: list[Sample]):
    page = reader.page
    wanted = find(samples, 7, 1)
    reader.filter(setting="small zerothink")
    assert reader.found() == 120
    page.evaluate(f"location.hash = '#sample={wanted.sample_id}'")
    expect_open(page, wanted)
    expect(page.locator("#sample .caveat")).to_contain_text("The filters hide this sample.")
    assert page.locator("#list li[aria-selected=true]").count() == 0
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.locator("#sample .caveat")).to_have_count(0)
    assert reader.found() == 240
    expect_open(page, wanted)
    assert reader.selected() == 16
    assert address(page) == f"#sample={wanted.sample_id}"


def test_keys_go_on_from_a_hidden_sample_to_the_first_of_the_list(reader: Reader, samples: list[Sample]):
    page = reader.page
    reader.filter(setting="small zerothink")
    assert reader.found() == 120
    page.evaluate(f"location.hash = '#sample={find(samples, 7, 1).sample_id}'")
    expect_open(page, find(samples, 7, 1))
    reader.press("j")
    expect_open(page, find(samples, 0, 0, 1))


@pytest.mark.parametrize("unknown", ["0123456789abcdef", "%", "<img src=x onerror=alert(1)>", ""])
def test_an_unknown_id_is_named(report: Path, open_page, unknown: str):
    page = open_page(report, fragment=f"#sample={unknown}").page
    expect(page.locator("#sample .caveat")).to_have_text(
        f"This page has no sample {unknown}. Fix: open the report of its run."
    )
    reader = Reader(page)
    assert reader.found() == 240
    page.locator("#list li").nth(1).click()
    expect(page.locator("#sample h3")).to_have_text("prompt-0, sample 2")


def test_the_address_follows_the_filters_once_it_names_a_sample(reader: Reader, samples: list[Sample]):
    page = reader.page
    listed(page, 2)
    expect_open(page, find(samples, 1, 0))
    reader.filter(setting="small zerothink")
    expect_open(page, find(samples, 0, 0, 1))
    assert address(page) == f"#sample={find(samples, 0, 0, 1).sample_id}"


def test_a_sample_whose_text_is_left_out_has_a_link_too(report: Path, open_page, samples, tmp_path: Path):
    written = Path(write_report(open_folder(str(report.parent)), str(tmp_path / "small.html"), with_text=0))
    wanted = find(samples, 3, 0)
    page = open_page(written, fragment=f"#sample={wanted.sample_id}").page
    expect(page.locator("#sample h3")).to_have_text(title(wanted))
    page.locator("#list li").nth(9).click()
    expect(page.locator("#sample h3")).to_have_text(title(find(samples, 4, 1)))
    assert address(page) == f"#sample={find(samples, 4, 1).sample_id}"


def test_the_link_is_copied(reader: Reader, samples: list[Sample]):
    page = reader.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator("#sample .tools")).to_contain_text("Link copied.")
    link = page.evaluate("navigator.clipboard.readText()")
    assert link == f"{page.url}#sample={find(samples, 0, 0).sample_id}"


def test_without_a_clipboard_the_link_is_shown_to_be_copied(report: Path, open_page, samples: list[Sample]):
    page = open_page(report, before=NO_CLIPBOARD).page
    Reader(page).press("j")
    page.keyboard.press("l")
    field = page.get_by_label("Link to this sample")
    expect(field).to_have_value(re.compile(f"#sample={find(samples, 0, 1).sample_id}$"))
    assert field.evaluate("field => field.selectionEnd - field.selectionStart") > 30
