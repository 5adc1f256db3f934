"""Generator: the actor of the model's pool, which decodes blocks of sample numbers into samples.

A row that fails becomes a sample with an error. Only an engine that can't be started fails a block.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar, get_args

import pyarrow as pa
import ray

from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, Family
from safechain_ray.cluster.progress import ProgressReporter
from safechain_ray.cluster.sample_index import SampleIndex, SampleSpec
from safechain_ray.cluster.workers.engine_supervisor import EngineSupervisor, gc_freeze
from safechain_ray.cluster.workers.inflight_tracker import TrackerClient, current_row
from safechain_ray.decoding.base import (
    DecodeCheckpoint,
    Decoded,
    DecodingTask,
    Strategy,
    bounds_thought,
    request_body,
    split_response,
    strategy,
    template_arguments,
)
from safechain_ray.engines.api import ApiStart
from safechain_ray.engines.start import EngineStart
from safechain_ray.errors import BlockedError, EngineStartError, RowError
from safechain_ray.types import (
    Completion,
    Engine,
    FinishReason,
    Outcome,
    Request,
    Sample,
    Setting,
    check_storable,
    samples_table,
)

AnyStart = TypeVar("AnyStart", EngineStart, ApiStart)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the samples of one setting are decoded. `arguments` are those of the chat template, or keys of a request."""

    strategy: Strategy
    arguments: Mapping[str, Any]


def decodings_of(settings: Sequence[Setting], family: Family, model: EngineNeeds | ApiEntry) -> dict[str, Decoding]:
    """The decoding of each setting, by setting id. Raises the errors of `strategy`."""
    if isinstance(model, ApiEntry):
        return {s.setting_id: Decoding(strategy(s.strategy), request_body(s.strategy, family)) for s in settings}
    own = model.template_kwargs
    return {s.setting_id: Decoding(strategy(s.strategy), template_arguments(s.strategy, family, own)) for s in settings}


def with_thinking_tags(start: AnyStart, settings: Sequence[Setting], family: Family) -> AnyStart:
    """The start of an engine that counts the tokens of thoughts, if a setting has a budget of them."""
    if isinstance(start, EngineStart) and any(bounds_thought(setting.strategy) for setting in settings):
        return replace(start, thinking_tags=family.tags)
    return start


FINISH_REASONS = frozenset(get_args(FinishReason))


def _check_decoded(decoded: object) -> None:
    """Raise ValueError for what the code of a strategy must not return. Wrong counts would be in every figure."""
    if not isinstance(decoded, Decoded):
        raise ValueError(f"the strategy returned {type(decoded).__name__}, which is no Decoded")
    counts = (decoded.prompt_tokens, decoded.completion_tokens, decoded.forced_rounds, decoded.thought_tokens or 0)
    if min(counts) < 0:
        raise ValueError(f"the strategy returned a negative count: {min(counts)}")
    if decoded.finish_reason not in FINISH_REASONS:
        raise ValueError(f"the strategy returned the finish_reason {decoded.finish_reason!r}, not stop or length")


