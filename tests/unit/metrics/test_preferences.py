"""Shares of wins, ties and losses: over decided pairs, clustered by prompt, and mirrored when the runs are swapped."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.preferences import SettingPreferences, Unanswered, summarise_preferences
from safechain_ray.types import Setting
from safechain_ray.types.tables import PREFERENCES_SCHEMA

SETTING = Setting(dataset="quickstart")
MIRRORED = {"win": "lose", "lose": "win", "tie": "tie", "error": "error", "a": "b", "b": "a", None: None}
LOOKS = {"win": ("a", "a"), "lose": ("b", "b"), "error": (None, None)}

Row = tuple[str, str, tuple[str | None, str | None]]
"""prompt_id, outcome, what each order preferred."""


def row(prompt_id: str, outcome: str, looks: tuple[str | None, str | None] | None = None) -> Row:
    return prompt_id, outcome, looks or LOOKS.get(outcome, ("tie", "tie"))


def figures(rows: Sequence[Row], unanswered: Sequence[str] = (), **columns: Any) -> SettingPreferences:
    """The first letter of a prompt's id is its category."""
    usual = dict.fromkeys(PREFERENCES_SCHEMA.names, "x")
    usual |= {"setting_id": SETTING.setting_id, "sample_index": 0, "score": None, "note": None, **columns}
    table = pa.Table.from_pylist(
        [
            {
                **usual,
                "prompt_id": prompt_id,
                "category": prompt_id[0],
                "outcome": outcome,
                "a_first": looks[0],
                "b_first": looks[1],
            }
            for prompt_id, outcome, looks in rows
        ],
        schema=PREFERENCES_SCHEMA,
    )
    missing = [Unanswered(SETTING.setting_id, prompt_id, prompt_id[0]) for prompt_id in unanswered]
    (found,) = summarise_preferences([table], missing, [(SETTING, SETTING)])
    return found


def shares(found: Any) -> tuple[float | None, ...]:
    return (found.win.value, found.tie.value, found.lose.value, found.win_rate.value)


def test_shares_are_of_decided_pairs_and_a_tie_is_half_a_win():
    found = figures([row("x1", "win"), row("x2", "win"), row("x3", "tie"), row("x4", "lose"), row("x5", "error")])
    assert shares(found) == (0.5, 0.25, 0.25, 0.625)
    assert (found.pairs, found.missing, found.judge_errors, found.win.n) == (5, 1, 1, 4)
    assert found.win.method == "wilson"  # one pair a prompt


def test_pairs_without_a_response_are_missing():
    found = figures([row("x1", "win")], unanswered=["x2", "y1"])
    assert (found.pairs, found.missing, found.unanswered, found.judge_errors) == (3, 2, 2, 0)
    assert found.categories["y"].win.value is None


def test_the_share_of_pairs_that_the_order_decided_is_apart_from_honest_ties():
    found = figures([row("x1", "tie", ("a", "b")), row("x2", "tie"), row("x3", "win"), row("x4", "tie", ("a", "tie"))])
    assert (found.tie.value, found.orders_differ.value) == (0.75, 0.5)


def test_samples_of_a_prompt_are_one_cluster():
    same = figures([row(f"x{number % 4}", "win" if number % 4 < 2 else "lose") for number in range(80)])
    apart = figures([row(f"x{number}", "win" if number % 4 < 2 else "lose") for number in range(80)])
    assert same.win.value == apart.win.value == 0.5
    assert (same.win.n, same.win.method) == (4, "bootstrap")
    assert same.win.high - same.win.low > 3 * (apart.win.high - apart.win.low)


def test_every_category_has_its_own_figures():
    found = figures([row("x1", "win"), row("x2", "lose"), row("y1", "win")])
    assert {name: shares(each)[:3] for name, each in found.categories.items()} == {"x": (0.5, 0, 0.5), "y": (1, 0, 0)}


def test_cut_pairs_are_counted():
    assert figures([row("x1", "win"), row("x2", "tie")], note="judged by the last 3 of 5 tokens of A").cut == 2


def test_without_a_decided_pair_nothing_is_defined():
    found = figures([row("x1", "error")])
    assert shares(found) == (None, None, None, None)


OUTCOMES = st.tuples(st.sampled_from(["x1", "x2", "x3", "y1", "y2"]), st.sampled_from(["win", "tie", "lose", "error"]))


@given(st.lists(OUTCOMES, min_size=1, max_size=30))
def test_swapping_the_runs_mirrors_every_figure(outcomes: list[tuple[str, str]]):
    rows = [row(*each) for each in outcomes]
    here = figures(rows)
    there = figures([(name, MIRRORED[outcome], tuple(map(MIRRORED.get, looks))) for name, outcome, looks in rows])
    for one, other in ((here, there), *zip(here.categories.values(), there.categories.values(), strict=True)):
        assert (one.win, one.tie, one.lose) == (other.lose, other.tie, other.win)
        assert one.missing == other.missing
        if one.win_rate.value is not None:
            assert one.win_rate.value == pytest.approx(1 - other.win_rate.value)
            assert one.win.value + one.tie.value + one.lose.value == pytest.approx(1)
    assert here.orders_differ == there.orders_differ
