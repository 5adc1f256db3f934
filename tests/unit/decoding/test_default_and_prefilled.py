"""The strategies of one call: what is sent to the engine, and what comes back."""

import pytest

from safechain_ray.decoding.base import ResponseParts, split_response, strategy
from safechain_ray.types import StrategySpec, ThinkingTags
from tests.unit.decoding.scripted_generate import PROMPT, R1, decode, ends, runs_out, task

ZEROTHINK = "<think>\n\n</think>\n\n"
LESSTHINK = "<think>\nOkay, the user ask for this, I can answer it without thinking much. \n</think>\n\n"


def named(name: str, **options: str):
    return strategy(StrategySpec(name=name, options=options))


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


@pytest.mark.parametrize(("name", "prefill"), [("default", ""), ("zerothink", ZEROTHINK), ("lessthink", LESSTHINK)])
def test_compat_paper_has_judges_see_only_what_was_generated_and_stores_the_prefill(name, prefill):
    decoded, (request,) = decode(named(name, compat="paper"), task(), ends("\n\nHi. \n", 2))
    assert request.prompt == PROMPT + prefill
    assert (decoded.prefill, decoded.response, decoded.whole) == (prefill, "Hi.", prefill + "\n\nHi. \n")


def test_compat_paper_does_not_judge_a_tag_that_the_template_opens():
    decoded, _ = decode(named("default", compat="paper"), task(PROMPT + "<think>\n"), ends("Hm.\n</think>\n\nHi.", 9))
    assert (decoded.prefill, decoded.response) == ("<think>\n", "Hm.\n</think>\n\nHi.")
    assert split_response(decoded.whole, R1) == ResponseParts("Hm.", "Hi.", closed=True)


@pytest.mark.parametrize("name", ["default", "zerothink", "lessthink", "morethink"])
@pytest.mark.parametrize("bos", ["<｜begin▁of▁sentence｜>", "<|begin_of_text|>", ""])
def test_only_compat_paper_sends_bos_twice_where_the_template_writes_it(name, bos):
    the_task = task(bos + PROMPT, max_tokens=20_000)
    replies = [ends("Hm.", 1)] * 13
    (ours, *_), (theirs, *_) = (
        decode(named(name, compat=compat), the_task, *replies)[1] for compat in ("none", "paper")
    )
    assert ours.prompt.startswith(bos + PROMPT)
    assert theirs.prompt.startswith(bos + bos + PROMPT)
    assert not theirs.prompt.startswith(bos * 3 + PROMPT) or not bos


def test_other_tags_make_other_prefills():
    tags = ThinkingTags("<|begin_of_thought|>", "<|end_of_thought|>")
    decoded, _ = decode(named("zerothink"), task(tags=tags), ends("Hi.", 2))
    assert decoded.prefill == "<|begin_of_thought|>\n\n<|end_of_thought|>\n\n"
