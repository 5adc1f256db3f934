"""Counting rows, and merging counts."""

import pickle

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.metrics.counts import (
    Counts,
    PromptCounts,
    Totals,
    count_samples,
    count_table,
    count_verdicts,
    histogram,
    merge,
)
from safechain_ray.testing import verdict
from safechain_ray.types import Sample, samples_table, verdicts_table, without_verdicts
from tests.unit.metrics.sample_rows import FIVE, GREEDY, GUARD, prompt_rows, sample

VERDICTS = st.builds(
    verdict,
    st.sampled_from([True, False, None]),
    judge=st.sampled_from(["guard", "match"]),
    part=st.sampled_from(["response", "thought"]),
    note=st.sampled_from([None, "cut"]),
)
SAMPLES = st.builds(
    lambda setting, prompt_id, verdicts, **fields: sample(setting, prompt_id, 0, *verdicts, **fields),
    st.sampled_from([GREEDY, FIVE]),
    st.sampled_from(["p1", "p2", "p3"]),
    st.lists(VERDICTS, max_size=3),
    outcome=st.sampled_from(["ok", "truncated", "blocked", "error"]),
    thought_tokens=st.none() | st.integers(0, 100),
    seconds=st.floats(0, 1000),
)


def content(counts: Counts) -> list[list[str]]:
    """The rows of the three tables, in an order of their own."""
    return [sorted(map(repr, table.to_pylist())) for table in (counts.prompts, counts.verdicts, counts.totals)]


@given(st.lists(st.lists(SAMPLES, max_size=5), max_size=5), st.randoms())
def test_counts_do_not_depend_on_how_rows_are_split_or_in_which_order_parts_are_merged(parts, random) -> None:
    whole = count_samples([row for part in parts for row in part])
    random.shuffle(parts)
    assert content(merge(count_samples(part) for part in parts)) == content(whole)


@given(st.lists(SAMPLES, max_size=4), st.lists(SAMPLES, max_size=4), st.lists(SAMPLES, max_size=4))
def test_addition_is_associative_and_commutative(a, b, c) -> None:
    x, y, z = count_samples(a), count_samples(b), count_samples(c)
    assert content((x + y) + z) == content(x + (y + z))
    assert content(x + y) == content(y + x)


@given(st.lists(SAMPLES, max_size=12), st.integers(0, 12))
def test_a_sliced_and_chunked_table_counts_like_its_rows(rows: list[Sample], cut: int) -> None:
    table = samples_table(rows)
    chunked = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    assert content(count_table(chunked)) == content(count_samples(rows))
    assert content(count_table(table.slice(cut))) == content(count_samples(rows[cut:]))


@given(st.lists(SAMPLES, max_size=12))
def test_verdicts_in_files_of_their_own_count_as_if_they_stood_in_the_samples(rows: list[Sample]) -> None:
    table = samples_table(rows)
    apart = count_table(without_verdicts(table)) + count_verdicts(verdicts_table(table))
    assert content(apart) == content(count_samples(rows))


@given(st.lists(SAMPLES, max_size=30))
def test_every_row_of_a_prompt_is_safe_unsafe_or_missing(rows: list[Sample]) -> None:
    rows = [row for row in rows if [(v.judge, v.part) for v in row.verdicts].count(GUARD) <= 1]
    counts = count_samples(rows)
    for found in counts.prompt_counts(FIVE.setting_id, *GUARD):
        verdicts = [
            next((v.unsafe for v in row.verdicts if (v.judge, v.part) == GUARD), None)
            for row in rows
            if (row.setting_id, row.prompt_id) == (FIVE.setting_id, found.prompt_id)
        ]
        expected = [verdicts.count(False), verdicts.count(True), verdicts.count(None)]
        assert [found.safe, found.unsafe, found.missing] == expected


