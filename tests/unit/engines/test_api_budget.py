"""The budget: nothing is sent that could lead beyond it, and nothing is held back that surely fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog.entries import Prices
from safechain_ray.engines.api_gate import Budget


def test_prices_are_dollars_for_a_million_tokens():
    assert Prices(input=0.5, output=2).cost(2_000_000, 500_000) == 2.0


def test_without_bounds_everything_is_sent():
    assert Budget().ask(1e9) == "send"


def test_so_many_requests_and_no_more_are_sent():
    budget = Budget(max_requests=2)
    for _ in range(2):
        assert budget.ask(0.0) == "send"
        budget.sent(0.0)
    assert budget.ask(0.0) == "wait"  # one of them may find no connection
    for _ in range(2):
        budget.answered(0.0, cost=0.0)
    assert budget.ask(0.0) == "spent"
    assert "the budget of 2 requests is spent" in budget.sentence()


def test_a_request_waits_while_those_under_way_may_take_what_it_needs():
    budget = Budget(max_cost=1.0)
    budget.sent(0.6)
    assert budget.ask(0.6) == "wait"
    budget.answered(0.6, cost=0.1)
    assert budget.ask(0.6) == "send"


def test_what_a_lost_answer_may_have_cost_counts_as_spent_but_not_as_billed():
    budget = Budget(max_cost=1.0)
    budget.sent(0.6)
    budget.unanswered(0.6)
    assert (budget.spent, budget.billed) == (0.6, 0.0)
    assert budget.ask(0.6) == "spent"
    assert "the rest of the budget of $1 is less than this request may cost" in budget.sentence()


def test_a_request_that_reached_nobody_is_taken_back():
    budget = Budget(max_requests=1, max_cost=1.0)
    budget.sent(0.6)
    budget.not_sent(0.6)
    assert (budget.requests, budget.spent, budget.reserved) == (0, 0.0, 0.0)
    assert budget.ask(0.6) == "send"


@given(st.floats(0.01, 5), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.booleans()), max_size=60))
def test_the_bill_never_passes_the_budget(max_cost: float, requests: list[tuple[float, float, bool]]):
    budget = Budget(max_cost=max_cost)
    under_way = []
    for most, share, comes_back in requests:
        if budget.ask(most) == "send":
            budget.sent(most)
            under_way.append((most, share * most, comes_back))
        elif under_way:
            ended, cost, answered = under_way.pop(0)
            budget.answered(ended, cost) if answered else budget.unanswered(ended)
        assert budget.billed <= budget.spent <= max_cost + 1e-9
    for ended, cost, _ in under_way:
        budget.answered(ended, cost)
    assert budget.spent <= max_cost + 1e-9
    assert budget.reserved == pytest.approx(0)
