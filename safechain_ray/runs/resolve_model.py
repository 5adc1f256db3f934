"""From a model's config to the model: its entry with the config's overrides, run here or behind an API."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, ModelEntry
from safechain_ray.catalog.parallelism import Attention
from safechain_ray.config import ModelConfig, ResourcesConfig
from safechain_ray.engines.gpus import SHARE_ARGUMENT
from safechain_ray.engines.weights import WEIGHTS as WEIGHT_FILES
from safechain_ray.engines.weights import StoredModel, is_stored, weights_location
from safechain_ray.errors import InputError, UnknownNameError, first_line
from safechain_ray.http_clients import check_proxy
from safechain_ray.likely_keys import name_for_message
from safechain_ray.model_files import CustomCodeError, load_config
from safechain_ray.runs.folder import WEIGHTS
from safechain_ray.runs.identity import READING, weights_fingerprint
from safechain_ray.storage import bare_uri, redact, refuse_mistyped
from safechain_ray.types.strict_numbers import plain_words

AnyNeeds = TypeVar("AnyNeeds", bound=EngineNeeds)

ANY_SERVER = "openai:"
"""Prefix of the id of a model that is not in the catalog, at an endpoint that the config names."""

UNMARKED_OF_ENTRIES = {"description", "caveat", "licence", "gated", "access"}
"""Fields of a model or a judge that change no result, and so are no part of an identity."""

UNMARKED_OF_FAMILIES = {"source", "efforts", "reasoning_parser"}
"""The same of a family."""

UNMARKED_OF_APIS = {"api_key_env", "prices", "max_concurrent", "timeout_seconds", "max_tokens_parameter"}
"""The same of an API."""

UNMARKED_OF_ENGINES = {"runs_on_cpu", "parameters", "active_parameters", "weights_dtype", "attention"}
"""The same of an engine."""

REFUSED_ARGUMENTS = {
    "tensor_parallel_size": "set tensor_parallel_size of the engine itself",
    "pipeline_parallel_size": "set pipeline_parallel_size of the engine itself",
    "max_model_len": "set context_length of the engine",
    "max_num_seqs": "set resources.max_running",
    "trust_remote_code": "leave it out: only an entry of the catalog may ask for code of a model's folder",
    "data_parallel_size": "set resources.replicas",
    "data_parallel_size_local": "set resources.replicas",
    "prefill_context_parallel_size": "set tensor_parallel_size of the engine itself",
    "nnodes": "set pipeline_parallel_size of the engine itself",
}
"""Arguments of vLLM that `engine_kwargs` must not set, each with its fix."""

NAMED_FAMILIES = {
    "r1": "if it writes <think>...</think>",
    "llama-instruct": "if it is a chat model without tags",
}
"""The families that most models have, each with its condition, for messages."""

OTHER_FAMILIES = {"api", "gemini-api", "demo"}
"""Families that no message offers for weights: those of APIs and of the package's own model."""

CONTEXT_WANTED = 32_768
"""Most tokens of context for a model that is not in the catalog."""


def find_model(config: ModelConfig) -> ModelEntry | ApiEntry:
    """The model that a config names, run here or behind an API. Raises InputError with the fix."""
    if is_api(config):
        return api_model(config)
    _check_no_api_keys(config)
    return resolve_model(config)


