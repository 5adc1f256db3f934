"""MoreThink: the thought is kept open, every token is charged, and the answer gets what is left."""

import asyncio
from itertools import cycle, pairwise

from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.decoding.base import split_response
from safechain_ray.decoding.morethink import PHRASES, MoreThink, MoreThinkOptions
from safechain_ray.types import Completion, Request
from tests.unit.decoding.scripted_generate import (
    PROMPT,
    R1,
    ScriptedGenerate,
    closes,
    count_words,
    decode,
    ends,
    runs_out,
    task,
)

OPENED = PROMPT + "<think>\n"


def morethink(*phrases: str, **options: int) -> MoreThink:
    words = cycle(phrases or ("Wait",))
    return MoreThink(MoreThinkOptions(**options), choose=lambda random, known: next(words))


def test_each_time_the_model_would_close_a_phrase_takes_the_tags_place():
    decoded, requests = decode(
        morethink("Wait", "Let me think again", max_rounds=2, think_budget=50),
        task(OPENED),
        closes("a\n", 10),
        closes(" b\n", 10),
        closes(" c\n", 10),
        ends("answer", 5),
    )
    assert [request.prompt.removeprefix(OPENED) for request in requests] == [
        "",
        "a\nWait",
        "a\nWait b\nLet me think again",
        "a\nWait b\nLet me think again c\n</think>\n\n",
    ]
    assert [request.stop for request in requests] == [("</think>",)] * 3 + [()]
    assert decoded.response == "<think>\na\nWait b\nLet me think again c\n</think>\n\nanswer"
    assert (decoded.forced_rounds, decoded.finish_reason, decoded.prompt_tokens) == (2, "stop", 7)


def test_injected_tokens_are_charged_and_unused_thinking_budget_goes_to_the_answer():
    decoded, requests = decode(
        morethink("Let me think again", max_rounds=1, think_budget=50),
        task(OPENED),
        closes("a", 10),
        closes("b", 10),
        ends("answer", 5),
    )
    assert [request.max_tokens for request in requests] == [50, 50 - 10 - 4, 100 - 10 - 4 - 10 - 1]
    assert decoded.completion_tokens == 10 + 4 + 10 + 1 + 5


def test_a_spent_thinking_budget_closes_the_thought():
    decoded, requests = decode(
        morethink(think_budget=30), task(OPENED), closes("a ", 10), runs_out("b", 19), ends("answer", 5)
    )
    assert [request.max_tokens for request in requests] == [30, 19, 69]
    assert decoded.response == "<think>\na Waitb</think>\n\nanswer"
    assert decoded.forced_rounds == 1


def test_nothing_is_injected_where_no_thinking_would_be_left_after_it():
    decoded, requests = decode(morethink(think_budget=11), task(OPENED), closes("a", 10), ends("answer", 5))
    assert decoded.forced_rounds == 0
    assert requests[-1].prompt == OPENED + "a</think>\n\n"


def test_the_end_of_the_models_turn_is_the_end_of_the_response():
    decoded, requests = decode(morethink(), task(OPENED), closes("a", 10), ends("b", 3))
    assert len(requests) == 2
    assert (decoded.text, decoded.finish_reason, decoded.completion_tokens) == ("aWaitb", "stop", 14)


def test_a_thought_that_takes_all_tokens_is_truncated():
    decoded, requests = decode(morethink(), task(OPENED), runs_out("a", 100))
    assert requests[0].max_tokens == 100  # the thinking budget of 10,000 is more than the response may have
    assert (decoded.finish_reason, decoded.completion_tokens) == ("length", 100)
    assert not split_response(decoded.response, R1).closed


def test_a_full_context_is_truncated_too():
    decoded, requests = decode(morethink(think_budget=50), task(OPENED), runs_out("a", 20))
    assert (len(requests), decoded.finish_reason) == (1, "length")


def test_a_thought_closed_with_no_token_left_for_an_answer_is_truncated():
    decoded, _ = decode(morethink(max_rounds=0), task(OPENED, max_tokens=10), closes("a", 9))
    assert decoded.finish_reason == "length"
    assert split_response(decoded.response, R1).answer == ""


def test_an_answer_cut_at_the_limit_is_truncated():
    decoded, _ = decode(morethink(max_rounds=0), task(OPENED), closes("a", 9), runs_out("b", 90))
    assert (decoded.finish_reason, decoded.completion_tokens) == ("length", 100)


def test_the_thought_is_opened_where_the_template_does_not():
    decoded, requests = decode(morethink(max_rounds=0), task(PROMPT), closes("a", 9), ends("b", 1))
    assert requests[0].prompt == OPENED
    assert decoded.prefill == "<think>\n"


def test_closing_tags_in_the_answer_are_left_alone():
    decoded, _ = decode(morethink(max_rounds=0), task(OPENED), closes("a", 9), ends("Say </think> once.", 4))
    assert decoded.response.endswith("Say </think> once.")


def chosen(the_task) -> str:
    replies = [closes(".", 1)] * 11 + [ends("", 0)]
    return decode(MoreThink(MoreThinkOptions()), the_task, *replies)[0].text


def test_the_choice_of_phrases_is_that_of_the_seed():
    assert chosen(task(seed=5)) == chosen(task(seed=5))
    assert len({chosen(task(seed=seed)) for seed in range(5)}) > 1
    assert all(phrase in chosen(task(seed=5)) for phrase in PHRASES)


def test_greedy_samples_choose_alike_every_time_and_differ_between_prompts():
    def greedy(prompt: str):
        return task(prompt, seed=None, temperature=0)

    assert chosen(greedy("A")) == chosen(greedy("A"))
    assert len({chosen(greedy(prompt)) for prompt in "ABCDE"}) > 1


@given(st.data())
def test_no_response_is_ever_longer_than_its_limits(data):
    max_tokens = data.draw(st.integers(1, 60))
    options = MoreThinkOptions(max_rounds=data.draw(st.integers(0, 4)), think_budget=data.draw(st.integers(1, 60)))
    thinking: list[int] = []

    async def generate(request: Request) -> Completion:
        assert request.max_tokens >= 1
        tokens = data.draw(st.integers(0, request.max_tokens))
        thinking.append(tokens if request.stop else 0)
        if tokens == request.max_tokens:
            return Completion("x", 7, tokens, "length")
        stop = data.draw(st.sampled_from([None, *request.stop]))
        return Completion("x", 7, tokens, "stop", stop)

    strategy = MoreThink(options)
    decoded = asyncio.run(strategy.decode(task(max_tokens=max_tokens), generate, count_words))
    assert decoded.completion_tokens <= max_tokens
    assert sum(thinking) <= min(options.think_budget, max_tokens)
    assert decoded.forced_rounds <= options.max_rounds
    assert len(thinking) <= options.max_rounds + 2


def test_only_the_new_piece_of_text_differs_from_one_call_to_the_next():
    """What lets the engine's prefix cache hold all that came before."""
    generate = ScriptedGenerate([closes(" more", 1)] * 11 + [ends("answer", 1)])
    asyncio.run(morethink().decode(task(), generate, count_words))
    prompts = [request.prompt for request in generate.requests]
    assert len(prompts) == 12
    assert all(later.startswith(earlier) for earlier, later in pairwise(prompts))
