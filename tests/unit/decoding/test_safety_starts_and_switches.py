"""Thoughts that begin with a sentence about safety, thoughts of bounded length, and the model's own switches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import Family
from safechain_ray.decoding.base import check_strategy, request_body, split_response, strategy, template_arguments
from safechain_ray.decoding.opened_thought import INTERVENTION, SAFEPATH
from safechain_ray.errors import InputError
from safechain_ray.types import StrategySpec
from tests.unit.decoding.scripted_generate import PROMPT, R1, decode, ends, task

HYBRID = Family(name="hybrid", tags=R1, no_think={"enable_thinking": False}, efforts=("low", "high"))


def spec(name: str, **options: object) -> StrategySpec:
    return StrategySpec.model_validate({"name": name, **options})


@pytest.mark.parametrize("end", ["", "<think>\n", "<think>\n\n</think>\n\n"])
@pytest.mark.parametrize(("name", "text"), [("safepath", SAFEPATH), ("thinking-intervention", INTERVENTION)])
def test_the_sentence_begins_a_thought_that_stays_open_whatever_the_template_writes(name: str, text: str, end: str):
    decoded, (request,) = decode(strategy(spec(name)), task(PROMPT + end), ends(" Fine.\n</think>\n\nHi.", 5))
    assert request.prompt == f"{PROMPT}<think>\n{text}"
    assert (request.max_tokens, request.stop, request.thinking_budget) == (100, (), None)
    parts = split_response(decoded.whole, R1)
    assert (parts.thought, parts.answer, parts.closed) == (f"{text} Fine.", "Hi.", True)


def test_safepaths_primer_has_its_full_stop_and_no_line_break():
    """<think>\\nLet's think about safety first. in the code and the reviews of arXiv:2505.14667."""
    assert SAFEPATH == "Let's think about safety first."


def test_the_opening_of_the_template_is_kept_as_the_template_writes_it():
    decoded, (request,) = decode(strategy(spec("safepath")), task(f"{PROMPT}<think>"), ends("", 0))
    assert request.prompt == f"{PROMPT}<think>{SAFEPATH}"
    assert decoded.prefill == f"<think>{SAFEPATH}"


def test_another_sentence_is_an_option():
    _, (request,) = decode(strategy(spec("thinking-intervention", text="I refuse harm.")), task(), ends("", 0))
    assert request.prompt.endswith("<think>\nI refuse harm.")


@given(st.integers(0, 2**31 - 1))
def test_a_budget_is_passed_to_the_engine_with_the_prompt_as_it_is(tokens: int):
    _, (request,) = decode(strategy(spec("budget", tokens=tokens)), task(), ends("<think>\nHm.</think>Hi.", 5))
    assert (request.prompt, request.thinking_budget) == (PROMPT, tokens)


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "option 'tokens' is missing"), ({"tokens": -1}, "option 'tokens'"), ({"tokens": 1.5}, "option 'tokens'")],
)
def test_a_budget_needs_a_number_of_tokens(options: dict[str, object], says: str):
    with pytest.raises(InputError, match=says):
        strategy(spec("budget", **options))


def test_no_think_and_effort_are_arguments_of_the_families_templates():
    assert template_arguments(spec("no-think"), HYBRID) == {"enable_thinking": False}
    assert template_arguments(spec("effort", level="high"), HYBRID) == {"reasoning_effort": "high"}
    own = spec("no-think", template_kwargs={"enable_thinking": True})
    assert template_arguments(own, HYBRID) == {"enable_thinking": True}


def test_no_think_keeps_the_templates_empty_thought_as_the_prefill():
    decoded, (request,) = decode(
        strategy(spec("no-think")), task(f"{PROMPT}<think>\n\n</think>\n\n"), ends("The tag </think>\nis XML.", 5)
    )
    assert request.prompt == f"{PROMPT}<think>\n\n</think>\n\n"
    assert split_response(decoded.whole, R1).answer == "The tag </think>\nis XML."


@pytest.mark.parametrize(
    ("wanted", "family", "says"),
    [
        (spec("no-think"), families()["r1"], "'r1' has none. Fix: use strategy 'zerothink'"),
        (spec("effort", level="low"), families()["r1"], "it has no levels of effort. Fix:"),
        (spec("effort", level="max"), HYBRID, "its levels are low, high. Fix:"),
        (spec("effort"), HYBRID, "option 'level' is missing"),
        (spec("budget", tokens=5), families()["qwq"], "write none. Fix:"),
        (spec("safepath"), families()["qwq"], "write none. Fix:"),
    ],
)
def test_a_model_without_the_switch_or_tags_is_refused_with_the_fix(wanted: StrategySpec, family: Family, says: str):
    with pytest.raises(InputError, match=says):
        check_strategy(wanted, family)


def test_an_api_takes_any_level_of_effort_but_neither_a_budget_nor_a_switch():
    api = families()["api"]
    check_strategy(spec("effort", level="minimal"), api, takes_prefill=False)
    assert request_body(spec("effort", level="minimal"), api) == {"reasoning_effort": "minimal"}
    for wanted, says in ((spec("budget", tokens=5), "thinking_token_budget"), (spec("no-think"), "extra_body")):
        with pytest.raises(InputError, match=f"behind an API: .*{says}"):
            check_strategy(wanted, api, takes_prefill=False)
    with pytest.raises(InputError, match="an API takes whole turns only"):
        check_strategy(spec("safepath"), api, takes_prefill=False)
