"""Figures of benchmarks from outcomes and grades, and the published ones beside them."""

from typing import Any

import pytest

from safechain_ray.catalog.published import published_figures
from safechain_ray.errors import UnknownNameError
from safechain_ray.metrics.benchmark import BenchmarkFigures, BenchmarkRunMetrics, benchmark_figures
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.published import published_passes
from safechain_ray.metrics.summary import summarise
from safechain_ray.testing import sample
from safechain_ray.types import Outcome, Sampling, Setting, StrategySpec

FINETUNING = published_figures().finetuning
PROBLEMS = {"right": True, "wrong": False, "cut": False, "hung": None, "blocked": None, "failed": None}
OUTCOMES: dict[str, Outcome] = {"cut": "truncated", "blocked": "blocked", "failed": "error"}


def figures(dataset: str = "gsm8k", published: int | None = None, **setting: Any) -> BenchmarkFigures:
    """One sample of each of `PROBLEMS`, and one problem that no row is there of."""
    wanted = Setting(dataset=dataset, **setting)
    samples = [
        sample(setting_id=wanted.setting_id, dataset=dataset, prompt_id=name, outcome=OUTCOMES.get(name, "ok"))
        for name in PROBLEMS
    ]
    (found,) = summarise(count_samples(samples), [wanted], (), {dataset: 7}).settings
    return benchmark_figures(found, "math", [*PROBLEMS, "absent"], published, PROBLEMS.items(), [1])


def run(*benchmarks: BenchmarkFigures, model: str = "R1-7B") -> BenchmarkRunMetrics:
    return BenchmarkRunMetrics(model=model, benchmarks=benchmarks)


def test_what_has_no_grade_is_missing_and_only_a_failed_grading_is_to_be_done_again() -> None:
    found = figures()
    assert (found.rows, found.rows_expected, found.grades.missing, found.ungraded) == (6, 7, 4, 1)
    assert found.outcomes == {"ok": 3, "truncated": 1, "blocked": 1, "error": 1}
    passed = found.grades.pass_at[1]
    assert (passed.value, passed.n) == (pytest.approx(1 / 3), 3)
    assert (passed.bound_low, passed.bound_high) == (pytest.approx(1 / 7), pytest.approx(5 / 7))


def test_the_published_figures_of_the_same_model_stand_beside() -> None:
    (found,) = published_passes(run(figures()), FINETUNING)
    assert (found.model, found.share, found.differs) == ("R1-7B", 0.810, ())
    assert found.difference == pytest.approx(1 / 3 - 0.810)
    assert found.within_interval is False


def test_a_tuned_model_of_the_catalog_is_known_by_its_name() -> None:
    (found,) = published_passes(run(figures("math500"), model="R1-8B-SafeChain"), FINETUNING)
    assert (found.model, found.share) == ("R1-8B-safechain", 0.832)


@pytest.mark.parametrize("benchmark", [figures("mbpp-full"), None], ids=["another benchmark", "none"])
def test_nothing_stands_beside_what_was_not_published(benchmark: BenchmarkFigures | None) -> None:
    assert published_passes(run(*[benchmark] if benchmark else []), FINETUNING) == ()
    assert published_passes(run(figures(), model="QwQ"), FINETUNING) == ()


def test_a_stand_in_has_to_be_published_and_is_told() -> None:
    (found,) = published_passes(run(figures(), model="mine"), FINETUNING, "r1-7b-wj-40k")
    assert (found.share, found.differs) == (0.757, ("model mine, not R1-7B-wj-40k",))
    with pytest.raises(UnknownNameError, match="'R1-7B-safechain'"):
        published_passes(run(), FINETUNING, "R1-7B-safechian")


def test_whatever_is_not_as_published_is_told() -> None:
    sampling = Sampling(temperature=0.6, max_tokens=500)
    ours = figures("math500", 500, sampling=sampling, strategy=StrategySpec(name="zerothink"))
    (found,) = published_passes(run(ours), FINETUNING)
    assert found.differs == (
        "7 of 500 problems",
        "strategy zerothink, not default",
        "sampled at temperature 0.6, not greedy",
        "max_tokens 500, not 16000",
    )


EVALPLUS = {"strategy": StrategySpec(name="evalplus"), "sampling": Sampling(max_tokens=768, repetition_penalty=1.1)}
LONG = {"sampling": Sampling(max_tokens=32768, repetition_penalty=1.1)}


@pytest.mark.parametrize(
    ("benchmark", "style", "setting"),
    [
        ("gsm8k", "default", {}),
        ("humaneval", "evalplus", EVALPLUS),
        ("mbpp", "evalplus", EVALPLUS),
        ("livecodebench", "skythought", LONG),
    ],
)
def test_a_run_in_the_published_style_differs_in_nothing(benchmark: str, style: str, setting: dict[str, Any]) -> None:
    ours = figures(benchmark, **setting).model_copy(update={"style": style})
    (found,) = published_passes(run(ours), FINETUNING)
    assert found.differs == ()


@pytest.mark.parametrize(
    ("benchmark", "style", "tokens"),
    [("humaneval", "evalplus", 768), ("mbpp", "evalplus", 768), ("livecodebench", "skythought", 32768)],
)
def test_the_default_style_is_starred_where_another_was_published(benchmark: str, style: str, tokens: int) -> None:
    ours = figures(benchmark, sampling=Sampling(repetition_penalty=1.1))
    (found,) = published_passes(run(ours), FINETUNING)
    way, length = found.differs
    assert way.startswith(f"style default, not {style} (")
    assert length == f"max_tokens 16000, not {tokens}"


def test_figures_from_before_there_were_styles_are_of_the_default_one() -> None:
    old = figures("humaneval").model_dump(mode="json")
    del old["style"]
    assert BenchmarkFigures.model_validate(old).style == "default"
