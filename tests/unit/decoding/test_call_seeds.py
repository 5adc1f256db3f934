"""Every engine call of a sample has a seed of its own, so that no call repeats the random numbers of another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.decoding.base import strategy
from safechain_ray.decoding.morethink import MoreThinkOptions, build
from safechain_ray.types import StrategySpec
from tests.unit.decoding.scripted_generate import closes, decode, ends, task

SEEDS = st.integers(0, 2**31 - 1)


def seeds_sent(compat: str, seed: int | None, rounds: int = 3, **sampling: float) -> list[int | None]:
    options = MoreThinkOptions(max_rounds=rounds, think_budget=500, compat=compat)
    replies = [closes("so ", 10) for _ in range(rounds + 1)] + [ends("answer", 5)]
    _, requests = decode(build(options), task(seed=seed, **{"max_tokens": 600, **sampling}), *replies)
    assert len(requests) == rounds + 2
    return [request.seed for request in requests]


@pytest.mark.parametrize("compat", ["none", "paper"])
@given(seed=SEEDS, rounds=st.integers(0, 10))
def test_no_two_calls_of_a_sample_have_the_same_seed(compat: str, seed: int, rounds: int) -> None:
    seeds = seeds_sent(compat, seed, rounds)
    assert len(set(seeds)) == rounds + 2
    assert seeds[0] == seed
    assert all(isinstance(each, int) and 0 <= each < 2**31 for each in seeds)


@pytest.mark.parametrize("compat", ["none", "paper"])
def test_the_seeds_are_the_same_in_every_process(compat: str) -> None:
    assert seeds_sent(compat, 1) == [1, 521106994, 1878798776, 1303520474, 351629567]


@pytest.mark.parametrize("compat", ["none", "paper"])
def test_a_greedy_sample_draws_nothing_and_has_no_seed(compat: str) -> None:
    assert set(seeds_sent(compat, None, temperature=0)) == {None}


@given(first=SEEDS, second=SEEDS)
def test_two_samples_share_no_seed_in_any_call(first: int, second: int) -> None:
    ours, theirs = ({task(seed=seed).call_seed(number) for number in range(12)} for seed in (first, second))
    assert first == second or not ours & theirs


@pytest.mark.parametrize("name", ["default", "zerothink", "lessthink"])
@pytest.mark.parametrize("compat", ["none", "paper"])
def test_strategies_of_one_call_send_the_samples_own_seed(name: str, compat: str) -> None:
    _, (request,) = decode(strategy(StrategySpec(name=name, options={"compat": compat})), task(seed=7), ends("Hi.", 2))
    assert request.seed == 7
