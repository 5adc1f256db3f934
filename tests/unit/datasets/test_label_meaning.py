"""Meaning of a label, from its own word or from its column's name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.datasets.labelled import (
    FALSE_WORDS,
    SAFE_WORDS,
    TRUE_WORDS,
    UNSAFE_WORDS,
    read_label,
    true_means_unsafe,
)

SAFE_COLUMNS = [
    "is_safe",
    "safe",
    "isSafe",
    "response_safe",
    "is-response-safe",
    "harmless",
    "not_harmful",
    "non_toxic",
    "no_harm",
    "no_violation",
    "without_harm",
    "harm_free",
    "free_of_harm",
    "never_harmful",
    "response_harmful_never",
    "isNotHarmful",
    "isn't_harmful",
]
UNSAFE_COLUMNS = ["is_unsafe", "unsafe", "harmful", "harm", "jailbroken", "isToxic", "not_safe", "label", "Label"]
UNSAFE_COLUMNS += ["isn't_safe", "isnt_safe", "isn\u2019t safe", "never_safe", "harmful_label", "human_harmful"]
UNDECIDED = ["human_majority", "score", "refused", "safety", "safe_or_unsafe", "human_label", "majority", ""]
UNDECIDED += ["refused_harmful", "harmful_request_refused", "is_harmful_prompt_refused", "harmful_refusal"]
UNDECIDED += ["jailbreak_blocked", "unsafe_avoided", "harm_score", "is_harmful_prompt", "not_un_safe", "safe_no"]
UNDECIDED += ["harm_less", "safe_harmless", "majority_safe", "no", "harmful_or_not"]


@pytest.mark.parametrize(
    ("column", "meaning"),
    [
        *((column, False) for column in SAFE_COLUMNS),
        *((column, True) for column in UNSAFE_COLUMNS),
        *((column, None) for column in UNDECIDED),
    ],
)
def test_a_true_word_affirms_what_the_column_is_called(column: str, meaning: bool | None):
    assert true_means_unsafe(column) is meaning


@given(column=st.sampled_from(SAFE_COLUMNS + UNSAFE_COLUMNS), number=st.sampled_from([True, 1, 1.0, "1", "yes", "1.0"]))
def test_true_is_safe_where_the_column_says_safe_and_false_is_the_opposite(column: str, number: object):
    unsafe = column in UNSAFE_COLUMNS
    assert read_label(number, true_is_unsafe=true_means_unsafe(column)) is unsafe
    assert read_label(0, true_is_unsafe=true_means_unsafe(column)) is not unsafe


@given(word=st.sampled_from(sorted(UNSAFE_WORDS | SAFE_WORDS)), meaning=st.none() | st.booleans())
def test_a_word_with_a_meaning_of_its_own_says_the_same_in_every_column(word: str, meaning: bool | None):
    assert read_label(word, true_is_unsafe=meaning) is (word in UNSAFE_WORDS)


@given(word=st.sampled_from(sorted(TRUE_WORDS | FALSE_WORDS)))
def test_a_truth_in_a_column_without_a_meaning_says_nothing(word: str):
    assert read_label(word, true_is_unsafe=None) is None


@pytest.mark.parametrize("stored", [1, 1.0, "1", "1.0", " 1 "])
def test_a_named_label_is_found_however_its_number_is_stored(stored: object):
    assert read_label(stored, frozenset({"1"})) is True
    assert read_label(stored, frozenset({"0"})) is False


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan")])
def test_a_missing_label_is_none(missing: object):
    assert read_label(missing) is None
    assert read_label(missing, frozenset({"1"})) is None
