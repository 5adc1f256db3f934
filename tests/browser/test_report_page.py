"""The HTML report in a real browser: its figures, its filters, its blur, its keys, its looks."""

import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from playwright.sync_api import expect

from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.write import write_report
from safechain_ray.storage import open_folder
from safechain_ray.types import Sample
from tests.browser.browser_page import Reader, crowded_texts, figures_of
from tests.made_runs.by_samples import ASKED, frame, setting, varied, write_run

SETTINGS = (setting(), setting("zerothink"), setting("lessthink"))


@dataclass(frozen=True)
class Run:
    metrics: RunMetrics
    samples: list[Sample]
    report: Path

    @property
    def rows(self) -> pd.DataFrame:
        return frame(self.samples)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    samples = varied(SETTINGS, 40)
    metrics = write_run(folder, SETTINGS, samples)
    return Run(metrics, samples, Path(write_report(open_folder(str(folder)))))


@pytest.fixture
def reader(run: Run, open_page) -> Reader:
    return Reader(open_page(run.report).page)


def test_every_figure_of_the_table_is_that_of_metrics_json(run: Run, reader: Reader):
    assert reader.figures() == figures_of(run.metrics)


def test_what_went_wrong_is_counted_before_any_figure(run: Run, reader: Reader):
    for outcome in ("error", "blocked", "truncated"):
        count = sum(each.outcomes[outcome] for each in run.metrics.settings)
        assert reader.page.locator(f"[data-count={outcome}] strong").inner_text() == str(count) != "0"
    missing = sum(judge.missing for each in run.metrics.settings for judge in each.judges)
    assert reader.page.locator("[data-count=missing] strong").inner_text() == str(missing)
    keys = reader.page.locator("main > section").evaluate_all("all => all.map(one => one.id)")
    assert keys == ["first", "figures", "plots", "strategies", "run", "samples", "glossary"]


