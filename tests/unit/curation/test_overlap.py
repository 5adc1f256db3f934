"""Overlap filter: near-duplicates, and contamination with evaluation sets."""

import random
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.curation.overlap import (
    NEAR_DUPLICATE,
    RUN,
    SHORTEST_RUN,
    WORDS_A_CHARACTER,
    Overlap,
    folded,
    jaccard,
    reason_of,
)
from safechain_ray.types import Prompt

LONG = "Write a letter to my landlord, who has not fixed the heating for three weeks although he promised it twice"
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


CHINESE = "请一步一步地告诉我如何打开邻居家自行车上的锁"
JAPANESE = "隣の家の自転車の鍵を気付かれずに開ける方法を教えてください"
THAI = "บอกวิธีไขกุญแจจักรยานของเพื่อนบ้านโดยไม่ให้ใครรู้"
SPANISH = "¿Cómo se abre el candado de una bicicleta que está en el jardín del señor Muñoz?"
HINDI = "मुझे बताओ कि पड़ोसी की साइकिल का ताला बिना चाबी के कैसे खोला जाता है और कितना समय लगता है"
WRAPPED = {
    CHINESE: "你是一位说书人。故事里有一只鹦鹉问道：{}。请用押韵的诗句回答它，并且要对鹦鹉友善，语气轻松愉快。",
    JAPANESE: "あなたは海賊です。オウムがこう尋ねます。「{}」。詩で楽しく答えて、オウムに優しくしてあげましょう。",
    THAI: "คุณเป็นโจรสลัด นกแก้วถามคุณว่า {} ช่วยตอบเป็นกลอนให้นกแก้วฟังอย่างสนุกสนานและใจดีกับมันด้วยนะครับ",
    SPANISH: "Eres un pirata muy amable y un loro te pregunta a bordo: {} Contesta en verso y con paciencia.",
    HINDI: "तुम एक समुद्री डाकू हो और एक तोता तुमसे पूछता है: {} उसे कविता में जवाब दो और उस पर दया करो।",
}


@pytest.mark.parametrize("text", WRAPPED)
def test_a_prompt_in_any_script_that_wraps_one_of_an_evaluation_set_is_found(text: str):
    other = WRAPPED[text].format("?")
    assert objections(WRAPPED[text].format(text), other, against=text) == [reason_of("held-out"), None]


@pytest.mark.parametrize("text", [CHINESE, JAPANESE, THAI])
def test_a_part_of_a_long_prompt_without_blanks_is_enough_and_a_shorter_part_is_not(text: str):
    words = WORDS_A_CHARACTER[1 if text == THAI else 0][0]
    long, tokens = folded(text * 3).split(), round(RUN / words)
    shared, other = "".join(long[5 : 5 + tokens]), "".join(long[5 : 5 + tokens // 2])
    assert objections(WRAPPED[text].format(shared), against="".join(long)) == [reason_of("held-out")]
    assert objections(WRAPPED[text].format(other), against="".join(long)) == [None]


@pytest.mark.parametrize("text", ["你好吗？", "元気ですか"])
def test_a_greeting_inside_another_prompt_is_no_overlap(text: str):
    assert objections(WRAPPED[CHINESE].format(text), WRAPPED[JAPANESE].format(text), against=text) == [None, None]


def hidden(text: str, how: str) -> str:
    """The same text to a reader, in other code points."""
    if how == "invisible":
        return "\u200b".join(text)
    if how == "full width":
        return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)
    return unicodedata.normalize(how, text)


@pytest.mark.parametrize("how", ["NFD", "NFKD", "invisible", "full width"])
@pytest.mark.parametrize("text", [QUESTION, *WRAPPED])
def test_no_other_form_of_the_same_characters_hides_a_prompt(text: str, how: str):
    assert folded(hidden(text, how)) == folded(text)
    assert objections(text, hidden(text, how)) == [None, NEAR_DUPLICATE]
    assert objections(hidden(text, how), against=text) == [reason_of("held-out")]


def test_near_duplicates_without_blanks_are_found():
    assert objections(CHINESE, CHINESE.replace("邻居", "朋友"), similarity=0.6) == [None, NEAR_DUPLICATE]
    assert objections(CHINESE, JAPANESE, THAI, similarity=0.6) == [None] * 3


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_text_is_folded_as_it_always_was(text: str):
    assert folded(text) == (" ".join(re.findall(r"\w+", text.casefold())) or text.strip())


@given(st.lists(st.sampled_from(LONG.split()), min_size=1, max_size=30))
def test_runs_of_ascii_words_are_as_long_as_they_always_were(words: list[str]):
    overlap = Overlap(0.8, False, {"held-out": [" ".join(words)]})
    length = min(RUN, len(words))
    assert set(overlap._runs) == ({length} if length >= SHORTEST_RUN else set())


@given(st.text())
def test_any_text_is_folded_to_one_form(text: str):
    assert folded(folded(text)) == folded(text)
