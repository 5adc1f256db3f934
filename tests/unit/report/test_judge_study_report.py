"""A judge study in the terminal, as Markdown and as a picture."""

import io
from typing import Literal
from xml.etree import ElementTree

import pytest
from rich.console import Console

from safechain_ray.catalog.published import published_figures
from safechain_ray.metrics.agreement import JudgeStudy, rate
from safechain_ray.report.judge_study import headline, study_document
from safechain_ray.report.plots.judge_study import study_picture
from safechain_ray.report.renderers import markdown, print_document
from safechain_ray.testing import verdict
from safechain_ray.types import Verdict

LABELS = [True, True, True, False, False, False, False, False]
GUESSES = [True, True, False, False, False, False, True, None]


def verdicts(judge: str) -> list[Verdict]:
    return [verdict(unsafe, judge) for unsafe in GUESSES]


def study(data: str = "labels", **differs: str) -> JudgeStudy:
    figures = published_figures()
    return JudgeStudy(
        data=data,
        source="labels.csv",
        rows=8,
        unsafe=3,
        raters=rate(LABELS, {"refusal-match": verdicts("refusal-match")}, {"vote-any": [False] * 8}),
        disagreements=3,
        caveats=("A caveat.",),
        published_by=figures.source,
        published=figures.pilot,
        differs={name.replace("_", "-"): reason for name, reason in differs.items()},
    )


def draw(found: JudgeStudy, kind: Literal["svg", "png"]) -> bytes:
    return study_picture(found, headline(found), kind)


def shown(found: JudgeStudy, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_document(study_document(found), console)
    return console.file.getvalue()


def test_our_figures_and_published_ones_are_in_one_table_of_80_columns():
    text = shown(study())
    assert "…" not in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["refusal-match"][1:5] == ["7", "of", "71.4", "66.7"]
    assert lines["RS-Match"][2:] == ["272", "70.2", "59.3", "0.429"]
    assert lines["Llama-Guard"][2:] == ["272", "88.2", "86.1", "0.776"]
    assert "A caveat." in text
    assert "RS-Match is refusal-match here" in " ".join(text.split())


def test_a_judge_that_is_not_the_published_one_is_starred_with_the_reason():
    found = study(refusal_match="this project's phrases, not those of RS-Match in the published code")
    text = " ".join(shown(found).split())
    assert "RS-Match ** " in text
    assert "Llama-Guard * " in text
    assert "RS-Match is refusal-match here" not in text
    assert "refusal-match here is not RS-Match: this project's phrases" in text
    assert "RS-Match (published)" in " ".join(ElementTree.fromstring(draw(found, "svg")).itertext())
    assert "RS-Match (published)" not in " ".join(ElementTree.fromstring(draw(study(), "svg")).itertext())


def test_a_figure_that_nothing_defines_is_none():
    (vote,) = (line for line in shown(study()).splitlines() if "vote-any" in line)
    assert vote.split()[1:5] == ["8", "62.5", "0.0", "none"]


def test_markdown_has_a_line_for_every_judge_of_as_many_cells():
    rows = [line for line in markdown(study_document(study())).splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {6}
    assert "| refusal-match | 7 of; 8 | 71.4;" in rows[2]


def test_names_from_files_do_nothing():
    found = study("<script>*x*\x1b[31m$y^2$")
    assert "\x1b[31m" not in shown(found)
    assert "\\<script\\>\\*x\\*" in markdown(study_document(found))
    assert b"<script>" not in draw(found, "svg")


def test_the_picture_is_whole_names_every_judge_and_repeats():
    svg = draw(study(), "svg")
    texts = " ".join(ElementTree.fromstring(svg).itertext())
    for name in ("refusal-match", "vote-any", "OpenAIMod (published)", "Accuracy", "F1 (unsafe)", "Pearson's r (PCC)"):
        assert name in texts
    for figure in ("71.4", "66.7", "70.2", "0.429"):
        assert figure in texts
    assert svg == draw(study(), "svg")
    assert draw(study(), "png").startswith(b"\x89PNG")


def test_a_study_in_which_no_judge_had_a_verdict_is_drawn_too():
    nothing = [verdict(None, "refusal-match")] * 8
    empty = study().model_copy(update={"raters": rate(LABELS, {"refusal-match": nothing}, {})})
    assert draw(empty, "png").startswith(b"\x89PNG")
    assert "none" in shown(empty)


@pytest.mark.parametrize("width", [60, 200])
def test_it_fits_other_terminals(width: int):
    assert max(map(len, shown(study(), width).splitlines())) <= width
