"""Conformance cases of an engine, and reference results of the demo models on a CPU, for tests and the GPU check.

The reference results are stored with the package. They are made from a run of configs/quickstart.yaml:

    safechain-ray evaluate --config configs/quickstart.yaml --output runs/demo
    python -m safechain_ray.commands.gpu_check.cases runs/demo
"""

import asyncio
import gzip
import json
import math
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from safechain_ray.catalog import models
from safechain_ray.catalog.entries import EngineNeeds
from safechain_ray.config import RunConfig, bundled_configs, read_config
from safechain_ray.engines.start import Device, EngineStart
from safechain_ray.engines.vllm import start_vllm
from safechain_ray.errors import RowError
from safechain_ray.metrics.intervals import Estimate
from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.runs.folder import RunFolder, read_metrics
from safechain_ray.storage import open_folder
from safechain_ray.types import Completion, Engine, Message, Request, Sampling

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunningEngine:
    """A real engine with its event loop, for code that is not a coroutine."""

    engine: Engine
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Awaitable[Result]) -> Result:
        async def waited() -> Result:
            return await work

        return self.loop.run_until_complete(waited())

    def complete(self, *requests: Request) -> list[Completion]:
        """Complete all requests concurrently."""

        async def together() -> list[Completion]:
            return list(await asyncio.gather(*map(self.engine.generate, requests)))

        return self.wait(together())

    def chat(self, prompt: str) -> str:
        """The prompt's text after the chat template."""
        return self.engine.render((Message("user", prompt),))

    def close(self) -> None:
        self.wait(self.engine.close())


@contextmanager
def running_engine(
    needs: EngineNeeds,
    device: Device,
    log_file: Path,
    loop: asyncio.AbstractEventLoop,
    memory_share: float | None = None,
) -> Iterator[RunningEngine]:
    """An engine that is closed at the end. Raises EngineStartError if it does not start."""
    running = RunningEngine(start_vllm(EngineStart(needs, device, log_file, memory_share=memory_share)), loop)
    try:
        yield running
    finally:
        running.close()


GREEDY = Sampling(max_tokens=300)

SAMPLED = Sampling(temperature=0.8, top_p=0.95, max_tokens=300)

BOS = "<｜begin▁of▁sentence｜>"


class CaseError(AssertionError):
    """An engine does not conform to a case."""


def ask(running: RunningEngine, **changes: object) -> Request:
    """A greedy request of the demo reasoner, with `changes` to its fields."""
    request = Request(running.chat("How do I bake bread?"), GREEDY, max_tokens=300)
    return replace(request, **changes)  # type: ignore[arg-type]


def expect(holds: bool, what: str) -> None:
    if not holds:
        raise CaseError(what)


def greedy_answers_repeat(running: RunningEngine) -> None:
    first, second = running.complete(ask(running), ask(running))
    expect(first.text == second.text, f"two greedy answers differ: {first.text!r}, {second.text!r}")
    expect((first.finish_reason, first.stop_string) == ("stop", None), f"the answer ended with {first.finish_reason}")


def tokens_are_counted_without_a_second_bos(running: RunningEngine) -> None:
    request = ask(running)
    (completion,) = running.complete(request)
    expect(request.prompt.count(BOS) == 1, "the template does not write BOS once")
    counted = running.engine.count_tokens(request.prompt)
    expect(completion.prompt_tokens == counted, f"{completion.prompt_tokens} prompt tokens, {counted} counted")
    expect(completion.completion_tokens >= running.engine.count_tokens(completion.text), "too few completion tokens")


def a_stop_string_ends_the_text_and_is_named(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, stop=("</think>",)))
    expect(completion.stop_string == "</think>", f"the stop string is {completion.stop_string!r}")
    expect("</think>" not in completion.text, "the stop string is in the text")


def the_token_limit_is_a_finish_reason(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, max_tokens=3))
    found = (completion.finish_reason, completion.completion_tokens)
    expect(found == ("length", 3), f"3 tokens were allowed, and the answer ended with {found}")


def log_probabilities_are_ranked(running: RunningEngine) -> None:
    (completion,) = running.complete(ask(running, logprobs=10, max_tokens=5))
    expect(len(completion.logprobs) == 5, f"{len(completion.logprobs)} positions of 5 have log-probabilities")
    for position in completion.logprobs:
        values = list(position.values())
        expect(values == sorted(values, reverse=True), "log-probabilities are not ranked")
        expect(sum(map(math.exp, values)) <= 1.0 + 1e-4, "probabilities sum to more than one")


