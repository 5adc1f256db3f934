"""The report of a sweep: a leaderboard for each judge, with the figures of each run's metrics.json."""

import re
from dataclasses import replace

from safechain_ray.commands.sweep.record import SweptModel
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.leaderboard import SweepRun, rankings
from safechain_ray.report.plots.comparison import ranking_plot
from safechain_ray.testing import verdict
from safechain_ray.types import Setting
from tests.made_runs.by_samples import ASKED, sample, setting
from tests.unit.report.drawn import hovers, texts

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


def test_a_model_links_to_the_report_in_its_folder_whatever_the_name_in_its_metrics():
    model = SweptModel(model="org--model-8B", folder="org--model-8B", status="done")
    page = sweep_page(
        [replace(run("model-8B", 5, link="org--model-8B/report.html"), folder=model.folder)], models=[model]
    )
    assert '<a href="org--model-8B/report.html">org--model-8B</a>' in page


def test_names_and_links_are_inert():
    page = sweep_page([run("<script>alert(1)</script>", 5, link="javascript:alert(1)")])
    assert "<script>alert" not in page
    assert 'href="javascript%3Aalert%281%29"' in page


def test_the_plot_of_a_ranking_has_every_model_in_every_setting_it_has():
    (ranking, *_) = rankings([run("whole", 10), run("part", 12, (DEFAULT,))])
    plot = ranking_plot(0, ranking)
    assert plot.title == "guard, response"
    for svg in (plot.wide, plot.narrow):
        assert sorted(hover.split(":")[0] for hover in hovers(svg)) == [
            "part; small default; guard, response; Safe@1",
            "whole; small default; guard, response; Safe@1",
            "whole; small zerothink; guard, response; Safe@1",
        ]


def test_names_of_models_and_settings_are_whole_in_the_plot():
    long = setting(dataset="a-data-set-with-a-rather-long-name")
    names = [f"DeepSeek-R1-Distill-Llama-70B-SafeChain-v{version}" for version in (1, 2)]
    (ranking, *_) = rankings([run(name, 10, (long, DEFAULT, ZERO)) for name in names])
    plot = ranking_plot(0, ranking)
    for svg in (plot.wide, plot.narrow):
        for words in (*names, "a-data-set-with-a-rather-long-name default"):
            assert words.replace(" ", "") in "".join(texts(svg)).replace(" ", "")
        assert "…" not in svg
