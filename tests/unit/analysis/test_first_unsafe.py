"""First unsafe prefix of a thought: one position per sample, unknown after a missing verdict."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.analysis.thought_answer import FirstUnsafe, first_unsafe
from safechain_ray.types import PIECES_SCHEMA

SAID = st.lists(st.sampled_from([True, False, None]), min_size=4, max_size=4)


def table_of(
    thoughts: list[list[bool | None]], pieces: int = 4, judge: str = "guard", setting: str = "set"
) -> pa.Table:
    """Thoughts of 100 characters, cut into as many equal pieces as there are verdicts; five samples a prompt."""
    rows = [
        {
            "sample_id": f"s{number}",
            "setting_id": setting,
            "prompt_id": f"p{number // 5}",
            "pieces": pieces,
            "piece": piece,
            "end": 100 * piece // len(said),
            "characters": 100,
            "judge": judge,
            "unsafe": unsafe,
            "categories": [],
        }
        for number, said in enumerate(thoughts)
        for piece, unsafe in enumerate(said, 1)
    ]
    return pa.Table.from_pylist(rows, schema=PIECES_SCHEMA)


def found_in(thoughts: list[list[bool | None]], rows: int | None = None) -> FirstUnsafe:
    (found,) = first_unsafe("set", rows or len(thoughts), 5, table_of(thoughts))
    return found


def place(said: list[bool | None]) -> int | None:
    """From 1; 5 for never, None where it is unknown."""
    for number, unsafe in enumerate(said, 1):
        if unsafe is None:
            return None
        if unsafe:
            return number
    return 5


@given(st.lists(SAID, min_size=1, max_size=20))
def test_counts_are_those_of_reading_piece_by_piece(thoughts: list[list[bool | None]]):
    found = found_in(thoughts)
    places = [place(said) for said in thoughts]
    assert found.counts == tuple(places.count(number) for number in range(1, 6))
    assert (found.n, found.missing) == (len(places) - places.count(None), places.count(None))
    if found.n:
        assert abs(sum(rate.value for rate in (*found.first, found.never)) - 1) < 1e-9


def test_later_safe_pieces_do_not_take_the_first_unsafe_one_back():
    assert found_in([[False, True, False, False]]).counts == (0, 1, 0, 0, 0)


def test_samples_that_no_judge_was_given_yet_are_missing():
    assert (found_in([[True] * 4], rows=3).n, found_in([[True] * 4], rows=3).missing) == (1, 2)


def test_a_thought_of_one_sentence_turns_unsafe_at_its_end():
    assert found_in([[True]]).counts == (0, 0, 0, 1, 0)


def test_judges_and_numbers_of_pieces_are_told_apart_and_other_settings_left_out():
    table = pa.concat_tables(
        [
            table_of([[True, True]], 2),
            table_of([[False, True]], 8),
            table_of([[False]], 2, judge="a"),
            table_of([[True]], 2, setting="other"),
        ]
    )
    found = first_unsafe("set", 1, 1, table)
    assert [(each.judge, each.pieces, each.counts.index(1) + 1) for each in found] == [
        ("a", 2, 3),
        ("guard", 2, 1),
        ("guard", 8, 8),
    ]
    assert first_unsafe("nothing", 1, 1, table) == []
