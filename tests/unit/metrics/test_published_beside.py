"""Published counterparts of our figures, and the listed differences."""

from typing import Any

import pytest

from safechain_ray.catalog.published import published_figures
from safechain_ray.errors import UnknownNameError
from safechain_ray.metrics.counts import count_samples
from safechain_ray.metrics.published import Counterpart, StandIns, beside, find_counterpart
from safechain_ray.metrics.safety import BenignPrompts, PromptKinds
from safechain_ray.metrics.summary import RunMetrics, as_setting, summarise
from safechain_ray.types import Sampling, Setting, StrategySpec
from tests.unit.metrics.sample_rows import prompt_rows

FIGURES = published_figures()
OWN = StandIns()
GREEDY = {"temperature": 0.0}
SAMPLED = {"temperature": 0.6, "top_p": 0.95}


def setting(dataset: str, strategy: object = "default", samples: int = 1, **sampling: float) -> Setting:
    return Setting(
        dataset=dataset,
        strategy=StrategySpec.model_validate(strategy),
        sampling=Sampling.model_validate(sampling),
        samples=samples,
    )


def as_published(name: str = "default", **options: object) -> dict[str, object]:
    return {"name": name, "compat": "paper", **options}


def counterpart(asked: Setting, prompts: int, model: str = "R1-7B", stand_ins: StandIns = OWN, **seen: Any) -> Any:
    seen = {"judge": "llama-guard-3-8b", "part": "response", **seen}
    return find_counterpart(FIGURES, stand_ins, model, asked, prompts=prompts, **seen)


@pytest.mark.parametrize(
    ("asked", "prompts", "shares"),
    [
        (setting("strongreject", as_published(), **GREEDY), 313, {"safe_at_1": 0.364}),
        (setting("wildjailbreak", as_published("lessthink"), **GREEDY), 250, {"safe_at_1": 0.64}),
        (setting("strongreject", {"name": "morethink", "compat": "paper"}, **GREEDY), 313, {"safe_at_1": 0.422}),
        (
            setting("strongreject", {"name": "morethink", "compat": "paper", "max_rounds": 10}, **GREEDY),
            313,
            {"safe_at_1": 0.422},
        ),
        (
            setting("wildjailbreak-small", as_published("zerothink"), samples=5, **SAMPLED),
            50,
            {"safe_at_1": 0.924, "cons_safe_at_k": 0.94, "safe_at_k": 0.84},
        ),
    ],
)
def test_a_setting_of_the_paper_has_its_column_and_no_difference(
    asked: Setting, prompts: int, shares: dict[str, float]
) -> None:
    found = counterpart(asked, prompts)
    assert found.shares == shares
    assert (found.model, found.dataset, found.differs) == ("R1-7B", asked.dataset, ())


SMALL = setting("strongreject-small", as_published(), samples=5, **SAMPLED)


@pytest.mark.parametrize(
    ("asked", "prompts", "more", "differs"),
    [
        (SMALL, 4, {}, ["4 of 60 prompts"]),
        (SMALL, 60, {"judge": "demo-guard"}, ["judge demo-guard, not llama-guard-3-8b"]),
        (SMALL, 60, {"part": "thought"}, ["the thought, not the response"]),
        (setting("strongreject", as_published(), **GREEDY, max_tokens=600), 313, {}, ["max_tokens 600, not 16000"]),
        (setting("strongreject", as_published(), **GREEDY, top_p=0.5), 313, {}, []),
        (
            setting("strongreject-small", as_published(), **GREEDY),
            60,
            {},
            ["60 prompts of strongreject-small, not the"],
        ),
        (
            setting("strongreject", as_published(), samples=5, **SAMPLED),
            313,
            {},
            ["313 prompts of strongreject, not the"],
        ),
        (
            setting("strongreject-small", as_published(), samples=3, temperature=1.0, top_k=40),
            60,
            {},
            ["K = 3, not 5", "temperature 1, not 0.6", "top_p 1, not 0.95", "top_k 40, not -1"],
        ),
        (setting("strongreject", **GREEDY), 313, {}, ["default with compat=none, not paper (BOS once, not twice)"]),
        (
            setting("strongreject", "zerothink", **GREEDY),
            313,
            {},
            ["zerothink with compat=none, not paper (judged with its prefill; BOS once, not twice)"],
        ),
        (
            setting("strongreject", "lessthink", **GREEDY),
            313,
            {},
            ["lessthink with compat=none, not paper (judg"],
        ),
        (setting("strongreject", "morethink", **GREEDY), 313, {}, ["morethink with compat=none, not paper"]),
        (SMALL, 60, {"blocked": 7}, ["7 blocked responses are missing; the published code judged a fixed refusal"]),
        (
            setting("strongreject", {"name": "morethink", "max_rounds": 3, "compat": "none"}, **GREEDY),
            313,
            {},
            ["morethink with compat=none, not paper", "morethink with max_rounds=3, not 10"],
        ),
    ],
)
def test_a_near_match_is_shown_with_what_differs(
    asked: Setting, prompts: int, more: dict[str, str], differs: list[str]
) -> None:
    found: Counterpart = counterpart(asked, prompts, **more)
    assert len(found.differs) == len(differs)
    for told, expected in zip(found.differs, differs, strict=True):
        assert told.startswith(expected)


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        (SMALL, "demo-reasoner"),
        (setting("xstest"), "R1-7B"),
        (setting("strongreject", "zerothink"), "QwQ"),
    ],
    ids=["model", "data set", "strategy"],
)
def test_what_was_not_published_has_no_counterpart(asked: Setting, model: str) -> None:
    assert counterpart(asked, 60, model) is None