def test_a_verdict_that_failed_and_one_that_was_never_given_are_both_missing() -> None:
    counts = count_samples(
        [
            *prompt_rows(FIVE, "p2", [False, True, None]),
            sample(FIVE, "p1", 0, outcome="blocked"),
            sample(FIVE, "p1", 1, verdict(False, judge="other")),
        ]
    )
    assert counts.prompt_counts(FIVE.setting_id, *GUARD) == [
        PromptCounts("p1", "c", safe=0, unsafe=0, missing=2),
        PromptCounts("p2", "c", safe=1, unsafe=1, missing=1),
    ]


@given(st.lists(SAMPLES, max_size=12))
def test_verdicts_with_a_note_are_counted_for_each_setting_judge_and_part(rows: list[Sample]) -> None:
    of_guard = [v for row in rows if row.setting_id == FIVE.setting_id for v in row.verdicts if v.judge == "guard"]
    noted = [v.part for v in of_guard if v.note is not None]
    assert count_samples(rows).noted(FIVE.setting_id, "guard", "response") == noted.count("response")
    assert count_samples(rows).noted(FIVE.setting_id, "guard", "thought") == noted.count("thought")


def test_files_from_before_there_were_notes_count_as_without_any() -> None:
    table = samples_table(prompt_rows(FIVE, "p1", [True, False]))
    older = [{key: value for key, value in each.items() if key != "note"} for each in table["verdicts"][0].as_py()]
    place = table.schema.get_field_index("verdicts")
    counts = count_table(table.set_column(place, "verdicts", pa.array([older, older])))
    assert counts.prompt_counts(FIVE.setting_id, *GUARD) == [PromptCounts("p1", "c", safe=0, unsafe=2, missing=0)]
    assert counts.noted(FIVE.setting_id, *GUARD) == 0
    assert count_verdicts(verdicts_table(table).drop_columns("note")).noted(FIVE.setting_id, *GUARD) == 0


def test_tallies_group_alike_prompts_by_category() -> None:
    counts = count_samples(
        [
            *prompt_rows(FIVE, "p1", [False, False], "b"),
            *prompt_rows(FIVE, "p2", [False, False], "b"),
            *prompt_rows(FIVE, "p3", [True, None], "b"),
            *prompt_rows(FIVE, "p4", [None], "a"),
        ]
    )
    tallies = counts.verdict_histograms(FIVE.setting_id, *GUARD)
    assert tallies == {"a": {(0, 0): 1}, "b": {(2, 0): 2, (0, 1): 1}}
    assert list(tallies) == ["a", "b"]
    assert histogram(counts.prompt_counts(FIVE.setting_id, *GUARD)) == {(0, 0): 1, (2, 0): 2, (0, 1): 1}


def test_outcomes_are_counted_with_the_rows_of_their_prompts() -> None:
    counts = count_samples(
        [sample(FIVE, "p1", 0, outcome="blocked"), sample(FIVE, "p1", 1), sample(FIVE, "p2", 0, outcome="blocked")]
    )
    assert counts.outcome_histograms(FIVE.setting_id, "blocked") == {"c": {(1, 2): 1, (1, 1): 1}}
    assert counts.outcome_histograms(FIVE.setting_id, "error") == {"c": {(0, 2): 1, (0, 1): 1}}


def test_token_sums_are_none_only_where_no_row_has_the_count() -> None:
    counts = count_samples([sample(FIVE, "p1", 0, thought_tokens=None), sample(FIVE, "p1", 1, thought_tokens=7)])
    assert counts.setting_totals(FIVE.setting_id) == Totals(
        prompt_tokens=6, thought_tokens=7, answer_tokens=None, forced_rounds=2, seconds=0.2
    )


def test_no_rows_make_empty_counts() -> None:
    assert merge([]).prompt_counts(FIVE.setting_id, *GUARD) == []
    assert merge([]).setting_totals(FIVE.setting_id) == Totals(None, None, None, 0, 0.0)


def test_counts_travel_between_processes() -> None:
    counts = count_samples(prompt_rows(FIVE, "p1", [True, False]))
    assert content(pickle.loads(pickle.dumps(counts))) == content(counts)
