"""Catalog entries: families, models, API models, data sets, training sets, judges and the shapes of models."""

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from safechain_ray.catalog.parallelism import Attention, ParallelSizes
from safechain_ray.errors import InputError
from safechain_ray.likely_keys import without_prefixed_keys
from safechain_ray.types import PLAIN_URL, Message, SpecialTokens, ThinkingTags, VariableName

MessageContent = Literal["text", "list"]
"""The content of a message for a chat template: text, or a list of `{type: text, text: ...}`."""

LossOn = Literal["last", "all"]
"""The assistant turns of a conversation that carry loss."""

GPU_GIGABYTES = 80
"""Memory of the GPUs for which the catalog gives parallel sizes."""

QUANTIZED_DTYPES = ("fp8", "quantized")
"""Values of `weights_dtype` for published weights that are quantized; `quantized` is any method other than fp8."""

QUANTIZED_GIGABYTES = 1.15
"""Per billion parameters in fp8: one byte each, and two for the embeddings, which vLLM does not quantize."""

LAYOUTS = (
    frozenset({"messages_column"}),
    frozenset({"prompt_column", "response_column"}),
    frozenset({"prompt_column", "thought_column", "answer_column"}),
)
"""The columns of a demonstration: a conversation, or a prompt with its response in one or two columns."""


class Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    description: str = ""
    caveat: str | None = Field(None, description="a warning that every report of a run with this entry shows")
    licence: str = "unknown"
    gated: bool = Field(False, description="the hub gives the files only to users with granted access")
    access: str | None = Field(None, description="how to get the files, where it takes more than a download")


class Family(BaseModel):
    """Thinking tags and system prompt of the models of one family."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tags: ThinkingTags | None = None
    system_prompt: str | None = Field(None, description="None leaves the system turn to the chat template")
    source: str = Field("", description="where these facts come from")

    def conversation(self, prompt: str) -> tuple[Message, ...]:
        """The turns that send `prompt` to a model of this family."""
        user = Message("user", prompt)
        if self.system_prompt is None:
            return (user,)
        return (Message("system", self.system_prompt), user)


class EngineNeeds(BaseModel):
    """Resources and start arguments of one engine replica."""

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
        frozenset(), description="fields that the user has set, which the planner does not change", exclude=True
    )
    quantization: Literal["fp8"] | None = Field(
        None,
        exclude_if=lambda quantization: quantization is None,
        description="vLLM quantizes the weights while it loads them; results differ from those of the published ones",
    )
    runs_on_cpu: bool = Field(False, description="small enough to run on CPUs by default")
    trust_remote_code: bool = False
    message_content: MessageContent = Field(
        "text",
        # Without the default in the dump, runs that are older than this field keep their identity.
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
        """Whether the published weights are quantized, or `engine_kwargs` quantizes them in vLLM."""
        return self.weights_dtype in QUANTIZED_DTYPES or "quantization" in self.engine_kwargs

    @property
    def weight_gigabytes(self) -> float:
        """Memory of the weights alone."""
        if self.quantization is not None:
            return self.parameters * QUANTIZED_GIGABYTES
        bytes_each = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1}.get(self.weights_dtype or self.dtype, 2)
        return self.parameters * bytes_each

    def spread(self, sizes: ParallelSizes, context_length: int) -> Self:
        """A copy with other parallel sizes and context length."""
        return self.model_copy(update={**sizes.model_dump(), "context_length": context_length})


class ModelEntry(Entry, EngineNeeds):
    """A reasoning model that vLLM replicas run."""

    family: str


class RowsEntry(Entry):
    """The source of rows: prompts of a data set, problems of a benchmark."""

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
    """A data set of prompts: its source and the meaning of its columns."""

    prompt_column: str
    prompt_columns: dict[str, str] = Field(
        default_factory=dict, description="category -> the column with its prompts, where this is not prompt_column"
    )
    id_column: str | None = None
    category_column: str | None = None
    benign_categories: tuple[str, ...] | None = Field(
        None, description="categories of prompts that a model should not refuse; null: unknown"
    )


class Endpoint(BaseModel):
    """A server that judges. The API key comes from the environment only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = Field(pattern=PLAIN_URL, description="without a key, a user or a query in it")
    model: str = Field(min_length=1)
    api_key_env: VariableName = Field("", description="environment variable with the key; without it no key is sent")
    max_concurrent: int = Field(16, ge=1, description="concurrent requests")

    def api_key(self, key: str = "judges.N.endpoint.api_key_env") -> SecretStr | None:
        """The API key; None for an endpoint without one. Raises InputError with the config's `key` for its variable."""
        if not self.api_key_env:
            return None
        if not (secret := os.environ.get(self.api_key_env, "").strip()):
            raise InputError(
                f"The environment variable {self.api_key_env} is not set. The key for {self.base_url} is read from it. "
                f"Fix: run `export {self.api_key_env}=...` before the command, "
                f"or name another one with --set {key}=NAME."
            )
        return SecretStr(secret)


