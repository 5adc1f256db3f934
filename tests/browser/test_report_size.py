"""Reports of many samples: everything is found, and the page reports what the file lacks."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import frame, setting, varied, write_run

SETTINGS = (setting(samples=5), setting("zerothink", samples=5))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    folder = tmp_path_factory.mktemp("many")
    samples = varied(SETTINGS, 5_000)
    write_run(folder, SETTINGS, samples)
    return folder, samples


def test_fifty_thousand_samples_load_filter_and_are_searched(many, open_page):
    folder, samples = many
    rows = frame(samples)
    reader = Reader(open_page(Path(write_report(open_folder(str(folder))))).page)
    assert reader.found() == len(samples) == 50_000

    reader.filter(setting="small zerothink", category="Privacy", judge="match", part="response", verdict="unsafe")
    chosen = (
        (rows.setting_id == SETTINGS[1].setting_id)
        & (rows.category == "Privacy")
        & (rows["match response"] == "unsafe")
    )
    assert reader.found() == chosen.sum() > 1_000

    reader.filter(search="answer 4321-")
    reader.page.get_by_role("button", name="Clear").click()
    reader.filter(search="answer 4321-")
    assert reader.found() == rows.answer.str.startswith("Answer 4321-", na=False).sum()
    assert {prompt for _, prompt, _ in reader.listed()} == {"prompt-4321"}

    reader.page.get_by_role("button", name="Clear").click()
    assert reader.found() == 50_000
    reader.page.locator("#list").focus()
    reader.page.keyboard.press("End")
    assert reader.selected() == 50_000


def test_a_file_that_was_cut_off_is_reported(many, open_page, tmp_path: Path):
    folder, _ = many
    written = Path(write_report(open_folder(str(folder)), str(tmp_path / "cut.html"), with_text=2_000))
    page = written.read_bytes()
    written.write_bytes(page[: page.index(b'id="chunk3"') + 5_000])
    opened = open_page(written)
    expect(opened.page.locator("#found")).to_have_text("50,000 of 50,000 samples")
    opened.page.locator("#search").fill("the salt")
    expect(opened.page.locator("#found")).to_contain_text("damaged or cut off")
    assert all(trouble.startswith("error: ") for trouble in opened.troubles)
    opened.troubles.clear()


def test_what_a_limit_leaves_out_is_noted_and_stays_in_the_filters(many, open_page, tmp_path: Path):
    folder, samples = many
    written = write_report(open_folder(str(folder)), str(tmp_path / "small.html"), with_text=2_000)
    reader = Reader(open_page(Path(written)).page)
    assert reader.found() == 50_000

    legend = reader.page.locator("#samples .legend").inner_text()
    count = int(legend.split("The texts of ")[1].split(" of them")[0].replace(",", ""))
    assert 1_800 < count <= 2_000
    reader.filter(search="the salt")
    hits = reader.found()
    answered = sum(each.answer is not None for each in samples) / len(samples)
    assert 0.9 * answered * count < hits <= count
    assert Path(written).stat().st_size < 3_000_000