def resolve_model(config: ModelConfig) -> ModelEntry:
    """The model that a config names. Raises InputError with the fix.

    The hub id of a catalog model, without a family, names that model.
    """
    overrides = config.engine.overrides()
    if "source" in overrides:
        raise InputError("model: engine.source is for judges. Fix: give the model's weights as its name (model.name).")
    known = catalog.models()
    of_hub_id = None if config.name in known or config.family else catalog.of_hub_id("models", config.name)
    entry = known.get(of_hub_id or config.name)
    if entry is not None:
        if config.family is not None:
            overrides["family"] = config.family
        check_weights(entry.source)
        return with_overrides(entry, overrides)
    refuse_mistyped(config.name)
    if "/" not in config.name:
        raise UnknownNameError(
            "model", config.name, [*catalog.models(), *catalog.api_models()], _other_names(config.name, config.family)
        )
    if config.family is not None:
        catalog.lookup("model family", catalog.families(), config.family)  # before the hub is asked
    check_weights(config.name)
    if config.family is None:
        others = sorted(set(catalog.families()) - {*NAMED_FAMILIES, *OTHER_FAMILIES})
        raise InputError(
            f"The catalog has no model {redact(config.name)!r}, so the format of its prompts and thoughts is unknown. "
            f"Fix: add {' or '.join(f'--family {name} {which}' for name, which in NAMED_FAMILIES.items())} (others: "
            f"{', '.join(others)})."
        )
    if is_stored(config.name) and config.engine.revision is not None:
        raise InputError(
            f"engine.revision: {redact(config.name)} is a folder of a store, which has no revisions. "
            "Fix: leave it out, and give each version of the weights a folder of its own."
        )
    return with_overrides(_adhoc_model(config.short_name, config.name, config.family), overrides)


def _other_names(name: str, family: str | None) -> str:
    """How to write `name`, a single word that is not in the catalog, as a folder, a hub id or a model of an API."""
    word = name_for_message(name)
    paths = f"./{word} for a folder or OWNER/{word} for a Hugging Face id"
    return f"write {paths}{' with its --family' if family is None else ''}, or openai:{word} with --base-url for an API"


def check_weights(source: str) -> None:
    """Raise InputError for a local folder that does not exist or has no model's config. A store is not read."""
    if is_stored(source):
        return
    location = weights_location(source)
    if Path(location).is_dir() and not Path(location, "config.json").is_file():
        raise InputError(
            f"{redact(source)} is not a model's folder: it has no config.json. Fix: give the folder that has "
            f"config.json and *{WEIGHT_FILES}."
        )


def _adhoc_model(name: str, source: str, family: str) -> ModelEntry:
    """A model by folder or Hugging Face id, with the context length of its own config. No weights are read."""
    if is_stored(source):
        stored = StoredModel.at(source)
        weight_bytes = stored.weight_bytes
        with stored.without_weights("config.json") as folder:
            model_config = _model_config(str(folder), source)
    else:
        location = weights_location(source)
        model_config = _model_config(location, source)
        weight_bytes = sum(file.stat().st_size for file in Path(location).glob("*.safetensors"))
    return ModelEntry(
        name=name,
        source=source,
        family=family,
        parameters=weight_bytes / 2 / 1e9,
        context_length=min(getattr(model_config, "max_position_embeddings", CONTEXT_WANTED), CONTEXT_WANTED),
        attention=Attention.of_config(model_config),
        weights_dtype="quantized" if getattr(model_config, "quantization_config", None) else None,
    )


def _model_config(location: str, source: str) -> Any:
    """The model's config as transformers reads it. Raises InputError for one that can't be read, or is code."""
    try:
        return load_config(location)
    except CustomCodeError as error:
        raise CustomCodeError(f"Model {redact(source)}") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"The config of model {redact(source)} can't be read: {first_line(error)}. "
            "Fix: check the model's id or path, the network and HF_TOKEN."
        ) from error


def is_api(config: ModelConfig) -> bool:
    return config.name in catalog.api_models() or config.name.startswith(ANY_SERVER)


def api_model(config: ModelConfig) -> ApiEntry:
    """The entry with the config's overrides. Raises InputError.

    Another endpoint is another provider: the catalog's key is not sent there, and its prices don't apply.
    """
    if config.engine.overrides():
        raise InputError(
            f"model.engine: {config.name} runs behind an API, which has no engine to configure here. Fix: leave it out."
        )
    fields: dict[str, Any] = {"name": config.name}
    if config.name in catalog.api_models():
        fields = catalog.api_models()[config.name].model_dump()
        if config.base_url is not None:
            fields |= {"api_key_env": None, "prices": None}
    elif config.base_url is None:
        raise InputError(
            f"{config.name} names a model at an endpoint. Fix: name the endpoint with --base-url http(s)://host/v1."
        )
    else:
        model_id = config.name.removeprefix(ANY_SERVER)
        fields = {"name": model_id.rsplit("/", 1)[-1], "api_model": model_id}
    given = config.model_dump(include={"base_url", "api_model", "api_key_env", "family"}, exclude_none=True)
    try:
        entry = ApiEntry.model_validate(fields | given | config.api.overrides())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {plain_words(fault)}" for fault in error.errors())
        raise InputError(f"model {config.name}: {problems}. Fix: correct these keys.") from None
    check_proxy(entry.base_url)
    return entry


