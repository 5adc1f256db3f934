"""`morethink` with `compat: paper` makes the calls of the published code, to the character."""

import json
from pathlib import Path

import pytest

from safechain_ray.decoding.morethink import MoreThinkOptions, PaperMoreThink
from safechain_ray.errors import RowError
from tests.real_data import real, real_data_marks
from tests.unit.decoding.scripted_generate import PROMPT, closes, decode, ends, task

OWN = Path(__file__).parent / "data" / "morethink_paper_calls.json"
SHARED = real("paper/morethink_calls.json")


def cases(file: Path):
    marks = real_data_marks("paper/morethink_calls.json") if file == SHARED else []
    if not file.exists():
        return [pytest.param(None, marks=marks, id=file.name)]
    return [pytest.param(case, marks=marks, id=name) for name, case in json.loads(file.read_text())["cases"].items()]


def paper(case: dict) -> PaperMoreThink:
    injected = iter(case["injected"])
    options = MoreThinkOptions(max_rounds=case["enforce_num"], think_budget=case["think_budget"], compat="paper")
    return PaperMoreThink(options, choose=lambda random, known: next(injected))


@pytest.mark.parametrize("case", cases(OWN) + cases(SHARED))
def test_the_calls_and_the_response_are_the_published_ones(case):
    calls = case["calls"]
    replies = [closes(call["returned_text"], call["returned_tokens"]) for call in calls]
    decoded, requests = decode(paper(case), task(calls[0]["prompt"], max_tokens=case["max_tokens"]), *replies)
    assert [(request.prompt, request.max_tokens, request.stop) for request in requests] == [
        (call["prompt"], call["max_tokens"], (call["stop"],)) for call in calls
    ]
    assert decoded.response == case["thought"] + case["answer"]
    assert decoded.forced_rounds == len(case["injected"])
    assert decoded.prefill == "<think>\n"


def test_a_turn_that_the_model_has_ended_is_forced_on_as_was_published():
    options = MoreThinkOptions(max_rounds=1, think_budget=50, compat="paper")
    decoded, requests = decode(
        PaperMoreThink(options, choose=lambda random, known: known[0]),
        task(PROMPT + "<think>\n"),
        ends("a", 10),
        ends("b", 10),
        ends("answer", 5),
    )
    assert len(requests) == 3
    assert decoded.text == "aWaitb</think>\n\nanswer"


def test_the_tokens_reported_are_those_of_the_whole_text_although_not_all_were_charged():
    options = MoreThinkOptions(max_rounds=1, think_budget=50, compat="paper")
    decoded, _ = decode(
        PaperMoreThink(options, choose=lambda random, known: known[1]),
        task(PROMPT + "<think>\n"),
        closes("a", 10),
        closes("b", 10),
        ends("answer", 5),
    )
    assert decoded.completion_tokens == 10 + 4 + 10 + 1 + 5
    assert decoded.prompt_tokens == 7


def test_the_prompt_is_sent_as_the_template_made_it():
    options = MoreThinkOptions(max_rounds=0, think_budget=50, compat="paper")
    decoded, requests = decode(PaperMoreThink(options), task(), closes("<think>\na", 10), ends("answer", 5))
    assert requests[0].prompt == PROMPT
    assert decoded.response == "<think>\na</think>\n\nanswer"


def test_a_limit_that_leaves_the_answer_nothing_is_refused_before_any_call():
    options = MoreThinkOptions(think_budget=100, compat="paper")
    with pytest.raises(RowError, match=r"100 - 100 tokens; raise max_tokens"):
        decode(PaperMoreThink(options), task(max_tokens=100))
