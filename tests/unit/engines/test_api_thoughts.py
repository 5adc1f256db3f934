"""Where a thought ends behind a server whose chat template opens it, and behind one whose template does not."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.decoding.base import ResponseParts, split_response
from safechain_ray.engines import api as api_engine
from safechain_ray.engines.api import ApiStart, start_api
from safechain_ray.engines.api_answers import PROBE, ApiAnswer, ThoughtOpening
from safechain_ray.errors import RowError
from safechain_ray.types import Completion, Message, Request, Sampling, ThinkingTags
from safechain_ray.types.thinking import read_tags, without_tags
from tests.scripted_api import ScriptedApi, chat, failure, serving
from tests.unit.engines.api_asking import KEY, ask

TAGS = ThinkingTags("<think>", "</think>")
CUT = "Okay, first I would"
ASKED = PROBE[0].content


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)
    monkeypatch.setenv("TEST_API_KEY", KEY)


def server(whole: str) -> Any:
    """Cuts what is long; gives `whole` to anything else."""

    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return chat(CUT, "length") if "long" in body["messages"][0]["content"] else chat(whole)

    return respond


def parts_of(answer: Completion | BaseException) -> ResponseParts:
    assert isinstance(answer, Completion)
    return split_response(answer.text, TAGS)


def probes(api: ScriptedApi) -> int:
    return sum(body["messages"][0]["content"] == ASKED for body in api.bodies)


A_THOUGHT = ResponseParts(CUT, "", closed=False)
AN_ANSWER = ResponseParts("", CUT, closed=True)


@pytest.mark.parametrize(
    ("whole", "cut"),
    [
        ("I reason.\n</think>\n\nReady", A_THOUGHT),
        ("<think>\nI reason.\n</think>\n\nReady", AN_ANSWER),
        ("Ready", AN_ANSWER),
        ("I reason.</think>Ready", A_THOUGHT),
    ],
    ids=["the template opens the thought", "the model opens it", "there is none", "the closing tag is glued"],
)
def test_a_text_that_was_cut_without_tags_is_what_a_whole_answer_shows(whole: str, cut: ResponseParts):
    counts: Counter[str] = Counter()
    with serving(server(whole)) as api:
        answers = ask(api, *(f"long {number}" for number in range(12)), counts=counts)
    assert [parts_of(answer) for answer in answers] == [cut] * 12
    assert probes(api) == counts["probes"] == 1
    assert counts["requests"] == len(api.bodies) == 13


def test_a_server_that_has_answered_is_not_asked_again():
    with serving(server("I reason.\n</think>\n\nReady")) as api:
        _, cut = ask(api, "short", "long", max_concurrent=1)
    assert parts_of(cut) == A_THOUGHT
    assert probes(api) == 0


def test_settings_with_other_arguments_of_the_template_learn_separately():
    """One engine: the template opens the thought in one setting, and closes it in the other."""

    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        if "chat_template_kwargs" not in body:
            return chat("I reason.\n</think>\n\nReady")
        return chat(CUT, "length") if body["messages"][0]["content"] == "long" else chat("Ready")

    async def both(url: str) -> list[Completion]:
        engine = start_api(ApiStart(ApiEntry(name="m", api_model="m", base_url=url)))
        completions = []
        for text, arguments in (("short", {}), ("long", {"chat_template_kwargs": {"enable_thinking": False}})):
            prompt = engine.render((Message("user", text),), arguments)
            completions.append(await engine.generate(Request(prompt, Sampling(max_tokens=50), 50)))
        await engine.close()
        return completions

    with serving(respond) as api:
        thinking, plain = asyncio.run(both(api.url))
    assert parts_of(thinking) == ResponseParts("I reason.", "Ready", closed=True)
    assert parts_of(plain) == AN_ANSWER


@pytest.mark.parametrize(("said", "cut"), [(True, A_THOUGHT), (False, AN_ANSWER)])
def test_what_the_user_says_of_the_template_counts_and_nothing_is_asked(said: bool, cut: ResponseParts):
    with serving(server("Ready")) as api:
        (answer,) = ask(api, "long", opens_thought=said)
    assert parts_of(answer) == cut
    assert probes(api) == 0


@pytest.mark.parametrize("probed", [lambda: chat(CUT, "length"), lambda: failure(400, "no")], ids=["cut", "refused"])
def test_where_nothing_shows_it_the_row_is_an_error_with_the_fix_and_no_answer(probed: Any):
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return probed() if body["messages"][0]["content"] == ASKED else chat(CUT, "length")

    with serving(respond) as api:
        errors = ask(api, "a", "b")
    assert {type(error) for error in errors} == {RowError}
    assert "--set model.api.opens_thought=true or false" in str(errors[0])
    assert 1 <= probes(api) <= 2


def test_a_server_with_a_short_context_is_asked_within_it():
    whole = server("I reason.\n</think>\n\nReady")

    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return failure(400, "longer than the context") if body["max_tokens"] > 100 else await whole(body, request)

    with serving(respond) as api:
        (answer,) = ask(api, "long")
    assert parts_of(answer) == A_THOUGHT


def test_what_is_asked_counts_towards_the_budget_of_requests():
    with serving(server("I reason.\n</think>\n\nReady")) as api:
        (error,) = ask(api, "long", max_requests=1)
    assert len(api.bodies) == 1
    assert "opens_thought" in str(error)


def test_a_thought_apart_that_was_cut_needs_no_evidence():
    async def respond(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        return chat(None, "length", reasoning_content=CUT)

    with serving(respond) as api:
        (answer,) = ask(api, "Hi")
    assert parts_of(answer) == A_THOUGHT
    assert probes(api) == 0


def test_an_answer_that_closes_what_it_never_opened_outweighs_the_others():
    opening = ThoughtOpening(None, TAGS)
    cut = ApiAnswer(None, CUT, "length")
    assert opening.is_ambiguous(cut)
    opening.note(ApiAnswer(None, "Ready", "stop"))
    assert (opening.opens, opening.is_ambiguous(cut)) == (False, False)
    opening.note(ApiAnswer(None, "I reason.\n</think>\n\nReady", "stop"))
    opening.note(ApiAnswer(None, "Ready", "stop"))
    assert opening.opens is True
    assert opening.opens_before(cut)
    assert not opening.opens_before(ApiAnswer(None, "Ready", "stop"))


@pytest.mark.parametrize(
    "answer",
    [
        ApiAnswer(None, "The user asks about </think> in XML. Ready", "stop"),
        ApiAnswer("I reason.", "the tag </think> is XML", "stop"),
        ApiAnswer("I reason.", "\n</think>\nReady", "stop"),
    ],
)
def test_a_text_that_names_the_closing_tag_shows_nothing(answer: ApiAnswer):
    opening = ThoughtOpening(None, TAGS)
    opening.note(answer)
    assert opening.opens is None
    opening.note(ApiAnswer(None, "Ready", "stop"))
    assert opening.opens is False


def test_a_family_without_tags_has_nothing_to_find_out():
    opening = ThoughtOpening(None, None)
    opening.note(ApiAnswer(None, "Ready", "stop"))
    assert not opening.is_ambiguous(ApiAnswer(None, CUT, "length"))


def test_a_million_repeated_tags_take_linear_time():
    """Copying the rest for each tag took 36 s of the event loop for a quarter of them."""
    tags = ThinkingTags("<think>", "</think>")
    text = "<think> " * 1_000_000
    assert read_tags(text, tags).form == "unclosed"
    assert read_tags(f"{text}{'</think> ' * 1_000_000}answer", tags).answer == " answer"
    assert without_tags(f"{text}thought{' </think>' * 1_000_000}", tags) == "thought"
