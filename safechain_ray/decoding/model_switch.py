"""NoThink and effort: the model's own switch, an argument of its chat template. The decoding is that of `default`.

The family names the arguments, so that one strategy has one meaning for all hybrid models.
"""

from typing import Any

from pydantic import Field

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import Family
from safechain_ray.decoding.base import OneCallOptions, Strategy, StrategyOptions
from safechain_ray.decoding.one_call import build_default
from safechain_ray.errors import InputError
from safechain_ray.types import StrategySpec


class Options(StrategyOptions):
    """Options of `no-think`: none."""


class EffortOptions(StrategyOptions):
    """Options of `effort`."""

    level: str = Field(min_length=1, description="value of reasoning_effort: low, medium, high, or the model's own")


def build(options: StrategyOptions) -> Strategy:
    return build_default(OneCallOptions())


def no_think(spec: StrategySpec, family: Family, of_api: bool) -> dict[str, Any]:
    """Arguments with which models of the family do not think. Raises InputError for a family without a switch."""
    if family.no_think is None:
        able = ", ".join(name for name, each in families().items() if each.no_think is not None)
        raise InputError(
            f"Strategy {spec.name!r} needs a model with a switch for its thought, and family {family.name!r} has none. "
            f"Fix: use strategy 'zerothink', which prefills an empty thought, or a model of family {able}."
        )
    return family.no_think


def effort(spec: StrategySpec, family: Family, of_api: bool) -> dict[str, Any]:
    """The argument `reasoning_effort`. Raises InputError for a level that models of the family, run here, do not have.

    The levels of a model behind an API are known to its provider alone.
    """
    level = str(spec.options.get("level", ""))
    if not of_api and level not in family.efforts:
        able = ", ".join(name for name, each in families().items() if each.efforts)
        known = f"its levels are {', '.join(family.efforts)}" if family.efforts else "it has no levels of effort"
        raise InputError(
            f"Strategy {spec.name!r}: level {level!r} is unknown to models of family {family.name!r}; {known}. "
            f"Fix: name a level that the model has (families with levels: {able})."
        )
    return {"reasoning_effort": level}
