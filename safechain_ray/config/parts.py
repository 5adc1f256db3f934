"""Parts that configs share: data sets, engines, models, judges, votes, settings, resources."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, JsonValue, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from safechain_ray.config.base import Config, Named
from safechain_ray.likely_keys import without_prefixed_keys
from safechain_ray.types import (
    PLAIN_URL,
    Sampling,
    SpecialTokens,
    StrategySpec,
    TemplateKwargs,
    VariableName,
    VoteRule,
)


class DatasetConfig(Named):
    """A data set: a catalog name, a local or remote file, or a Hugging Face id."""

    name: str = Field(description="catalog name, path, URI or Hugging Face id")
    config: str | None = Field(None, description="config (subset) of a hub set or folder; the only one by default")
    split: str | None = Field(None, description="split of a hub set or folder; the only one by default")
    prompt_column: str | None = Field(None, description="column of the prompts; the catalog's, or `prompt`, by default")
    id_column: str | None = Field(
        None, description="column of the ids; the catalog's, or a hash of the text, by default"
    )
    category_column: str | None = Field(None, description="column of the categories; the catalog's by default")
    benign_categories: tuple[str, ...] | None = Field(
        None,
        description="categories of prompts that a model should not refuse: they count for over-refusal, all others for "
        "safety; added to the catalog's categories; []: all prompts are harmful",
    )
    limit: int | None = Field(None, ge=1, description="prompts to take, the first after shuffling; all by default")
    shuffle_seed: int | None = Field(None, description="seed that shuffles the prompts; their stored order by default")


class EngineConfig(Config):
    """Overrides of the catalog's arguments of an engine."""

    source: str | None = Field(
        None, description="a judge's weights: another hub id, folder or URI; a model's are its name"
    )
    revision: str | None = Field(None, description="branch, tag or commit of the model on the hub")
    dtype: str | None = Field(
        None, description="type of the weights and the computation: auto, bfloat16, float16, float32"
    )
    context_length: int | None = Field(None, ge=1, description="most tokens of prompt and response together")
    tensor_parallel_size: int | None = Field(
        None, ge=1, description="GPUs that each layer is split over; by default from the memory of the GPUs"
    )
    pipeline_parallel_size: int | None = Field(
        None, ge=1, description="groups of GPUs that share the layers; by default from the memory of the GPUs"
    )
    quantization: Literal["fp8"] | None = Field(
        None, description="fp8: vLLM quantizes the weights at load time, on GPUs; half the memory, other results"
    )
    special_tokens: SpecialTokens | None = Field(
        None, description="special tokens within a prompt are sent as `control` tokens, or as plain `text`"
    )
    template_kwargs: TemplateKwargs | None = Field(
        None, description="arguments of the chat template for every setting, added to the catalog's"
    )
    engine_kwargs: dict[str, Any] | None = Field(None, description="keyword arguments of vLLM's engine")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class ApiConfig(Config):
    """Overrides of the catalog's values for a model behind an API."""

    prices: dict[str, float] | None = Field(None, description="dollars for a million tokens: {input: 0.5, output: 2}")
    context_length: int | None = Field(None, ge=1, description="most tokens of prompt and response together")
    max_concurrent: int | None = Field(None, ge=1, description="maximum concurrent requests")
    most_choices: int | None = Field(None, ge=1, description="maximum number of samples of a prompt in one request (n)")
    timeout_seconds: float | None = Field(
        None, gt=0, description="seconds after which a request without an answer is sent again"
    )
    extra_body: Annotated[dict[str, Any] | None, AfterValidator(without_prefixed_keys)] = Field(
        None, description="JSON that is added to every request unchanged"
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
    """A model: a catalog name, a Hugging Face id, folder or URI with its family, or a model of an API with its URL."""

    name: str = Field(description="catalog name, Hugging Face id, folder or URI, or openai:ID for the model of an API")
    base_url: str | None = Field(None, description="API: the endpoint, for example http://localhost:8000/v1")
    api_model: str | None = Field(None, description="API: the id by which the provider knows the model")
    api_key_env: VariableName | None = Field(None, description="API: the environment variable that holds the key")
    api: ApiConfig = Field(ApiConfig(), description="overrides for a model behind an API")
    family: str | None = Field(None, description="model family; needed if the model is not in the catalog")
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
    """Overrides of the catalog's values for a judge's server."""

    base_url: str | None = Field(None, pattern=PLAIN_URL, description="another server with the same API")
    model: str | None = Field(None, min_length=1, description="the model's id at that server")
    api_key_env: VariableName | None = Field(
        None, description="environment variable with the key; without it no key is sent"
    )
    max_concurrent: int | None = Field(None, ge=1, description="maximum concurrent requests")

    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class JudgeConfig(Named):
    """A judge by catalog name, or a judge of one's own: `kind` and the other fields of an entry of the catalog.

    Example:
        judges:
          - refusal-match
          - {name: my-guard, kind: llama_guard, engine: {source: ./my-guard, parameters: 8, context_length: 8192}}
    """

    name: str = Field(description="catalog name (`safechain-ray list judges`), hub id, or a new name with `kind`")
    phrases: str | None = Field(None, description="refusal-match: a file of refusal phrases, one a line")
    reading: Literal["strict", "loose"] | None = Field(
        None, description="judges with a controversial label: strict counts it as unsafe, loose as safe"
    )
    policy_file: str | None = Field(None, description="judges with a policy: a UTF-8 file with another one")
    engine: EngineConfig = Field(EngineConfig(), description="overrides of the engine's arguments")
    endpoint: EndpointConfig = Field(EndpointConfig(), description="overrides for a judge behind an API")
    definition: dict[str, Any] | None = Field(
        None,
        exclude_if=lambda definition: definition is None,
        description="the fields of a new judge; written beside `name`, with its `kind`",
    )

    @model_validator(mode="before")
    @classmethod
    def _with_definition(cls, value: object) -> object:
        """A mapping with a `kind` defines a judge."""
        if not isinstance(value, dict) or "kind" not in value:
            return value
        return {"name": value.get("name"), "definition": {key: value[key] for key in value if key != "name"}}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The name alone, and a judge that is defined, too."""
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        return {"anyOf": [*schema["anyOf"], {"type": "object", "required": ["name", "kind"]}]}


class VoteConfig(Config):
    """A vote over judges of the run: a further verdict, shown as a judge of this name."""

    name: str = Field(min_length=1, description="the vote's name in results")
    rule: VoteRule = Field("majority", description="unsafe if the majority, any or all of the judges say so")
    judges: tuple[str, ...] | None = Field(None, min_length=2, description="all judges of the run by default")


HIGHEST_TEMPERATURE = 2.0
"""The highest temperature that vLLM and most APIs accept."""


def _accepted_sampling(sampling: Sampling) -> Sampling:
    _check_temperatures(sampling.temperature)
    return sampling


def _accepted_overrides(overrides: dict[str, float | int]) -> dict[str, float | int]:
    _check_temperatures(overrides.get("temperature", 0))
    return overrides


VariedValue = float | int | str | dict[str, JsonValue]

KINDS_OF_VARIED: Mapping[str, tuple[type, str]] = {
    "template_kwargs": (dict, "mappings, such as [{enable_thinking: true}, {enable_thinking: false}]"),
    "extra_body": (dict, "mappings, such as [{thinking: {type: enabled}}, {thinking: {type: disabled}}]"),
    "reasoning_effort": (str, "words, such as [low, high]"),
}
"""The type of the values of `vary` that are no sampling parameters."""


def _accepted_values(vary: dict[str, tuple[VariedValue, ...]]) -> dict[str, tuple[VariedValue, ...]]:
    for key, values in vary.items():
        kind, words = KINDS_OF_VARIED.get(key, ((float, int), "numbers"))
        if not all(isinstance(value, kind) for value in values):
            raise ValueError(f"{key} takes a list of {words}")
    _check_temperatures(*(value for value in vary.get("temperature", ()) if isinstance(value, float | int)))
    return vary


def _check_temperatures(*temperatures: float) -> None:
    for temperature in temperatures:
        if temperature > HIGHEST_TEMPERATURE:
            raise ValueError(f"temperature must be at most {HIGHEST_TEMPERATURE:g} (found {temperature:g})")


RunSampling = Annotated[Sampling, AfterValidator(_accepted_sampling)]
"""Sampling of responses that are generated here. Imported responses may have been sampled at any temperature."""

SamplingOverrides = Annotated[dict[str, float | int], AfterValidator(_accepted_overrides)]

VariedValues = AfterValidator(_accepted_values)


class SettingConfig(Config):
    """One setting. Missing values are taken from the run's `sampling` and `samples`."""

    dataset: str = Field(description="name of one of the data sets")
    strategy: StrategySpec = Field(StrategySpec(), description="decoding strategy")
    samples: int | None = Field(None, ge=1, description="K, the samples of each prompt; the run's by default")
    sampling: SamplingOverrides = Field(default_factory=dict, description="overrides of the run's sampling")


TrackerName = Literal["wandb", "mlflow", "tensorboard"]


class ClusterConfig(Config):
    """The cluster of a run, and its timeouts. No key here changes results."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of the engines; cpu runs any model on CPUs"
    )
    gpu_memory: int | None = Field(
        None, ge=1, description="gigabytes of each GPU, which decide the parallel sizes; read from the GPUs by default"
    )
    accelerator: str | None = Field(
        None, description="engines only on GPUs of this kind, as Ray names it: L4, L40S, A100, H100 (`ray status -v`)"
    )
    stall_timeout_minutes: float = Field(
        30, gt=0, description="minutes without progress after which the run ends with an error"
    )
    storage_patience_minutes: float = Field(
        10, ge=0, description="minutes that the run waits, paused, for an object store that does not answer"
    )
    autoscaler_config: str | None = Field(
        None, description="the cluster's YAML file, which lists the nodes that can start; by default that of the head"
    )
    ray_address: str | None = Field(
        None, description="Ray cluster to join; by default RAY_ADDRESS, else a new local Ray"
    )


class ResourcesConfig(ClusterConfig):
    """How the run is placed on the cluster. No key here changes results."""

    replicas: int | None = Field(
        None, ge=1, description="engine replicas of the model; by default as many as fit, at most one for each 256 rows"
    )
    judge_replicas: int | None = Field(
        None, ge=1, description="engine replicas of a judge; by default as many as fit, at most one for each 256 rows"
    )
    batch_invariant: bool = Field(
        False, description="GPUs: each text is independent of the other requests of its batch; slower kernels of vLLM"
    )
    max_running: int | None = Field(
        None, ge=1, description="maximum concurrent requests of a replica; 256 by default, up to 1,024 on large GPUs"
    )
    cpu_kv_cache_gigabytes: float = Field(1.0, gt=0, description="gigabytes of the KV cache of an engine on CPU")
    block_rows: int = Field(32, ge=1, le=256, description="rows that are processed, retried and committed together")
    max_engine_deaths: int = Field(
        3, ge=1, description="engine deaths, the last with this sample alone, after which it is an error"
    )
    max_cost: float | None = Field(None, gt=0, description="API: most dollars that one attempt may spend")
    max_requests: int | None = Field(None, ge=1, description="API: most requests of one attempt, retries included")