class GeneratorWorker:
    """One replica of the evaluated model. A call takes a block of sample numbers and returns their samples.

    `decodings` are those of the settings, by setting id. They are built on the driver: other nodes may lack a user's
    catalog.
    """

    def __init__(
        self,
        model: str,
        family: Family,
        sample_specs: Any,
        decodings: Mapping[str, Decoding],
        start: EngineStart | ApiStart,
        start_engine: Callable[[Any], Engine],
        max_deaths: int,
        progress_tracker: Any,
        inflight_tracker: Any,
    ) -> None:
        self._model = model
        self._family = family
        self._sample_index: SampleIndex = ray.get(sample_specs.fetch.remote())
        self._decodings = decodings
        self._reporter = ProgressReporter(progress_tracker, "model")
        self._tracker_client = TrackerClient(inflight_tracker, "model")
        self._supervisor = EngineSupervisor(start, start_engine, self._reporter, self._tracker_client, max_deaths)
        gc_freeze()

    async def __call__(self, batch: pa.Table) -> pa.Table:
        self._supervisor.check()
        items = [self._sample_index[number] for number in batch["number"].to_pylist()]
        self._reporter.add(rows_in=len(items))
        async with self._supervisor.claim([item.sample_id for item in items]) as checkpoints:
            samples = await asyncio.gather(*(self._sample(item, checkpoints.get(item.sample_id, {})) for item in items))
        self._reporter.report()
        return samples_table(samples)

    async def _sample(self, item: SampleSpec, checkpoint: DecodeCheckpoint) -> Sample:
        """One sample. A failure becomes the outcome of the row, not of its block."""
        current_row.set(item.sample_id)
        started = time.monotonic()
        try:
            if item.prompt.error:
                raise RowError(item.prompt.error)
            decoded = await self._decode(item, checkpoint)
            sample = self._completed(item, decoded, time.monotonic() - started)
            check_storable(sample)
        except EngineStartError:
            raise
        except BlockedError as error:
            sample = self._row(item, outcome="blocked", error=str(error), seconds=time.monotonic() - started)
        except RowError as error:
            sample = self._failed(item, str(error), time.monotonic() - started)
        except Exception as error:
            sample = self._failed(item, f"{type(error).__name__}: {error}", time.monotonic() - started)
        self._reporter.add(rows_out=1, **{sample.outcome: 1})
        return sample

    async def _decode(self, item: SampleSpec, checkpoint: DecodeCheckpoint) -> Decoded:
        decoding = self._decodings[item.setting.setting_id]
        task = DecodingTask(
            prompt=self._supervisor.render(self._family.conversation(item.prompt.text), decoding.arguments),
            tags=self._family.tags,
            sampling=item.setting.sampling,
            seed=item.seed,
            checkpoint=checkpoint,
            save_checkpoint=partial(self._tracker_client.save_checkpoint, item.sample_id),
        )
        return await decoding.strategy.decode(task, self._generate, self._supervisor.count_tokens)

    async def _generate(self, request: Request) -> Completion:
        """The engine's completion, with special tokens in its text where the family's tags are such tokens."""
        return await self._supervisor.generate(
            request if self._family.skip_special_tokens else replace(request, skip_special_tokens=False)
        )

    def _completed(self, item: SampleSpec, decoded: Decoded, seconds: float) -> Sample:
        _check_decoded(decoded)
        parts = split_response(decoded.whole, self._family.tags)
        count = self._supervisor.count_tokens
        thought_tokens = decoded.thought_tokens
        answer_tokens = None if thought_tokens is None else max(0, decoded.completion_tokens - thought_tokens)
        if thought_tokens is None:
            thought_tokens = None if parts.thought is None else count(parts.thought)
            answer_tokens = decoded.completion_tokens if parts.answer is None else count(parts.answer)
        outcome: Outcome = "ok" if decoded.finish_reason == "stop" and parts.closed else "truncated"
        return self._row(
            item,
            thought=parts.thought,
            answer=parts.answer,
            response=decoded.response,
            prefill=decoded.prefill,
            outcome=outcome,
            finish_reason=decoded.finish_reason,
            prompt_tokens=decoded.prompt_tokens,
            thought_tokens=thought_tokens,
            answer_tokens=answer_tokens,
            forced_rounds=decoded.forced_rounds,
            seconds=seconds,
        )

    def _failed(self, item: SampleSpec, error: str, seconds: float) -> Sample:
        return self._row(item, outcome="error", error=error, seconds=seconds)

    def _row(self, item: SampleSpec, **known: Any) -> Sample:
        sampling = item.setting.sampling
        absent = {
            "thought": None,
            "answer": None,
            "response": None,
            "prefill": "",
            "finish_reason": None,
            "error": None,
        }
        nothing = {"prompt_tokens": 0, "thought_tokens": None, "answer_tokens": None, "forced_rounds": 0}
        return Sample(
            sample_id=item.sample_id,
            setting_id=item.setting.setting_id,
            model=self._model,
            dataset=item.setting.dataset,
            prompt_id=item.prompt.prompt_id,
            category=item.prompt.category,
            prompt=item.prompt.text,
            strategy=item.setting.strategy.name,
            sample_index=item.sample_index,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=item.seed,
            engine=self._supervisor.name,
            **{**absent, **nothing, **known},
        )


WORKER_TITLE = f"MapBatches({GeneratorWorker.__name__}"
"""Part of the process title that Ray Data gives to these workers."""
