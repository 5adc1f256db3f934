"""What the catalog says of a model family, a model, a data set and a judge."""

import os
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from safechain_ray.catalog.parallelism import Attention, ParallelSizes
from safechain_ray.errors import InputError
from safechain_ray.types import PLAIN_URL, Message, SpecialTokens, ThinkingTags, VariableName

MessageContent = Literal["text", "list"]
"""How a chat template reads a message's content: as text, or as a list of `{type: text, text: ...}`."""


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    description: str = ""
    caveat: str | None = Field(None, description="what every report of a run with it has to say")
    licence: str = "unknown"
    gated: bool = Field(False, description="the hub gives the files only to those whom it has granted access")
    access: str | None = Field(None, description="how to get the files, where it takes more than a download")


class Family(BaseModel):
    """How models of one family think and are prompted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tags: ThinkingTags | None = None
    system_prompt: str | None = Field(None, description="None leaves the system turn to the chat template")
    source: str = Field("", description="where these facts come from")

    def conversation(self, prompt: str) -> tuple[Message, ...]:
        """The turns that put `prompt` to a model of this family."""
        user = Message("user", prompt)
        if self.system_prompt is None:
            return (user,)
        return (Message("system", self.system_prompt), user)


GPU_GIGABYTES = 80
"""Memory of the GPUs that the catalog's parallel sizes are for."""

QUANTIZED_DTYPES = ("fp8", "quantized")
"""Values of `weights_dtype` for weights that are quantized already; `quantized` is any other way."""

QUANTIZED_GIGABYTES = 1.15
"""Of a billion parameters in fp8: one byte each, and two for the embeddings, which vLLM leaves as they are."""


class EngineNeeds(BaseModel):
    """What one replica of an engine takes of a cluster, and how it is started."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Hugging Face id, local path, s3:// or gs:// folder, or package://… (shipped here)")
    revision: str | None = None
    parameters: float = Field(description="billions of parameters")
    dtype: str = "bfloat16"
    weights_dtype: str | None = Field(None, description="of the published weights, where it is not `dtype`")
    context_length: int = Field(ge=1, description="tokens of prompt and completion together")
    chat_template: str | None = Field(None, description="Jinja; None takes the one that comes with the tokenizer")
    tensor_parallel_size: int = Field(1, ge=1, description=f"on GPUs of {GPU_GIGABYTES} GB")
    pipeline_parallel_size: int = Field(1, ge=1, description=f"on GPUs of {GPU_GIGABYTES} GB")
    attention: Attention | None = Field(None, description="of config.json; None where it is not known")
    fixed: frozenset[str] = Field(
        frozenset(), description="fields that the user has set: a plan takes them as they are", exclude=True
    )
    quantization: Literal["fp8"] | None = Field(
        None,
        exclude_if=lambda quantization: quantization is None,
        description="vLLM quantizes the weights while it loads them; results differ from those of the published ones",
    )
    runs_on_cpu: bool = Field(False, description="small enough to be put on CPUs without being asked to")
    trust_remote_code: bool = False
    message_content: MessageContent = Field(
        "text",
        # A default that is not dumped leaves the identities of runs as they were before this field.
        exclude_if=lambda content: content == "text",
        description="how the model's chat template reads a message's content; multimodal ones want a list",
    )
    special_tokens: SpecialTokens = Field(
        "control",
        exclude_if=lambda special_tokens: special_tokens == "control",
        description="how special tokens within a prompt (<|eot_id|>) are sent: as control tokens, or as plain text",
    )
    engine_kwargs: dict[str, object] = Field(default_factory=dict, description="passed to vLLM as they are")

    @property
    def sizes(self) -> ParallelSizes:
        return ParallelSizes(
            tensor_parallel_size=self.tensor_parallel_size, pipeline_parallel_size=self.pipeline_parallel_size
        )

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.sizes.gpus

    @property
    def is_quantized(self) -> bool:
        """Whether the published weights are, or vLLM is asked to quantize them by `engine_kwargs`."""
        return self.weights_dtype in QUANTIZED_DTYPES or "quantization" in self.engine_kwargs

    @property
    def weight_gigabytes(self) -> float:
        """Memory that the weights alone take."""
        if self.quantization is not None:
            return self.parameters * QUANTIZED_GIGABYTES
        bytes_each = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}.get(self.weights_dtype or self.dtype, 2)
        return self.parameters * bytes_each

    def spread(self, sizes: ParallelSizes, context_length: int) -> Self:
        """The same over other GPUs, with another context."""
        return self.model_copy(update={**sizes.model_dump(), "context_length": context_length})


class ModelEntry(Entry, EngineNeeds):
    """A reasoning model that is run by vLLM replicas."""

    family: str


class RowsEntry(Entry):
    """Where rows come from: prompts of a data set, problems of a benchmark."""

    kind: Literal["huggingface", "file", "package"]
    source: str = Field(description="Hugging Face id, URL or path, or a file of the package")
    config: str | None = Field(None, description="huggingface: which of the set's configs")
    split: str | None = Field("train", description="huggingface: which split; None takes the only one")
    revision: str | None = None
    load_options: dict[str, str | bool] = Field(
        default_factory=dict, description="huggingface: further arguments for datasets.load_dataset"
    )
    rows: int | None = Field(None, description="rows expected; another count is an error")


class DatasetEntry(RowsEntry):
    """A data set of prompts: where it comes from, and which of its columns are what."""

    prompt_column: str
    prompt_columns: dict[str, str] = Field(
        default_factory=dict, description="category -> the column with its prompts, where that is another one"
    )
    id_column: str | None = None
    category_column: str | None = None
    benign_categories: tuple[str, ...] | None = Field(
        None, description="categories of prompts that a model should not refuse; null: unknown"
    )


class Endpoint(BaseModel):
    """A server that judges, and how it is asked. The key comes from the environment only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = Field(pattern=PLAIN_URL, description="without a key, a user or a query in it")
    model: str = Field(min_length=1)
    api_key_env: VariableName = Field("", description="environment variable that holds the key; empty: none is sent")
    max_concurrent: int = Field(16, ge=1, description="requests under way at the same time")

    def api_key(self) -> SecretStr | None:
        """The key, None for an endpoint that wants none. Raises InputError where its variable is not set."""
        if not self.api_key_env:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise InputError(
                f"The environment variable {self.api_key_env} is not set: it has to hold the key for {self.base_url}."
            )
        return SecretStr(key)


class JudgeEntry(Entry):
    """A judge: its kind decides the code, the rest is its data.

    Kinds that run a model have `engine`, those that ask a server have `endpoint`, rules have neither. Judges of kind
    `preference` compare two responses, and only `prefer` uses them; all others judge one response.
    """

    kind: str = Field(description="the module of `judges/` that has its code, or `preference`")
    engine: EngineNeeds | None = None
    endpoint: Endpoint | None = Field(None, exclude_if=lambda endpoint: endpoint is None)
    phrases: str | None = Field(None, description="refusal_match: the file of refusal phrases, one a line")

    @property
    def is_rule(self) -> bool:
        """Whether it decides by itself: it has no pool, and takes part wherever blocks are written."""
        return self.engine is None and self.endpoint is None
