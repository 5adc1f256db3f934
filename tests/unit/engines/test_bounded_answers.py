"""What a provider may make an engine do: read a bounded answer from the given host, and nothing else."""

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from aiohttp import web

from safechain_ray.engines import api as api_engine
from safechain_ray.engines.api_wire import most_answer_bytes
from safechain_ray.errors import EngineRefusedError, RowError
from safechain_ray.types import Completion, Request, Sampling
from tests.scripted_api import chat, serving
from tests.unit.engines.api_asking import always, ask

MIB = 2**20


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_engine, "backoff", lambda attempt, rng: 0.001)
    monkeypatch.setenv("TEST_API_KEY", "sk-secret-4711")


def bomb(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(b" " * MIB) for _ in range(mebibytes)) + packer.flush()


async def endless_blanks(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(64):
        if request.transport is None or request.transport.is_closing():
            break
        await response.write(b" " * MIB)
    return response


def gzip_bomb(body: dict[str, Any], request: web.Request) -> Any:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    return asyncio.sleep(0, web.Response(body=bomb(256), headers=headers))


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("respond", [endless_blanks, gzip_bomb])
def test_an_answer_far_longer_than_was_asked_for_is_a_row_error_in_little_memory(respond: Any, status: int):
    async def with_status(body: dict[str, Any], request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = await respond(body, request)
        if respond is gzip_bomb:
            response.set_status(status)
        return response

    with serving(with_status) as api:
        tracemalloc.start()
        try:
            (error,) = ask(api, "Hi")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert isinstance(error, RowError)
    assert "the answer is longer than 1.0 MiB, the most for this request" in str(error)
    assert len(api.bodies) == 1, "another attempt would be as long"
    assert peak < 32 * MIB


EMPTY = "{}," * 300_000 + "{}"
EMPTY_LISTS = {
    "choices": f'{{"choices": [{EMPTY}]}}',
    "choices after a good one": f'{{"choices": [{{"message": {{"content": "x"}}}}, {EMPTY}]}}',
    "content": f'{{"choices": [{{"message": {{"content": [{EMPTY}]}}}}]}}',
    "parts of a part": f'{{"choices": [{{"message": {{"content": [{{"content": [{EMPTY}]}}]}}}}]}}',
    "reasoning": f'{{"choices": [{{"message": {{"content": "x", "reasoning_details": [{EMPTY}]}}}}]}}',
    "logprobs": f'{{"choices": [{{"message": {{"content": "x"}}, "logprobs": {{"content": [{EMPTY}]}}}}]}}',
    "details of an error": f'{{"error": {{"code": 400, "detail": [{EMPTY}]}}}}',
}


@pytest.mark.parametrize("kind", EMPTY_LISTS)
def test_a_list_of_300000_items_in_an_answer_does_not_block_the_event_loop(kind: str):
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        return web.Response(body=EMPTY_LISTS[kind].encode(), content_type="application/json")

    with serving(respond) as api:
        began = time.process_time()
        (outcome,) = ask(api, "Hi", opens_thought=False)
    assert time.process_time() - began < 10, "ten attempts that each decode 900 kB"
    if kind in ("choices after a good one", "logprobs"):
        assert isinstance(outcome, Completion)
    else:
        assert isinstance(outcome, RowError)
        if kind not in ("choices", "details of an error"):
            assert "the answer has more than 10,000 parts" in str(outcome)


def test_the_limit_follows_the_tokens_that_were_asked_for():
    request = Request("[]", Sampling(max_tokens=32_768), 32_768)
    assert most_answer_bytes(request, 1) == MIB + 32_768 * 512
    assert most_answer_bytes(request, 4) - most_answer_bytes(request, 3) == 32_768 * 512
    judge = Request("[]", Sampling(max_tokens=1), 1, logprobs=20)
    assert most_answer_bytes(judge, 1) > MIB + 20 * 200


def test_an_answer_within_the_limit_passes_compressed_or_not():
    whole = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "é" * 100_000}}]}).encode()
    for body, headers in ((whole, {}), (gzip.compress(whole), {"Content-Encoding": "gzip"})):
        with serving(always(lambda body=body, headers=headers: web.Response(body=body, headers=headers))) as api:
            (answer,) = ask(api, "Hi")
        assert isinstance(answer, Completion)
        assert answer.text == "é" * 100_000


ANSWER = json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "ok"}}]}).encode()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("br", b"\x0b\x02"),
        ("gzip", b"no gzip"),
        ("gzip, gzip", b""),
        ("gzip", gzip.compress(ANSWER) + b"x" * 1000),  # zlib would collect what follows without a limit
    ],
    ids=["unknown", "none", "twice", "goes on"],
)
def test_a_compression_that_can_not_be_read_is_a_row_error(encoding: str, body: bytes):
    with serving(always(lambda: web.Response(body=body, headers={"Content-Encoding": encoding}))) as api:
        (error,) = ask(api, "Hi")
    assert isinstance(error, RowError)
    assert "failed 10 times" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_host_is_named(status: int):
    with serving(always(lambda: chat("not the model's"))) as other:
        location = {"Location": f"{other.url}/chat/completions?token=of-others"}
        with serving(always(lambda: web.Response(status=status, headers=location))) as api:
            (error,) = ask(api, "Hi")
    assert other.bodies == []
    assert isinstance(error, EngineRefusedError)
    assert f"{status}: the endpoint redirects to {other.url.removesuffix('/v1')}; redirects are not" in str(error)
    assert "--base-url" in str(error)
    assert "of-others" not in str(error)


def test_one_redirect_among_good_answers_is_a_row():
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        if body["messages"][0]["content"] == "moved":
            await asyncio.sleep(0.2)
            return web.Response(status=307, headers={"Location": "/maintenance"})
        return chat()

    with serving(respond) as api:
        answer, error = ask(api, "Hi", "moved")
    assert isinstance(answer, Completion)
    assert type(error) is RowError
    assert "the endpoint redirects to another path of its host" in str(error)


def test_more_than_ten_redirects_in_a_row_end_the_run():
    async def respond(body: dict[str, Any], request: web.Request) -> web.Response:
        good = body["messages"][0]["content"] == "good"
        return chat() if good else web.Response(status=307, headers={"Location": "/maintenance"})

    with serving(respond) as api:
        ten = ["moved"] * 10
        outcomes = ask(api, "good", *ten, "good", *ten, "moved", max_concurrent=1)
    rows = [Completion, *[RowError] * 10]
    assert [type(outcome) for outcome in outcomes] == [*rows, *rows, EngineRefusedError]