class JudgeEntry(Entry):
    """A judge: `kind` selects the code, the other fields are its data.

    Kinds that run a model have `engine`, kinds that call a server have `endpoint`, rules have neither. Judges of kind
    `preference` compare two responses, and only `prefer` uses them. All other judges judge one response.
    """

    kind: str = Field(description="the module of `judges/` with its code, or `preference`")
    engine: EngineNeeds | None = None
    endpoint: Endpoint | None = Field(None, exclude_if=lambda endpoint: endpoint is None)
    phrases: str | None = Field(None, description="refusal_match: the file of refusal phrases, one a line")

    @property
    def is_rule(self) -> bool:
        """Whether the judge is a rule: it has no pool of workers, and runs where blocks are written."""
        return self.engine is None and self.endpoint is None


class Prices(BaseModel):
    """Dollars for a million tokens. Reasoning counts as output; discounts (cached input) are not modelled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, description="dollars for a million tokens of prompt")
    output: float = Field(ge=0, description="dollars for a million generated tokens, reasoning among them")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """In dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


API_OPTIONS = {
    "api_key_env=NAME": "--set model.api_key_env=NAME",
    "model=ID": "--set model.api_model=ID",
    "base_url=URL": "--base-url URL",
}


class ApiEntry(Entry):
    """A reasoning model behind an API that speaks OpenAI's chat completions.

    The API key is read from the environment of the node that sends the requests.
    """

    base_url: str = Field(description="the endpoint, up to the part before /chat/completions")
    api_model: str = Field(description="the id by which the provider knows the model")
    api_key_env: VariableName | None = Field(None, description="the environment variable of the key; None sends no key")
    family: str = Field(
        "api", description="tags around a thought that is returned separately, or in the text; the system prompt"
    )
    context_length: int = Field(131_072, ge=1, description="tokens of prompt and completion together")
    prices: Prices | None = None
    max_concurrent: int = Field(64, ge=1, description="most concurrent requests")
    most_choices: int = Field(
        1,
        ge=1,
        exclude_if=lambda count: count == 1,  # runs that are older than this field keep their identity
        description="samples of a prompt that one request may ask for (n); 1 where the provider has no n",
    )
    timeout_seconds: float = Field(900.0, gt=0, description="a request without an answer for so long is retried")
    extra_body: Annotated[dict[str, object], AfterValidator(without_prefixed_keys)] = Field(
        default_factory=dict, description="put into every request as it is"
    )
    omits: tuple[str, ...] = Field((), description="sampling parameters that the provider refuses, so never sent")
    max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="name of the token limit in a request; detected if the provider refuses max_tokens"
    )
    opens_thought: bool | None = Field(
        None,
        exclude_if=lambda opens: opens is None,
        description="whether the server's chat template opens the thought, so that answers hold no opening tag; "
        "None: detected",
    )
    is_judge: bool = Field(False, exclude=True, description="a judge's endpoint, which has other config keys")

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("this is no endpoint: write http(s)://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL must hold no user, password, query or fragment: keys come from the environment")
        return url.rstrip("/")

    def option(self, key: Literal["api_key_env=NAME", "model=ID", "base_url=URL"]) -> str:
        """The option that sets a key of this endpoint, for messages."""
        return f"--set judge.endpoint.{key}" if self.is_judge else API_OPTIONS[key]

    @property
    def source(self) -> str:
        """The model and its host, for tables."""
        return f"{self.api_model} at {urlsplit(self.base_url).hostname}"


