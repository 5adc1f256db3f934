"""Test doubles: a scripted engine without a model, and factories of samples and verdicts.

`Script` describes the answers, latencies and faults of an engine. `ScriptedEngines` starts such engines in place of
vLLM's. `sample` and `verdict` build records; a test names only the columns that it checks.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import EngineDiedError, EngineStartError, RowError
from safechain_ray.types import NO_ARGUMENTS, Completion, Message, Part, Request, Sample, Setting, Verdict

NEVER: Callable[[Request], bool] = lambda request: False  # noqa: E731 (a default that reads as its meaning)


@dataclass(frozen=True)
class Script:
    """Behaviour of one scripted engine. Latencies are in seconds.

    1. `answer` returns the text after a prompt, the same at every temperature.
    2. A request for which `dies_on` is true kills the engine with all requests in flight. So does request number
       `dies_after`, but only of the first engine of a process.
    3. A request for which `refuses` is true raises a row error.
    4. A request is delayed as long as `waits` is true for it.

    Example:
        Script(answer=lambda request: "</think>\n\nSure.", seconds=0.1, dies_after=20)
    """

    answer: Callable[[Request], str] = lambda request: "</think>\n\nI can't help with that."
    seconds: float = 0.0
    start_seconds: float = 0.0
    start_error: str | None = None
    dies_on: Callable[[Request], bool] = NEVER
    dies_after: int | None = None
    refuses: Callable[[Request], bool] = NEVER
    waits: Callable[[Request], bool] = NEVER
    context_length: int = 32_768
    logprobs: Callable[[Request], tuple[Mapping[str, float], ...]] = lambda request: ()
    opens_thought: bool = True
    thought_tokens: int | None = None


@dataclass
class ScriptedEngines:
    """A `StartEngine` that starts scripted engines, by the `source` of the engine's needs.

    Example:
        evaluate(config, RecordingReporter(), ScriptedEngines({"package://demo-reasoner": Script()}))
    """

    scripts: Mapping[str, Script]
    started: int = 0

    def __call__(self, start: EngineStart) -> "ScriptedEngine":
        script = self.scripts[start.needs.source]
        time.sleep(script.start_seconds)
        if script.start_error is not None:
            raise EngineStartError(script.start_error)
        self.started += 1
        return ScriptedEngine(script if self.started == 1 else replace(script, dies_after=None), start.on_tokens)


@dataclass
class ScriptedEngine:
    """An `Engine` that follows a script. Its tokens are words."""

    script: Script
    on_tokens: Callable[[int], None] = lambda count: None
    name: str = "scripted"
    requests: int = 0
    _closed: bool = False
    _dead: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def context_length(self) -> int:
        return self.script.context_length

    def render(self, messages: tuple[Message, ...], arguments: Mapping[str, Any] = NO_ARGUMENTS) -> str:
        """As the template of a hybrid model: `enable_thinking` of False closes the thought. Others are written out."""
        others = {key: value for key, value in arguments.items() if key != "enable_thinking"}
        turns = "".join(f"<|{message.role}|>{message.content}" for message in messages)
        head = (f"<|arguments|>{json.dumps(others, sort_keys=True)}" if others else "") + f"{turns}<|assistant|>"
        if not arguments.get("enable_thinking", True):
            return f"{head}<think>\n\n</think>\n\n"
        return head + ("<think>\n" if self.script.opens_thought else "")

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    def last_tokens(self, text: str, count: int) -> str:
        return " ".join(text.split()[-count:])

    async def generate(self, request: Request) -> Completion:
        if self._closed:
            raise RuntimeError("a closed engine received a request")
        self.requests += 1
        if self.script.dies_on(request) or self.requests == self.script.dies_after:
            self._dead.set()
        if self.script.refuses(request):
            raise RowError("the script refuses this request")
        await self._wait(request)
        text, stop_string = _until_stop(self.script.answer(request), request.stop)
        words = text.split()
        cut = len(words) > request.max_tokens
        if cut:
            text, stop_string = " ".join(words[: request.max_tokens]), None
        tokens = self.count_tokens(text)
        self.on_tokens(tokens)
        return Completion(
            text=text,
            prompt_tokens=self.count_tokens(request.prompt),
            completion_tokens=tokens,
            finish_reason="length" if cut else "stop",
            stop_string=stop_string,
            thought_tokens=self.script.thought_tokens,
            logprobs=self.script.logprobs(request) if request.logprobs else (),
        )

    async def close(self) -> None:
        """End the requests in flight, as an engine does on shutdown. Later requests raise RuntimeError."""
        self._closed = True
        self._dead.set()

    async def _wait(self, request: Request) -> None:
        """Wait for the script's latency, or until the engine dies."""
        while self.script.waits(request) and not self._dead.is_set():
            await asyncio.sleep(0.1)
        if self.script.seconds and not self._dead.is_set():
            await asyncio.wait([asyncio.ensure_future(self._dead.wait())], timeout=self.script.seconds)
        if self._dead.is_set():
            raise EngineDiedError("the scripted engine died")


def _until_stop(text: str, stops: tuple[str, ...]) -> tuple[str, str | None]:
    """The text before the first stop string, and that stop string."""
    found = [(index, stop) for stop in stops if (index := text.find(stop)) >= 0]
    if not found:
        return text, None
    index, stop = min(found)
    return text[:index], stop


def sample(setting: Setting | None = None, **columns: Any) -> Sample:
    """Sample factory: a completed sample with these columns and plain values elsewhere.

    With a `setting`, its columns and the sample's id follow from the setting, `prompt_id` and `sample_index`. A column
    that is named explicitly wins.

    Example:
        sample(outcome="truncated", answer="")
        sample(Setting(dataset="d"), prompt_id="p7", verdicts=(verdict(True),))
    """
    if setting is None:
        return replace(_SAMPLE, **columns)
    prompt_id, index = columns.get("prompt_id", _SAMPLE.prompt_id), columns.get("sample_index", _SAMPLE.sample_index)
    of_setting = {
        "sample_id": setting.sample_id(prompt_id, index),
        "setting_id": setting.setting_id,
        "dataset": setting.dataset,
        "strategy": setting.strategy.name,
        "seed": setting.sample_seed(prompt_id, index),
        **setting.sampling.model_dump(include={"temperature", "top_p", "top_k", "max_tokens"}),
    }
    return replace(_SAMPLE, **{**of_setting, **columns})


def verdict(unsafe: bool | None, judge: str = "guard", part: Part = "response", **fields: Any) -> Verdict:
    """Verdict factory: a decision of `guard` on the response. A missing decision (None) gets an error.

    Example:
        verdict(True, part="thought", score=0.9)
        verdict(None)
    """
    error = None if unsafe is not None else "unparsable"
    return Verdict(judge, part, unsafe, **{"error": error, **fields})


_SAMPLE = Sample(
    sample_id="s",
    setting_id="set",
    model="m",
    dataset="d",
    prompt_id="p",
    category="c",
    prompt="Q",
    strategy="default",
    sample_index=0,
    temperature=0.0,
    top_p=1.0,
    top_k=-1,
    max_tokens=10,
    seed=None,
    thought="Hm.",
    answer="Hi.",
    response="<think>\nHm.\n</think>\n\nHi.",
    prefill="",
    outcome="ok",
    finish_reason="stop",
    error=None,
    prompt_tokens=1,
    thought_tokens=1,
    answer_tokens=1,
    forced_rounds=0,
    seconds=0.0,
    engine="e",
)