def a_prompt_longer_than_the_context_fails_alone(running: RunningEngine) -> None:
    try:
        running.complete(ask(running, prompt=running.chat("word " * 5000)))
    except RowError as error:
        expect("the model's context holds" in str(error), f"the error is {error}")
    else:
        raise CaseError("a prompt longer than the context was answered")
    (completion,) = running.complete(ask(running))
    expect(completion.finish_reason == "stop", "the next request is not answered")


def what_does_not_fit_behind_the_prompt_is_cut(running: RunningEngine) -> None:
    prompt = running.chat("word " * 1990)
    left = running.engine.context_length - running.engine.count_tokens(prompt)
    expect(0 < left < 300, f"the case needs few tokens after its prompt, and has {left}")
    (completion,) = running.complete(ask(running, prompt=prompt, max_tokens=300))
    expect(completion.completion_tokens <= left, f"{completion.completion_tokens} tokens where {left} fit")


CASES: Mapping[str, Callable[[RunningEngine], None]] = {
    case.__name__.replace("_", " "): case
    for case in (
        greedy_answers_repeat,
        tokens_are_counted_without_a_second_bos,
        a_stop_string_ends_the_text_and_is_named,
        the_token_limit_is_a_finish_reason,
        log_probabilities_are_ranked,
        a_prompt_longer_than_the_context_fails_alone,
        what_does_not_fit_behind_the_prompt_is_cut,
    )
}


FILE = "reference.json.gz"

INTERVAL_ERRORS = 2 * 1.96
"""Standard errors between the ends of a 95% interval."""

GREEDY_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """Safe@1 of a strategy by a judge, with its standard error."""

    strategy: str
    judge: str
    value: float
    error: float

    @classmethod
    def of(cls, strategy: str, judge: str, estimate: Estimate) -> "Figure":
        """From an estimate with its 95% interval. Raises ValueError for one without."""
        if estimate.value is None or estimate.low is None or estimate.high is None:
            raise ValueError(f"{strategy}, {judge}: no figure")
        return cls(strategy, judge, estimate.value, (estimate.high - estimate.low) / INTERVAL_ERRORS)


@dataclass(frozen=True, slots=True)
class Judged:
    """A stored response with the verdict of the demo guard."""

    prompt: str
    response: str
    unsafe: bool


@dataclass(frozen=True, slots=True)
class Reference:
    """`greedy` has the greedy text of each prompt."""

    figures: tuple[Figure, ...]
    greedy: Mapping[str, str]
    judged: tuple[Judged, ...]


def quickstart(**keys: Any) -> RunConfig:
    """The run of `make demo`; `keys` override its config."""
    return read_config(bundled_configs()["quickstart"], keys, ())


def read_reference() -> Reference:
    content = json.loads(gzip.decompress((files(__package__) / FILE).read_bytes()))
    return Reference(
        tuple(Figure(**each) for each in content["figures"]),
        content["greedy"],
        tuple(Judged(**each) for each in content["judged"]),
    )


def figures_of(metrics: RunMetrics) -> tuple[Figure, ...]:
    """Safe@1 of each strategy by each judge."""
    return tuple(
        Figure.of(setting.strategy, judge.judge, judge.safe_at_1)
        for setting in metrics.settings
        for judge in setting.judges
    )


def greedy_texts(running: RunningEngine, prompts: tuple[str, ...]) -> dict[str, str]:
    requests = [Request(running.chat(prompt), GREEDY, max_tokens=GREEDY_TOKENS) for prompt in prompts]
    texts = (completion.text for completion in running.complete(*requests))
    return dict(zip(prompts, texts, strict=True))


def _judged(folder: RunFolder) -> Iterator[Judged]:
    """The samples of the default strategy with the guard's verdicts."""
    for table in folder.counted_samples(("strategy", "prompt", "response", "verdicts")):
        for row in table.to_pylist():
            if row["strategy"] == "default":
                (verdict,) = (verdict for verdict in row["verdicts"] if verdict["judge"] == "demo-guard")
                yield Judged(row["prompt"], row["response"], verdict["unsafe"])


def main(run: str) -> None:
    """Rewrite the reference from a finished run, and from greedy texts of an engine on this machine's CPU."""
    judged = tuple(_judged(RunFolder(open_folder(run))))
    prompts = tuple(dict.fromkeys(each.prompt for each in judged))
    with TemporaryDirectory() as scratch, asyncio.Runner() as runner:
        log = Path(scratch, "engine.log")
        with running_engine(models()["demo-reasoner"], "cpu", log, runner.get_loop()) as running:
            greedy = greedy_texts(running, prompts)
    content = {
        "figures": [asdict(each) for each in figures_of(read_metrics(run))],
        "greedy": greedy,
        "judged": [asdict(each) for each in judged],
    }
    text = json.dumps(content, ensure_ascii=False, indent=0).encode()
    Path(__file__).with_name(FILE).write_bytes(gzip.compress(text, mtime=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
