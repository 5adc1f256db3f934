"""Arguments of a chat template and keys of an API's request: JSON mappings of a family, a model or a setting.

Keys are sorted at every depth, so that an identity does not depend on the order in a config. A chat template's own
inputs are refused as arguments: another `messages` or `add_generation_prompt` would change what is asked.
"""

import json
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import AfterValidator, JsonValue

from safechain_ray.likely_keys import without_prefixed_keys

RESERVED = frozenset(
    {
        "add_generation_prompt",
        "bos_token",
        "chat_template",
        "continue_final_message",
        "documents",
        "eos_token",
        "messages",
        "tokenize",
        "tools",
    }
)
"""Inputs of a chat template that the engine gives."""

RESERVED_OF_REQUESTS = frozenset({"messages", "model", "n", "stream"})


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(each) for each in value] if isinstance(value, list) else value


def _checked(arguments: dict[str, Any], reserved: frozenset[str]) -> dict[str, Any]:
    if taken := sorted(reserved & arguments.keys()):
        raise ValueError(f"{taken[0]} is given by the engine itself: leave it out")
    return dict(_sorted(arguments))


def _template_kwargs(arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return _checked(arguments, RESERVED)


def _request_body(body: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return _checked(without_prefixed_keys(body), RESERVED_OF_REQUESTS)


TemplateKwargs = Annotated[dict[str, JsonValue], AfterValidator(_template_kwargs)]
"""Arguments of a chat template, for example `{"enable_thinking": False}`."""

RequestBody = Annotated[dict[str, JsonValue], AfterValidator(_request_body)]
"""Keys of an API's request, for example `{"thinking": {"type": "disabled"}}`."""


def is_empty(arguments: Collection[Any]) -> bool:
    return not arguments


def json_text(value: Any) -> str:
    """A value for a label: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
