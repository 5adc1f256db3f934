"""The scripted engine does what real engines do: stop strings, length, deaths, refusals."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safechain_ray.catalog import models
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.testing import Script, ScriptedEngine, ScriptedEngines
from safechain_ray.types import Completion, Message, Request, Sampling

NEEDS = models()["demo-reasoner"]
START = EngineStart(NEEDS, "cpu", Path("/no/log"))


def request(prompt: str = "Hello", max_tokens: int = 100, **fields: Any) -> Request:
    return Request(prompt, Sampling(), max_tokens, **fields)


def ask(engine: ScriptedEngine, *requests: Request) -> Sequence[Completion | BaseException]:
    async def together() -> Sequence[Completion | BaseException]:
        return await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)

    return asyncio.run(together())


def completion(request: Request, **script: Any) -> Completion:
    (answer,) = ask(ScriptedEngine(Script(**script)), request)
    assert isinstance(answer, Completion)
    return answer


def test_an_answer_comes_whole_with_its_tokens():
    answer = completion(request("two words"), answer=lambda request: "three more words")
    assert (answer.text, answer.finish_reason, answer.stop_string) == ("three more words", "stop", None)
    assert (answer.prompt_tokens, answer.completion_tokens) == (2, 3)


@pytest.mark.parametrize(
    ("stop", "text", "stop_string"),
    [
        (("</think>",), "Hm. ", "</think>"),
        (("sure", "</think>"), "Hm. ", "</think>"),
        (("never",), "Hm. </think> I am sure", None),
    ],
)
def test_the_first_stop_string_found_ends_the_text_and_is_named(
    stop: tuple[str, ...], text: str, stop_string: str | None
):
    answer = completion(request(stop=stop), answer=lambda request: "Hm. </think> I am sure")
    assert (answer.text, answer.finish_reason, answer.stop_string) == (text, "stop", stop_string)


def test_max_tokens_cut_a_text_before_its_stop_string():
    answer = completion(request(max_tokens=2, stop=("d",)), answer=lambda request: "a b c d")
    assert (answer.text, answer.completion_tokens) == ("a b", 2)
    assert (answer.finish_reason, answer.stop_string) == ("length", None)


def test_a_text_of_just_max_tokens_is_not_cut():
    assert completion(request(max_tokens=3), answer=lambda request: "a b c").finish_reason == "stop"


def test_log_probabilities_come_only_where_they_are_asked_for():
    script = {"logprobs": lambda request: ({"safe": -0.1},)}
    assert completion(request(logprobs=5), **script).logprobs == ({"safe": -0.1},)
    assert completion(request(), **script).logprobs == ()


def test_a_death_takes_the_requests_in_flight_along_and_all_later_ones():
    engine = ScriptedEngine(Script(seconds=5, dies_on=lambda request: request.prompt == "poison"))
    answers = ask(engine, request("in flight"), request("poison"), request("later"))
    assert {type(answer) for answer in answers} == {EngineDiedError}


def test_an_engine_dies_at_the_request_with_its_number():
    engine = ScriptedEngine(Script(dies_after=2))
    assert [type(answer) for answer in ask(engine, request(), request())] == [Completion, EngineDiedError]


def test_only_the_first_engine_of_a_process_dies_by_number():
    start = ScriptedEngines({NEEDS.source: Script(dies_after=1)})
    first, second = start(START), start(START)
    assert [type(ask(engine, request())[0]) for engine in (first, second)] == [EngineDiedError, Completion]


def test_a_request_waits_while_the_script_says_so_and_others_are_answered():
    answered: list[str] = []

    def waits(request: Request) -> bool:
        return request.prompt == "patient" and not answered

    def answer(request: Request) -> str:
        answered.append(request.prompt)
        return "So."

    ask(ScriptedEngine(Script(answer=answer, waits=waits)), request("patient"), request("hasty"))
    assert answered == ["hasty", "patient"]


def test_a_refused_request_is_a_row_error():
    (answer,) = ask(ScriptedEngine(Script(refuses=lambda request: True)), request())
    assert isinstance(answer, RowError)


def test_a_start_error_is_raised_as_the_scripts():
    with pytest.raises(EngineStartError, match="CUDA out of memory"):
        ScriptedEngines({NEEDS.source: Script(start_error="CUDA out of memory")})(START)


@pytest.mark.parametrize(("opens", "end"), [(True, "<|assistant|><think>\n"), (False, "<|assistant|>")])
def test_the_prompt_is_ready_for_the_assistants_turn(opens: bool, end: str):
    rendered = ScriptedEngine(Script(opens_thought=opens)).render((Message("system", "s"), Message("user", "u")))
    assert rendered == f"<|system|>s<|user|>u{end}"
