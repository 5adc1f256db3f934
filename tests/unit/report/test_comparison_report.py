"""A comparison as a reader sees it."""

import io
from pathlib import Path

from rich.console import Console

from safechain_ray.commands.compare import compare_runs, compare_strategies
from safechain_ray.metrics.comparison import Comparison
from safechain_ray.metrics.published import StandIns
from safechain_ray.report.comparison import comparison_document
from safechain_ray.report.renderers import print_document
from safechain_ray.types import Sampling, Setting, StrategySpec
from tests.made_runs.by_verdicts import write_run

SAMPLED = Sampling(temperature=0.6, top_p=0.95)
GREEDY = Setting(dataset="strongreject")
FIVE = Setting(dataset="strongreject", sampling=SAMPLED, samples=5)
ZERO = Setting(dataset="strongreject", strategy=StrategySpec(name="zerothink"), sampling=SAMPLED, samples=5)
TEXTS = {f"p{i}": f"Question {i}?" for i in range(40)}
HALF = {each: [i % 2 == 0] for i, each in enumerate(TEXTS)}
SAFE = {each: [False] for each in TEXTS}


def shown(comparison: Comparison, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_document(comparison_document(comparison), console)
    return console.file.getvalue()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_run_against_another_shows_both_figures_the_difference_and_both_p_values(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [(GREEDY, HALF)], TEXTS, "R1-7B")
    two = write_run(tmp_path / "two", [(GREEDY, SAFE)], TEXTS, "R1-8B")
    text = shown(compare_runs([str(one), str(two)], StandIns()))
    assert "R1-8B against R1-7B greedy K=1" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    row = flat(text.split("guard, response")[0].splitlines()[-2])
    assert "Safe@1 50.0 +50.0 40 <0.001 +10.2*" in flat(text)
    assert row.startswith("strongreject")
    assert "with Holm's correction over this comparison's tests (1 in total)" in flat(text)
    assert "Every row differs from the published one: default with compat=none, not paper" in flat(text)
    assert "40 of 313 prompts; judge guard" in flat(text)


def test_without_a_test_there_is_no_column_of_p_values(tmp_path: Path) -> None:
    sampled = {each: [i % 3 == 0, False, True, False, False] for i, each in enumerate(TEXTS)}
    run = write_run(tmp_path / "run", [(FIVE, sampled), (ZERO, {each: [False] * 5 for each in TEXTS})], TEXTS)
    text = shown(compare_strategies(str(run), "default", StandIns(model="R1-7B")))
    assert "Strategies of demo-reasoner against default temp=0.6 K=5 top_p=0.95" in flat(text)
    assert "Holm" not in text
    assert "nearest" not in text
    assert max(map(len, text.splitlines())) <= 80
    for figure in ("Safe@1", "ConsSafe@K", "Safe@K", "+64.0*", "+70.0*", "+81.7*"):
        assert figure in text


def test_a_pair_of_unequal_settings_is_noted_and_so_are_other_prompts(tmp_path: Path) -> None:
    one = write_run(tmp_path / "one", [(GREEDY, HALF)], TEXTS, "R1-7B")
    few = {each: TEXTS[each] for each in list(TEXTS)[:8]}
    two = write_run(tmp_path / "two", [(FIVE, {each: [False] * 5 for each in few})], few, "R1-8B")
    text = flat(shown(compare_runs([str(one), str(two)])))
    assert (
        "strongreject default temp=0.6 K=5 top_p=0.95 of R1-8B is compared with strongreject default greedy K=1 of "
        "R1-7B" in text
    )
    assert "compared over the 8 prompts that both have, of 40 and 8." in text
    assert "some differences rest on only 8 prompts." in text


def test_a_difference_without_prompts_is_noted_as_none(tmp_path: Path) -> None:
    unjudged = {each: [None] for each in TEXTS}
    one = write_run(tmp_path / "one", [(GREEDY, HALF)], TEXTS, "R1-7B")
    two = write_run(tmp_path / "two", [(GREEDY, unjudged)], TEXTS, "R1-8B")
    text = flat(shown(compare_runs([str(one), str(two)])))
    assert "some differences have no prompt with verdicts on both sides, so they are none." in text
    assert "rest on only" not in text


def test_a_comparison_without_published_figures_has_a_note(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [(GREEDY, SAFE)], TEXTS) for name in ("one", "two")]
    uris = [str(run) for run in runs]
    assert "No pair has published figures of both sides" in flat(shown(compare_runs(uris, StandIns())))
    assert "Published" not in shown(compare_runs(uris))
