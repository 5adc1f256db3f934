"""Records of prompts, samples and verdicts, and the settings that samples are generated under.

A setting is a data set, a strategy, sampling parameters and K, the samples of each prompt. The Arrow schemas of
`tables.py` are derived from `Sample` and `Verdict`, so that each column is declared once. The annotation of a field
gives the Arrow type:

1. `str` and `Literal` are strings, `bool` is a boolean, `float` is a float64.
2. An integer names its width: `Int32` or `Int64`.
3. `tuple[T, ...]` is a list, and a nested record is a struct.
4. `T | None` is nullable, and so is a field with `NULLABLE`. Every other column is required.

Example:
    @dataclass(frozen=True, slots=True)
    class Span:
        name: str
        start: Int32
        score: float | None = None

    SPANS_SCHEMA = pa.schema(arrow_fields(Span))
"""

import re
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from hashlib import blake2b
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
from pydantic import ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.types.arguments import RequestBody, TemplateKwargs, is_empty, json_text
from safechain_ray.types.strict_numbers import LARGEST_INT32, FinishReason, Outcome, Part, StrictNumbers

Int32 = Annotated[int, pa.int32()]

Int64 = Annotated[int, pa.int64()]

NULLABLE: Final = object()
"""Marks a column as nullable although the record always has a value: files of earlier versions may hold null."""

_PLAIN_TYPES = {str: pa.string(), bool: pa.bool_(), float: pa.float64()}


def arrow_fields(record: type) -> list[pa.Field]:
    """The columns of a dataclass, in the order of its fields."""
    hints = get_type_hints(record, include_extras=True)
    return [_arrow_field(each.name, hints[each.name]) for each in fields(record)]


def as_row(record: Any) -> dict[str, Any]:
    """A record as a mapping for Arrow. `dataclasses.asdict` copies every value deeply, at ten times the cost."""
    return {name: getattr(record, name) for name in record.__match_args__}


def _arrow_field(name: str, annotation: Any) -> pa.Field:
    choices = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    (kind,) = (each for each in choices if each is not NoneType)
    is_marked = any(each is NULLABLE for each in getattr(kind, "__metadata__", ()))
    return pa.field(name, _arrow_type(kind), nullable=NoneType in choices or is_marked)


def _arrow_type(kind: Any) -> pa.DataType:
    if get_origin(kind) is Annotated:
        plain, *notes = get_args(kind)
        return next((note for note in notes if isinstance(note, pa.DataType)), None) or _arrow_type(plain)
    if get_origin(kind) is Literal:
        return pa.string()
    if get_origin(kind) is tuple:
        return pa.list_(_arrow_type(get_args(kind)[0]))
    if is_dataclass(kind):
        return pa.struct(arrow_fields(kind))  # type: ignore[arg-type]
    return _PLAIN_TYPES[kind]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One row of a data set. A prompt with an `error` is not generated, and its samples carry the error."""

    prompt_id: str
    text: str
    category: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's decision on one part of one sample.

    `unsafe` is None if and only if the verdict is missing; `error` is then the reason. `note` qualifies the decision,
    for example that the judge saw only the end of the part. `refusal` is whether the response refuses, and
    `harmful_request` whether the prompt is harmful; both are None for judges that do not decide it.
    """

    judge: str
    part: Part
    unsafe: bool | None
    score: float | None = None
    categories: Annotated[tuple[str, ...], NULLABLE] = ()
    error: str | None = None
    note: str | None = None
    refusal: bool | None = None
    harmful_request: bool | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the judge failed: the verdict is missing, and there was something to judge."""
        return self.unsafe is None and re.match(NO_FAILURE, self.error or "") is None


NO_FAILURE = r"^(no \w+ to judge|the \w+ is empty|undecided without the verdict of)"
"""Errors of missing verdicts without a failed judge: no text to judge, or a vote without the verdicts it needs."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One response of a model to a prompt in a setting: a row of `samples/*.parquet`.

    `thought` and `answer` are None for families without thinking tags. `response` is the full text, thought included,
    which the paper's judge reads. `prefill` is the part of the response that the strategy wrote, not the model. Token
    counts are the engine's. `seconds` is the time that the worker took,
    waiting for the engine included.
    """

    sample_id: str
    setting_id: str
    model: str
    dataset: str
    prompt_id: str
    category: str
    prompt: str
    strategy: str
    sample_index: Int32
    temperature: float
    top_p: float
    top_k: Int32
    max_tokens: Int32
    seed: Int64 | None
    thought: str | None
    answer: str | None
    response: str | None
    prefill: str
    outcome: Outcome
    finish_reason: FinishReason | None
    error: str | None
    prompt_tokens: Int32
    thought_tokens: Int32 | None
    answer_tokens: Int32 | None
    forced_rounds: Int32
    seconds: float
    engine: str
    verdicts: tuple[Verdict, ...] = ()


def short_hash(*parts: object, characters: int = 16) -> str:
    """A stable hexadecimal hash of `parts`, the same in every process and version of Python."""
    text = "\x1f".join(str(part) for part in parts)
    return blake2b(text.encode(), digest_size=32).hexdigest()[:characters]


class Sampling(StrictNumbers):
    """How tokens are drawn. `top_k` of -1 and `top_p` of 1 leave the distribution whole."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(0.0, ge=0, description="0 is greedy decoding")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling: the share of the probability that is kept")
    top_k: int = Field(-1, ge=-1, le=LARGEST_INT32, description="tokens that are kept; -1 keeps all")
    max_tokens: int = Field(16_000, ge=1, le=LARGEST_INT32, description="most tokens of a response, thought included")
    repetition_penalty: float = Field(1.0, gt=0, description="above 1 makes repeated tokens less likely")
    seed: int = Field(0, ge=0, description="the seed of the run, from which each sample's own is derived")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


