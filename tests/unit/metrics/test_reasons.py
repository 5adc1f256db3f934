"""Error reasons: grouping of messages, and mergeable bounded counts."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safechain_ray.metrics.counts import (
    MOST_REASONS,
    OTHERS,
    REASON_CHARACTERS,
    Reason,
    count_samples,
    count_verdicts,
    merge,
    plain_reason,
)
from safechain_ray.metrics.summary import summarise
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, samples_table, verdicts_table
from tests.unit.metrics.sample_rows import GREEDY, GUARD, sample

SETTING = GREEDY.setting_id


def failed(prompt_id: str, error: str | None) -> Sample:
    return replace(sample(GREEDY, prompt_id, outcome="error"), error=error)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("prompt has 4,097 tokens, context 4096", "prompt has 812 tokens, context 512"),
        ("request 0f8fad5b-d9cb-469f-a165-70867728950e died", "request 7c9e6679-7425-40de-944b-e07fc1f90ae7 died"),
        ("object at 0x7f3a2b1c9d10", "object at 0x7f00aa11bb22"),
        ("id req_8fKd92 failed", "id req_0a7Xz failed"),
        ("timed out after 30.5 s", "timed out after 12 s"),
        ("two\nlines  of 3", "two lines of 4"),
    ],
)
def test_messages_that_differ_by_numbers_and_ids_are_one_reason(one: str, other: str):
    assert plain_reason(one) == plain_reason(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 429: slow down", "HTTP 500: slow down"),
        ("Error code: 429 - quota", "Error code: 401 - quota"),
        ("TimeoutError: 3", "ConnectionError: 3"),
        ("deadbeef cafe", "faded cafe"),
    ],
)
def test_messages_that_say_something_else_stay_apart(one: str, other: str):
    assert plain_reason(one) != plain_reason(other)


def test_the_name_of_a_row_is_not_a_part_of_the_reason():
    assert plain_reason("prompt kill-a-process is empty", ["kill-a-process"]) == "prompt … is empty"
    assert plain_reason("killing it", ["kill"]) == "killing it"


def test_a_long_message_is_cut():
    assert len(plain_reason("word " * 100_000)) == REASON_CHARACTERS


def test_the_three_commonest_reasons_of_rows_and_of_missing_verdicts_are_counted():
    rows = [failed(f"p{i}", f"engine {i} died") for i in range(4)]
    rows += [failed(f"q{i}", "HTTP 500") for i in range(2)] + [
        failed("r1", None),
        failed("r2", "odd"),
        failed("r3", "z"),
    ]
    rows += [sample(GREEDY, f"v{i}", 0, verdict(None, error=f"spoke {i}")) for i in range(3)]
    (found,) = summarise(count_samples(rows), [GREEDY], [GUARD]).settings
    assert found.error_reasons == (
        Reason(reason="engine 0 died", rows=4),
        Reason(reason="HTTP 500", rows=2),
        Reason(reason="no reason given", rows=1),
    )
    assert found.judges[0].missing_reasons == (Reason(reason="spoke 0", rows=3),)


def test_the_reasons_of_verdicts_that_were_added_later_count_too():
    rows = [sample(GREEDY, "v", 0, verdict(None, error="spoke 1"))]
    added = count_verdicts(verdicts_table(samples_table(rows)))
    assert added.error_reasons(SETTING, "guard", "response") == (Reason(reason="spoke 1", rows=1),)


def test_a_reason_quotes_one_message_with_its_numbers():
    rows = [failed(f"p{i}", f"temperature must be in [0, 2],\n got {i}.5.") for i in range(2, 5)]
    for order in (rows, rows[::-1]):
        counts = merge(count_samples([row]) for row in order)
        assert counts.error_reasons(SETTING) == (Reason(reason="temperature must be in [0, 2], got 2.5.", rows=3),)


def words(number: int) -> str:
    """A text without a number, another one for each."""
    return "".join(chr(ord("g") + int(digit)) for digit in str(number))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 999), max_size=60), st.integers(1, 9), st.randoms())
def test_reasons_do_not_depend_on_how_rows_are_split(numbers: list[int], size: int, random):
    rows = [failed(f"p{place}", words(number)) for place, number in enumerate(numbers)]
    parts = [count_samples(rows[start : start + size]) for start in range(0, len(rows), size)]
    random.shuffle(parts)
    merged = merge(parts).reasons.to_pylist()
    assert {row["reason"]: row["rows"] for row in merged} == Counter(map(words, numbers))


def test_however_many_reasons_there_are_the_most_that_are_kept_hold_every_row():
    rows = [failed(f"p{number}", words(number)) for number in range(3 * MOST_REASONS)]
    rows += [failed(f"c{number}", "common") for number in range(5)]
    counts = merge(count_samples(rows[start : start + 50]) for start in range(0, len(rows), 50))
    table = counts.reasons
    assert table.num_rows == MOST_REASONS + 1
    assert sum(table["rows"].to_pylist()) == len(rows)
    assert counts.error_reasons(SETTING)[0] == Reason(reason="common", rows=5)
    assert OTHERS in table["reason"].to_pylist()
    again = merge([counts, counts])
    assert (again.reasons.num_rows, sum(again.reasons["rows"].to_pylist())) == (MOST_REASONS + 1, 2 * len(rows))
