"""Tables sorted in a real browser: by value, within groups, with missing figures last, and back again."""

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from safechain_ray.report.document import Table, cell, figure_cell, figure_columns, text_column
from safechain_ray.report.glossary import term_column
from safechain_ray.report.html.definitions import with_glossary
from safechain_ray.report.html.elements import Section, assemble, html_table, join
from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from tests.made_runs.by_samples import setting, varied, write_run

FIGURES = {
    "model-10": ["9.5", "2.0-99.0"],
    "model-9": ["1,234.0", "0.0-1.0"],
    "model-1": ["none"],
    "model-2": ["-3.0", "-9.0-1.0"],
    "model-3": ["35.3*"],
    "model-4": ["-"],
    "model-5": ["+4.0"],
}
BY_FIGURE = ["model-9", "model-3", "model-10", "model-5", "model-2"]
WITHOUT = ["model-1", "model-4"]


def rows(names: list[str]) -> tuple:
    return tuple((cell(name), figure_cell(FIGURES[name])) for name in names)


def table(*groups: tuple, is_sortable: bool = True) -> Table:
    columns = (text_column("Model"), term_column("safe-at-1"))
    return Table("Models", columns, groups, is_sortable=is_sortable)


def written(path: Path, *tables: Table) -> Path:
    sections = [Section("figures", "Figures", join(map(html_table, tables)))]
    path.write_text(assemble("Tables", "to sort", with_glossary(sections)))
    return path


def names(shown: Locator) -> list[str]:
    return shown.locator("tbody th").all_inner_texts()


def heading(page: Page, name: str) -> Locator:
    return page.locator("thead th", has_text=name).first


@pytest.fixture
def page(tmp_path: Path, open_page) -> Page:
    return open_page(written(tmp_path / "one.html", table(rows(list(FIGURES))))).page


def test_figures_are_sorted_by_number_with_missing_ones_last_and_the_third_click_restores(page: Page):
    shown, safe = page.locator("table"), heading(page, "Safe@1")
    safe.get_by_role("button").click()
    expect(safe).to_have_attribute("aria-sort", "descending")
    assert names(shown) == [*BY_FIGURE, *WITHOUT]
    safe.get_by_role("button").click()
    expect(safe).to_have_attribute("aria-sort", "ascending")
    assert names(shown) == [*reversed(BY_FIGURE), *WITHOUT]
    safe.get_by_role("button").click()
    assert safe.get_attribute("aria-sort") is None
    assert names(shown) == list(FIGURES)


def test_times_are_sorted_by_their_length(tmp_path: Path, open_page):
    times = {"model-1": "47:12", "model-2": "2:00:05", "model-3": "", "model-4": "0:09", "model-5": "10:00:00"}
    timed = tuple((cell(name), cell(clock)) for name, clock in times.items())
    table = Table("Models", (text_column("Model"), *figure_columns("Time")), (timed,), is_sortable=True)
    page = open_page(written(tmp_path / "times.html", table)).page
    heading(page, "Time").get_by_role("button").click()
    assert names(page.locator("table")) == ["model-5", "model-2", "model-1", "model-4", "model-3"]
    heading(page, "Time").get_by_role("button").click()
    assert names(page.locator("table")) == ["model-4", "model-1", "model-2", "model-5", "model-3"]


def test_names_are_sorted_by_their_letters_and_numbers_and_one_column_is_marked(page: Page):
    heading(page, "Safe@1").get_by_role("button").click()
    heading(page, "Model").get_by_role("button").click()
    assert names(page.locator("table")) == sorted(FIGURES, key=lambda name: int(name[6:]))
    assert page.locator("[aria-sort]").count() == 1


def test_the_keyboard_sorts_and_a_heading_keeps_its_definition(page: Page):
    heading(page, "Safe@1").get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert names(page.locator("table"))[0] == "model-9"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#definition")).to_contain_text("averaged over the harmful prompts")
    page.keyboard.press("Space")
    expect(heading(page, "Safe@1")).to_have_attribute("aria-sort", "ascending")
    assert page.locator("thead button a").count() == 0


def test_rows_stay_in_their_groups_unless_each_group_is_one_row(tmp_path: Path, open_page):
    groups = table(rows(["model-10", "model-9"]), rows(["model-2", "model-5"]))
    single = table(*(rows([name]) for name in FIGURES))
    page = open_page(written(tmp_path / "groups.html", groups, single)).page
    for place, expected in ((0, ["model-9", "model-10", "model-5", "model-2"]), (1, [*BY_FIGURE, *WITHOUT])):
        shown = page.locator("table").nth(place)
        shown.locator("thead button", has_text="Safe@1").click()
        assert names(shown) == expected


def test_tables_whose_rows_need_each_other_have_no_buttons(tmp_path: Path, open_page):
    page = open_page(written(tmp_path / "plain.html", table(rows(list(FIGURES)), is_sortable=False))).page
    assert page.locator("thead button").count() == 0
    assert page.locator("thead a.term").count() == 1


def test_the_tables_of_a_run_are_sorted(tmp_path: Path, open_page):
    settings = [setting(), setting("zerothink"), setting("lessthink")]
    write_run(tmp_path, settings, varied(settings, 20), [("guard", "response")])
    page = open_page(Path(write_report(open_folder(str(tmp_path))))).page
    shown = page.locator("#figures table").first
    shown.get_by_role("button", name="Safe@1", exact=True).click()
    figures = [float(value) for value in shown.locator("tbody td:nth-child(2) strong").all_inner_texts()]
    assert figures == sorted(figures, reverse=True)
    assert len(figures) == 3


def test_without_script_the_table_is_as_the_file_has_it(tmp_path: Path, chromium):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written(tmp_path / "one.html", table(rows(list(FIGURES)))).as_uri())
    assert names(page.locator("table")) == list(FIGURES)
    assert page.locator("thead button").count() == 0
    page.locator("thead a.term").click()
    expect(page.locator("#term-safe-at-1")).to_be_in_viewport()
    context.close()
