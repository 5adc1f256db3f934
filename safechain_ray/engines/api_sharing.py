"""Joins samples of one prompt into one request with several choices (`n`), so that the prompt is paid once."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from safechain_ray.errors import RowError
from safechain_ray.types import Completion, Request

WINDOW_SECONDS = 0.05
"""How long a request waits for others of its prompt. They come together, from one block of rows."""

Outcome = Completion | RowError
Waiting = list[tuple[Request, asyncio.Future[Completion]]]


class SharedRequests:
    """`send(request, n)` gives 1 to n outcomes; what a provider leaves out of n is asked for again.

    Requests are joined that are equal but for their seeds, of which the first one's is sent: with `n` the provider has
    one seed for all of its choices.
    """

    def __init__(self, most: int, send: Callable[[Request, int], Awaitable[Sequence[Outcome]]]) -> None:
        self._most = most
        self._send = send
        self._waiting: dict[Request, Waiting] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    async def generate(self, request: Request) -> Completion:
        """Raises what its outcome is, and what `send` raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Completion] = loop.create_future()
        key = replace(request, seed=None)
        group = self._waiting.setdefault(key, [])
        group.append((request, future))
        if len(group) == self._most:
            self._leave(key, group)
        elif len(group) == 1:
            loop.call_later(WINDOW_SECONDS, self._leave, key, group)
        return await future

    def _leave(self, key: Request, group: Waiting) -> None:
        if self._waiting.get(key) is not group:
            return  # it was full before its time, and has left
        del self._waiting[key]
        task = asyncio.get_running_loop().create_task(self._sent(group))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _sent(self, group: Waiting) -> None:
        while group:
            try:
                outcomes = await self._send(group[0][0], len(group))
            except Exception as error:
                outcomes = [error] * len(group)  # type: ignore[list-item]
            for (_, future), outcome in zip(group, outcomes, strict=False):
                if future.done():
                    continue  # its row was given up
                if isinstance(outcome, Completion):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
            group = group[len(outcomes) :]
