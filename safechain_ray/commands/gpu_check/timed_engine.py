"""An engine that records start and end of its requests, so that the start-up of a run is not timed."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from safechain_ray.engines.start import EngineStart, StartEngine
from safechain_ray.types import Completion, Engine, Message, Request, Sampling

WARM_UP_REQUESTS = 32
WARM_UP_TOKENS = 32


@dataclass(frozen=True, slots=True)
class Marks:
    """What one engine did after its warm-up; times are seconds of the system's clock, as files have them."""

    first_request: float
    last_completion: float
    requests: int
    tokens: int
    mean_in_engine: float
    """Requests that the engine had on average, queued ones too; below `max_running` the engine was not saturated."""
    limits_of_a_step: tuple[int, int] | None
    """Most sequences and most tokens that vLLM schedules in one step; None for another engine."""


@dataclass(frozen=True)
class TimedEngines:
    """A `StartEngine` around another one. `notes` has a file for every `EngineNeeds.source` that is to be timed."""

    start_engine: StartEngine
    notes: Mapping[str, Path]

    def __call__(self, start: EngineStart) -> Engine:
        engine = self.start_engine(start)
        file = self.notes.get(start.needs.source)
        return engine if file is None else TimedEngine(engine, file)


class TimedEngine:
    """An `Engine` that warms up at its first request, then notes each completion in a line of `file`."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine = engine
        _limits_file(file).write_text(json.dumps(getattr(engine, "limits_of_a_step", None)))
        self._file = file.open("a", encoding="utf-8", buffering=1)
        self._warming = asyncio.Lock()
        self._warm = False
        self._in_engine = 0

    @property
    def name(self) -> str:
        return self._engine.name

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    def render(self, messages: tuple[Message, ...]) -> str:
        return self._engine.render(messages)

    def count_tokens(self, text: str) -> int:
        return self._engine.count_tokens(text)

    def last_tokens(self, text: str, count: int) -> str:
        return self._engine.last_tokens(text, count)

    async def generate(self, request: Request) -> Completion:
        if not self._warm:
            await self._warm_up()
        self._in_engine += 1
        try:
            completion = await self._engine.generate(request)
        finally:
            self._in_engine -= 1
        self._note(completion.completion_tokens)
        return completion

    async def close(self) -> None:
        self._file.close()
        await self._engine.close()

    async def _warm_up(self) -> None:
        async with self._warming:
            if self._warm:
                return
            requests = [warm_up_request(self.render((Message("user", text),))) for text in warm_up_texts()]
            await asyncio.gather(*map(self._engine.generate, requests))
            self._note(0)
            self._warm = True

    def _note(self, tokens: int) -> None:
        self._file.write(f"{time.time()} {tokens} {self._in_engine}\n")


def warm_up_texts() -> list[str]:
    """The warm-up prompt. No prompt of a benchmark has its prefix, so that none profits from its cache."""
    return [f"Warm-up {number}: tell me something." for number in range(WARM_UP_REQUESTS)]


def warm_up_request(prompt: str) -> Request:
    return Request(prompt, Sampling(max_tokens=WARM_UP_TOKENS), WARM_UP_TOKENS)


def read_marks(file: Path) -> Marks:
    """The records of an engine in `file`."""
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    times = [float(moment) for moment, _, _ in lines]
    spans = zip(pairwise(times), lines[1:], strict=True)
    limits = json.loads(_limits_file(file).read_text())
    request_seconds = sum((end - start) * int(in_engine) for (start, end), (_, _, in_engine) in spans)
    return Marks(
        first_request=times[0],
        last_completion=times[-1],
        requests=len(lines) - 1,
        tokens=sum(int(tokens) for _, tokens, _ in lines),
        mean_in_engine=request_seconds / max(times[-1] - times[0], 1e-9),
        limits_of_a_step=None if limits is None else (limits[0], limits[1]),
    )


def _limits_file(notes: Path) -> Path:
    return notes.with_name(f"{notes.name}.limits")
