"""Response selection: the rule over all K samples, missing verdicts are never safe, flawed ones never chosen."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.curation.selection import (
    BEYOND,
    NO_VERDICT,
    NOTHING_TO_LEARN,
    UNSAFE,
    JudgedSample,
    Selection,
    judged_samples,
    response_text,
    select,
)
from safechain_ray.datasets.layouts import split_thought
from safechain_ray.testing import sample, verdict
from safechain_ray.types import KeepRule, Sample, Verdict, samples_table

SEED = 3


def samples(*safe: bool | None, prompt: str = "p", flaw: str | None = None) -> list[JudgedSample]:
    """One prompt's samples, safe or not."""
    return [
        JudgedSample(f"{prompt}-{index}", prompt, "kind", index, "ok", each, 0.1, flaw)
        for index, each in enumerate(safe)
    ]


def outcome_of(rule: KeepRule, *safe: bool | None) -> str:
    """`kept`, or why the prompt was left out."""
    found = select(samples(*safe), len(safe), rule, SEED)
    return "kept" if found.chosen else reasons(found)[0]


def reasons(found: Selection) -> list[str]:
    return [reason for reason, counts in found.left_out.items() for _ in range(sum(counts.values()))]


@pytest.mark.parametrize(
    ("rule", "safe", "outcome"),
    [
        ("all", (True, True, True), "kept"),
        ("all", (True, True, False), UNSAFE),
        ("all", (True, True, None), NO_VERDICT),
        ("all", (True, False, None), UNSAFE),
        ("majority", (True, True, False), "kept"),
        ("majority", (True, True, None), "kept"),
        ("majority", (True, False), UNSAFE),
        ("majority", (True, None), NO_VERDICT),
        ("majority", (True, False, None), NO_VERDICT),
        ("best", (False, True, None), "kept"),
        ("best", (False, False), UNSAFE),
        ("best", (False, None), NO_VERDICT),
    ],
)
def test_a_prompt_is_kept_by_the_rule_over_all_its_samples(rule: KeepRule, safe: tuple[bool | None, ...], outcome: str):
    assert outcome_of(rule, *safe) == outcome


def test_a_sample_that_is_not_there_is_never_safe():
    assert reasons(select(samples(True, True), 3, "all", SEED)) == [NO_VERDICT]


@pytest.mark.parametrize("rule", ["majority", "best"])
def test_an_unsafe_response_is_never_chosen(rule: KeepRule):
    for seed in range(30):
        (chosen,) = select(samples(True, False, True), 3, rule, seed).chosen
        assert chosen.sample_id != "p-1"
        assert chosen.safe_samples == 2


def test_each_safe_response_is_chosen_by_some_seed():
    assert {select(samples(*[True] * 5), 5, "all", seed).chosen[0].sample_id for seed in range(60)} == {
        f"p-{index}" for index in range(5)
    }


def test_the_best_is_the_one_with_the_lowest_score_and_one_without_scores_comes_last():
    scored = [
        replace(sample, score=score) for sample, score in zip(samples(*[True] * 4), (None, 0.3, 0.05, 0.2), strict=True)
    ]
    assert select(scored, 4, "best", SEED).chosen[0].sample_id == "p-2"
    assert select([scored[0], scored[1]], 2, "best", SEED).chosen[0].sample_id == "p-1"


def test_safe_prompts_without_a_response_to_learn_from_are_left_out():
    flawed = samples(True, True, flaw="the outcome is truncated")
    assert reasons(select(flawed, 2, "all", SEED)) == [NOTHING_TO_LEARN]
    fixed = [flawed[0], replace(flawed[1], flaw=None)]
    assert [select(fixed, 2, "all", seed).chosen[0].sample_id for seed in range(20)] == ["p-1"] * 20


FLAWS = st.sampled_from([None, None, None, "the thought is empty"])
PROMPTS = st.lists(st.lists(st.tuples(st.sampled_from([True, True, True, False, None]), FLAWS), min_size=3, max_size=3))


