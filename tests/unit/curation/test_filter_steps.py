"""Counts of filter steps: each is the previous one less its left-out prompts, for every kind."""

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.curation.selection import SOURCE, count_steps

COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 9))


@given(COUNTS, st.lists(st.tuples(st.text(max_size=3), COUNTS), max_size=4))
def test_every_step_adds_up_for_every_kind(source: dict[str, int], left_out: list[tuple[str, dict[str, int]]]):
    known = [(name, {kind: n for kind, n in counts.items() if kind in source}) for name, counts in left_out]
    first, *steps = count_steps(source, known)
    assert (first.name, first.total_left, first.total_left_out) == (SOURCE, sum(source.values()), 0)
    for before, after in zip([first, *steps], steps, strict=False):
        assert all(before.left[kind] - after.left_out[kind] == after.left[kind] for kind in source)
    assert [step.name for step in steps] == [name for name, _ in known]
