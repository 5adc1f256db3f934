"""The project's words as frozen records: prompts, settings, samples, verdicts, and the calls that engines answer."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

Part = Literal["response", "thought", "answer"]
"""What a judge looks at: the reasoning trace, the final answer, or both together (the default, as in the paper)."""

Outcome = Literal["ok", "truncated", "blocked", "error"]
"""What became of a sample; `blocked` means that the provider refused."""

FinishReason = Literal["stop", "length"]

VoteRule = Literal["majority", "any", "all"]
"""How many judges have to say unsafe: more than half of them, one, or every one."""

PLAIN_URL = r"^https?://[^\s@?#]+$"
"""An address that holds no secret: no user, no query."""

LARGEST_INT32 = 2**31 - 1
"""The most that the integer columns of the samples hold."""


def short_hash(*parts: object, characters: int = 16) -> str:
    """A stable hexadecimal name for `parts`, the same in every process and version of Python."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=32).hexdigest()[:characters]


class Sampling(BaseModel):
    """How tokens are drawn. `top_k` of -1 and `top_p` of 1 leave the distribution whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(0.0, ge=0, description="0 is greedy decoding")
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(-1, ge=-1, le=LARGEST_INT32)
    max_tokens: int = Field(16_000, ge=1, le=LARGEST_INT32, description="most tokens of a response, thought included")
    repetition_penalty: float = Field(1.0, gt=0)
    seed: int = Field(0, ge=0, description="the seed of the run, from which each sample's own is derived")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


class StrategySpec(BaseModel):
    """A decoding strategy by name, with its options (for example `compat: paper` of `morethink`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "default"
    options: dict[str, bool | int | float | str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        """`zerothink` alone is short for `{name: zerothink}`; other keys beside `name` are its options."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            return {
                "name": value.get("name", "default"),
                "options": {key: option for key, option in value.items() if key != "name"},
            }
        return value

    @field_validator("options")
    @classmethod
    def _in_order(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Sorted, so that a setting has one id in whatever order its options are written."""
        return dict(sorted(options.items()))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The short forms too."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        option = whole["properties"]["options"]["additionalProperties"]
        return {"anyOf": [{"type": "string"}, {**whole, "additionalProperties": option}]}


class Setting(BaseModel):
    """One (data set, strategy, sampling, K) of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    strategy: StrategySpec = StrategySpec()
    sampling: Sampling = Sampling()
    samples: int = Field(1, ge=1, description="K, the samples of each prompt")

    @model_validator(mode="after")
    def _no_equal_samples(self) -> "Setting":
        if self.sampling.greedy and self.samples > 1:
            raise ValueError(
                f"temperature 0 with {self.samples} samples would generate {self.samples} equal samples; "
                "set a temperature above 0, or samples: 1"
            )
        return self

    @cached_property
    def setting_id(self) -> str:
        """Readable and stable: the data set, the strategy, then a hash over every field."""
        digest = short_hash(self.model_dump_json(), characters=6)
        return f"{self.dataset}-{self.strategy.name}-t{self.sampling.temperature:g}-k{self.samples}-{digest}"

    def sample_id(self, prompt_id: str, sample_index: int) -> str:
        return short_hash(self.setting_id, prompt_id, sample_index)

    def sample_seed(self, prompt_id: str, sample_index: int) -> int | None:
        """The seed of one sample in [0, 2**31); None under greedy decoding, which draws nothing."""
        if self.sampling.greedy:
            return None
        return int(short_hash(self.sampling.seed, self.setting_id, prompt_id, sample_index), 16) % 2**31


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request of a data set. A prompt with an `error` is never generated: its samples carry the error."""

    prompt_id: str
    text: str
    category: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ThinkingTags:
    """What opens and closes a thought, and (Sky-T1) an answer, in the text of a model family."""

    open: str
    close: str
    answer_open: str | None = None
    answer_close: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to generate.

    `prompt` is what the engine's `render` made, with what a strategy wrote behind it: the whole text, special tokens
    (BOS too) written out; for an API, which has its template on its own side, the messages as JSON.
    """

    prompt: str
    sampling: Sampling
    max_tokens: int
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int = 0


@dataclass(frozen=True, slots=True)
class Completion:
    """What an engine returned for a `Request`; `text` holds neither the prompt nor the stop string.

    `stop_string` is the member of `Request.stop` that ended it, None where the model ended its turn itself.
    `logprobs` has one mapping a generated token, from token text to natural log-probability, most likely first.
    `thought_tokens` are those of `completion_tokens` that were thought, where an engine knows (an API's bill).
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: FinishReason
    stop_string: str | None = None
    logprobs: tuple[Mapping[str, float], ...] = ()
    thought_tokens: int | None = None


Generate = Callable[[Request], Awaitable[Completion]]
"""All that a strategy or a judge knows of an engine. Raises `safechain_ray.errors.RowError` for a bad request."""

CountTokens = Callable[[str], int]


class Engine(Protocol):
    """A language model that answers requests concurrently."""

    @property
    def name(self) -> str:
        """The engine and its version, for the `engine` column."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and completion may have together."""

    def render(self, messages: tuple[Message, ...]) -> str:
        """The conversation as `Request.prompt`: text by the model's chat template, ready for the assistant's turn."""

    def count_tokens(self, text: str) -> int: ...

    def last_tokens(self, text: str, count: int) -> str:
        """The end of `text` that its last `count` tokens (at least 1) stand for; all of it where it has no more."""

    async def generate(self, request: Request) -> Completion: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's decision on one part of one sample. `unsafe` is None exactly where `error` says why.

    `note` is what a reader of the decision must know, for example that the judge saw only an end of the part.
    """

    judge: str
    part: Part
    unsafe: bool | None
    score: float | None = None
    categories: tuple[str, ...] = ()
    error: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One response of a model to a prompt in a setting: a row of `samples/*.parquet`.

    `thought` and `answer` are None for families without thinking tags; `response` is the text that the judge of the
    paper saw. `prefill` is the part of the response that was written for the model. Token counts are the engine's.
    """

    sample_id: str
    setting_id: str
    model: str
    dataset: str
    prompt_id: str
    category: str
    prompt: str
    strategy: str
    sample_index: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int | None
    thought: str | None
    answer: str | None
    response: str | None
    prefill: str
    outcome: Outcome
    finish_reason: FinishReason | None
    error: str | None
    prompt_tokens: int
    thought_tokens: int | None
    answer_tokens: int | None
    forced_rounds: int
    seconds: float
    engine: str
    verdicts: tuple[Verdict, ...] = ()


VERDICT_TYPE = pa.struct(
    [
        pa.field("judge", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("unsafe", pa.bool_()),
        pa.field("score", pa.float64()),
        pa.field("categories", pa.list_(pa.string())),
        pa.field("error", pa.string()),
        pa.field("note", pa.string()),
    ]
)

SAMPLES_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("setting_id", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("strategy", pa.string(), nullable=False),
        pa.field("sample_index", pa.int32(), nullable=False),
        pa.field("temperature", pa.float64(), nullable=False),
        pa.field("top_p", pa.float64(), nullable=False),
        pa.field("top_k", pa.int32(), nullable=False),
        pa.field("max_tokens", pa.int32(), nullable=False),
        pa.field("seed", pa.int64()),
        pa.field("thought", pa.string()),
        pa.field("answer", pa.string()),
        pa.field("response", pa.string()),
        pa.field("prefill", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("finish_reason", pa.string()),
        pa.field("error", pa.string()),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("thought_tokens", pa.int32()),
        pa.field("answer_tokens", pa.int32()),
        pa.field("forced_rounds", pa.int32(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("verdicts", pa.list_(VERDICT_TYPE), nullable=False),
    ]
)
"""The columns of `samples/*.parquet`, one row a `Sample`."""


_SAMPLE_OF_A_VERDICT = ("sample_id", "setting_id", "prompt_id")

VERDICTS_SCHEMA = pa.schema([*(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_OF_A_VERDICT), *VERDICT_TYPE])
"""The columns of `verdicts/<judge>/*.parquet`, one row a verdict that was added to a finished run."""

_PLACE_OF_A_PIECE = ("pieces", "piece", "end", "characters")

PIECES_SCHEMA = pa.schema(
    [
        *(SAMPLES_SCHEMA.field(name) for name in _SAMPLE_OF_A_VERDICT),
        *(pa.field(name, pa.int32(), nullable=False) for name in _PLACE_OF_A_PIECE),
        *(field for field in VERDICT_TYPE if field.name != "part"),
    ]
)
"""The columns of `pieces/<judge>/*.parquet`, one row a verdict on a beginning of a thought.

`pieces` were asked for, this is number `piece`, from 1; it ends at character `end` of the thought's `characters`.
"""


def samples_table(samples: Sequence[Sample]) -> pa.Table:
    """The samples as an Arrow table of `SAMPLES_SCHEMA`."""
    columns = {name: [getattr(sample, name) for sample in samples] for name in SAMPLES_SCHEMA.names}
    columns["verdicts"] = [[_verdict_row(verdict) for verdict in verdicts] for verdicts in columns["verdicts"]]
    return pa.table(columns, schema=SAMPLES_SCHEMA)


def samples_from_table(table: pa.Table) -> list[Sample]:
    """The rows of a table of `SAMPLES_SCHEMA` as records."""
    columns = {name: table.column(name).to_pylist() for name in SAMPLES_SCHEMA.names}
    columns["verdicts"] = [tuple(map(_verdict, verdicts)) for verdicts in columns["verdicts"]]
    # By position: the fields of `Sample` stand in the order of the schema, and a mapping a row takes twice the time.
    return [Sample(*row) for row in zip(*columns.values(), strict=True)]


def with_verdicts(table: pa.Table, verdicts: Sequence[Iterable[Verdict]]) -> pa.Table:
    """The table with `verdicts[i]` put behind those that row i holds already."""
    place = table.schema.get_field_index("verdicts")
    rows = [
        [*held, *(_verdict_row(verdict) for verdict in new)]
        for held, new in zip(table.column(place).to_pylist(), verdicts, strict=True)
    ]
    return table.set_column(place, SAMPLES_SCHEMA.field("verdicts"), pa.array(rows, type=pa.list_(VERDICT_TYPE)))


def without_verdicts(table: pa.Table) -> pa.Table:
    """The samples as if no judge had seen them."""
    place = table.schema.get_field_index("verdicts")
    nothing: pa.Array = pa.array([[]] * table.num_rows, type=pa.list_(VERDICT_TYPE))
    return table.set_column(place, SAMPLES_SCHEMA.field("verdicts"), nothing)


def verdicts_table(table: pa.Table) -> pa.Table:
    """The verdicts in a table of `SAMPLES_SCHEMA`, one row each, as a table of `VERDICTS_SCHEMA`."""
    rows = pc.list_parent_indices(table["verdicts"])
    verdicts = pc.list_flatten(table["verdicts"])
    of_samples = [table[name].take(rows) for name in _SAMPLE_OF_A_VERDICT]
    of_verdicts = [pc.struct_field(verdicts, field.name) for field in VERDICT_TYPE]
    return pa.table([*of_samples, *of_verdicts], schema=VERDICTS_SCHEMA)


def as_samples(table: pa.Table) -> pa.Table:
    """`table` with the columns of `SAMPLES_SCHEMA`; what a file of an earlier version has not is null in it."""
    return table.cast(SAMPLES_SCHEMA)


def only(table: pa.Table, sample_ids: Iterable[str]) -> pa.Table:
    """The rows of `table` with these ids."""
    return table.filter(pc.is_in(table["sample_id"], value_set=pa.array(sample_ids, pa.string())))


_VERDICT_FIELDS = tuple(field.name for field in fields(Verdict))


def _verdict_row(verdict: Verdict) -> dict[str, Any]:
    # `dataclasses.asdict` copies every value deeply, at ten times the cost.
    return {name: getattr(verdict, name) for name in _VERDICT_FIELDS}


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**row, "categories": tuple(row["categories"])})