FILTERS = {
    "a setting": ({"setting": "small zerothink"}, lambda rows: rows.setting_id == SETTINGS[1].setting_id),
    "a category": ({"category": "Fraud & theft"}, lambda rows: rows.category == "Fraud & theft"),
    "an outcome": ({"outcome": "blocked"}, lambda rows: rows.outcome == "blocked"),
    "unsafe to any judge": (
        {"verdict": "unsafe"},
        lambda rows: (rows[[" ".join(asked) for asked in ASKED]] == "unsafe").any(axis=1),
    ),
    "safe to one judge of one part": (
        {"judge": "guard", "part": "thought", "verdict": "safe"},
        lambda rows: rows["guard thought"] == "safe",
    ),
    "missing for one judge": (
        {"judge": "match", "verdict": "missing"},
        lambda rows: rows["match response"] == "missing",
    ),
    "judges disagree": (
        {"disagree": True},
        lambda rows: (rows["guard response"] + rows["match response"]).isin(["safeunsafe", "unsafesafe"]),
    ),
    "words of the answer": ({"search": "ANSWER 7-1"}, lambda rows: rows.answer.str.contains("Answer 7-1", na=False)),
    "words with marks of markup": ({"search": "<b>"}, lambda rows: rows.answer.str.contains("<b>", na=False)),
    "all at once": (
        {
            "setting": "small default",
            "category": "Violence",
            "outcome": "ok",
            "verdict": "unsafe",
            "search": "the salt",
        },
        lambda rows: (
            (rows.setting_id == SETTINGS[0].setting_id)
            & (rows.category == "Violence")
            & (rows.outcome == "ok")
            & (rows[[" ".join(asked) for asked in ASKED]] == "unsafe").any(axis=1)
        ),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_shows_exactly_the_rows_that_pandas_selects(run: Run, reader: Reader, name: str):
    wanted, selects = FILTERS[name]
    reader.filter(**wanted)
    rows = run.rows[selects(run.rows)]
    assert reader.found() == len(rows)
    assert sorted(reader.listed()) == sorted(
        zip(rows.setting_id.map(labels()), rows.prompt_id, rows.sample_index + 1, strict=True)
    )


def labels() -> dict[str, str]:
    return {each.setting_id: f"small {each.strategy.name}" for each in SETTINGS}


def test_clearing_the_filters_brings_every_row_back(run: Run, reader: Reader):
    reader.filter(outcome="error", search="nowhere to be found")
    assert reader.found() == 0
    expect(reader.article).to_contain_text("No sample fits")
    reader.page.get_by_role("button", name="Clear").click()
    assert reader.found() == len(run.samples)


def test_a_sample_is_shown_with_its_verdicts_texts_and_facts(run: Run, reader: Reader):
    reader.filter(search="Answer 4-1", setting="small default")
    (seen,) = [
        each
        for each in run.samples
        if (each.setting_id, each.prompt_id, each.sample_index) == (SETTINGS[0].setting_id, "prompt-4", 1)
    ]
    article = reader.article
    for text in (seen.sample_id, seen.prompt, seen.thought, seen.answer, seen.category):
        expect(article).to_contain_text(text)
    verdicts = [row.inner_text().split("\t")[:2] for row in article.locator("table tbody tr").all()]
    words = {True: "unsafe", False: "safe", None: "missing"}
    assert verdicts == [[f"{each.judge}, {each.part}", words[each.unsafe]] for each in seen.verdicts]


def test_texts_start_blurred_and_hidden_from_screen_readers(reader: Reader):
    assert reader.blurred() == {"Prompt": True, "Thought": True, "Answer": True}
    assert reader.page.locator("#list li .start bdi:not(.blurred)").count() == 0
    assert reader.article.locator(".text:not([aria-hidden=true])").count() == 0
    assert "blur" in reader.article.locator(".text").first.evaluate("node => getComputedStyle(node).filter")


def test_a_text_is_shown_on_demand_and_the_next_sample_is_blurred_again(reader: Reader):
    reader.page.get_by_role("button", name="Show the thought").click()
    assert reader.blurred() == {"Prompt": True, "Thought": False, "Answer": True}
    reader.page.get_by_role("button", name="Blur the thought").click()
    assert all(reader.blurred().values())
    reader.press("b")
    assert not any(reader.blurred().values())
    reader.press("j")
    assert all(reader.blurred().values())


def test_one_switch_shows_all_texts_of_all_samples(reader: Reader):
    reader.page.get_by_role("button", name="Show all texts").click()
    for _ in range(2):
        assert not any(reader.blurred().values())
        assert reader.page.locator("#list .blurred").count() == 0
        reader.press("j")
    reader.page.get_by_role("button", name="Blur all texts").click()
    assert all(reader.blurred().values())


def test_samples_are_gone_through_by_keyboard_alone(run: Run, reader: Reader):
    page = reader.page
    page.locator("#list").focus()
    for key, place in (("j", 2), ("ArrowDown", 3), ("k", 2), ("ArrowUp", 1), ("k", 1)):
        page.keyboard.press(key)
        assert reader.selected() == place
    page.keyboard.press("End")
    assert reader.selected() == len(run.samples)
    page.keyboard.press("PageUp")
    assert reader.selected() == len(run.samples) - 50
    page.keyboard.press("Home")
    assert reader.selected() == 1
    page.keyboard.press("Enter")
    expect(reader.article).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Copy link")).to_be_focused()
    for _ in ("Side by side", "Write a note", "Judge, part", "Verdict", "Score", "Show the prompt"):
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Show the prompt")).to_be_focused()
    page.keyboard.press("Enter")
    assert not reader.blurred()["Prompt"]
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_focused()


def test_slash_searches_and_a_question_mark_shows_the_keys(reader: Reader):
    page = reader.page
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("jb?/")  # letters of the search, no commands
    expect(page.locator("#search")).to_have_value("jb?/")
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_tab_reaches_every_control_and_shows_where_it_is(reader: Reader):
    page = reader.page
    page.wait_for_selector("#sample .block")
    wanted = page.evaluate(
        "[...document.querySelectorAll("
        "'a[href], button:not(:disabled), select, input, textarea, summary, [tabindex=\"0\"]')]"
        ".filter(node => node.checkVisibility()).length"
    )
    reached = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        place, run_manifest = page.evaluate(
            "[[...document.querySelectorAll('*')].indexOf(document.activeElement),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(place)
        assert run_manifest != "none"
    assert len(reached) == wanted


def test_every_control_has_a_name(reader: Reader):
    reader.page.wait_for_selector("#sample .block")
    tree = reader.page.locator("body").aria_snapshot()
    for role in ("button", "combobox", "searchbox", "checkbox", "listbox", "link", "img", "region"):
        assert not re.search(rf"- {role}(:| \[|$)", tree, re.MULTILINE), f"a {role} without a name"
    assert re.search(r'- option "[^"]+" \[selected\]', tree)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(run: Run, open_page, scheme: str):
    page = open_page(run.report, scheme=scheme).page
    reader = Reader(page)
    page.get_by_role("button", name="Show all texts").click()
    faint = [(ratio, words) for ratio, words in reader.contrasts() if ratio < 4.5]
    assert faint == []
    assert len(reader.contrasts()) > 100


def test_the_button_turns_light_into_dark_and_back(reader: Reader):
    ground = "getComputedStyle(document.body).backgroundColor"
    light = reader.page.evaluate(ground)
    button = reader.page.get_by_role("button", name="Dark or light")
    button.click()
    assert reader.page.evaluate(ground) != light
    button.click()
    assert reader.page.evaluate(ground) == light


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_no_width_scrolls_the_page_sideways(run: Run, open_page, width: int):
    page = open_page(run.report, width=width).page
    page.wait_for_selector("#sample .block")
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("width", "shown"), [(390, "narrow"), (768, "narrow"), (1280, "wide")])
def test_each_plot_shows_the_picture_for_the_width_of_the_page_with_whole_texts(
    run: Run, open_page, width: int, shown: str
):
    page = open_page(run.report, width=width).page
    pictures = page.locator("figure svg").all()
    kinds = [picture.get_attribute("class") for picture in pictures if picture.is_visible()]
    assert kinds == [shown] * (len(pictures) // 2) != []
    assert crowded_texts(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "drawn"), [(390, 360), (1280, 1040)])
def test_the_plot_that_shows_is_saved_as_svg_and_png_in_its_own_colours(
    run: Run, open_page, scheme: str, width: int, drawn: int
):
    page = open_page(run.report, scheme=scheme, width=width).page
    for kind in ("SVG", "PNG"):
        with page.expect_download() as downloading:
            page.get_by_role("button", name=f"Save Safety by setting and judge as {kind}").click()
        data = Path(downloading.value.path()).read_bytes()
        assert downloading.value.suggested_filename == f"safety.{kind.lower()}"
        if kind == "PNG":
            assert data.startswith(b"\x89PNG")
            assert int.from_bytes(data[16:20]) == 2 * (drawn + 2 * 16)
            assert len(data) > 10_000
        else:
            marks = list(ElementTree.fromstring(data).iter("{http://www.w3.org/2000/svg}use"))
            series = {"light": "rgb(28, 106, 156)", "dark": "rgb(116, 185, 232)"}[scheme]
            assert marks[0].get("fill") == series
            assert all(mark.get("fill", "").startswith("rgb(") for mark in marks)
            assert b"class=" not in data
            assert b"var(" not in data


def test_a_pointer_over_a_figure_makes_its_line_stronger(reader: Reader):
    point = reader.page.locator("figure .wide .point").first
    line = point.locator(".interval")
    opacity = "node => getComputedStyle(node).strokeOpacity"
    assert line.evaluate(opacity) == "0.55"
    point.locator("use").hover()
    assert line.evaluate(opacity) == "1"


def test_the_page_can_neither_fetch_nor_run_nor_parse_anything_else(run: Run, open_page):
    opened = open_page(run.report)
    opened.page.wait_for_selector("#sample .block")
    refused = opened.page.evaluate(
        """async () => {
            const refused = [];
            document.addEventListener("securitypolicyviolation", (event) => refused.push(event.effectiveDirective));
            const attempts = [
                () => { document.body.innerHTML = "<b>x</b>"; },
                () => document.body.append(Object.assign(document.createElement("style"), { textContent: "*{}" })),
                () => fetch("https://example.org/"),
                () => { new Image().src = "https://example.org/x.png"; },
            ];
            for (const attempt of attempts) {
                try { await attempt(); } catch { /* the event reports it */ }
                await new Promise((done) => setTimeout(done, 50));
            }
            return refused;
        }"""
    )
    assert refused == ["require-trusted-types-for", "style-src-elem", "connect-src", "img-src"]
    opened.troubles.clear()
    opened.requests.clear()
