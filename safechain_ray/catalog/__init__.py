"""The built-in catalog: models, families, data sets, training sets, benchmarks and judges by name, from YAML."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TypeVar

from pydantic import BaseModel

from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.catalog.entries import ApiEntry, Family, ModelEntry
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.catalog.row_entries import DatasetEntry, TrainingSetEntry
from safechain_ray.errors import UnknownNameError
from safechain_ray.types.yaml_text import load_yaml

AnyEntry = TypeVar("AnyEntry", bound=BaseModel)


def _read(file: str, entry_type: type[AnyEntry]) -> Mapping[str, AnyEntry]:
    text = (files(__name__) / file).read_text(encoding="utf-8")
    return {name: entry_type.model_validate({"name": name, **fields}) for name, fields in load_yaml(text, file).items()}


@cache
def families() -> Mapping[str, Family]:
    return _read("families.yaml", Family)


@cache
def models() -> Mapping[str, ModelEntry]:
    return _read("models.yaml", ModelEntry)


@cache
def api_models() -> Mapping[str, ApiEntry]:
    return _read("api_models.yaml", ApiEntry)


@cache
def datasets() -> Mapping[str, DatasetEntry]:
    return _read("datasets.yaml", DatasetEntry)


@cache
def benchmarks() -> Mapping[str, BenchmarkEntry]:
    return _read("benchmarks.yaml", BenchmarkEntry)


@cache
def training_sets() -> Mapping[str, TrainingSetEntry]:
    return _read("training_sets.yaml", TrainingSetEntry)


@cache
def shapes() -> Mapping[str, ModelShape]:
    """Shapes by model name, for the models that can be trained."""
    return _read("shapes.yaml", ModelShape)


@cache
def judges() -> Mapping[str, JudgeEntry]:
    return _read("judges.yaml", JudgeEntry)


def lookup(kind: str, entries: Mapping[str, AnyEntry], name: str) -> AnyEntry:
    """The entry called `name`. Raises UnknownNameError, which suggests the nearest name."""
    if name not in entries:
        raise UnknownNameError(kind, name, entries)
    return entries[name]
