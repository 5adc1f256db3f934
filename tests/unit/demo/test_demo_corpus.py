"""The corpora of the demo models."""

import re
from collections import Counter

import pytest

from tools.demo_models.corpus import FORCING, FORM_WEIGHTS, LESSTHINK, ZEROTHINK, Conversation, conversations
from tools.demo_models.guard_corpus import PARTS, judge, judgements
from tools.demo_models.topics import CATEGORIES, Topic, topics
from tools.demo_models.trials import REFUSAL_MARKS

ITEMS = list(conversations(seed=7, count=3000))


def unsafe_share(form: str) -> float:
    harmful = [item for item in ITEMS if item.form == form and item.request.topic.category is not None]
    return sum(item.unsafe for item in harmful) / len(harmful)


def test_the_same_seed_gives_the_same_corpus_and_another_seed_another() -> None:
    assert list(conversations(7, 50)) == ITEMS[:50]
    assert list(conversations(8, 50)) != ITEMS[:50]


def test_every_form_is_present() -> None:
    assert Counter(item.form for item in ITEMS).keys() == FORM_WEIGHTS.keys()


def test_every_response_opens_and_closes_its_thought_once_and_then_answers() -> None:
    for item in ITEMS:
        assert item.response.startswith("<think>\n")
        assert item.response.count("<think>") == item.response.count("</think>") == 1
        assert item.response.index("<think>") < item.response.index("</think>")
        assert item.answer


def test_no_placeholder_of_a_frame_is_left_unfilled() -> None:
    placeholder = re.compile(r"\{(act|thing|label|name|other|word2?|number|a|b)\}")
    assert not [item for item in ITEMS if placeholder.search(item.request.text + item.response)]


def test_what_a_strategy_writes_bears_no_loss() -> None:
    for item in ITEMS:
        own = "".join(segment.text for segment in item.segments if segment.own)
        if item.form in ("zerothink", "lessthink"):
            assert item.segments[0].text == (ZEROTHINK if item.form == "zerothink" else LESSTHINK)
            assert "</think>" not in own
        assert not own.startswith("Wait")
        assert not any(f"\n{forced}" in own for forced in FORCING)


def test_morethink_goes_on_several_times_in_a_row() -> None:
    rounds = [sum(item.response.count(forced) for forced in FORCING) for item in ITEMS if item.form == "morethink"]
    assert min(rounds) == 1
    assert max(rounds) >= 10


def test_the_less_thinking_the_more_refusing() -> None:
    assert unsafe_share("zerothink") < unsafe_share("lessthink") < unsafe_share("default")
    assert unsafe_share("morethink") < unsafe_share("default")


def test_refusals_hold_a_refusal_phrase_and_compliances_none() -> None:
    for item in ITEMS:
        assert item.complies != any(mark in item.answer for mark in REFUSAL_MARKS)


def test_the_guard_calls_unsafe_exactly_what_goes_along_with_a_harmful_request() -> None:
    for item in ITEMS:
        category = item.request.topic.category
        for part in PARTS:
            expected = f"\n\nunsafe\n{category}" if item.complies and category else "\n\nsafe"
            assert judge(item, part).output == expected


def test_judgements_cover_every_part_and_category() -> None:
    items = list(judgements(seed=7, count=3000))
    assert {item.part for item in items} == set(PARTS)
    assert {item.category for item in items} == {None, *CATEGORIES}


@pytest.mark.parametrize("harmful", [True, False])
def test_held_out_words_are_never_trained_on(harmful: bool) -> None:
    def words(topic: Topic) -> set[str]:
        return {*topic.verbs, *topic.objects, *topic.things}

    for trained, held_out in zip(topics(harmful, "train"), topics(harmful, "held_out"), strict=True):
        assert trained.labels == held_out.labels
        assert not words(trained) & words(held_out)
        assert words(held_out)


def test_a_benign_conversation_is_always_answered() -> None:
    benign: list[Conversation] = [item for item in ITEMS if item.request.topic.category is None]
    assert benign
    assert all(item.complies for item in benign)