def check_limits(entry: ApiEntry, resources: ResourcesConfig) -> None:
    """Raises InputError for resources that an API does not use, and for a budget that can't be enforced."""
    if (resources.replicas or 1) > 1:
        raise InputError(
            "resources.replicas: a model behind an API has one replica, which enforces its budget. Fix: leave it out; "
            "model.api.max_concurrent sets the concurrency."
        )
    if resources.max_cost is not None and entry.prices is None:
        raise InputError(
            f"resources.max_cost: the prices of {entry.source} are unknown. Fix: set them in dollars for a million "
            "tokens with --set 'model.api.prices={input: 0.5, output: 2}', or limit the run with --max-requests."
        )


def _check_no_api_keys(config: ModelConfig) -> None:
    """Raises InputError for keys of an API, for a model that is run here."""
    given = config.model_dump(include={"base_url", "api_model", "api_key_env"}, exclude_none=True)
    if given or config.api.overrides():
        raise InputError(
            f"model.{next(iter(given), 'api')}: {config.name} is run here, not behind an API. Fix: name the model of "
            "an endpoint as openai:ID."
        )


def model_identity(model: ModelEntry | ApiEntry) -> dict[str, Any]:
    if isinstance(model, ApiEntry):
        return {**model.model_dump(exclude=UNMARKED_OF_ENTRIES | UNMARKED_OF_APIS), "reading": READING}
    return engine_identity(model)


def engine_identity(engine: EngineNeeds) -> dict[str, Any]:
    fields = engine.model_dump(exclude=UNMARKED_OF_ENTRIES | UNMARKED_OF_ENGINES)
    fields["source"] = bare_uri(engine.source)  # keys and endpoint change no result
    if engine.chat_template is None:
        del fields["chat_template"]  # runs from before there was this key are still the same runs
    weights = weights_fingerprint(engine.source)
    if weights is not None:
        fields[WEIGHTS] = weights
    return fields


def with_overrides(entry: AnyNeeds, overrides: Mapping[str, Any]) -> AnyNeeds:
    """The entry with the overrides, validated again; `engine_kwargs` and `template_kwargs` are added to the catalog's.

    Raises InputError for `engine_kwargs` that a plan would miss or that run a model's own code, and for weights that
    are quantized twice.
    """
    revision = {"revision": None} if "source" in overrides else {}  # the entry's revision is of its own source
    fields = entry.model_dump() | revision | dict(overrides) | {"fixed": frozenset(overrides)}
    added = overrides.get("engine_kwargs", {})
    for key, own in REFUSED_ARGUMENTS.items():
        if key in added:
            raise InputError(f"engine_kwargs: {key} is not set there. Fix: {own}.")
    fields["engine_kwargs"] = entry.engine_kwargs | added
    fields["template_kwargs"] = entry.template_kwargs | overrides.get("template_kwargs", {})
    resolved = type(entry).model_validate(fields)
    if resolved.quantization is not None and resolved.is_quantized:
        raise InputError(
            f"quantization: the weights of {redact(entry.source)} are quantized already. Fix: leave it out."
        )
    share = resolved.engine_kwargs.get(SHARE_ARGUMENT, 1.0)
    if not isinstance(share, int | float) or not 0 < share <= 1:
        raise InputError(
            f"engine_kwargs.{SHARE_ARGUMENT}: not a share of the memory. Fix: give a number above 0 and up to 1."
        )
    return resolved
