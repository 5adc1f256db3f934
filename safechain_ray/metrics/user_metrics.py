"""Metrics of users' catalogs: counts of each table of samples, summed over tables, and a value from the sums.

Sums make a metric independent of how rows are split into files, and let it run on any number of rows. An error in the
code of a metric becomes the reason of a missing value. It does not end the run.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from safechain_ray import catalog
from safechain_ray.errors import InputError, first_line
from safechain_ray.metrics.intervals import FrozenModel
from safechain_ray.types import SAMPLES_SCHEMA


class UserMetric(Protocol):
    """The class that an entry of the section `metrics` names. It is created without arguments.

    `columns` are the columns of the samples that `count` reads. `value` returns None where the metric is undefined.

    Example:
        The share of samples whose thought has over 1,000 tokens::

            class LongThoughts:
                columns = ("thought_tokens",)

                def count(self, samples: pa.Table) -> dict[str, float]:
                    tokens = samples["thought_tokens"].drop_null().to_pylist()
                    return {"thoughts": len(tokens), "long": sum(each > 1000 for each in tokens)}

                def value(self, counts: Mapping[str, float]) -> float | None:
                    return counts["long"] / counts["thoughts"] if counts["thoughts"] else None
    """

    @property
    def columns(self) -> Sequence[str]: ...

    def count(self, samples: pa.Table) -> Mapping[str, float]: ...

    def value(self, counts: Mapping[str, float]) -> float | None: ...


class UserFigure(FrozenModel):
    """The value of a user's metric for one setting. `error` is the reason of a missing value."""

    value: float | None
    error: str | None = Field(None, exclude_if=lambda error: error is None)


Figures = Mapping[str, dict[str, UserFigure]]
"""Figures by setting id and name of the metric."""


def user_metrics() -> dict[str, UserMetric]:
    """The metrics of the catalog by name. The figures of a metric that can't be loaded have the reason."""
    metrics: dict[str, UserMetric] = {}
    for name, entry in catalog.metrics().items():
        try:
            metrics[name] = _created(name, entry.kind)
        except InputError as error:
            metrics[name] = _Unloadable(error)
    return metrics


def check_user_metrics() -> None:
    """Raise InputError for a metric whose code can't be loaded, or lacks a method: for the start of a run."""
    for name, entry in catalog.metrics().items():
        _created(name, entry.kind)


def _created(name: str, kind: str) -> UserMetric:
    build = catalog.code_of("metrics", name, kind)
    where = f"metrics.{name} ({catalog.origin_of('metrics', name).place})"
    try:
        metric: UserMetric = build()
        columns = set(metric.columns)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{where}: {kind}().columns failed: {type(error).__name__}: {first_line(error)}. Fix: let {kind} take no "
            "arguments, and give it `columns`, `count` and `value`."
        ) from error
    for part in ("count", "value"):
        if not callable(getattr(metric, part, None)):
            raise InputError(f"{where}: {kind} has no method {part!r}. Fix: add it, as docs/extending.md shows.")
    if isinstance(metric.columns, str) or not isinstance(metric.columns, Sequence):
        raise InputError(f'{where}: columns of {kind} is no list of names. Fix: write ("NAME",).')
    if unknown := sorted(map(repr, columns - set(SAMPLES_SCHEMA.names))):
        raise InputError(
            f"{where}: samples have no column {unknown[0]}. Fix: name some of {', '.join(SAMPLES_SCHEMA.names)}."
        )
    return metric


def columns_of(metrics: Mapping[str, UserMetric]) -> tuple[str, ...]:
    """The columns that these metrics read."""
    return tuple(dict.fromkeys(("setting_id", *(column for each in metrics.values() for column in each.columns))))


def measure_user_metrics(metrics: Mapping[str, UserMetric], tables: Iterable[pa.Table]) -> Figures:
    """The value of each metric for each setting in `tables`, which have `columns_of(metrics)`."""
    sums: dict[str, dict[str, _Sums]] = {}
    for table in tables:
        for setting_id in pc.unique(table["setting_id"]).to_pylist():
            rows = table.filter(pc.equal(table["setting_id"], setting_id))
            for name, of_metric in sums.setdefault(setting_id, {name: _Sums() for name in metrics}).items():
                of_metric.add(metrics[name], rows)
    return {
        setting_id: {name: of_metric.figure(metrics[name]) for name, of_metric in of_setting.items()}
        for setting_id, of_setting in sums.items()
    }


@dataclass(slots=True)
class _Sums:
    """The counts of one metric and setting so far, and the first error of the metric's code."""

    counts: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    def add(self, metric: UserMetric, rows: pa.Table) -> None:
        try:
            for count, number in metric.count(rows).items():
                self.counts[count] = self.counts.get(count, 0) + number
        except (Exception, SystemExit) as error:
            self.error = self.error or _text_of(error)

    def figure(self, metric: UserMetric) -> UserFigure:
        if self.error is not None:
            return UserFigure(value=None, error=self.error)
        try:
            value: object = metric.value(self.counts)
        except (Exception, SystemExit) as error:
            return UserFigure(value=None, error=_text_of(error))
        if value is None:
            return UserFigure(value=None)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return UserFigure(value=None, error=f"its value is {value!r:.40}, not a finite number")
        return UserFigure(value=float(value))


def _text_of(error: BaseException) -> str:
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {first_line(error)}"


@dataclass(frozen=True, slots=True)
class _Unloadable:
    """A metric whose code can't be loaded: its figures have the reason."""

    reason: InputError
    columns: tuple[str, ...] = ()

    def count(self, samples: pa.Table) -> Mapping[str, float]:
        raise self.reason

    def value(self, counts: Mapping[str, float]) -> float | None:
        return None
