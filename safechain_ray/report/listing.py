"""The catalog as tables: models, data sets, judges, strategies."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from safechain_ray import catalog
from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.decoding.base import STRATEGIES

Row = dict[str, Any]


def _models() -> list[Row]:
    return [
        {
            "name": entry.name,
            "source": entry.source,
            "family": entry.family,
            "parameters (B)": entry.parameters,
            "GPUs": entry.gpus,
            "context": entry.context_length,
            "thought apart": catalog.families()[entry.family].tags is not None,
            "gated": entry.gated,
            "licence": entry.licence,
        }
        for entry in catalog.models().values()
    ]


def _datasets() -> list[Row]:
    return [
        {"name": entry.name, "source": entry.source, "rows": entry.rows, "gated": entry.gated, "licence": entry.licence}
        for entry in catalog.datasets().values()
    ]


def _judges() -> list[Row]:
    return [
        {
            "name": entry.name,
            "kind": entry.kind,
            "model": _judge_model(entry),
            "GPUs": entry.engine.gpus if entry.engine else None,
            "endpoint": entry.endpoint.base_url if entry.endpoint else None,
            "licence": entry.licence,
            "description": entry.description,
        }
        for entry in catalog.judges().values()
    ]


def _judge_model(entry: JudgeEntry) -> str | None:
    if entry.engine is not None:
        return entry.engine.source
    return entry.endpoint.model if entry.endpoint else None


def _strategies() -> list[Row]:
    return [
        {"name": name, "needs thinking tags": entry.needs_tags, "description": entry.description}
        for name, entry in STRATEGIES.items()
    ]


LISTINGS: Mapping[str, Callable[[], list[Row]]] = {
    "models": _models,
    "datasets": _datasets,
    "judges": _judges,
    "strategies": _strategies,
}


def entries(kind: str) -> list[Row]:
    """What the catalog holds of a kind, one mapping an entry."""
    return LISTINGS[kind]()


def print_entries(kind: str, console: Console) -> None:
    rows = entries(kind)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
