"""What the catalog says of a model behind an API that speaks OpenAI's chat completions."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from safechain_ray.catalog.entries import Entry, JudgeEntry
from safechain_ray.likely_keys import without_prefixed_keys
from safechain_ray.types import VariableName


class Prices(BaseModel):
    """Dollars for a million tokens. Reasoning counts as output; discounts (cached input) are not known here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, description="dollars for a million tokens of prompt")
    output: float = Field(ge=0, description="dollars for a million generated tokens, reasoning among them")

    def cost(self, input_tokens: int, output_tokens: int) -> float:
        """In dollars."""
        return (self.input * input_tokens + self.output * output_tokens) / 1e6


class ApiEntry(Entry):
    """A reasoning model that a provider runs. Its key is read from the environment where the requests are sent."""

    base_url: str = Field(description="the endpoint, up to the part before /chat/completions")
    api_model: str = Field(description="the id by which the provider knows the model")
    api_key_env: VariableName | None = Field(None, description="the environment variable of the key; None sends no key")
    family: str = Field("api", description="tags around a thought that comes apart, or in the text; the system prompt")
    context_length: int = Field(131_072, ge=1, description="tokens of prompt and completion together")
    prices: Prices | None = None
    max_concurrent: int = Field(64, ge=1, description="most requests under way together")
    most_choices: int = Field(
        1,
        ge=1,
        exclude_if=lambda count: count == 1,  # identities from before there was this key stay as they were
        description="samples of a prompt that one request may ask for (n); 1 where the provider has no n",
    )
    timeout_seconds: float = Field(900.0, gt=0, description="a request without an answer for so long is sent again")
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

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("this is no endpoint: write http(s)://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("a URL must hold no user, password, query or fragment: keys come from the environment")
        return url.rstrip("/")

    @property
    def source(self) -> str:
        """The model and its host, for tables."""
        return f"{self.api_model} at {urlsplit(self.base_url).hostname}"


def judging_api(judge: JudgeEntry) -> ApiEntry:
    """The chat model at the endpoint of a judge that has one. Its answer is one letter, cut by design."""
    assert judge.endpoint is not None
    return ApiEntry(
        name=judge.name,
        base_url=judge.endpoint.base_url,
        api_model=judge.endpoint.model,
        api_key_env=judge.endpoint.api_key_env or None,
        max_concurrent=judge.endpoint.max_concurrent,
        opens_thought=False,
    )
