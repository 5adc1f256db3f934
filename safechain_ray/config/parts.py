"""Parts that configs share: data sets, engines, models, judges, votes, settings, resources."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator

from safechain_ray.config.base import Config, Named
from safechain_ray.likely_keys import without_prefixed_keys
from safechain_ray.types import PLAIN_URL, SpecialTokens, StrategySpec, VariableName, VoteRule


class DatasetConfig(Named):
    """A data set: a catalog name, a local or remote file, or a Hugging Face id."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    config: str | None = Field(None, description="of a hub set or folder: which config; the only one by default")
    split: str | None = Field(None, description="of a hub set or folder: which split; the only one by default")
    prompt_column: str | None = Field(None, description="column of the prompts; the catalog's, or `prompt`, by default")
    id_column: str | None = Field(
        None, description="column of the ids; the catalog's, or a hash of the text, by default"
    )
    category_column: str | None = Field(None, description="column of the categories; the catalog's by default")
    benign_categories: tuple[str, ...] | None = Field(
        None,
        description="categories of benign prompts, which a model should not refuse: they count for over-refusal, all "
        "other prompts for safety; added to those that the catalog lists; []: all prompts are harmful",
    )
    limit: int | None = Field(None, ge=1, description="only the first prompts, after shuffling")
    shuffle_seed: int | None = Field(
        None, description="seed of the order of the prompts; their stored order by default"
    )


class EngineConfig(Config):
    """Overrides of what the catalog says of an engine."""

    revision: str | None = Field(None, description="branch, tag or commit of the model on the hub")
    dtype: str | None = Field(
        None, description="type of the weights and the computation: auto, bfloat16, float16, float32"
    )
    context_length: int | None = Field(None, ge=1, description="most tokens of prompt and response together")
    tensor_parallel_size: int | None = Field(
        None, ge=1, description="GPUs that each layer is split over; by memory by default"
    )
    pipeline_parallel_size: int | None = Field(
        None, ge=1, description="groups of GPUs that the layers are divided among; by memory by default"
    )
    quantization: Literal["fp8"] | None = Field(
        None, description="fp8: vLLM quantizes the weights while it loads them, on GPUs; halves them, changes results"
    )
    special_tokens: SpecialTokens | None = Field(
        None, description="how special tokens within a prompt are sent: as `control` tokens, or as plain `text`"
    )
    engine_kwargs: dict[str, Any] | None = Field(None, description="keyword arguments of vLLM's engine")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ApiConfig(Config):
    """Overrides of what the catalog says of a model behind an API."""

    prices: dict[str, float] | None = Field(None, description="dollars for a million tokens: {input: 0.5, output: 2}")
    context_length: int | None = Field(None, ge=1, description="most tokens of prompt and response together")
    max_concurrent: int | None = Field(None, ge=1, description="most requests under way together")
    most_choices: int | None = Field(None, ge=1, description="samples of a prompt in one request (n)")
    timeout_seconds: float | None = Field(None, gt=0, description="a request is sent again after so long")
    extra_body: Annotated[dict[str, Any] | None, AfterValidator(without_prefixed_keys)] = Field(
        None, description="put into every request as it is"
    )
    omits: tuple[str, ...] | None = Field(None, description="sampling parameters that are never sent")
    max_tokens_parameter: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        None, description="name of the token limit in a request; detected if the provider refuses max_tokens"
    )
    opens_thought: bool | None = Field(
        None, description="whether the server's chat template opens the thought; detected by default"
    )

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ModelConfig(Named):
    """A model: a catalog name, a Hugging Face id or folder (also a URI) with its family, or an API's with its URL."""

    name: str = Field(description="catalog name, Hugging Face id, folder or URI, or openai:ID for the model of an API")
    base_url: str | None = Field(None, description="API: the endpoint, for example http://localhost:8000/v1")
    api_model: str | None = Field(None, description="API: the id by which the provider knows the model")
    api_key_env: VariableName | None = Field(None, description="API: the environment variable that holds the key")
    api: ApiConfig = Field(ApiConfig(), description="overrides for a model behind an API")
    family: str | None = Field(None, description="needed for models that the catalog does not hold")
    engine: EngineConfig = Field(EngineConfig(), description="overrides of the engine's arguments")

    @field_validator("base_url")
    @classmethod
    def _with_scheme(cls, url: str | None) -> str | None:
        """`redact` finds secrets in URIs only: without a scheme, `user:password@host` would be shown."""
        if url is not None and not re.match("https?://", url, re.IGNORECASE):
            raise ValueError("this is no endpoint: write http(s)://host/v1")
        return url

    @property
    def short_name(self) -> str:
        """The last part of the name, without owner, folders and query: the name of the model's own folder.

        `finetune` writes its weights to `model` below its output; these weights take the output's name.
        """
        path = self.name.partition("?")[0].rpartition("@")[2] if "://" in self.name else self.name
        above, _, last = path.rstrip("/").removeprefix("openai:").rpartition("/")
        output = above.rpartition("/")[2]
        return output if last == "model" and output.strip(".") else last


