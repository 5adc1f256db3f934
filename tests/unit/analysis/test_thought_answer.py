"""Thought against answer: tables sum to their rows, rates equal a recomputation, intervals are clustered."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.analysis.thought_answer import Crosstab, thought_answer
from safechain_ray.metrics.intervals import wilson
from safechain_ray.types import Sample, Setting
from tests.unit.analysis.judged_samples import FIVE, GREEDY, rows_of, sample

SAID = st.sampled_from([True, False, None])
Said = tuple[bool | None, bool | None]


def samples_of(setting: Setting, said: list[Said]) -> list[Sample]:
    """Row i is sample i % K of prompt i // K; three categories."""
    return [
        sample(
            setting,
            number // setting.samples,
            number % setting.samples,
            {"thought": thought, "answer": answer},
            category=f"c{number // setting.samples % 3}",
        )
        for number, (thought, answer) in enumerate(said)
    ]


def total(table: Crosstab) -> int:
    return sum(
        sum(counts.model_dump().values())
        for counts in (table.thought_safe, table.thought_unsafe, table.thought_missing)
    )


@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=40))
def test_every_row_stands_in_the_table_once_and_in_its_category_once(said: list[Said]):
    found = thought_answer(rows_of(FIVE, samples_of(FIVE, said)), "guard")
    assert total(found) == len(said)
    assert sum(map(total, found.categories.values())) == len(said)


@pytest.mark.parametrize("setting", [GREEDY, FIVE])
def test_counts_and_rates_equal_those_of_pandas(setting: Setting):
    rng = np.random.default_rng(3)
    values: list[bool | None] = [True, False, None]
    said = [(values[a], values[b]) for a, b in rng.choice(3, size=(300, 2), p=[0.4, 0.5, 0.1])]
    found = thought_answer(rows_of(setting, samples_of(setting, said)), "guard")

    frame = pd.DataFrame(said, columns=["thought", "answer"]).map({True: "unsafe", False: "safe", None: "missing"}.get)
    table = pd.crosstab(frame["thought"], frame["answer"])
    for thought in ("safe", "unsafe", "missing"):
        counts = getattr(found, f"thought_{thought}").model_dump()
        assert counts == table.loc[thought].to_dict()
    both = frame[(frame["thought"] != "missing") & (frame["answer"] != "missing")]
    for given_part, of in (("thought", "answer"), ("answer", "thought")):
        for verdict in ("safe", "unsafe"):
            rate = getattr(found, f"{of}_unsafe_given_{given_part}_{verdict}")
            group = both[both[given_part] == verdict]
            assert rate.value == (group[of] == "unsafe").mean()
            assert rate.low < rate.value < rate.high
            assert rate.method == ("wilson" if setting.samples == 1 else "bootstrap")


def test_one_sample_a_prompt_has_wilsons_interval():
    said: list[Said] = [(True, True)] * 6 + [(True, False)] * 4 + [(False, False)] * 7 + [(None, True)]
    rate = thought_answer(rows_of(GREEDY, samples_of(GREEDY, said)), "guard").answer_unsafe_given_thought_unsafe
    assert (rate.value, rate.n) == (0.6, 10)
    assert (rate.low, rate.high) == wilson(0.6, 10)


def test_samples_of_a_prompt_that_agree_count_as_one_and_not_as_five():
    said: list[Said] = [(True, prompt % 2 == 0) for prompt in range(40) for _ in range(5)]
    rate = thought_answer(rows_of(FIVE, samples_of(FIVE, said)), "guard").answer_unsafe_given_thought_unsafe
    low, high = wilson(0.5, 200)
    assert (rate.value, rate.n) == (0.5, 40)
    assert rate.high - rate.low > 2 * (high - low)


def test_a_rate_that_nothing_stands_behind_is_none_and_not_zero():
    found = thought_answer(rows_of(FIVE, samples_of(FIVE, [(False, None), (None, True)])), "guard")
    assert found.answer_unsafe_given_thought_safe.value is None
    assert found.thought_unsafe_given_answer_unsafe.n == 0