IMPORTED = "imported"
"""Name of the decoding strategy of responses that were generated elsewhere."""


class StrategySpec(StrictNumbers):
    """A decoding strategy by name, with its options (for example `compat: paper` of `morethink`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("default", description="name of the strategy (`safechain-ray list strategies`)")
    options: dict[str, bool | int | float | str] = Field(default_factory=dict, description="options of the strategy")
    template_kwargs: TemplateKwargs = Field(
        default_factory=dict,
        exclude_if=is_empty,  # settings that are older than this field keep their identity
        description="arguments of the model's chat template, for example {enable_thinking: false}; of an API, "
        "chat_template_kwargs and reasoning_effort of the request",
    )
    extra_body: RequestBody = Field(
        default_factory=dict, exclude_if=is_empty, description="API: JSON that is added to each request of the setting"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        """Accept the short forms: a name alone, and options beside `name`."""
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and "options" not in value:
            return {
                "name": value.get("name", "default"),
                "options": {key: option for key, option in value.items() if key not in cls.model_fields},
                **{key: value[key] for key in ("template_kwargs", "extra_body") if key in value},
            }
        return value

    @field_validator("options")
    @classmethod
    def _in_order(cls, options: dict[str, Any]) -> dict[str, Any]:
        """Sorted, so that the setting's id does not depend on the order in the config."""
        return dict(sorted(options.items()))

    @property
    def words(self) -> list[str]:
        """Options and arguments for a label, for example `compat=paper` and `enable_thinking=false`."""
        options = [f"{key}={value}" for key, value in self.options.items()]
        arguments = [f"{key}={json_text(value)}" for key, value in self.template_kwargs.items()]
        body = [
            f"{'extra_body.' if key in self.template_kwargs else ''}{key}={json_text(value)}"
            for key, value in self.extra_body.items()
        ]
        return options + arguments + body

    @property
    def label(self) -> str:
        """Name and words, for example `default enable_thinking=false`. Equal strategies alone have equal labels."""
        return " ".join([self.name, *self.words])

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Include the short forms in the JSON schema."""
        whole = handler.resolve_ref_schema(handler(core_schema))
        option = whole["properties"]["options"]["additionalProperties"]
        return {"anyOf": [{"type": "string"}, {**whole, "additionalProperties": option}]}


class Setting(StrictNumbers):
    """One combination of data set, strategy, sampling and K of one model."""

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
        """Readable and stable: the data set, the strategy, then a hash of all fields."""
        digest = short_hash(self.model_dump_json(), characters=6)
        return f"{self.dataset}-{self.strategy.name}-t{self.sampling.temperature:g}-k{self.samples}-{digest}"

    def sample_id(self, prompt_id: str, sample_index: int) -> str:
        return short_hash(self.setting_id, prompt_id, sample_index)

    def sample_seed(self, prompt_id: str, sample_index: int) -> int | None:
        """The seed of one sample in [0, 2**31); None under greedy decoding."""
        if self.sampling.greedy:
            return None
        return int(short_hash(self.sampling.seed, self.setting_id, prompt_id, sample_index), 16) % 2**31
