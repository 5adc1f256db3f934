"""A chat-completions server whose answers a test scripts, or a proxy before a real one; it counts what was paid."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

from aiohttp import web

Respond = Callable[[dict[str, Any], web.Request], Awaitable[web.StreamResponse]]


USUAL: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 10, "total_tokens": 17}


def chat(content: object = "Hello", finish_reason: str = "stop", usage: object = USUAL, **message: Any) -> web.Response:
    """A good answer of 10 tokens, 3 of them thought where there is a thought; or with another bill."""
    if usage is USUAL and "reasoning_content" in message:
        usage = {**USUAL, "completion_tokens_details": {"reasoning_tokens": 3}}
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"content": content, **message}}
    return web.json_response({"object": "chat.completion", "choices": [choice], "usage": usage})


def failure(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> web.Response:
    return web.json_response({"error": {"message": message, **fields}}, status=status, headers=headers)


def reset(request: web.Request) -> web.Response:
    """Break the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


class ScriptedApi:
    """What a running server saw. `paid` counts good answers by the last message of their conversation."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.url = ""
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paid: Counter[str] = Counter()
        self.most_at_once = self._at_once = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            response = await self._respond(body, request)
        finally:
            self._at_once -= 1
        if response.status == 200 and is_chat(response):
            self.paid[body["messages"][-1]["content"]] += 1
        return response


def is_chat(response: web.StreamResponse) -> bool:
    """Whether it holds an answer: a choice that ended with an error is none."""
    try:
        choices = json.loads(getattr(response, "body", None) or b"")["choices"]
        return bool(choices) and choices[0]["finish_reason"] != "error"
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def serving(respond: Respond) -> Iterator[ScriptedApi]:
    """The server in a thread of its own, on a free port."""
    api, ready, loop = ScriptedApi(respond), Event(), asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", api.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield api
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
