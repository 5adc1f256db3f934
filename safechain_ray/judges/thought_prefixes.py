"""Judging of growing thought prefixes: where they end, their verdicts, and the table of the verdicts."""

import re
from asyncio import gather
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from safechain_ray.judges.base import Judge, judge_sample
from safechain_ray.types import PIECES_SCHEMA, Sample, Verdict, samples_from_table

_SENTENCE_END = re.compile(r"[.!?…]+[\"')\]]*(?=\s)|[。！？]+|\n")


@dataclass(frozen=True, slots=True)
class ThoughtPrefixes:
    """What is judged instead of a sample's parts: the thought up to 1/count, 2/count ... of its length."""

    count: int


def prefix_ends(thought: str, count: int) -> list[int]:
    """Where the growing prefixes of `thought` end, in characters from its start; the last is the whole thought.

    Each end is the end of the sentence or line closest to i/count of the length. Equal ends are merged, so a thought of
    few sentences has fewer than `count` prefixes. No prefix is blank, unless the whole thought is.
    """
    first, last = len(thought) - len(thought.lstrip()), len(thought.rstrip())
    ends = [match.end() for match in _SENTENCE_END.finditer(thought) if first < match.end() < last]
    ends.append(len(thought))
    targets = (len(thought) * number / count for number in range(1, count + 1))
    return sorted({min(ends, key=partial(_distance, target)) for target in targets})


async def judge_prefixes(judge: Judge, sample: Sample, prefixes: ThoughtPrefixes) -> tuple[Verdict, ...]:
    """One verdict on each prefix of the thought, judged concurrently. Raises what `judge_sample` raises."""
    return tuple(await gather(*(_judge_prefix(judge, each) for each in _with_prefixes(sample, prefixes))))


def prefixes_table(samples: pa.Table, prefixes: ThoughtPrefixes) -> pa.Table:
    """The verdicts of `judge_prefixes` on rows of `SAMPLES_SCHEMA`, one per row, as a table of PIECES_SCHEMA."""
    rows = [
        {
            "sample_id": sample.sample_id,
            "setting_id": sample.setting_id,
            "prompt_id": sample.prompt_id,
            "pieces": prefixes.count,
            "piece": number,
            "end": len(each.thought or ""),
            "characters": len(sample.thought or ""),
            "judge": verdict.judge,
            "unsafe": verdict.unsafe,
            "score": verdict.score,
            "categories": verdict.categories,
            "error": verdict.error,
            "note": verdict.note,
        }
        for sample in samples_from_table(samples)
        for number, (each, verdict) in enumerate(zip(_with_prefixes(sample, prefixes), sample.verdicts, strict=True), 1)
    ]
    return pa.Table.from_pylist(rows, schema=PIECES_SCHEMA)


def _with_prefixes(sample: Sample, prefixes: ThoughtPrefixes) -> list[Sample]:
    """The sample with each prefix of its thought. A sample without a thought (withheld by an API) stays unchanged."""
    if sample.thought is None:
        return [sample]
    return [replace(sample, thought=sample.thought[:end]) for end in prefix_ends(sample.thought, prefixes.count)]


async def _judge_prefix(judge: Judge, sample: Sample) -> Verdict:
    (verdict,) = await judge_sample(judge, sample, ("thought",))
    return verdict


def _distance(target: float, end: int) -> float:
    return abs(end - target)
