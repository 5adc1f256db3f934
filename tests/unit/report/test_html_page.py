"""The assembly of the HTML report: markup that no text breaks, data that comes back whole, sections in their order."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.errors import InputError
from safechain_ray.report.html import samples as samples_module
from safechain_ray.report.html.elements import element, join
from safechain_ray.report.html.run import run_page
from safechain_ray.report.html.sample_sources import pack_samples
from safechain_ray.report.html.samples import PackedSamples, packed
from safechain_ray.report.html.write import write_report
from safechain_ray.runs.folder import RunFolder
from safechain_ray.storage import open_folder
from safechain_ray.testing import verdict
from safechain_ray.types import samples_table, verdicts_table
from tests.made_runs.by_samples import sample, setting, varied, write_run
from tests.unit.report.unpacked import unpacked

SETTINGS = (setting(), setting("zerothink"))


def ids_of(data: PackedSamples) -> list[str]:
    """The sample_id of each row."""
    if not data.ids.startswith("."):
        return unpacked(data.ids)
    return re.findall(".{16}", b64decode(data.ids[1:]).hex())


def stored(folder: Path, settings=SETTINGS, samples=None, **run: Any) -> tuple[RunFolder, str]:
    """A run's folder, and its page."""
    metrics = write_run(folder, settings, varied(settings, 6) if samples is None else samples, **run)
    folder_of_run = RunFolder(open_folder(str(folder)))
    return folder_of_run, run_page(metrics, folder_of_run.read_run(), pack_samples(folder_of_run, metrics))


