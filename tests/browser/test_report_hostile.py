"""Hostile text in every place that a model, a data set, a judge or a config can reach: it shows, and does nothing."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.run import run_page
from safechain_ray.report.html.sample_sources import pack_samples
from safechain_ray.report.html.samples import PackedSamples, packed
from safechain_ray.report.html.write import write_report
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.testing import verdict
from tests.browser.browser_page import Reader
from tests.made_runs.by_samples import sample, setting, write_run

MARKUP = (
    "</script></title></style></textarea><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
    '<svg onload="window.ran = 3"><iframe src="https://example.org/"></iframe><!-- <script> ]]> &lt;b&gt; $title ${x}'
)
UNSEEN = (
    "\x00 \x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m "
    "\u202egnp.exe\u202c \u2066a\u2069 \u2028 \u2029 \ufeff \U000e0041 \r"
)
HOSTILE = f"start {MARKUP} {UNSEEN} end"
JUDGE = f"guard {HOSTILE}"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return hostile_run(tmp_path)


def hostile_run(folder: Path, *others: str) -> RunFolder:
    """One sample of two holds hostile text wherever there is room for it. `others` are strategies with its prompt."""
    of, *rest = (setting(name, dataset=f"data {HOSTILE}") for name in ("default", *others))
    missing = verdict(None, JUDGE, categories=(HOSTILE,), error=HOSTILE, note=HOSTILE)
    texts = dict.fromkeys(("prompt_id", "category", "prompt", "thought", "answer", "error", "sample_id"), HOSTILE)
    samples = [
        sample(of, 0, **texts, finish_reason=None, verdicts=(missing,)),
        sample(of, 1, prompt_id="the other", verdicts=(verdict(True, JUDGE),)),
        *(sample(each, 0, **texts | {"sample_id": each.strategy.name}, verdicts=(missing,)) for each in rest),
    ]
    metrics = write_run(
        folder,
        [of, *rest],
        samples,
        [(JUDGE, "response")],
        config={"model": HOSTILE, HOSTILE: [HOSTILE]},
        datasets={f"data {HOSTILE}": {"source": HOSTILE, "prompts": 2, "hash": "0"}},
    )
    hostile = metrics.model_copy(update={"model": HOSTILE, "caveats": (HOSTILE,)})
    (folder / "metrics.json").write_text(hostile.model_dump_json())
    return RunFolder(open_folder(str(folder)))


def shown_text(page: Page) -> str:
    """All text that the page shows or a screen reader reads, without data blocks and the values of options."""
    return page.evaluate(
        """() => [document.title, document.body.innerText,
            ...[...document.querySelectorAll("body *:not(script)")].flatMap((node) => [
                ...[...node.attributes].filter((each) => each.name !== "value").map((each) => each.value),
                ...[...node.childNodes].filter((each) => each.nodeType === 3).map((each) => each.data),
            ])].join("\\n")"""
    )


def test_hostile_text_shows_as_text_and_does_nothing(folder: RunFolder, open_page):
    page = open_page(Path(write_report(folder.folder))).page
    reader = Reader(page)
    page.get_by_role("button", name="Show all texts").click()
    expect(reader.article.locator(".text")).to_have_count(4)
    for block in reader.article.locator(".text").all():
        assert MARKUP in block.inner_text()
        names = block.locator(".unseen").all_inner_texts()
        for name in ("NUL", "ESC", "BEL", "U+009B", "RLO", "PDF", "U+2066", "U+2028", "U+FEFF", "U+E0041", "CR"):
            assert name in names
    expect(reader.article.locator(".verdicts")).to_contain_text(MARKUP)

    assert page.evaluate("window.ran") is None
    assert page.locator("img, iframe, svg [onload], textarea").count() == 0
    assert page.locator("script:not([type])").count() == 1
    assert page.evaluate("document.title").startswith("Safety of start </script>")


def test_no_character_acts_on_the_direction_of_reading_or_a_terminal(folder: RunFolder, open_page):
    page = open_page(Path(write_report(folder.folder))).page
    reader = Reader(page)
    page.get_by_role("button", name="Show all texts").click()
    assert not any(reader.blurred().values())
    acting = re.findall(r"[\x00\x07\x1b\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown_text(page))
    assert acting == []


def test_the_filters_work_with_hostile_names(folder: RunFolder, open_page):
    page = open_page(Path(write_report(folder.folder))).page
    reader = Reader(page)
    assert reader.found() == 2
    for name in ("category", "judge"):
        names = page.locator(f"#by-{name} option").all_inner_texts()
        page.locator(f"#by-{name}").select_option(label=next(each for each in names if MARKUP in each))
    reader.filter(verdict="missing")
    assert reader.found() == 1
    reader.filter(search="<script>window.ran = 1</script>")
    assert reader.found() == 1
    assert page.evaluate("window.ran") is None


def test_links_columns_and_notes_of_hostile_text_are_inert(tmp_path: Path, open_page):
    """The link, the columns side by side, the note, its label, and the files that notes are exported to."""
    page = open_page(Path(write_report(hostile_run(tmp_path, "zerothink").folder))).page
    reader = Reader(page)
    page.locator("#list li").nth(1).click()
    page.locator("#list li").first.click()
    expect(reader.article).to_contain_text(MARKUP)
    assert page.evaluate("decodeURIComponent(location.hash)") == f"#sample={HOSTILE}"
    page.get_by_role("button", name="Side by side").click()
    page.get_by_label("Compare samples").select_option("settings")
    expect(reader.article.locator(".column h4")).to_contain_text([MARKUP, MARKUP])
    page.get_by_role("button", name="Write a note").click()
    page.locator("#note-label").fill(MARKUP)
    page.locator("#note-text").fill(HOSTILE)
    expect(page.locator("#list li").first.locator(".noted")).to_contain_text("</script>")
    page.locator("#by-note").select_option(index=3)
    assert reader.found() == 1
    page.get_by_role("button", name="Notes", exact=True).click()
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export as JSONL").click()
    written = json.loads(Path(downloading.value.path()).read_text(encoding="utf-8"))
    assert (written["sample_id"], written["prompt_id"], written["label"]) == (HOSTILE, HOSTILE, MARKUP[:80])
    page.locator("#notes-close").click()

    assert page.evaluate("window.ran") is None
    assert page.locator("img, iframe, svg [onload]").count() == 0
    acting = re.findall(r"[\x00\x07\x1b\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown_text(page))
    assert acting == []


def test_a_link_to_hostile_text_opens_its_sample(folder: RunFolder, open_page):
    page = open_page(Path(write_report(folder.folder)), fragment=f"#sample={quote(HOSTILE)}").page
    expect(page.locator("#sample h3")).to_contain_text(MARKUP)
    assert page.evaluate("window.ran") is None


def test_ten_thousand_categories_are_listed_and_filtered(tmp_path: Path, open_page):
    of = setting(samples=1)
    samples = [sample(of, number, category=f"category {number} {MARKUP}") for number in range(10_000)]
    write_run(tmp_path, [of], samples, [("guard", "response")])
    page = open_page(Path(write_report(open_folder(str(tmp_path))))).page
    reader = Reader(page)
    assert page.locator("#by-category option").count() == 10_001
    page.locator("#by-category").select_option(index=5_000)
    assert reader.found() == 1
    assert page.evaluate("window.ran") is None


def test_half_of_a_surrogate_pair_shows_by_its_number(folder: RunFolder, open_page, tmp_path: Path):
    metrics = RunMetrics.model_validate_json(folder.folder.read_text("metrics.json"))
    run = folder.read_run()
    whole = pack_samples(folder, metrics)
    texts = ["\ud83d lone", "whole \U0001f600", "\ude00", None, None]
    chunk = packed([[texts, [None] * 7, [None]]] * 2)
    page = run_page(metrics, run, PackedSamples(whole.index, whole.ids, (chunk,), 2, 2))
    (tmp_path / "surrogates.html").write_text(page, encoding="utf-8")

    reader = Reader(open_page(tmp_path / "surrogates.html").page)
    shown = reader.article.locator(".text").all_inner_texts()
    assert shown == ["U+D83D lone", "whole \U0001f600", "U+DE00"]


MANY_UNSEEN = ("\u200b\u2060" * 75_000, "\u200b" * 2_000_000, "\x00 " * 300_000)


def test_a_text_of_many_unseen_characters_shows_and_hides_no_other_sample(tmp_path: Path, open_page):
    of = setting(samples=1)
    samples = [sample(of, number, answer=f"start {unseen} end") for number, unseen in enumerate((*MANY_UNSEEN, ""))]
    write_run(tmp_path, [of], samples, [("guard", "response")])
    page = open_page(Path(write_report(open_folder(str(tmp_path))))).page
    reader = Reader(page)
    page.get_by_role("button", name="Show all texts").click()
    for number in range(len(samples)):
        page.locator("#list li").nth(number).click()
        expect(reader.article.locator("h3")).to_contain_text(f"prompt-{number}")
        shown = reader.article.locator("[aria-label=Answer] .text").text_content()
        assert shown.startswith("start ")
        assert " end" in shown[-60:]
        assert reader.article.locator(".unseen").count() <= 5_000
    assert reader.found() == len(samples)
    page.locator("#list li").first.click()
    expect(reader.article.locator("[aria-label=Answer] .unseen").last).to_have_text(
        "148,000 more characters that do not show"
    )
