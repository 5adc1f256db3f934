"""Tokens with loss: the response's, with thought and end of turn, and no others."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families, training_sets
from safechain_ray.datasets.adhoc import copy_of
from safechain_ray.datasets.training_sets import load_training_set
from safechain_ray.errors import InputError
from safechain_ray.training.chat import ChatFormat, TemplateFacts, check_chat_format, check_demonstrations
from safechain_ray.training.tokens import IGNORED, Example, examples_of, hold_out, tokenise
from safechain_ray.types import Demonstration, Exchange
from tests.family_tokenizers import R1_BOS, R1_EOS, TEMPLATES, r1_tokenizer, tokenizer_of
from tests.real_data import needs_real_data, real

SHARED = real("data")
ROOT = Path(__file__).parents[3]
R1 = families()["r1"]
TEXTS = ((ROOT / "README.md").read_text(encoding="utf-8"),)
STYLES = [(style, template) for style in ("qwen", "llama") for template in ("r1-older", "r1-newer")]
THOUGHT, ANSWER = "They ask about 1234 rivers.\n\n- None is harmful.", "There are **12**.\n"
SHOWN = Demonstration(1, "Which rivers?", THOUGHT, ANSWER.strip())


def chat(style: str = "qwen", template: str = "r1-newer") -> ChatFormat:
    return ChatFormat(r1_tokenizer(style, template, TEXTS), R1)


def only_example(demonstration: Demonstration, form: ChatFormat) -> Example:
    (example,) = tokenise([demonstration], form, max_length=10_000).examples
    return example


def decoded(form: ChatFormat, ids: np.ndarray) -> str:
    return str(form.tokenizer.decode(ids.tolist(), skip_special_tokens=False))


@pytest.mark.parametrize(("style", "template"), STYLES)
def test_loss_is_on_the_thought_the_answer_and_the_end_of_turn_token_by_token(style: str, template: str):
    form = chat(style, template)
    example = only_example(SHOWN, form)
    with_loss = example.input_ids[example.labels != IGNORED]
    assert decoded(form, with_loss) == f"<think>\n{THOUGHT}\n</think>\n\n{SHOWN.answer}{R1_EOS}"
    assert np.array_equal(example.labels[example.response_start :], example.input_ids[example.response_start :])
    assert set(example.labels[: example.response_start].tolist()) == {IGNORED}
    assert decoded(form, example.input_ids[: example.response_start]) == (
        f"{R1_BOS}<｜User｜>Which rivers?<｜Assistant｜>"
    )


@pytest.mark.parametrize(("style", "template"), STYLES)
def test_bos_both_tags_and_the_end_stand_there_once(style: str, template: str):
    form = chat(style, template)
    ids = only_example(SHOWN, form).input_ids.tolist()
    once = form.tokenizer.convert_tokens_to_ids([R1_BOS, "<think>", "</think>", R1_EOS])
    assert [ids.count(token) for token in once] == [1, 1, 1, 1]
    assert (ids[0], ids[-1]) == (once[0], once[3])


@pytest.mark.parametrize("style", ["qwen", "llama"])
@given(thought=st.text("a1 \n.é<", max_size=8), answer=st.text("a1 \n.é<", min_size=1, max_size=8))
def test_an_older_and_a_newer_template_teach_the_same_tokens(style: str, thought: str, answer: str):
    demonstration = Demonstration(1, "Which?", thought.strip("\n"), answer)
    older, newer = (only_example(demonstration, chat(style, template)) for template in ("r1-older", "r1-newer"))
    assert np.array_equal(older.input_ids, newer.input_ids)
    assert np.array_equal(older.labels, newer.labels)


@pytest.mark.parametrize(("style", "template"), STYLES)
def test_an_example_begins_with_the_very_tokens_that_an_engine_is_sent_in_evaluation(style: str, template: str):
    form = chat(style, template)
    sent = form.encode([form.render(R1.conversation(SHOWN.prompt), add_generation_prompt=True)])[0]
    assert only_example(SHOWN, form).input_ids[: len(sent)].tolist() == sent


def test_a_demonstration_without_a_thought_has_no_tag_even_where_the_template_opens_one():
    form = chat("qwen", "r1-newer")
    example = only_example(Demonstration(1, "Which?", None, "None."), form)
    assert decoded(form, example.input_ids) == f"{R1_BOS}<｜User｜>Which?<｜Assistant｜>None.{R1_EOS}"
    assert decoded(form, example.input_ids[example.response_start :]) == f"None.{R1_EOS}"


def test_the_system_turn_of_the_data_is_written_and_carries_no_loss():
    form = chat()
    example = only_example(Demonstration(1, "Which?", "Hm.", "None.", system="Be brief."), form)
    assert decoded(form, example.input_ids[: example.response_start]).startswith(f"{R1_BOS}Be brief.<｜User｜>")


@pytest.mark.parametrize(("template", "opens"), [("r1-older", False), ("r1-newer", True)])
def test_a_template_that_drops_the_thought_is_found_out_and_gone_round(template: str, opens: bool):
    form = chat("qwen", template)
    assert check_chat_format(form) == TemplateFacts(opens_thought=opens, drops_thought=True)
    assert THOUGHT in decoded(form, only_example(SHOWN, form).input_ids)


@needs_real_data("data/star1.json")
@pytest.mark.parametrize(("style", "template"), STYLES)
def test_all_of_star_1_loss_is_exactly_on_the_responses_of_its_file(style: str, template: str):
    found = load_training_set(copy_of(training_sets()["star-1"], str(SHARED / "star1.json")))
    rows = json.loads((SHARED / "star1.json").read_text(encoding="utf-8"))
    form = chat(style, template)
    examples = tokenise(found.demonstrations, form, max_length=100_000)
    assert examples.counts.examples == 1000
    decode = form.tokenizer.backend_tokenizer.decode_batch
    with_loss = [example.input_ids[example.labels != IGNORED].tolist() for example in examples.examples]
    assert decode(with_loss, skip_special_tokens=False) == [row["response"] + R1_EOS for row in rows]
    prompts = [example.input_ids[example.labels == IGNORED].tolist() for example in examples.examples]
    assert decode(prompts, skip_special_tokens=False) == [
        f"{R1_BOS}<｜User｜>{row['question']}<｜Assistant｜>" for row in rows
    ]


def test_what_is_longer_than_max_length_is_left_out_whole_and_counted():
    form = chat()
    long = Demonstration(2, "Which?", "Hm. " * 500, "None.")
    found = tokenise([SHOWN, long, SHOWN], form, max_length=200)
    assert [example.row for example in found.examples] == [1, 1]
    assert (found.counts.too_long, found.counts.examples) == (1, 2)
    assert "left out: 1 too long." in found.counts.sentence
    length = len(found.examples[0].input_ids)
    assert tokenise([SHOWN], form, max_length=length).counts.longest == length
    with pytest.raises(
        InputError, match=rf"with max_length {length - 1}.* the shortest takes {length}\. Fix: raise max_len"
    ):
        tokenise([SHOWN], form, max_length=length - 1)


def test_a_response_with_a_special_token_is_left_out_and_counted():
    form = chat()
    stray = Demonstration(2, "Which?", "Hm.", f"None.{R1_EOS}")
    found = tokenise([SHOWN, stray], form, max_length=200)
    assert found.counts.left_out == {f"the response holds the special token {R1_EOS}": 1}
    assert f"1 in which the response holds the special token {R1_EOS}" in found.counts.sentence


def test_counts_and_table_add_up():
    form = chat()
    found = tokenise([SHOWN] * 3, form, max_length=200)
    table = found.table()
    labels = table["labels"].to_pylist()
    assert table["input_ids"].to_pylist() == [example.input_ids.tolist() for example in found.examples]
    assert sum(label != IGNORED for each in labels for label in each) == found.counts.response_tokens
    assert sum(map(len, labels)) == found.counts.response_tokens + found.counts.prompt_tokens


def test_a_batch_of_many_demonstrations_keeps_their_order():
    many = [Demonstration(row, f"Which {row}?", "Hm." if row % 3 else None, f"{row}.") for row in range(600)]
    form = chat()
    for demonstration, example in zip(many, examples_of(many, form), strict=True):
        assert isinstance(example, Example)
        assert decoded(form, example.input_ids).endswith(form.text(demonstration).response + R1_EOS)
        assert example.row == demonstration.row


def altered(template: str = "r1-newer", was: str = "", now: str = "", **tokens: str) -> ChatFormat:
    tokenizer: PreTrainedTokenizerFast = tokenizer_of(template, R1_BOS)
    tokenizer.eos_token = tokens.get("eos_token", R1_EOS)
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    assert was in text
    return ChatFormat(tokenizer, R1, text.replace(was, now) if was else None)


@pytest.mark.parametrize(
    ("form", "complaint"),
    [
        (altered(was="message.content }}{% else", now="'' }}{% else"), "writes the request 0 times"),
        (
            altered(was="<think>\\n'", now="<think>\\n\\n</think>\\n\\n'"),
            "thinking tags that are closed or written twice",
        ),
        (altered(was="<think>\\n'", now="<think>\\n<think>\\n'"), "thinking tags that are closed or written twice"),
        (
            altered(was="{{ bos_token }}", now="{{ bos_token }}{{ bos_token }}"),
            "writes <｜begin▁of▁sentence｜> 2 times",
        ),
        (altered(eos_token="<｜other｜>"), "eos_token is '<｜other｜>'"),
        (altered(was="{% if add", now="{{ raise_exception('no') }}{% if add"), "does not render: no"),
    ],
)
def test_a_template_that_would_teach_something_else_is_refused(form: ChatFormat, complaint: str):
    with pytest.raises(InputError, match=complaint):
        check_chat_format(form)


def test_a_tokenizer_without_an_end_of_turn_is_refused():
    with pytest.raises(InputError, match="no eos_token: the model would never learn to stop"):
        check_chat_format(ChatFormat(tokenizer_of("r1-newer", R1_BOS), R1))


def test_a_family_without_thinking_tags_is_refused():
    with pytest.raises(InputError, match="no thinking tags"):
        check_chat_format(ChatFormat(tokenizer_of("qwen2.5", None), families()["qwq"]))


TALK = Demonstration(1, "Why?", "Hm.", "So.", "Be brief.", earlier=(Exchange("How?", "Thus."),))


@pytest.mark.parametrize(("style", "template"), STYLES)
def test_of_several_turns_the_last_carries_loss_and_earlier_ones_are_rendered_as_in_use(style: str, template: str):
    form = chat(style, template)
    check_demonstrations(form, [TALK])
    example = only_example(TALK, form)
    prompt, learnt = example.input_ids[: example.response_start], example.input_ids[example.response_start :]
    assert decoded(form, prompt) == (
        f"{R1_BOS}Be brief.<｜User｜>How?<｜Assistant｜>Thus.{R1_EOS}<｜User｜>Why?<｜Assistant｜>"
    )
    assert decoded(form, learnt) == f"<think>\nHm.\n</think>\n\nSo.{R1_EOS}"
    assert (example.labels[example.response_start :] == learnt).all()
    assert (example.labels[: example.response_start] == IGNORED).all()


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("message.content.split('</think>')[-1] +", "", "does not write the earlier answer exactly once"),
        (
            "message.role == 'system' %}{{ message.content }}",
            "message.role == 'system' %}",
            "the system turn exactly once",
        ),
        ("{% else %}{{", "{% else %}{{ raise_exception('one turn only') }}{{", "turns of this data: one turn only"),
    ],
)
def test_a_template_that_loses_a_turn_of_the_data_is_refused(was: str, now: str, says: str):
    form = altered(was=was, now=now)
    check_demonstrations(form, [SHOWN])
    with pytest.raises(InputError, match=says):
        check_demonstrations(form, [SHOWN, TALK])


def test_sky_t1_learns_its_own_tags_around_thought_and_answer():
    form = ChatFormat(tokenizer_of("qwen2.5", None), families()["sky-t1"])
    form.tokenizer.add_special_tokens({"eos_token": "<|im_end|>"})
    assert check_chat_format(form) == TemplateFacts(opens_thought=False, drops_thought=False)
    text = form.text(SHOWN)
    assert text.opening == "<|begin_of_thought|>\n\n"
    assert text.rest == (
        f"{THOUGHT}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\nThere are **12**.\n\n<|end_of_solution|>"
    )
    example = only_example(SHOWN, form)
    assert decoded(form, example.input_ids[example.response_start :]) == f"{text.response}<|im_end|>"


def test_all_turns_of_a_conversation_are_held_out_together():
    talks = [
        Demonstration(row, f"Why {turn}?", "Hm.", "So.", earlier=(Exchange(f"How {row}?", "Thus."),) * turn)
        for row in range(200)
        for turn in (1, 2)
    ]
    learnt, held_out = hold_out(talks, share=0.2, seed=3)
    assert learnt
    assert held_out
    assert not {each.row for each in learnt} & {each.row for each in held_out}


def test_prompts_are_held_out_by_what_they_ask_and_stay_so_when_rows_are_added():
    rows = [Demonstration(row, f"Which {row // 2}?", "Hm.", f"{row}.") for row in range(2000)]
    learnt, held_out = hold_out(rows, share=0.1, seed=3)
    assert sorted([*learnt, *held_out], key=lambda each: each.row) == rows
    assert 140 < len(held_out) < 260
    assert not {each.prompt for each in learnt} & {each.prompt for each in held_out}
    assert set(hold_out(rows[:1000], share=0.1, seed=3)[1]) <= set(held_out)
    assert hold_out(rows, share=0, seed=3) == (tuple(rows), ())
