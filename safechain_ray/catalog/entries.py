"""Catalog entries of families and models: those with an engine of ours, and those behind an API."""

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from safechain_ray.catalog.parallelism import Attention, ParallelSizes
from safechain_ray.likely_keys import without_prefixed_keys
from safechain_ray.types import Message, SpecialTokens, TemplateKwargs, ThinkingTags, VariableName, is_empty
from safechain_ray.types.model_errors import CODE

MessageContent = Literal["text", "list"]
"""The content of a message for a chat template: text, or a list of `{type: text, text: ...}`."""


GPU_GIGABYTES = 80
"""Memory of the GPUs for which the catalog gives parallel sizes."""

QUANTIZED_DTYPES = ("fp8", "mxfp4", "quantized")
"""Values of `weights_dtype` for published weights that are quantized; `quantized` is any method without a name here."""

BYTES_EACH = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1, "mxfp4": 0.6}
"""Bytes of a parameter. In MXFP4 experts take 4.25 bits and all else 16: gpt-oss-20b has 0.66 bytes, -120b 0.56."""

QUANTIZED_GIGABYTES = 1.15
"""Per billion parameters in fp8: one byte each, and two for the embeddings, which vLLM does not quantize."""


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
    template_kwargs: TemplateKwargs = Field(
        default_factory=dict,
        exclude_if=is_empty,  # runs that are older than this field keep their identity
        description="arguments of the chat template with which models of this family think",
    )
    no_think: TemplateKwargs | None = Field(
        None,
        exclude_if=lambda arguments: arguments is None,
        description="arguments of the chat template with which they do not think; None: there is no switch",
    )
    efforts: tuple[str, ...] = Field(
        (), exclude_if=is_empty, description="values of the template argument reasoning_effort"
    )
    skip_special_tokens: bool = Field(
        True,
        exclude_if=lambda skips: skips,
        description="False: the tags are special tokens, which the engine would leave out of the text",
    )
    tags_are_text: bool = Field(
        False,
        exclude=True,  # only `doctor` reads it
        description="the tags are ordinary text of several tokens, not tokens of the vocabulary",
    )
    reasoning_parser: str | None = Field(
        None,
        exclude_if=lambda parser: parser is None,
        description="vLLM's parser for this family, against which the tags were held; responses are split by the tags",
    )
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

    source: str = Field(
        description="Hugging Face id, local path, folder in a store (s3://, gs://, az://), or package://…"
    )
    revision: str | None = None
    parameters: float = Field(description="billions of parameters, which take memory")
    active_parameters: float | None = Field(
        None,
        gt=0,
        exclude_if=lambda active: active is None,
        description="billions of parameters that compute a token, in a mixture of experts; None: all",
    )
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
    template_kwargs: TemplateKwargs = Field(
        default_factory=dict,
        exclude_if=is_empty,
        description="arguments of the chat template, such as {enable_thinking: false}; they win over the family's",
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
    def computed_parameters(self) -> float:
        """Billions of parameters that compute a token, which decide its time."""
        return self.parameters if self.active_parameters is None else self.active_parameters

    @property
    def inactive_gigabytes(self) -> float:
        """Memory of the weights that do not compute a given token: the other experts."""
        if self.active_parameters is None:
            return 0.0
        return self.weight_gigabytes * (1 - self.active_parameters / self.parameters)

    @property
    def is_quantized(self) -> bool:
        """Whether the published weights are quantized, or `engine_kwargs` quantizes them in vLLM."""
        return self.weights_dtype in QUANTIZED_DTYPES or "quantization" in self.engine_kwargs

    @property
    def weight_gigabytes(self) -> float:
        """Memory of the weights alone."""
        if self.quantization is not None:
            return self.parameters * QUANTIZED_GIGABYTES
        return self.parameters * BYTES_EACH.get(self.weights_dtype or self.dtype, 2)

    @model_validator(mode="after")
    def _active_among_all(self) -> Self:
        if self.active_parameters is not None and self.active_parameters > self.parameters:
            raise ValueError("active_parameters are among parameters, and can't exceed them")
        return self

    def spread(self, sizes: ParallelSizes, context_length: int) -> Self:
        """A copy with other parallel sizes and context length."""
        return self.model_copy(update={**sizes.model_dump(), "context_length": context_length})


class ModelEntry(Entry, EngineNeeds):
    """A reasoning model that vLLM replicas run."""

    family: str


class CodeEntry(BaseModel):
    """Python code of a user's catalog: `kind` is `module:name`, a class or a function."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str = ""
    kind: str = Field(pattern=CODE, description="module:name, found beside the file or installed")


class StrategyCode(CodeEntry):
    """A decoding strategy: `kind` is called with its options, an instance of its or its module's `Options`."""

    needs_tags: bool = Field(True, description="whether it needs a family with thinking tags and a prefill")
    one_request: bool = Field(False, description="whether a sample is one request, so that a short context is enough")


class MetricCode(CodeEntry):
    """A metric of each setting: `kind` has `columns`, `count(rows)` for a table of samples, and `value(counts)`."""


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
    judge_key: str = Field("judge", exclude=True, description="the config key of a judge, for messages")

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
        return f"--set {self.judge_key}.endpoint.{key}" if self.is_judge else API_OPTIONS[key]

    @property
    def source(self) -> str:
        """The model and its host, for tables."""
        return f"{self.api_model} at {urlsplit(self.base_url).hostname}"
