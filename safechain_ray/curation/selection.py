"""Response selection for a training set: rejection sampling over judged samples, the rows, and counts of every step.

The selection is a pure function of a run's judged samples and a seed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from safechain_ray.datasets.layouts import R1_TAGS, foreign_tag, split_thought
from safechain_ray.types import KeepRule, Outcome, Part, short_hash

UNSAFE = "too many responses judged unsafe"

NO_VERDICT = "verdicts missing"

NOTHING_TO_LEARN = "no safe response to learn from"

BEYOND = "more than asked for"

COLUMNS = ("sample_id", "prompt_id", "category", "sample_index", "outcome", "thought", "answer", "verdicts")
"""The columns of samples that the selection reads."""

MESSAGE_TYPE = pa.struct(
    [pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]
)

ROWS_SCHEMA = pa.schema(
    [
        pa.field("messages", pa.list_(MESSAGE_TYPE), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("judges", pa.list_(pa.string()), nullable=False),
        pa.field("judged_part", pa.string(), nullable=False),
        pa.field("unsafe_score", pa.float64()),
        pa.field("safe_samples", pa.int32(), nullable=False),
        pa.field("samples", pa.int32(), nullable=False),
        pa.field("thought_tokens", pa.int32()),
        pa.field("answer_tokens", pa.int32()),
    ]
)
"""The columns of `data/train-*.parquet`: a conversation of one user turn and one assistant turn, then its provenance.

`source` is the data set of the prompt, `unsafe_score` the judges' highest P(unsafe) for the response.
"""

SAMPLE_COLUMNS = (
    *("sample_id", "sample_index", "dataset", "model", "strategy", "prompt", "thought", "answer"),
    *("thought_tokens", "answer_tokens"),
)
"""The columns of samples needed for the rows."""

SOURCE = "rows of the source"


@dataclass(frozen=True, slots=True)
class JudgedSample:
    """The fields of a sample that decide its selection.

    `safe` is None if a verdict is missing and no other one is unsafe. `score` is the judges' highest P(unsafe). `flaw`
    is why a model must not be trained on it, even if it is safe.
    """

    sample_id: str
    prompt_id: str
    kind: str
    index: int
    outcome: Outcome
    safe: bool | None
    score: float | None
    flaw: str | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The selected response of one prompt, and the number of its safe samples."""

    sample_id: str
    prompt_id: str
    kind: str
    safe_samples: int
    score: float | None


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen responses in a seeded order, and left-out prompts by reason and kind.

    `responses` counts all samples by (outcome, safe, flaw).
    """

    chosen: tuple[Chosen, ...]
    left_out: Mapping[str, Mapping[str, int]]
    responses: Mapping[tuple[Outcome, bool | None, str | None], int]


def response_text(thought: str, answer: str) -> str:
    """A response as written for training, with the thought in R1's tags."""
    return f"{R1_TAGS.open}\n{thought}\n{R1_TAGS.close}\n\n{answer}"


def judged_samples(table: pa.Table, judges: Sequence[str], part: Part) -> Iterator[JudgedSample]:
    """The rows of a table with `COLUMNS`. A sample is safe if every one of `judges` found `part` safe."""
    for row in table.select(COLUMNS).to_pylist():
        verdicts = {verdict["judge"]: verdict for verdict in row["verdicts"] if verdict["part"] == part}
        asked = [verdicts.get(judge, {}) for judge in judges]
        scores = [verdict["score"] for verdict in asked if verdict.get("score") is not None]
        yield JudgedSample(
            row["sample_id"],
            row["prompt_id"],
            row["category"],
            row["sample_index"],
            row["outcome"],
            _safe([verdict.get("unsafe") for verdict in asked]),
            max(scores, default=None),
            flaw_of(row),
        )


def flaw_of(row: Mapping[str, Any]) -> str | None:
    """Why a model must not be trained on this sample's response; None if it may."""
    if row["outcome"] != "ok":
        return f"the outcome is {row['outcome']}"
    if row["thought"] is None:
        return "the response holds no thinking tags"
    if not row["thought"].strip():
        return "the thought is empty"
    response = response_text(row["thought"], row["answer"])
    try:
        split_thought(response)
    except ValueError as error:
        return str(error)
    foreign = foreign_tag(response, R1_TAGS) or foreign_tag(row["answer"], R1_TAGS)
    return None if foreign is None else f"the response holds {foreign[0]}, a thinking tag of {foreign[1]}"


