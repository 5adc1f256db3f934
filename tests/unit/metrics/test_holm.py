"""Holm's correction against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.safety import holm

p_values = st.lists(st.none() | st.floats(0, 1), max_size=12)


def test_the_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == [0.03, 0.06, 0.06, 0.02]


def test_what_was_not_tested_counts_for_nothing() -> None:
    assert holm([None, 0.03, None]) == [None, 0.03, None]
    assert holm([]) == []


@given(p_values, st.floats(0.001, 0.999))
def test_the_adjusted_values_reject_what_holms_steps_reject(found: list[float | None], level: float) -> None:
    tested = sorted((p, place) for place, p in enumerate(found) if p is not None)
    rejected = set()
    for rank, (p, place) in enumerate(tested):
        if min(1.0, p * (len(tested) - rank)) > level:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(holm(found)) if p is not None and p <= level} == rejected


@given(p_values)
def test_an_adjusted_value_is_no_smaller_and_keeps_the_order(found: list[float | None]) -> None:
    pairs = [(p, adjusted) for p, adjusted in zip(found, holm(found), strict=True) if p is not None]
    assert all(p <= adjusted <= 1 for p, adjusted in pairs)
    in_order = [adjusted for _, adjusted in sorted(pairs)]
    assert in_order == sorted(in_order)
