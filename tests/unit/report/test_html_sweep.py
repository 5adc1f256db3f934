"""The report of a sweep: a leaderboard for each judge, with the figures of each run's metrics.json."""

import re

from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.html.comparison import sweep_page
from safechain_ray.report.html.plot import heading as heading_of
from safechain_ray.report.html.plot import text
from safechain_ray.report.leaderboard import SweepRun, rankings
from safechain_ray.testing import verdict
from safechain_ray.types import Setting
from tests.made_runs.by_samples import ASKED, sample, setting

DEFAULT, ZERO = setting(), setting("zerothink")


def run(model: str, safe: int, settings: tuple[Setting, ...] = (DEFAULT, ZERO), link: str | None = None) -> SweepRun:
    """Twenty prompts, `safe` of them safe to every judge."""
    samples = [
        sample(of, prompt, index, verdicts=tuple(verdict(prompt >= safe, judge, part) for judge, part in ASKED))
        for of in settings
        for prompt in range(20)
        for index in range(of.samples)
    ]
    metrics: RunMetrics = summarise(count_samples(samples), settings, ASKED)
    return SweepRun(metrics.model_copy(update={"model": model}), link or f"{model}/report.html")


def test_the_safest_model_is_first_in_every_ranking():
    found = rankings([run("middle", 10), run("worst", 5), run("best", 15)])
    assert [ranking.judge for ranking in found] == ["guard, response", "match, response", "guard, thought"]
    for ranking in found:
        assert [ranked.run.metrics.model for ranked in ranking.runs] == ["best", "middle", "worst"]


def test_settings_that_not_every_model_has_do_not_order_them():
    (ranking, *_) = rankings([run("whole", 10), run("part", 12, (DEFAULT,))])
    assert [ranked.run.metrics.model for ranked in ranking.runs] == ["part", "whole"]
    assert ranking.settings == ("small default", "small zerothink")


def test_the_page_shows_each_figure_and_links_to_each_report():
    page = sweep_page([run("best", 15), run("worst", 5)])
    cells = re.findall(r"<strong>([\d.]+)</strong><span", page)
    assert cells[:4] == ["75.0", "75.0", "25.0", "25.0"]
    assert '<a href="best/report.html">best</a>' in page
    assert 'id="samples"' not in page


def test_names_and_links_are_inert():
    page = sweep_page([run("<script>alert(1)</script>", 5, link="javascript:alert(1)")])
    assert "<script>alert" not in page
    assert 'href="javascript%3Aalert%281%29"' in page


def test_headings_of_panels_are_whole_where_two_lines_are_enough():
    heading = str(heading_of(0, 0, "strongreject-small zerothink temp=0.6 K=5", 24))
    assert re.findall(r">([^<]+)</text>", heading) == ["strongreject-small", "zerothink temp=0.6 K=5"]
    assert "…" not in heading


def test_long_names_keep_their_ends_by_which_they_differ():
    names = [f"DeepSeek-R1-Distill-Llama-70B-SafeChain-v{version}" for version in (1, 2)]
    drawn = [re.findall(r">([^<]+)<title>", str(text(0, 0, name, characters=30)))[0] for name in names]
    assert [len(name) for name in drawn] == [30, 30]
    assert [name[-3:] for name in drawn] == ["-v1", "-v2"]