class Reading(HTMLParser):
    """What an HTML parser makes of a piece of markup: its tags, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes = dict(attributes)

    def handle_data(self, data):
        self.text += data


@given(st.text())
def test_no_text_becomes_markup(text: str):
    read = Reading(element("p", text, title=text, data_x=text))
    assert read.tags == ["p"]
    assert set(read.attributes) == {"title", "data-x"}
    assert read.attributes["title"] == read.text


def test_an_element_leaves_out_what_is_none_and_flattens_lists():
    assert element("td", "4 < 5", None, [element("b", 1), "&"], class_="number", hidden=None, x=1.0, y=0.456) == (
        '<td class="number" x="1" y="0.46">4 &lt; 5<b>1</b>&amp;</td>'
    )
    assert element("input", checked=True, disabled=False, tabindex=0) == '<input checked tabindex="0">'
    assert join("a", None, ["b"]) == "ab"


@given(st.recursive(st.none() | st.text(st.characters(exclude_categories=())) | st.integers(), st.lists))
def test_packed_data_comes_back_and_means_nothing_to_html(value: Any):
    data = packed(value)
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", data)
    assert unpacked(data) == value


def test_sections_are_in_the_order_of_reading(tmp_path: Path):
    _, page = stored(tmp_path)
    places = [page.index(f'<section id="{key}"') for key in ("first", "figures", "plots", "run", "samples")]
    assert places == sorted(places)


def test_the_policy_names_the_one_script_and_the_one_style_by_their_hashes(tmp_path: Path):
    _, page = stored(tmp_path)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    directives = dict(part.split(" ", 1) for part in policy.replace("&#x27;", "'").split("; "))
    (style,), (script,) = (
        re.findall(r"<style>(.*?)</style>", page, re.S),
        re.findall(r"<script>(.*?)</script>", page, re.S),
    )
    assert directives.pop("style-src") == f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    assert directives.pop("script-src") == f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    assert directives.pop("img-src") == "data:"
    assert directives == {
        **dict.fromkeys(("default-src", "base-uri", "form-action", "trusted-types"), "'none'"),
        "require-trusted-types-for": "'script'",
    }


def test_the_page_names_no_address_outside_itself(tmp_path: Path):
    _, page = stored(tmp_path)
    assert set(re.findall(r"https?://[^\"'<>\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", page)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path):
    assert stored(tmp_path)[1] == stored(tmp_path)[1]


def test_the_index_holds_every_sample_and_the_chunks_its_texts(tmp_path: Path):
    samples = varied(SETTINGS, 100)
    metrics = write_run(tmp_path, SETTINGS, samples)
    data = pack_samples(RunFolder(open_folder(str(tmp_path))), metrics)
    index, ids = unpacked(data.index), ids_of(data)
    texts = [text for chunk in data.chunks for text in unpacked(chunk)]

    assert (data.rows, data.with_text, len(texts)) == (400, 400, 400)
    assert index["settingIds"] == [each.setting_id for each in SETTINGS]
    by_id = {each.sample_id: each for each in samples}
    codes = {True: "u", False: "s", None: "m"}
    for row, number in enumerate(index["text"]):
        (prompt, thought, answer, response, error), _, _ = texts[number]
        of = by_id[ids[row]]
        assert (prompt, thought, answer, response, error) == (of.prompt, of.thought, of.answer, None, of.error)
        assert index["prompts"]["id"][index["prompt"][row]] == of.prompt_id
        assert index["categories"][index["prompts"]["category"][index["prompt"][row]]] == of.category
        assert (index["outcome"][row], index["index"][row]) == (of.outcome, of.sample_index)
        verdicts = {(verdict.judge, verdict.part): verdict.unsafe for verdict in of.verdicts}
        asked = [(judge["judge"], judge["part"]) for judge in index["judges"]]
        assert index["verdicts"][row] == "".join(codes[verdicts.get(judge)] for judge in asked)


@pytest.mark.parametrize(
    ("prompts", "starts"),
    [
        (
            ["Write one short function that adds two numbers.", "Write one short function that sorts."],
            ["… adds", "… sorts"],
        ),
        (["Write one", "Write two"], ["Write one", "Write two"]),
        (["The same prompt for both of the samples"] * 2, ["… samples"] * 2),
        (["Only one prompt, so nothing is shared"], ["Only one prompt"]),
    ],
)
def test_the_list_leaves_out_the_words_that_all_prompts_start_with(
    tmp_path: Path, prompts: list[str], starts: list[str]
):
    samples = [sample(setting(samples=1), number, prompt=text) for number, text in enumerate(prompts)]
    metrics = write_run(tmp_path, [setting(samples=1)], samples)
    index = unpacked(pack_samples(RunFolder(open_folder(str(tmp_path))), metrics).index)
    shown = index["prompts"]["start"]
    assert [text.startswith(start) for text, start in zip(shown, starts, strict=True)] == [True] * len(prompts)


def test_ids_of_other_lengths_and_letters_are_kept(tmp_path: Path):
    of = setting(samples=1)
    for name, found in (
        ("lengths", ["a", "b2", "0123456789abcdef"]),
        ("letters", ["ä", "ö", "\U0001f600"]),
        ("one", ["only"]),
    ):
        samples = [sample(of, number, sample_id=each) for number, each in enumerate(found)]
        metrics = write_run(tmp_path / name, [of], samples, [("guard", "response")])
        assert ids_of(pack_samples(RunFolder(open_folder(str(tmp_path / name))), metrics)) == found


def test_notes_are_of_one_run_and_stay_with_it_when_a_judge_is_added(tmp_path: Path):
    def key(name: str, judge: str = "guard", **run: Any) -> str:
        metrics = write_run(tmp_path / name, [setting()], varied([setting()], 3), [(judge, "response")], **run)
        return unpacked(pack_samples(RunFolder(open_folder(str(tmp_path / name))), metrics).index)["run"]

    late = {"late": {"identity": {"name": "late"}, "parts": ["response"]}}
    assert key("one") == key("two") == key("three", added=late)
    assert key("one") != key("four", judge="another")


def test_a_response_without_thinking_tags_is_kept_whole(tmp_path: Path):
    of = setting()
    metrics = write_run(tmp_path, [of], [sample(of, 0, thought=None, answer=None, response="All of it.")])
    (chunk,) = pack_samples(RunFolder(open_folder(str(tmp_path))), metrics).chunks
    assert unpacked(chunk)[0][0][3] == "All of it."


def test_verdicts_that_were_added_later_are_with_the_others(tmp_path: Path):
    of = setting(samples=1)
    plain = sample(of, 0)
    metrics = write_run(tmp_path, [of], [plain], [("guard", "response"), ("late", "answer")])
    folder = RunFolder(open_folder(str(tmp_path)))
    late = sample(of, 0, verdicts=(verdict(True, "late", "answer", score=0.9, categories=("S2",)),))
    folder.verdicts("late").write_parquet("part.parquet", verdicts_table(samples_table([late])))
    data = pack_samples(folder, metrics)
    assert unpacked(data.index)["verdicts"] == ["su"]
    assert unpacked(data.chunks[0])[0][2] == [[0.1, [], None, None], [0.9, ["S2"], None, None]]


def test_samples_without_texts_have_the_decisions_of_added_judges(tmp_path: Path):
    of = setting(samples=1)
    prompts = [sample(of, number) for number in range(3)]
    metrics = write_run(tmp_path, [of], prompts, [("guard", "response"), ("late", "answer")])
    folder = RunFolder(open_folder(str(tmp_path)))
    decided = [
        sample(of, number, verdicts=(verdict(unsafe, "late", "answer", error=error),))
        for number, (unsafe, error) in enumerate([(True, None), (False, None), (None, "it failed")])
    ]
    folder.verdicts("late").write_parquet("part.parquet", verdicts_table(samples_table(decided)))
    with_all, without = pack_samples(folder, metrics), pack_samples(folder, metrics, with_text=0)
    assert unpacked(without.index)["verdicts"] == unpacked(with_all.index)["verdicts"] == ["su", "ss", "sm"]
    assert without.chunks == ()


@pytest.mark.parametrize("limit", [0, 1, 50, 399])
def test_a_limit_keeps_about_as_many_texts_and_never_more(tmp_path: Path, limit: int):
    metrics = write_run(tmp_path, SETTINGS, varied(SETTINGS, 100))
    folder = RunFolder(open_folder(str(tmp_path)))
    data = pack_samples(folder, metrics, limit)
    assert data.rows == 400
    assert limit - 3 * limit**0.5 <= data.with_text <= limit
    assert sum(text >= 0 for text in unpacked(data.index)["text"]) == data.with_text
    page = run_page(metrics, folder.read_run(), data)
    assert f"The texts of {data.with_text} of them, drawn at random" in page


def test_long_texts_leave_room_for_fewer_samples_unless_a_number_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    metrics = write_run(tmp_path, SETTINGS, varied(SETTINGS, 100))
    folder = RunFolder(open_folder(str(tmp_path)))
    stored = sum(file.size for file in folder.samples.list_facts())
    assert pack_samples(folder, metrics).with_text == 400
    monkeypatch.setattr(samples_module, "TEXT_BYTES", stored // 4)
    assert 70 <= pack_samples(folder, metrics).with_text <= 100
    assert pack_samples(folder, metrics, with_text=400).with_text == 400


def test_the_report_is_in_the_runs_folder_or_at_the_given_target(tmp_path: Path):
    stored(tmp_path / "run")
    folder = open_folder(str(tmp_path / "run"))
    written = Path(write_report(folder))
    assert written == tmp_path / "run" / "report.html"
    elsewhere = Path(write_report(folder, f"file://{tmp_path}/new/there.html").removeprefix("file://"))
    assert elsewhere.read_bytes() == written.read_bytes()


def test_a_folder_with_figures_alone_is_refused_with_what_to_do(tmp_path: Path):
    stored(tmp_path)
    (tmp_path / "run.json").unlink()
    for file in (tmp_path / "samples").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"no run\.json beside its figures\. Fix: copy the whole folder"):
        write_report(open_folder(str(tmp_path)))
