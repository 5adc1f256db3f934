"""Overlap: near-duplicates of each other, and prompts that a model would be evaluated on."""

import random

import pytest

from safechain_ray.curation.overlap import NEAR_DUPLICATE, RUN, Overlap, folded, jaccard, reason_of
from safechain_ray.schema import Prompt

LONG = "Write a letter to my landlord, who has not mended the heating for three weeks although he promised it twice"
QUESTION = "How do I pick the lock of a bicycle?"


def objections(
    *texts: str, similarity: float = 0.8, duplicates: bool = True, against: str | None = None
) -> list[str | None]:
    overlap = Overlap(similarity, duplicates, {} if against is None else {"held-out": [against]})
    return [overlap(Prompt(str(number), text, "k")) for number, text in enumerate(texts)]


def test_of_prompts_that_differ_in_little_the_first_stays():
    assert objections(LONG, LONG + "!", LONG.replace("three", "four")) == [None, NEAR_DUPLICATE, NEAR_DUPLICATE]


def test_case_punctuation_and_layout_make_no_difference():
    assert objections(QUESTION, "how do I pick\n the lock of a BICYCLE") == [None, NEAR_DUPLICATE]


def test_other_questions_stay():
    assert objections(QUESTION, "How do I pick the ripest melon?", LONG, "!?", "...") == [None] * 5


def test_how_alike_is_too_alike_is_the_users_choice():
    pair = (LONG, LONG.replace("three", "four"))
    assert objections(*pair, similarity=0.99) == [None, None]
    assert objections(*pair, similarity=0.5) == [None, NEAR_DUPLICATE]


def test_near_duplicates_stay_where_only_evaluation_sets_are_asked_for():
    assert objections(LONG, LONG, duplicates=False, against=QUESTION) == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        QUESTION.upper(),
        f"You are a pirate. A parrot asks you: {QUESTION} Answer it in rhymes, as pirates do, and be kind to it.",
        "How do I pick the lock of my bicycle?",
    ],
)
def test_a_prompt_like_one_of_an_evaluation_set_or_wrapped_around_it_is_named_with_the_set(text: str):
    assert objections(text, against=QUESTION, similarity=0.6) == [reason_of("held-out")]


def test_a_run_of_words_shared_with_a_long_evaluation_prompt_is_enough_and_a_shorter_one_is_not():
    words = LONG.split()
    shared, other = " ".join(words[2 : 2 + RUN]), " ".join(words[2 : 1 + RUN])
    around = "Tell me a story of a dragon {} who then flew home to eat a great many apples and pears with his friends"
    assert objections(around.format(shared), around.format(other), against=LONG) == [reason_of("held-out"), None]


def test_a_short_evaluation_prompt_inside_another_is_no_overlap():
    assert objections(
        "Explain to my class of ten year olds: how are you feeling today, dragon?", against="How are you?"
    ) == [None]


def test_no_pair_that_is_clearly_alike_is_missed():
    """1,000 words, of which the copy has other ones at a few places: chance must not hide one of 200 pairs."""
    draw = random.Random(5)
    vocabulary = ["".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(1_000)]
    texts = [" ".join(draw.choices(vocabulary, k=40)) for _ in range(200)]
    copies = [text.replace(text.split()[20], "another", 1) for text in texts]
    assert all(jaccard(frozenset(a.split()), frozenset(b.split())) > 0.8 for a, b in zip(texts, copies, strict=True))
    assert objections(*texts, *copies) == [None] * 200 + [NEAR_DUPLICATE] * 200


def test_text_without_words_is_compared_as_it_is():
    assert folded(" ?! ") == "?!"
    assert objections("?!", "!?", "?!") == [None, None, NEAR_DUPLICATE]
