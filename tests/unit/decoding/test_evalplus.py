"""EvalPlus' decoding: the text that is sent, where it stops, and the tokens that are left."""

import asyncio

import pytest

from safechain_ray.catalog import families
from safechain_ray.decoding.base import STRATEGIES, check_strategy, strategy
from safechain_ray.decoding.evalplus import RESPONSE_PREFIX, STOP
from safechain_ray.errors import InputError, RowError, UnknownNameError
from safechain_ray.types import StrategySpec
from tests.family_tokenizers import FIXTURES, tokenizer_of
from tests.unit.decoding.scripted_generate import PROMPT, ScriptedGenerate, count_words, decode, ends, task

EVALPLUS = StrategySpec(name="evalplus")


@pytest.mark.parametrize("opened", ["", "<think>\n"])
@pytest.mark.parametrize("bos", ["", "<｜begin▁of▁sentence｜>", "<|begin_of_text|>"])
def test_the_answer_begins_with_an_opened_block_and_nothing_is_thought(opened: str, bos: str) -> None:
    decoded, (request,) = decode(
        strategy(EVALPLUS), task(bos + PROMPT + opened, max_tokens=768), ends("def f():\n    return 1", 5)
    )
    assert request.prompt == bos + bos + PROMPT + RESPONSE_PREFIX
    assert RESPONSE_PREFIX.endswith("corresponding tests:\n```python\n")
    assert (request.max_tokens, request.stop) == (768, STOP)
    assert {"\n```\n", "\nif __name__", "\ndef main(", "\nprint("} <= set(STOP)
    assert (decoded.prefill, decoded.text) == (RESPONSE_PREFIX, "def f():\n    return 1")
    assert decoded.response == RESPONSE_PREFIX + "def f():\n    return 1"


def test_the_context_bounds_prompt_and_response_together() -> None:
    words = count_words(PROMPT + RESPONSE_PREFIX)
    small = StrategySpec(name="evalplus", options={"context_length": words + 3})
    _, (request,) = decode(strategy(small), task(max_tokens=768), ends("x", 1))
    assert request.max_tokens == 3

    full = StrategySpec(name="evalplus", options={"context_length": words})
    with pytest.raises(RowError, match=rf"takes {words} tokens, and EvalPlus' context holds {words}\. Fix"):
        asyncio.run(strategy(full).decode(task(), ScriptedGenerate(()), count_words))


@pytest.mark.parametrize("value", [0, "2048", 1.5])
def test_a_wrong_context_is_refused(value: float | str) -> None:
    with pytest.raises(InputError, match="option 'context_length'"):
        strategy(StrategySpec(name="evalplus", options={"context_length": value}))


def test_it_belongs_to_a_style_and_is_no_strategy_to_ask_for() -> None:
    assert "evalplus" not in STRATEGIES
    with pytest.raises(UnknownNameError, match="Unknown strategy 'evalplus'"):
        check_strategy(EVALPLUS, families()["r1"])


@pytest.mark.parametrize("fixture", ["r1, older template", "r1, newer template"])
def test_r1_is_sent_the_tokens_that_evalplus_sends(fixture: str) -> None:
    """EvalPlus renders the start of the answer as a turn of the assistant, cuts what the template puts behind it, and
    hands the text to vLLM, whose tokenizer adds a BOS."""
    family, template, bos = FIXTURES[fixture]
    tokenizer = tokenizer_of(template, bos)
    user = {"role": "user", "content": "Solve it:\n```\ndef f():\n```\n"}
    turn = {"role": "assistant", "content": f"{RESPONSE_PREFIX}CUT\n```\n"}
    theirs = tokenizer.apply_chat_template([user, turn], tokenize=False).split("CUT")[0]

    ours = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    _, (request,) = decode(strategy(EVALPLUS), task(ours, tags=families()[family].tags), ends("x", 1))
    assert tokenizer(request.prompt, add_special_tokens=False).input_ids == tokenizer(theirs).input_ids
    assert "think" not in request.prompt
