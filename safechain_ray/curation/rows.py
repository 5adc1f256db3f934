"""Chosen samples as rows of a training set: the conversation, and where each comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from safechain_ray.curation.selection import Chosen, response_text

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

`source` is the set that the prompt is from, `unsafe_score` the judges' highest P(unsafe) of the response.
"""

SAMPLE_COLUMNS = (
    *("sample_id", "sample_index", "dataset", "model", "strategy", "prompt", "thought", "answer"),
    *("thought_tokens", "answer_tokens"),
)
"""The columns of samples that rows are made of."""


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What is the same in all rows of a set. With `answers_only` they have no thoughts: a control."""

    judges: tuple[str, ...]
    judged_part: str
    samples: int
    answers_only: bool

    def rows(self, samples: pa.Table, chosen: Mapping[str, Chosen]) -> pa.Table:
        """The samples (`SAMPLE_COLUMNS`) as a table of `ROWS_SCHEMA`, in their order; `chosen` goes by sample_id."""
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