class EndpointConfig(Config):
    """Overrides of what the catalog says of a server."""

    base_url: str | None = Field(None, pattern=PLAIN_URL, description="another server that speaks the same API")
    model: str | None = Field(None, min_length=1, description="the model's id at that server")
    api_key_env: VariableName | None = Field(
        None, description="environment variable with the key; without it no key is sent"
    )
    max_concurrent: int | None = Field(None, ge=1, description="requests under way at the same time")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class JudgeConfig(Named):
    """A judge by catalog name."""

    name: str = Field(description="catalog name (`safechain-ray list judges`)")
    phrases: str | None = Field(None, description="refusal-match: a file of refusal phrases, one a line")
    engine: EngineConfig = Field(EngineConfig(), description="overrides of the engine's arguments")
    endpoint: EndpointConfig = Field(EndpointConfig(), description="overrides for a judge behind an API")


class VoteConfig(Config):
    """A vote over judges of the run: one more verdict, shown as a judge of this name."""

    name: str = Field(min_length=1, description="the vote's name in results")
    rule: VoteRule = Field("majority", description="unsafe where more than half, any or all of the judges say so")
    judges: tuple[str, ...] | None = Field(None, min_length=2, description="all judges of the run by default")


class SettingConfig(Config):
    """One setting; what it leaves out is taken from the run's `sampling` and `samples`."""

    dataset: str = Field(description="name of one of the data sets")
    strategy: StrategySpec = Field(StrategySpec(), description="decoding strategy")
    samples: int | None = Field(None, ge=1, description="K, the samples of each prompt; the run's by default")
    sampling: dict[str, float | int] = Field(default_factory=dict, description="overrides of the run's sampling")


class ClusterConfig(Config):
    """Which cluster the work is laid on, and how long it waits for what does not answer; none of it changes results."""

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cpu insists on CPUs for any model")
    gpu_memory: int | None = Field(
        None, ge=1, description="gigabytes of each GPU, for parallel sizes; read from the GPUs by default"
    )
    accelerator: str | None = Field(
        None, description="engines only on GPUs of this kind, as Ray names it: L4, L40S, A100, H100 (`ray status -v`)"
    )
    stall_timeout_minutes: float = Field(30, gt=0, description="no progress for so long ends the run with an error")
    storage_patience_minutes: float = Field(
        10, ge=0, description="an object store that does not answer is waited for so long; the run pauses meanwhile"
    )
    autoscaler_config: str | None = Field(
        None, description="the cluster's YAML file, for the nodes that may come; else the launcher's on the head"
    )
    ray_address: str | None = Field(None, description="a running cluster to join; else RAY_ADDRESS, else a local Ray")


class ResourcesConfig(ClusterConfig):
    """How the run is laid on the cluster; none of it changes results."""

    replicas: int | None = Field(
        None, ge=1, description="engine replicas of the model; as many as fit by default, one for 256 rows"
    )
    judge_replicas: int | None = Field(None, ge=1, description="engine replicas of each judge; by its work by default")
    batch_invariant: bool = Field(
        False, description="GPUs: a text does not depend on the requests beside it; vLLM's kernels for that are slower"
    )
    max_running: int | None = Field(
        None, ge=1, description="requests that one replica decodes at once; 256 by default, up to 1,024 on large GPUs"
    )
    cpu_kv_cache_gigabytes: float = Field(1.0, gt=0, description="KV cache of an engine on CPU")
    block_rows: int = Field(32, ge=1, le=256, description="rows that travel, are retried and are committed together")
    max_engine_deaths: int = Field(
        3, ge=1, description="a sample under which so many engines died, the last one with no other in it, is an error"
    )
    max_cost: float | None = Field(None, gt=0, description="API: most dollars that one attempt may spend")
    max_requests: int | None = Field(None, ge=1, description="API: most requests of one attempt, retries included")