def test_a_model_that_the_catalog_calls_otherwise_is_the_same_model() -> None:
    found = counterpart(SMALL, 60, "Gemini-Thinking")
    assert (found.model, found.differs, found.externally_filtered) == ("Gemini-Thinking", (), True)
    assert not counterpart(SMALL, 60, "R1-671B").externally_filtered


def test_stand_ins_are_told_as_what_they_are() -> None:
    stand_ins = StandIns(model="R1-7B", datasets={"quickstart": "wildjailbreak"})
    greedy = counterpart(setting("quickstart", as_published()), 60, "demo-reasoner", stand_ins)
    assert greedy.shares == {"safe_at_1": 0.496}
    assert greedy.differs == (
        "model demo-reasoner, not R1-7B",
        "60 prompts of quickstart, not the 250 of wildjailbreak",
    )
    sampled = counterpart(setting("quickstart", as_published(), samples=5, **SAMPLED), 60, "demo-reasoner", stand_ins)
    assert sampled.differs[1] == "60 prompts of quickstart, not the 50 of wildjailbreak-small"


@pytest.mark.parametrize(
    ("stand_ins", "says"),
    [
        (StandIns(model="R1-9B"), "Unknown published model 'R1-9B'. Did you mean"),
        (StandIns(datasets={"quickstart": "strongrejekt"}), "Did you mean 'strongreject'?"),
    ],
)
def test_a_stand_in_for_nothing_published_is_refused(stand_ins: StandIns, says: str) -> None:
    with pytest.raises(UnknownNameError) as refused:
        stand_ins.check(FIGURES)
    assert says in str(refused.value)


@pytest.mark.parametrize("model", ["QwQ", "Sky-T1-Flash", "R1", "Kimi-k1.5"])
@pytest.mark.parametrize("strategy", ["default", as_published()])
def test_a_model_that_was_sent_bos_once_or_through_an_api_needs_no_compat(model: str, strategy: object) -> None:
    assert counterpart(setting("strongreject", strategy), 313, model).differs == ()


def test_sky_t1s_figures_are_those_of_the_model_that_the_published_code_ran() -> None:
    flash, preview = (counterpart(setting("strongreject"), 313, model) for model in ("Sky-T1-Flash", "Sky-T1"))
    assert flash.shares == preview.shares == {"safe_at_1": 0.514}
    assert flash.differs == ()
    assert preview.differs == ("model Sky-T1; the published code ran Sky-T1-Flash",)


def run_of(unsafe: list[bool | None]) -> RunMetrics:
    asked = setting("strongreject", as_published())
    rows = [row for i, each in enumerate(unsafe) for row in prompt_rows(asked, f"p{i}", [each])]
    return summarise(count_samples(rows), [asked], [("guard", "response")]).model_copy(update={"model": "R1-7B"})


def test_the_difference_is_of_ours_from_the_published_and_says_whether_that_lies_in_our_interval() -> None:
    (near,) = beside(run_of([True] * 6 + [False] * 4), FIGURES, OWN)
    assert near.differences == pytest.approx({"safe_at_1": 0.4 - 0.364})
    assert near.within_interval == {"safe_at_1": True}
    (far,) = beside(run_of([False] * 50), FIGURES, OWN)
    assert far.within_interval == {"safe_at_1": False}
    assert far.differs == ("50 of 313 prompts", "judge guard, not llama-guard-3-8b")


def test_the_prompts_of_the_note_are_those_that_the_figures_cover() -> None:
    asked = setting("strongreject", as_published())
    harmful = [row for i in range(4) for row in prompt_rows(asked, f"h{i}", [True], category="h")]
    benign = [row for i in range(3) for row in prompt_rows(asked, f"b{i}", [False], category="b")]
    kinds = BenignPrompts({"strongreject": PromptKinds(("b",))}, ("match", "response"))
    counts = count_samples([*harmful, *benign])
    metrics = summarise(counts, [asked], [("guard", "response")], benign=kinds)
    metrics = metrics.model_copy(update={"model": "R1-7B"})
    (found,) = beside(metrics, FIGURES, OWN)
    assert found.differs[0] == "4 of 313 prompts"


def test_a_figure_that_ours_leaves_undefined_has_no_difference() -> None:
    (found,) = beside(run_of([None]), FIGURES, OWN)
    assert (found.differences, found.within_interval) == ({}, {})


def test_the_setting_that_metrics_are_of_is_found_again() -> None:
    asked = setting("d", {"name": "morethink", "max_rounds": 3}, samples=3, temperature=0.7, top_k=5)
    (metrics,) = summarise(count_samples([]), [asked], []).settings
    assert as_setting(metrics) == asked
