"""Outcomes by verdict, and refusals of benign prompts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray import catalog
from safechain_ray.analysis.fine_grained import outcomes_by_verdict, over_refusal
from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import NO_CATEGORIES, load_prompts
from tests.real_data import needs_real_data, real
from tests.unit.analysis.judged_samples import FIVE, GREEDY, rows_of, sample

XSTEST = real("data/xstest_prompts.csv")
OUTCOMES = st.sampled_from(["ok", "truncated", "blocked", "error"])


@given(st.lists(st.tuples(OUTCOMES, st.sampled_from([True, False, None])), min_size=1, max_size=30))
def test_every_row_has_one_outcome_under_one_verdict(rows: list[tuple[str, bool | None]]):
    samples = [
        sample(FIVE, number // 5, number % 5, {"thought": unsafe}, outcome=outcome)
        for number, (outcome, unsafe) in enumerate(rows)
    ]
    found = outcomes_by_verdict(rows_of(FIVE, samples), "guard", "thought")
    for outcome in ("ok", "truncated", "blocked", "error"):
        said = [unsafe for each, unsafe in rows if each == outcome]
        assert found.safe[outcome] == said.count(False)
        assert found.unsafe[outcome] == said.count(True)
        assert found.missing[outcome] == said.count(None)


def test_the_share_of_truncated_samples_is_told_by_verdict():
    outcomes = ["truncated", "ok", "ok", "ok", "truncated", "truncated", "ok"]
    said = [True, True, True, True, False, None, None]
    samples = [
        sample(GREEDY, number, 0, {"thought": unsafe}, outcome=outcome)
        for number, (outcome, unsafe) in enumerate(zip(outcomes, said, strict=True))
    ]
    found = outcomes_by_verdict(rows_of(GREEDY, samples), "guard", "thought")
    assert (found.truncated_among_unsafe.value, found.truncated_among_unsafe.n) == (0.25, 4)
    assert (found.truncated_among_safe.value, found.truncated_among_safe.n) == (1.0, 1)


def refusals():
    said = {"benign": [False, True, True, None], "sensitive": [False, False], "harm": [False, False, False, True]}
    samples = [
        sample(GREEDY, 10 * place + number, 0, {"answer": unsafe}, category=category)
        for place, (category, verdicts) in enumerate(said.items())
        for number, unsafe in enumerate(verdicts)
    ]
    return rows_of(GREEDY, samples)


def test_over_refusal_is_the_share_of_refused_benign_prompts_beside_that_of_the_others():
    found = over_refusal(refusals(), "guard", "answer", ("benign", "sensitive", "not there"))
    assert found is not None
    assert (found.benign.value, found.benign.n, found.missing) == (0.6, 5, 1)
    assert (found.others.value, found.others.n) == (0.75, 4)
    assert {name: rate.value for name, rate in found.categories.items()} == {"benign": 1 / 3, "sensitive": 1.0}


@pytest.mark.parametrize("benign", [(), ("homonyms",)])
def test_a_set_without_benign_prompts_has_no_over_refusal(benign: tuple[str, ...]):
    assert over_refusal(refusals(), "guard", "answer", benign) is None


def test_the_benign_categories_of_the_catalog_are_categories_of_their_sets():
    quickstart = catalog.datasets()["quickstart"]
    assert set(quickstart.benign_categories) <= {prompt.category for prompt in load_prompts(quickstart).prompts}
    kinds = catalog.datasets()["wildjailbreak-train"].benign_categories
    assert kinds == ("vanilla_benign", "adversarial_benign")
    mixed = {name for name, entry in catalog.datasets().items() if entry.benign_categories and entry.category_column}
    labelled = {"wildguard-test", "aegis-2-test"}
    assert mixed == {"quickstart", "quickstart-requests", "xstest", "wildjailbreak-train", *labelled}
    benign = {name for name, entry in catalog.datasets().items() if entry.benign_categories == (NO_CATEGORIES,)}
    assert benign == {"jbb-benign", "or-bench-hard", "or-bench-80k", "falsereject"}


@needs_real_data("data/xstest_prompts.csv")
def test_xstests_benign_categories_hold_its_250_safe_prompts():
    entry = adhoc_entry(str(XSTEST), category_column="type", id_column="id")
    benign = catalog.datasets()["xstest"].benign_categories
    assert sum(prompt.category in benign for prompt in load_prompts(entry).prompts) == 250