def judging_api(judge: JudgeEntry) -> ApiEntry:
    """The chat model at a judge's endpoint. Its answer is one letter, truncated by design."""
    assert judge.endpoint is not None
    return ApiEntry(
        name=judge.name,
        base_url=judge.endpoint.base_url,
        api_model=judge.endpoint.model,
        api_key_env=judge.endpoint.api_key_env or None,
        max_concurrent=judge.endpoint.max_concurrent,
        opens_thought=False,
        is_judge=True,
    )


class TrainingSetEntry(RowsEntry):
    """A training set: the source of its demonstrations and the meaning of their columns.

    Either exactly the columns of one of `LAYOUTS` are named, or none. Without names the layout is detected from the
    columns of the data. Thoughts are in the tags of `family`, R1's by default, for every trained model. The opening tag
    may be missing.
    """

    messages_column: str | None = Field(None, description="a list of messages, in OpenAI's or ShareGPT's form")
    prompt_column: str | None = None
    response_column: str | None = Field(None, description="thought, in tags, and answer")
    thought_column: str | None = Field(None, description="the thought alone, without tags")
    answer_column: str | None = Field(None, description="the answer alone")
    input_column: str | None = Field(
        None, description="text appended to the prompt; by default a column `input` or `context`; '' for none"
    )
    system_column: str | None = Field(None, description="the system turn; by default a column `system`; '' for none")
    has_thoughts: bool = Field(True, description="False for a control: answers only, and a thinking tag is an error")
    family: str | None = Field(None, description="the model family in whose tags the thoughts are; r1 by default")
    loss_on: LossOn = Field("last", description="the assistant turns that carry loss")

    @property
    def columns(self) -> dict[str, str]:
        """The named columns, by field."""
        layout = ("messages_column", "prompt_column", "response_column", "thought_column", "answer_column")
        return {name: getattr(self, name) for name in (*layout, "input_column", "system_column") if getattr(self, name)}

    @property
    def layout(self) -> frozenset[str]:
        """The named columns that make a layout."""
        return frozenset(self.columns) - {"input_column", "system_column"}

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.layout and self.layout not in LAYOUTS:
            known = "; or ".join(", ".join(sorted(layout, reverse=True)) for layout in LAYOUTS)
            raise ValueError(f"the columns named are {', '.join(sorted(self.layout))}; name {known}")
        if self.input_column and self.layout == LAYOUTS[0]:
            raise ValueError("input_column needs prompt_column, but messages_column is named: remove one of them")
        if self.thought_column is not None and not self.has_thoughts:
            raise ValueError("has_thoughts is false, but thought_column names thoughts: remove one of them")
        return self


class ModelShape(BaseModel):
    """The shape of a decoder-only transformer: decides its parameters and the memory of training.

    Llama's architecture, and those with the same matrices (Qwen 2.5). Biases and norms are too small to count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1, description="width of the feed-forward part")
    vocabulary: int = Field(ge=1)
    heads: int = Field(ge=1)
    key_value_heads: int = Field(ge=1)
    head_size: int | None = Field(None, description="hidden / heads by default")
    tied: bool = Field(False, description="input and output embeddings share one matrix")

    @classmethod
    def of_config(cls, name: str, config: Any) -> "ModelShape":
        """From a config of transformers."""
        return cls(
            name=name,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            heads=config.num_attention_heads,
            key_value_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            head_size=getattr(config, "head_dim", None),
            tied=bool(config.tie_word_embeddings),
        )

    def matrices(self) -> Iterator[tuple[int, int]]:
        """(inputs, outputs) of each linear map in a layer: query, key, value, output, gate, up, down."""
        size = self.head_size or self.hidden // self.heads
        queries, keys = self.heads * size, self.key_value_heads * size
        yield from ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        yield from ((self.hidden, self.intermediate), (self.hidden, self.intermediate))
        yield (self.intermediate, self.hidden)

    @property
    def layer_parameters(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.matrices())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one of the two embedding matrices."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + (1 if self.tied else 2) * self.embedding_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of low-rank adapters on all linear layers but the output."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices())
