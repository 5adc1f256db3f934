"""Holm's correction (1979): p-values that bound the chance of any false finding in a family of tests."""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The adjusted p-value of each test, in their order; None where there was no test, which counts for none."""
    tests = sorted((p_value, place) for place, p_value in enumerate(p_values) if p_value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p_value, place) in enumerate(tests):
        largest = max(largest, min(1.0, p_value * (len(tests) - rank)))
        adjusted[place] = largest
    return adjusted
