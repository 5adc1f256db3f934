"""From a model's config to the API that answers for it; refuses what an API can't do."""

from typing import Any

from pydantic import ValidationError

from safechain_ray import catalog
from safechain_ray.catalog.entries import ApiEntry
from safechain_ray.config import ModelConfig, ResourcesConfig
from safechain_ray.errors import InputError
from safechain_ray.http_clients import check_proxy
from safechain_ray.types.strict_numbers import plain_words

ANY_SERVER = "openai:"
"""What stands before the id of a model that the catalog does not hold, at an endpoint that is given."""

SAID_OF_APIS = {"api_key_env", "prices", "max_concurrent", "timeout_seconds", "max_tokens_parameter"}
"""What an API's entry holds that changes no result."""


def is_api(config: ModelConfig) -> bool:
    return config.name in catalog.api_models() or config.name.startswith(ANY_SERVER)


def api_model(config: ModelConfig) -> ApiEntry:
    """The entry with the config's overrides. Raises InputError.

    Another endpoint is another provider: the catalog's key is not sent there, and its prices don't hold.
    """
    if config.engine.overrides():
        raise InputError(f"model.engine: {config.name} runs behind an API, which has no engine to configure here.")
    fields: dict[str, Any] = {"name": config.name}
    if config.name in catalog.api_models():
        fields = catalog.api_models()[config.name].model_dump()
        if config.base_url is not None:
            fields |= {"api_key_env": None, "prices": None}
    elif config.base_url is None:
        raise InputError(f"{config.name} names a model at an endpoint: say which with --base-url http(s)://host/v1.")
    else:
        model_id = config.name.removeprefix(ANY_SERVER)
        fields = {"name": model_id.rsplit("/", 1)[-1], "api_model": model_id}
    given = config.model_dump(include={"base_url", "api_model", "api_key_env", "family"}, exclude_none=True)
    try:
        entry = ApiEntry.model_validate(fields | given | config.api.overrides())
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {plain_words(fault)}" for fault in error.errors())
        raise InputError(f"model {config.name}: {problems}.") from None
    check_proxy(entry.base_url)
    return entry


def check_limits(entry: ApiEntry, resources: ResourcesConfig) -> None:
    """Refuse resources that an API has no use for, and a budget that can't be kept. Raises InputError."""
    if (resources.replicas or 1) > 1:
        raise InputError(
            "resources.replicas: a model behind an API has one replica, which keeps its budget; how much it sends at "
            "once is model.api.max_concurrent."
        )
    if resources.max_cost is not None and entry.prices is None:
        raise InputError(
            f"resources.max_cost: the prices of {entry.source} are unknown; name them in dollars for a million tokens "
            "with --set 'model.api.prices={input: 0.5, output: 2}', or bound the run with --max-requests."
        )


def check_no_api_keys(config: ModelConfig) -> None:
    """Refuse what only an API has, for a model that is run here. Raises InputError."""
    given = config.model_dump(include={"base_url", "api_model", "api_key_env"}, exclude_none=True)
    if given or config.api.overrides():
        raise InputError(
            f"model.{next(iter(given), 'api')}: {config.name} is run here, not behind an API. Name the model of an "
            "endpoint as openai:ID."
        )
