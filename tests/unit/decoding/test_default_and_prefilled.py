"""The strategies of one call: what is sent to the engine, and what comes back."""

import pytest
from scripted_generate import PROMPT, decode, ends, runs_out, task

from safechain_ray.decoding.base import strategy
from safechain_ray.schema import StrategySpec, ThinkingTags

ZEROTHINK = "<think>\n\n</think>\n\n"
LESSTHINK = "<think>\nOkay, the user ask for this, I can answer it without thinking much. \n</think>\n\n"


def named(name: str):
    return strategy(StrategySpec(name=name))


def test_default_sends_the_prompt_as_it_is_with_the_whole_token_budget():
    decoded, (request,) = decode(named("default"), task(), ends("<think>\nHm.\n</think>\n\nHi.", 9))
    assert (request.prompt, request.max_tokens, request.stop, request.seed) == (PROMPT, 100, (), 1)
    assert decoded.response == "<think>\nHm.\n</think>\n\nHi."
    assert (decoded.prefill, decoded.prompt_tokens, decoded.completion_tokens) == ("", 7, 9)


def test_a_tag_that_the_template_opens_is_prefill_so_that_the_response_holds_it_once():
    decoded, (request,) = decode(named("default"), task(PROMPT + "<think>\n"), ends("Hm.\n</think>\n\nHi.", 9))
    assert request.prompt == PROMPT + "<think>\n"
    assert decoded.prefill == "<think>\n"
    assert decoded.response == "<think>\nHm.\n</think>\n\nHi."


def test_default_needs_no_tags():
    decoded, (request,) = decode(named("default"), task(PROMPT + "<think>\n", tags=None), runs_out("Hm", 100))
    assert (request.prompt, decoded.prefill, decoded.finish_reason) == (PROMPT + "<think>\n", "", "length")


@pytest.mark.parametrize(("name", "prefill"), [("zerothink", ZEROTHINK), ("lessthink", LESSTHINK)])
@pytest.mark.parametrize("opened", ["", "<think>\n", "<think>"])
def test_the_prefill_is_the_published_one_whether_or_not_the_template_opens_the_thought(name, prefill, opened):
    decoded, (request,) = decode(named(name), task(PROMPT + opened), ends("Hi.", 2))
    assert request.prompt == PROMPT + prefill
    assert request.prompt.count("<think>") == 1
    assert (request.max_tokens, request.stop) == (100, ())
    assert (decoded.prefill, decoded.response, decoded.completion_tokens) == (prefill, prefill + "Hi.", 2)


@pytest.mark.parametrize("name", ["default", "zerothink", "lessthink", "morethink"])
def test_a_tag_in_the_users_request_does_not_count_as_opened_by_the_template(name):
    prompt = "<|User|>What is <think>\n?<|Assistant|>"
    decoded, requests = decode(named(name), task(prompt), ends("Hi.", 2))
    assert requests[0].prompt == prompt + decoded.prefill
    assert decoded.prefill.startswith("<think>\n") is (name != "default")


def test_other_tags_make_other_prefills():
    tags = ThinkingTags("<|begin_of_thought|>", "<|end_of_thought|>")
    decoded, _ = decode(named("zerothink"), task(tags=tags), ends("Hi.", 2))
    assert decoded.prefill == "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n"