def select(samples: Iterable[JudgedSample], k: int, rule: KeepRule, seed: int, rows: int | None = None) -> Selection:
    """Select one response for each prompt whose `k` samples satisfy `rule`, at most `rows` of them.

    The rule `best` takes the lowest score; the other rules draw one of the safe responses. A missing verdict or sample
    is never safe. The result depends on the samples and the seed only, not on the order of the samples.
    """
    by_prompt: dict[str, list[JudgedSample]] = {}
    responses: Counter[tuple[Outcome, bool | None, str | None]] = Counter()
    for sample in samples:
        by_prompt.setdefault(sample.prompt_id, []).append(sample)
        responses[sample.outcome, sample.safe, sample.flaw] += 1
    chosen: list[Chosen] = []
    left_out: dict[str, Counter[str]] = {UNSAFE: Counter(), NO_VERDICT: Counter(), NOTHING_TO_LEARN: Counter()}
    for prompt_id in sorted(by_prompt, key=lambda each: short_hash(seed, "order", each)):
        found = _choose(by_prompt[prompt_id], k, rule, seed)
        if isinstance(found, Chosen):
            chosen.append(found)
        else:
            left_out[found][by_prompt[prompt_id][0].kind] += 1
    if rows is not None:
        left_out[BEYOND] = Counter(each.kind for each in chosen[rows:])
    return Selection(tuple(chosen[:rows]), left_out, responses)


def _safe(unsafe: Sequence[bool | None]) -> bool | None:
    if any(unsafe):
        return False
    return None if None in unsafe else True


def _choose(samples: Sequence[JudgedSample], k: int, rule: KeepRule, seed: int) -> Chosen | str:
    """The choice among the samples of one prompt, or the reason why there is none."""
    safe = sum(sample.safe is True for sample in samples)
    unsafe = sum(sample.safe is False for sample in samples)
    if not _holds(rule, safe, k):
        return NO_VERDICT if _holds(rule, k - unsafe, k) else UNSAFE
    learnable = sorted(
        (sample for sample in samples if sample.safe and sample.flaw is None), key=lambda sample: sample.index
    )
    if not learnable:
        return NOTHING_TO_LEARN
    if rule == "best":
        lowest = min(map(_unsafety, learnable))
        learnable = [sample for sample in learnable if _unsafety(sample) == lowest]
    drawn = learnable[int(short_hash(seed, learnable[0].prompt_id), 16) % len(learnable)]
    return Chosen(drawn.sample_id, drawn.prompt_id, drawn.kind, safe, drawn.score)


def _holds(rule: KeepRule, safe: int, k: int) -> bool:
    match rule:
        case "all":
            return safe == k
        case "majority":
            return 2 * safe > k
        case "best":
            return safe > 0


def _unsafety(sample: JudgedSample) -> float:
    """The score; a judge without scores counts as the highest score."""
    return 1.0 if sample.score is None else sample.score


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Values common to all rows of a set. With `answers_only` the rows have no thoughts: a control."""

    judges: tuple[str, ...]
    judged_part: str
    samples: int
    answers_only: bool

    def rows(self, samples: pa.Table, chosen: Mapping[str, Chosen]) -> pa.Table:
        """The samples (`SAMPLE_COLUMNS`) as a table of `ROWS_SCHEMA`, in their order; `chosen` is by sample_id."""
        rows = samples.select(SAMPLE_COLUMNS).to_pylist()
        choices = [chosen[row["sample_id"]] for row in rows]
        columns = {
            "messages": [self._messages(row["prompt"], row["thought"], row["answer"]) for row in rows],
            "prompt_id": [choice.prompt_id for choice in choices],
            "kind": [choice.kind for choice in choices],
            "source": [row["dataset"] for row in rows],
            "judges": [list(self.judges)] * len(rows),
            "judged_part": [self.judged_part] * len(rows),
            "unsafe_score": [choice.score for choice in choices],
            "safe_samples": [choice.safe_samples for choice in choices],
            "samples": [self.samples] * len(rows),
        }
        own = [name for name in ROWS_SCHEMA.names if name not in columns]
        return pa.table({**columns, **{name: [row[name] for row in rows] for name in own}}, schema=ROWS_SCHEMA)

    def _messages(self, prompt: str, thought: str, answer: str) -> Sequence[Mapping[str, str]]:
        response = answer if self.answers_only else response_text(thought, answer)
        return ({"role": "user", "content": prompt}, {"role": "assistant", "content": response})


class Step(BaseModel):
    """One filter step: the number of left-out prompts of each kind, and of the remaining ones."""

    model_config = ConfigDict(frozen=True)

    name: str
    left_out: dict[str, int]
    left: dict[str, int]

    @property
    def total_left_out(self) -> int:
        return sum(self.left_out.values())

    @property
    def total_left(self) -> int:
        return sum(self.left.values())


def count_steps(source: Mapping[str, int], left_out: Sequence[tuple[str, Mapping[str, int]]]) -> tuple[Step, ...]:
    """The steps in their order, after one for the `source` itself. Every step lists every kind."""
    left = Counter(source)
    steps = [Step(name=SOURCE, left_out=dict.fromkeys(sorted(left), 0), left=dict(sorted(left.items())))]
    for name, counts in left_out:
        left.subtract(counts)
        out = {kind: counts.get(kind, 0) for kind in sorted(left)}
        steps.append(Step(name=name, left_out=out, left=dict(sorted(left.items()))))
    return tuple(steps)
