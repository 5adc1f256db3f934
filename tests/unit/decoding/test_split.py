"""A response split into thought and answer."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.decoding.base import ResponseParts, split_response
from safechain_ray.types import ThinkingTags

R1 = ThinkingTags("<think>", "</think>")
SKY = ThinkingTags("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>")


@pytest.mark.parametrize(
    ("response", "thought", "answer", "closed"),
    [
        pytest.param("<think>\nHm.\n</think>\n\nHi.", "Hm.", "Hi.", True, id="the usual form"),
        pytest.param("<think>\n\n</think>\n\nHi.", "", "Hi.", True, id="zerothink"),
        pytest.param("Hm.\n</think>\n\nHi.", "Hm.", "Hi.", True, id="no opening tag"),
        pytest.param("\n <think>Hm.</think>Hi.", "Hm.", "Hi.", True, id="blanks before the opening tag"),
        pytest.param("<think>\nHm", "Hm", "", False, id="never closed"),
        pytest.param("<think>\n", "", "", False, id="never begun"),
        pytest.param("Well. <think>Hm", "", "Well. <think>Hm", True, id="an opening tag in prose"),
        pytest.param("Tags <think> and </think> are XML.", "", "Tags <think> and </think> are XML.", True, id="prose"),
        pytest.param("The tag </think> is XML.", "", "The tag </think> is XML.", True, id="a closing tag in prose"),
        pytest.param(
            "<think>\nHm.\n</think>\n\nA <think> and a </think>.",
            "Hm.",
            "A <think> and a </think>.",
            True,
            id="tags in the prose of an answer",
        ),
        pytest.param("<think>\n<think>\nHm.\n</think>\n\nHi.", "Hm.", "Hi.", True, id="a doubled opening tag"),
        pytest.param("<think>\n<think>\nHm", "Hm", "", False, id="a doubled opening tag and no closing one"),
        pytest.param("<think>\nHm.\n</think>\n</think>\n\nHi.", "Hm.", "Hi.", True, id="a doubled closing tag"),
        pytest.param("</think>\n\nHi.", "", "Hi.", True, id="a closing tag alone at the start"),
        pytest.param("<think>Hm.</think>", "Hm.", "", True, id="no answer"),
        pytest.param(
            "<think>a</think>b</think>c", "a", "b</think>c", True, id="the first closing tag ends the thought"
        ),
        pytest.param("<think>a<think>b</think>c", "a<think>b", "c", True, id="an opening tag in the thought stays"),
        pytest.param("Hi.", "", "Hi.", True, id="no thought at all"),
        pytest.param("", "", "", True, id="nothing"),
        pytest.param("<think>  two\n  lines \n</think> Hi ", "  two\n  lines ", " Hi ", True, id="other blanks stay"),
    ],
)
def test_r1_responses(response, thought, answer, closed):
    assert split_response(response, R1) == ResponseParts(thought, answer, closed)


@pytest.mark.parametrize(
    ("response", "thought", "answer"),
    [
        ("Okay done.</think>Sure, here", "Okay done.", "Sure, here"),
        ("Line one\nOkay done.</think>Sure, here\nand more", "Line one\nOkay done.", "Sure, here\nand more"),
        (" Hmm <think>. ok\n</think>\nAnswer", " Hmm <think>. ok", "Answer"),
        ("The <think> tag.\nOk.</think>Answer", "The <think> tag.\nOk.", "Answer"),
        ("The <think> tag.\nOk.</think>\n\nAnswer", "The <think> tag.\nOk.", "Answer"),
        ('He said "no."</think>Sure', 'He said "no."', "Sure"),
        ('Okay.</think>"Sure," he said', "Okay.", '"Sure," he said'),
        ("It is `x`.</think>Sure", "It is `x`.", "Sure"),
        ("I don't.</think>Sure", "I don't.", "Sure"),
        ("好的。</think>你好", "好的。", "你好"),
        ("a</think>b, and </think> is a tag", "a", "b, and </think> is a tag"),
    ],
)
def test_a_closing_tag_that_is_glued_to_text_ends_an_unopened_thought(response: str, thought: str, answer: str):
    assert split_response(response, R1) == ResponseParts(thought, answer, closed=True)


@pytest.mark.parametrize(
    "response",
    [
        "the tag </think> is XML",
        "the tag `</think>` is XML",
        'the tag "</think>" is XML',
        "the tag '</think>' is XML",
        "the tag “</think>” is XML",
        "the tag (</think>) is XML",
        "the tag **</think>** is XML",
        'text.split("a</think>b")[1]',
        "text.split('a</think>')[1]",
        "```\nx</think>y\n```",
        "It ends with </think>, as XML does.",
        "Write <think>x</think>y for a thought",
        "Tags <think> and\n</think> are XML.",
        "An example:\n<think>\nx\n</think>\n\nDone.",
        "An example: <think>\nx\n</think>\n\nDone.",
    ],
)
def test_prose_that_names_the_closing_tag_is_the_answer(response: str):
    assert split_response(response, R1) == ResponseParts("", response, closed=True)


@pytest.mark.parametrize(
    ("answer_text", "answer"),
    [
        ("\n\n<|begin_of_solution|>\n\nHi.\n\n<|end_of_solution|>", "Hi."),
        ("<|begin_of_solution|>Hi", "Hi"),
        ("Hi.<|end_of_solution|>\n", "Hi."),
        ("Hi.", "Hi."),
        ("<|begin_of_solution|>a<|end_of_solution|>b", "a<|end_of_solution|>b"),
    ],
)
def test_answer_tags_are_dropped_at_the_ends_of_the_answer(answer_text, answer):
    response = "<|begin_of_thought|>\n\nHm.\n\n<|end_of_thought|>" + answer_text
    assert split_response(response, SKY) == ResponseParts("Hm.", answer, closed=True)


@given(st.text())
def test_without_tags_there_is_only_a_response(response):
    assert split_response(response, None) == ResponseParts(None, None, closed=True)


def responses(tags: ThinkingTags) -> st.SearchStrategy[str]:
    pieces = [tag for tag in (tags.open, tags.close, tags.answer_open, tags.answer_close) if tag]
    piece = st.one_of(st.sampled_from([*pieces, "\n", " ", "<thi", "nk>"]), st.text(max_size=4))
    return st.lists(piece, max_size=10).map("".join)


def joined(parts: ResponseParts, tags: ThinkingTags) -> str:
    if not parts.closed:
        return f"{tags.open}\n{parts.thought}"
    answer = f"{tags.answer_open or ''}\n{parts.answer}\n{tags.answer_close or ''}"
    return f"{tags.open}\n{parts.thought}\n{tags.close}\n\n{answer}"


@pytest.mark.parametrize("tags", [R1, SKY])
@given(data=st.data())
def test_any_text_splits_into_pieces_of_itself_in_order(tags, data):
    response = data.draw(responses(tags))
    parts = split_response(response, tags)
    start = response.index(parts.thought)
    assert parts.answer in response[start + len(parts.thought) :]
    assert tags.close not in parts.thought
    assert parts.closed or parts.answer == ""
    if tags.close in response:
        assert parts.closed


@pytest.mark.parametrize("tags", [R1, SKY])
@given(data=st.data())
def test_splitting_what_was_split_and_joined_changes_nothing(tags, data):
    parts = split_response(data.draw(responses(tags)), tags)
    assert split_response(joined(parts, tags), tags) == parts


@pytest.mark.parametrize("tags", [R1, SKY])
@given(data=st.data())
def test_nothing_is_lost_but_tags_and_blanks(tags, data):
    response = data.draw(responses(tags))
    parts = split_response(response, tags)
    possible = filter(None, (tags.open, tags.close, tags.answer_open, tags.answer_close))
    lost = rf"(?:\s|{'|'.join(map(re.escape, possible))})*"
    assert re.fullmatch(f"{lost}{re.escape(parts.thought)}{lost}{re.escape(parts.answer)}{lost}", response)


PLAIN = st.text(st.characters(exclude_characters="<>|"), max_size=40)


def build(thought: str, answer: str, tags: ThinkingTags, opened: bool = True) -> str:
    """A response as a model writes it; without its opening tag as behind a template that opens the thought."""
    opening = f"{tags.open}\n" if opened else ""
    answer = f"{tags.answer_open}\n{answer}\n{tags.answer_close}" if tags.answer_open else answer
    return f"{opening}{thought}\n{tags.close}\n\n{answer}"


@pytest.mark.parametrize("tags", [R1, SKY])
@given(thought=PLAIN, answer=PLAIN, opened=st.booleans())
def test_what_was_built_of_a_thought_and_an_answer_splits_into_them(tags, thought, answer, opened):
    parts = split_response(build(thought, answer, tags, opened), tags)
    assert parts == ResponseParts(thought.strip("\n"), answer.strip("\n"), closed=True)


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)


@pytest.mark.parametrize("tags", [R1, SKY])
@given(thought=WORDS, answer=WORDS)
def test_words_glued_to_a_lone_closing_tag_are_a_thought_and_words_apart_from_it_are_prose(tags, thought, answer):
    assert split_response(f"{thought}{tags.close}{answer}", tags) == ResponseParts(thought, answer, closed=True)
    prose = f"{thought} {tags.close} {answer}"
    assert split_response(prose, tags) == ResponseParts("", prose, closed=True)


@pytest.mark.parametrize("tags", [R1, SKY])
@given(text=PLAIN)
def test_a_text_without_tags_is_an_answer_and_after_an_opening_tag_a_thought_that_was_cut(tags, text):
    assert split_response(text, tags).thought == ""
    assert split_response(text, tags).closed
    assert split_response(f"{tags.open}\n{text}", tags) == ResponseParts(text.strip("\n"), "", closed=False)
