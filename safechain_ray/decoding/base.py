"""The protocol of a decoding strategy, and the strategies by name.

Adding one is a file with `Options` and `build`, and a line in `STRATEGIES`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from pydantic import ValidationError

from safechain_ray.catalog import families, models
from safechain_ray.catalog.entries import Family
from safechain_ray.decoding.task import Decoded, DecodingTask
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.types import CountTokens, Generate, StrategySpec
from safechain_ray.types.plain_words import plain_words

__all__ = ["STRATEGIES", "Decoded", "DecodingTask", "Strategy", "StrategyEntry", "check_strategy", "strategy"]


class Strategy(Protocol):
    """How the thinking is steered while decoding. Raises what `generate` raises (RowError for a bad request)."""

    async def decode(self, task: DecodingTask, generate: Generate, count_tokens: CountTokens) -> Decoded: ...


@dataclass(frozen=True, slots=True)
class StrategyEntry:
    """Where a strategy is found, and what it asks of a model."""

    module: str
    description: str
    needs_tags: bool = True


STRATEGIES: Mapping[str, StrategyEntry] = {
    "default": StrategyEntry("default", "the model thinks as it likes", needs_tags=False),
    "zerothink": StrategyEntry("zerothink", "an empty thought is prefilled"),
    "lessthink": StrategyEntry("lessthink", "a thought of one sentence is prefilled"),
    "morethink": StrategyEntry("morethink", "the thought is kept open for up to 10 rounds or 10,000 tokens"),
}

STYLE_STRATEGIES: Mapping[str, StrategyEntry] = {
    "evalplus": StrategyEntry("evalplus", "the answer begins with an opened code block", needs_tags=False),
}
"""Strategies that belong to a style of a benchmark: the style chooses them, a user does not."""


def strategy(spec: StrategySpec) -> Strategy:
    """The strategy that `spec` names, with its options.

    Raises UnknownNameError for its name, InputError for an option that it does not have or a value that it refuses.
    """
    entry = STYLE_STRATEGIES.get(spec.name) or STRATEGIES.get(spec.name)
    if entry is None:
        raise UnknownNameError("strategy", spec.name, STRATEGIES)
    module = import_module(f"{__package__}.{entry.module}")
    try:
        options = module.Options.model_validate(spec.options)
    except ValidationError as error:
        raise InputError(_explain(spec, error, tuple(module.Options.model_fields))) from None
    built: Strategy = module.build(options)
    return built


def check_strategy(spec: StrategySpec, family: Family, takes_prefill: bool = True) -> None:
    """Refuse, before anything loads, a strategy that models of `family` can't follow. Raises InputError.

    `takes_prefill` is False for an API that takes whole turns only.
    """
    if spec.name not in STRATEGIES:
        raise UnknownNameError("strategy", spec.name, STRATEGIES)
    strategy(spec)
    if STRATEGIES[spec.name].needs_tags and not takes_prefill:
        raise InputError(
            f"Strategy {spec.name!r} writes part of the response itself, and an API takes whole turns only. Use "
            "strategy 'default' for this model, or run its weights if they are to be had."
        )
    if family.tags is not None or not STRATEGIES[spec.name].needs_tags:
        return
    able = [model.name for model in models().values() if families()[model.family].tags is not None]
    raise InputError(
        f"Strategy {spec.name!r} steers the text between thinking tags, and models of family {family.name!r} write "
        f"none. Use strategy 'default', or one of the models that can: {', '.join(able)}."
    )


def _explain(spec: StrategySpec, error: ValidationError, known: tuple[str, ...]) -> str:
    problems = "; ".join(
        f"no option {fault['loc'][0]!r}"
        if fault["type"] == "extra_forbidden"
        else f"option {fault['loc'][0]!r}: {plain_words(fault)}, not {fault['input']!r}"
        for fault in error.errors()
    )
    return f"Strategy {spec.name!r}: {problems}. Known options: {', '.join(known) or 'none'}."
