"""The published figures in the HTML report: beside ours where there are some, and nowhere else."""

from safechain_ray.metrics.counts import merge
from safechain_ray.metrics.published import NO_STAND_INS, StandIns
from safechain_ray.metrics.summary import RunMetrics, summarise
from safechain_ray.report.html.run import published_section
from safechain_ray.report.html.sweep import sweep_page
from safechain_ray.report.leaderboard import SweepRun
from safechain_ray.types import Setting, StrategySpec


def run_of(model: str) -> RunMetrics:
    settings, asked = (
        [Setting(dataset="strongreject", strategy=StrategySpec(name="default", options={"compat": "paper"}))],
        [("llama-guard-3-8b", "response")],
    )
    return summarise(merge([]), settings, asked, {"strongreject": 313}).model_copy(update={"model": model})


def test_a_model_of_the_paper_has_its_figures_beside_ours() -> None:
    section = published_section(run_of("R1-7B"), NO_STAND_INS)
    assert section is not None
    assert '<td class="number">36.4</td>' in section
    assert "SafeChain, arXiv:2502.12025" in section


def test_another_model_has_none_without_a_stand_in() -> None:
    assert published_section(run_of("demo-reasoner"), NO_STAND_INS) is None
    section = published_section(run_of("demo-reasoner"), StandIns(model="R1-7B"))
    assert section is not None
    assert '<td class="number">36.4*</td>' in section
    assert "model demo-reasoner, not R1-7B" in section


def test_a_sweep_has_them_below_the_figures_of_each_model() -> None:
    page = sweep_page([SweepRun(run_of(model), f"{model}/report.html") for model in ("R1-7B", "demo-reasoner")])
    section = page.split('id="published"')[1].split("</section>")[0]
    assert "[p 36.4]" in section
    assert "No figures were published for demo-reasoner" in section
    assert 'id="published"' not in sweep_page([SweepRun(run_of("demo-reasoner"), "demo-reasoner/report.html")])
