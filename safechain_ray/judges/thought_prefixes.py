"""A thought in growing pieces: where it is cut, how each beginning is put to a judge, and the table of the verdicts."""

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
    """What a judge is asked of a sample instead of its parts: the thought up to 1/count, 2/count ... of its length."""

    count: int


def piece_ends(thought: str, count: int) -> list[int]:
    """Where the growing pieces of `thought` end, in characters from its start; the last is the whole thought.

    Each end is the end of the sentence or line nearest to i/count of the length. Two that fall together are one, so a
    thought of few sentences has fewer than `count` pieces. No piece is blank, unless all of the thought is.
    """
    first, last = len(thought) - len(thought.lstrip()), len(thought.rstrip())
    ends = [match.end() for match in _SENTENCE_END.finditer(thought) if first < match.end() < last]
    ends.append(len(thought))
    targets = (len(thought) * number / count for number in range(1, count + 1))
    return sorted({min(ends, key=partial(_distance, target)) for target in targets})


async def judge_pieces(judge: Judge, sample: Sample, pieces: ThoughtPrefixes) -> tuple[Verdict, ...]:
    """One verdict on the thought for each of `piece_ends`, judged concurrently. Raises what `judge_sample` raises."""
    return tuple(await gather(*(_judge_thought(judge, each) for each in _beginnings(sample, pieces))))


def pieces_table(samples: pa.Table, pieces: ThoughtPrefixes) -> pa.Table:
    """The verdicts that `judge_pieces` gave to rows of `SAMPLES_SCHEMA`, one row each, as a table of PIECES_SCHEMA."""
    rows = [
        {
            "sample_id": sample.sample_id,
            "setting_id": sample.setting_id,
            "prompt_id": sample.prompt_id,
            "pieces": pieces.count,
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
        for number, (each, verdict) in enumerate(zip(_beginnings(sample, pieces), sample.verdicts, strict=True), 1)
    ]
    return pa.Table.from_pylist(rows, schema=PIECES_SCHEMA)


def _beginnings(sample: Sample, pieces: ThoughtPrefixes) -> list[Sample]:
    """The sample with each beginning of its thought. One without a thought (an API kept it) stays as it is."""
    if sample.thought is None:
        return [sample]
    return [replace(sample, thought=sample.thought[:end]) for end in piece_ends(sample.thought, pieces.count)]


async def _judge_thought(judge: Judge, sample: Sample) -> Verdict:
    (verdict,) = await judge_sample(judge, sample, ("thought",))
    return verdict


def _distance(target: float, end: int) -> float:
    return abs(end - target)