@given(prompts=PROMPTS, shuffle=st.randoms(use_true_random=False), rows=st.none() | st.integers(1, 5))
def test_the_choice_is_the_same_in_any_order_of_rows_and_every_prompt_is_accounted_for(
    prompts: list[list[tuple[bool | None, str | None]]], shuffle: random.Random, rows: int | None
):
    judged = [
        replace(sample, flaw=flaw)
        for number, each in enumerate(prompts)
        for sample, (_, flaw) in zip(samples(*(safe for safe, _ in each), prompt=f"p{number}"), each, strict=True)
    ]
    other = list(judged)
    shuffle.shuffle(other)
    for rule in ("all", "majority", "best"):
        found, again = (select(each, 3, rule, SEED, rows) for each in (judged, other))
        assert found == again
        assert len(found.chosen) + len(reasons(found)) == len(prompts)
        assert sum(found.responses.values()) == len(judged)
        by_id = {sample.sample_id: sample for sample in judged}
        assert all(by_id[each.sample_id].safe and by_id[each.sample_id].flaw is None for each in found.chosen)


def test_rows_beyond_those_wanted_are_left_out_by_the_seed_and_counted():
    judged = [sample for number in range(20) for sample in samples(True, prompt=f"p{number}")]
    everything = select(judged, 1, "all", SEED)
    some = select(judged, 1, "all", SEED, rows=8)
    assert some.chosen == everything.chosen[:8]
    assert some.left_out[BEYOND] == {"kind": 12}
    assert select(judged, 1, "all", SEED + 1, rows=8).chosen != some.chosen


def judged(**columns: Any) -> JudgedSample:
    (found,) = judged_samples(samples_table([sample(**columns)]), ["guard", "match"], "response")
    return found


def verdicts(guard: bool | None, match: bool | None = False) -> tuple[Verdict, ...]:
    return (verdict(guard, score=0.2), verdict(match, "match", score=0.4))


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        (verdicts(False), True),
        (verdicts(True), False),
        (verdicts(None), None),
        (verdicts(None, True), False),
        (verdicts(False)[:1], None),
        ((verdict(False, part="thought"), verdict(False, "match")), None),
        ((), None),
    ],
)
def test_a_sample_is_safe_where_every_judge_says_so_of_the_part(given: tuple[Verdict, ...], safe: bool | None):
    assert judged(verdicts=given).safe is safe


def test_the_score_is_the_highest_of_the_judges():
    assert judged(verdicts=verdicts(False)).score == 0.4
    assert judged(verdicts=()).score is None


@pytest.mark.parametrize(
    ("columns", "flaw"),
    [
        ({}, None),
        ({"outcome": "truncated"}, "the outcome is truncated"),
        ({"outcome": "blocked", "thought": None, "answer": None}, "the outcome is blocked"),
        ({"outcome": "error", "thought": None, "answer": None}, "the outcome is error"),
        ({"thought": None, "answer": None}, "the response holds no thinking tags"),
        ({"thought": ""}, "the thought is empty"),
        ({"answer": "\n"}, "the answer after </think> is empty"),
        ({"answer": "a</think>b"}, "the response holds <think> or </think> more than once, or out of place"),
        ({"answer": "<thinking>a"}, "the response holds <thinking>, a thinking tag of no family of the catalog"),
        ({"thought": "a<think>b"}, "the response holds <think> or </think> more than once, or out of place"),
    ],
)
def test_what_a_model_must_not_learn_has_a_flaw(columns: dict[str, Any], flaw: str | None):
    assert judged(**columns).flaw == flaw


@given(st.text(st.sampled_from("ab<think>/ \n")), st.text(st.sampled_from("ab<think>/ \n")))
def test_a_response_without_a_flaw_reads_back_as_it_was_written(thought: str, answer: str):
    thought, answer = thought.strip("\n"), answer.strip("\n")
    if judged(thought=thought, answer=answer).flaw is None:
        assert split_thought(response_text(thought, answer)) == (thought, answer)


def test_outcomes_of_all_samples_are_counted():
    table: list[Sample] = [
        sample(sample_id=str(n), outcome=outcome) for n, outcome in enumerate(("ok", "ok", "truncated"))
    ]
    found = select(judged_samples(samples_table(table), ["guard"], "response"), 3, "all", SEED)
    assert Counter(outcome for outcome, _, _ in found.responses.elements()) == {"ok": 2, "truncated": 1}  # type: ignore[attr-defined]
