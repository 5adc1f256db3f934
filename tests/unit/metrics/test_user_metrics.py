"""Metrics of users' catalogs: counts summed over tables, errors of their code, and runs measured without them."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray import catalog
from safechain_ray.catalog.entries import MetricCode
from safechain_ray.errors import InputError
from safechain_ray.metrics.user_metrics import check_user_metrics, measure_user_metrics


class LongThoughts:
    columns = ("thought_tokens",)

    def count(self, samples: pa.Table) -> dict[str, float]:
        tokens = samples["thought_tokens"].to_pylist()
        return {"thoughts": len(tokens), "long": sum(each > 10 for each in tokens)}

    def value(self, counts: Any) -> float | None:
        return counts["long"] / counts["thoughts"] if counts["thoughts"] else None


def table(setting: str, *tokens: int) -> pa.Table:
    return pa.table({"setting_id": [setting] * len(tokens), "thought_tokens": pa.array(tokens, pa.int64())})


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(1, 5))
def test_a_value_does_not_depend_on_how_rows_are_split(tokens: list[int], parts: int) -> None:
    pieces = [table("a", *tokens[part::parts]) for part in range(parts)]
    figures = measure_user_metrics({"long": LongThoughts()}, pieces)
    assert figures["a"]["long"].value == sum(each > 10 for each in tokens) / len(tokens)


def test_each_setting_has_its_own_value() -> None:
    both = pa.concat_tables([table("a", 5, 15), table("b", 15)])
    figures = measure_user_metrics({"long": LongThoughts()}, [both])
    assert {setting: each["long"].value for setting, each in figures.items()} == {"a": 0.5, "b": 1.0}


def exits(counts: Any) -> float:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda counts: float("nan"), "nan, not a finite number"),
        (lambda counts: float("inf"), "inf, not a finite number"),
        (lambda counts: "0.5", "'0.5', not a finite number"),
        (lambda counts: True, "True, not a finite number"),
        (lambda counts: 1 / 0, "ZeroDivisionError"),
        (exits, "SystemExit"),
    ],
)
def test_a_value_that_is_no_number_is_missing_with_the_reason(value: Callable[[Any], Any], words: str) -> None:
    class Metric(LongThoughts):
        def value(self, counts: Any) -> float | None:
            return value(counts)

    figure = measure_user_metrics({"m": Metric()}, [table("a", 1)])["a"]["m"]
    assert figure.value is None
    assert words in str(figure.error)


def test_an_error_while_counting_is_the_reason_even_if_later_tables_work() -> None:
    class Metric(LongThoughts):
        def count(self, samples: pa.Table) -> dict[str, float]:
            if samples.num_rows == 1:
                raise ValueError("one row")
            return super().count(samples)

    figures = measure_user_metrics({"m": Metric()}, [table("a", 1), table("a", 2, 3)])
    assert (figures["a"]["m"].value, figures["a"]["m"].error) == (None, "ValueError: one row")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("thought_tokens", "is no list of names"),
        (("thoughts",), "samples have no column 'thoughts'"),
        ((3,), "samples have no column 3"),
        (None, "columns failed: TypeError"),
    ],
)
def test_wrong_columns_are_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, columns: object, words: str) -> None:
    metric = type("Metric", (LongThoughts,), {"columns": columns})
    entry = MetricCode(name="m", kind="mine:Metric")
    monkeypatch.setattr(catalog, "metrics", lambda: MappingProxyType({"m": entry}))
    monkeypatch.setattr(catalog, "code_of", lambda *_: metric)
    with pytest.raises(InputError) as refused:
        check_user_metrics()
    assert words in str(refused.value)
