"""The SVG of plots: one file's worth of safe markup in the colours of the page, with texts of any language whole."""

import os
import re
import subprocess
import sys
import warnings
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from safechain_ray.report.html.elements import read_asset
from safechain_ray.report.plots.rows import NARROW_COLUMNS, ONE_PANEL_COLUMNS
from safechain_ray.report.plots.sheet import PALETTE
from tests.unit.report.drawn import SVG, hovers, points, texts
from tests.unit.report.made_plot import plot

HOSTILE = "</title></svg><script>alert(1)</script> $x^2$ \x1b[31m& 'a\" ]]>"
CHINESE = "有害内容分类与安全评估的一个很长的类别名称需要换行显示而不能被截断"


def test_nothing_needs_a_style_attribute_or_another_file():
    for svg in (plot().wide, plot().narrow):
        assert not re.search(r"style=|clip-path|url\(|http(?!://www\.w3\.org/2000/svg)|<style|<!--", svg)
        links = re.findall(r'href="(.)', svg)
        assert set(links) == {"#"}


def test_the_ids_of_all_plots_of_a_page_differ():
    pictures = [svg for each in (plot(key="a"), plot(key="b")) for svg in (each.wide, each.narrow)]
    ids = [name for svg in pictures for name in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) == 2 * 4
    for svg in pictures:
        assert set(re.findall(r'href="#([^"]+)', svg)) == set(re.findall(r' id="([^"]+)"', svg))


def test_the_same_figures_give_the_same_bytes():
    assert plot() == plot()


def test_every_colour_is_a_variable_of_the_pages_style_with_the_same_light_colour():
    style = read_asset("report.css")
    used = set(re.findall(r"(?:fill|stroke)=\"([^\"]+)\"", plot().wide + plot().narrow))
    assert used <= {"none", *(f"var(--{name})" for name in PALETTE)}
    for name, colour in PALETTE.items():
        assert f"--{name}: light-dark({colour}," in style


def test_hostile_text_stays_text():
    drawn = plot(HOSTILE)
    for svg in (drawn.wide, drawn.narrow):
        assert "<script" not in svg
        assert "\x1b" not in svg
        root = ElementTree.fromstring(svg)
        assert {node.tag.removeprefix(SVG) for node in root.iter()} == {
            "svg",
            "title",
            "defs",
            "path",
            "use",
            "g",
            "text",
        }
        shown = "</title></svg><script>alert(1)</script> $x^2$ & 'a\" ]]>"
        assert hovers(svg) == [shown, shown]
        assert " ".join(texts(svg, "label")) == shown


@pytest.mark.parametrize("words", [CHINESE, "تصنيف المحتوى", "Категория вреда", "🔥 emoji 🧨", "$x^2$ \\frac"])
def test_texts_of_any_language_are_whole_and_make_no_noise(words: str):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = plot(words)
    for svg in (drawn.wide, drawn.narrow):
        for kind in ("label", "group"):
            assert "".join(texts(svg, kind)).replace(" ", "") == words.replace(" ", "")
    assert len(texts(plot(CHINESE).wide, "label")) > 1


def test_long_labels_are_wrapped_and_whole():
    words = "DeepSeek-R1-Distill-Llama-70B-SafeChain-v2 under a strategy with a long name and many options"
    for svg, columns in ((plot(words).wide, ONE_PANEL_COLUMNS), (plot(words).narrow, NARROW_COLUMNS)):
        lines = texts(svg, "label")
        assert len(lines) > 1
        assert "".join(lines).replace(" ", "") == words.replace(" ", "")
        assert max(map(len, lines)) <= columns


def test_a_label_of_a_whole_page_loses_its_middle_and_its_hover_text_does_not():
    words = "begin " + "x" * 10_000 + " end"
    (hover, *_) = hovers(plot(words).wide)
    shown = "".join(texts(plot(words).wide, "label"))
    assert hover == words
    assert len(shown) < 500
    assert shown.startswith("begin")
    assert shown.endswith("end")


def test_a_hover_text_is_over_the_line_the_mark_and_the_value_of_its_figure():
    first, second = points(plot().wide)
    for (_, group), value in ((first, "50.0"), (second, "70.0")):
        kinds = [(node.tag.removeprefix(SVG), node.get("class")) for node in group]
        assert kinds == [("title", None), ("path", "touch"), ("path", "interval"), ("use", None), ("text", "value")]
        assert group[-1].text == value


def test_the_settings_of_the_user_neither_matter_nor_change():
    wanted = plot()
    mine = {"text.usetex": True, "svg.fonttype": "path", "font.size": 30, "axes.spines.top": True}
    with mpl.rc_context(mine):
        assert plot() == wanted
        assert {key: mpl.rcParams[key] for key in mine} == mine


def test_plots_need_neither_pyplot_nor_a_home_and_commands_without_plots_no_matplotlib():
    code = (
        "import sys, safechain_ray.report.html.write; assert 'matplotlib' not in sys.modules;"
        "from tests.unit.report.made_plot import plot; plot(); assert 'matplotlib.pyplot' not in sys.modules"
    )
    homeless = os.environ | {"MPLCONFIGDIR": "/proc/nothing"}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=homeless, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
