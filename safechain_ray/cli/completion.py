"""Shell completion of option values: names of the catalog and closed lists of values.

Click completes commands and flags. Run `eval "$(_SAFECHAIN_RAY_COMPLETE=bash_source safechain-ray)"` to enable it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, get_args

import click
from click.shell_completion import CompletionItem

from safechain_ray import catalog
from safechain_ray.config import bundled_configs
from safechain_ray.decoding.base import strategies
from safechain_ray.types import KeepRule, Part, VoteRule

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

Kind = Literal[
    "model", "family", "dataset", "responses", "training set", "benchmark", "judge", "preference judge", "strategy",
    "part", "vote", "rule", "device", "config",
]  # fmt: skip


def _described(entries: Mapping[str, Any]) -> dict[str, str]:
    return {name: getattr(entry, "description", "") for name, entry in entries.items()}


def _judges(preference: bool) -> dict[str, str]:
    judges = catalog.judges().items()
    return _described({name: judge for name, judge in judges if (judge.kind == "preference") is preference})


def _plain(names: Iterable[str]) -> dict[str, str]:
    return dict.fromkeys(names, "")


VALUES: Mapping[Kind, Callable[[], Mapping[str, str]]] = {
    "model": lambda: _described({**catalog.models(), **catalog.api_models()}),
    "family": lambda: _described(catalog.families()),
    "dataset": lambda: _described(catalog.datasets()),
    "responses": lambda: _described(catalog.responses()),
    "training set": lambda: _described(catalog.training_sets()),
    "benchmark": lambda: _described(catalog.benchmarks()),
    "judge": lambda: _judges(preference=False),
    "preference judge": lambda: _judges(preference=True),
    "strategy": lambda: _described(strategies()),
    "part": lambda: _plain(get_args(Part)),
    "vote": lambda: _plain(get_args(VoteRule)),
    "rule": lambda: _plain(get_args(KeepRule)),
    "device": lambda: _plain(("auto", "cpu", "cuda")),
    "config": lambda: _plain(bundled_configs()),
}
"""The values of each kind with their descriptions."""

KIND_OF_KEY: Mapping[str, Kind] = {
    "model.name": "model",
    "model.family": "family",
    "model": "model",
    "family": "family",
    "dataset": "dataset",
    "prompts.name": "dataset",
    "decontaminate": "dataset",
    "data": "dataset",
    "training_set.name": "training set",
    "judges": "judge",
    "judge.name": "preference judge",
    "strategies": "strategy",
    "strategy": "strategy",
    "parts": "part",
    "part": "part",
    "label_part": "part",
    "votes": "vote",
    "rule": "rule",
    "resources.device": "device",
}
"""The kind of the values of an option that sets a config key."""


def complete(kind: Kind) -> Complete:
    """The `shell_complete` of an option whose values are of this kind. A path is completed by the shell."""

    def completed(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith((".", "/", "~")):
            return [CompletionItem(incomplete, type="file")]
        values = VALUES[kind]()
        return [CompletionItem(name, help=text) for name, text in values.items() if name.startswith(incomplete)]

    return completed


def complete_key(key: str) -> Complete | None:
    """The `shell_complete` of an option that sets this config key; None where the values are no names."""
    kind = KIND_OF_KEY.get(key)
    return None if kind is None else complete(kind)
