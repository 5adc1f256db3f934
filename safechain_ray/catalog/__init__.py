"""The catalog: built-in entries from YAML, and those of the user and of installed plugins, by section and name."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel

from safechain_ray.catalog.benchmark_entries import BenchmarkEntry
from safechain_ray.catalog.code import is_code, load_code
from safechain_ray.catalog.entries import ApiEntry, Family, MetricCode, ModelEntry, StrategyCode
from safechain_ray.catalog.judge_entries import JudgeEntry
from safechain_ray.catalog.model_shapes import ModelShape
from safechain_ray.catalog.row_entries import DatasetEntry, ResponsesEntry, TrainingSetEntry
from safechain_ray.catalog.sources import (
    BUILT_IN,
    CatalogFile,
    Entries,
    Origin,
    Section,
    UserCatalog,
    add_entries,
    user_catalog,
)
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.types.yaml_text import load_yaml

__all__ = [
    "api_models", "benchmarks", "check_path", "code_of", "datasets", "entry_of", "families", "family_of",
    "from_outside", "is_code", "is_from_outside", "judges", "lookup", "metrics", "models", "named_by", "of_hub_id",
    "origin_of", "place_of", "reports", "responses", "shapes", "strategies", "training_sets",
]  # fmt: skip

AnyEntry = TypeVar("AnyEntry", bound=BaseModel)

TYPES: Mapping[Section, type[BaseModel]] = {
    "models": ModelEntry,
    "api_models": ApiEntry,
    "families": Family,
    "judges": JudgeEntry,
    "datasets": DatasetEntry,
    "responses": ResponsesEntry,
    "training_sets": TrainingSetEntry,
    "benchmarks": BenchmarkEntry,
    "shapes": ModelShape,
    "strategies": StrategyCode,
    "metrics": MetricCode,
}

ONLY_CODE: tuple[Section, ...] = ("strategies", "metrics")
"""Sections without built-in YAML: the built-in ones are Python alone."""


def models() -> Mapping[str, ModelEntry]:
    return _entries("models").by_name


def api_models() -> Mapping[str, ApiEntry]:
    return _entries("api_models").by_name


def families() -> Mapping[str, Family]:
    return _entries("families").by_name


def judges() -> Mapping[str, JudgeEntry]:
    return _entries("judges").by_name


def datasets() -> Mapping[str, DatasetEntry]:
    return _entries("datasets").by_name


def responses() -> Mapping[str, ResponsesEntry]:
    """Sets of responses that exist, for `import`."""
    return _entries("responses").by_name


def training_sets() -> Mapping[str, TrainingSetEntry]:
    return _entries("training_sets").by_name


def benchmarks() -> Mapping[str, BenchmarkEntry]:
    return _entries("benchmarks").by_name


def shapes() -> Mapping[str, ModelShape]:
    """Shapes by model name, for the models that can be trained."""
    return _entries("shapes").by_name


def strategies() -> Mapping[str, StrategyCode]:
    """The strategies of users' catalogs. The built-in ones are in `decoding`."""
    return _entries("strategies").by_name


def metrics() -> Mapping[str, MetricCode]:
    """The metrics of users' catalogs. The built-in ones are in `metrics`."""
    return _entries("metrics").by_name


def lookup(kind: str, entries: Mapping[str, AnyEntry], name: str) -> AnyEntry:
    """The entry called `name`. Raises UnknownNameError, which suggests the nearest name."""
    if name not in entries:
        raise UnknownNameError(kind, name, entries)
    return entries[name]


def family_of(entry: ModelEntry | ApiEntry | ResponsesEntry | TrainingSetEntry) -> Family:
    """The family of a model or a set. Raises UnknownNameError; for the catalog's own value with file and line."""
    named = named_by(entry, "family")
    kind = "model family" if named is None else f"model {named}"
    return lookup(kind, families(), entry.family or "")


def of_hub_id(section: Section, source: str) -> str | None:
    """The name of the one entry whose weights or rows have this hub id; None for no entry, or several of this package.

    Raises InputError where a user's entry has the same hub id as another entry.
    """
    entries = _entries(section)
    names = [name for name, entry in entries.by_name.items() if _source_of(entry) == source]
    if len(names) > 1 and any(name in entries.origins for name in names):
        raise InputError(
            f"{source} is the source of several entries of {section}: {', '.join(names)}. Fix: give one of these names."
        )
    return names[0] if len(names) == 1 else None


def _source_of(entry: Any) -> str | None:
    """Where the weights of a model or a judge are, or the rows of a data set."""
    found: str | None = getattr(getattr(entry, "engine", None) or entry, "source", None)
    return found


def entry_of(section: Section, name: str) -> BaseModel | None:
    """The entry of a section, None where it has none of this name, as for a built-in strategy."""
    return _entries(section).by_name.get(name)


def origin_of(section: Section, name: str) -> Origin:
    """Where an entry comes from. A name without an entry counts as built-in."""
    return _entries(section).origins.get(name, BUILT_IN)


def is_from_outside(section: Section, name: str) -> bool:
    """Whether an entry is of a user's catalog or a plugin."""
    return name in _entries(section).origins


def place_of(section: Section, name: str, *key: str) -> str:
    """File and line of a key of an entry from outside; those of the entry for a key without a line of its own."""
    file = _file_of(section, name)
    has_line = file is not None and (section, name, *key) in file.lines
    return file.place(section, name, *key) if file is not None and has_line else origin_of(section, name).place


def named_by(entry: Any, key: str) -> str | None:
    """`KEY of NAME (FILE, line N)`, for messages about a value that a user's entry has.

    None for built-in entries, and for a value that a flag or a config replaced.
    """
    section = _section_of(entry)
    if section is None or not is_from_outside(section, entry.name):
        return None
    if getattr(entry_of(section, entry.name), key) != getattr(entry, key):
        return None
    return f"{key} of {entry.name} ({place_of(section, entry.name, key)})"


def check_path(entry: Any, key: str) -> None:
    """Raise InputError for a path of a user's entry that lacks its `./`: no file here, but one beside the catalog."""
    if getattr(entry, "kind", None) == "huggingface" and key == "source":
        return  # a hub id: a folder beside the catalog may have the same name
    section, named, path = _section_of(entry), named_by(entry, key), getattr(entry, key)
    if section is None or named is None or path is None or "://" in path or Path(path).expanduser().exists():
        return
    file = _file_of(section, entry.name)
    if file is not None and (file.path.parent / path).exists():
        raise InputError(
            f"There is no {path} here, but there is one beside the catalog file. Fix: write ./{path} in {named}."
        )


def _section_of(entry: Any) -> Section | None:
    return next((section for section, entry_type in TYPES.items() if type(entry) is entry_type), None)


def _file_of(section: Section, name: str) -> CatalogFile | None:
    """The user's file with an entry; None for a built-in one."""
    place = origin_of(section, name).place
    return next((file for file in user_catalog().files if file.place(section, name) == place), None)


def code_of(section: Section, name: str, reference: str) -> Any:
    """The Python object that the entry `name` names as `module:name`. Raises InputError with file and entry."""
    origins = _entries(section).origins
    # Metrics are computed by the process of the command.
    return load_code(reference, f"{section}.{name}", origins.get(name), for_workers=section != "metrics")


def from_outside() -> Iterator[tuple[Section, str, Origin]]:
    """Section, name and origin of each entry from outside the package. Raises the errors of reading them."""
    for section in get_args(Section):
        if any(section in file.sections for file in user_catalog().files):
            for name, origin in _entries(section).origins.items():
                yield section, name, origin


def reports() -> Iterator[str]:
    """A sentence for each plugin that can't be read, and for each entry of a user that replaces another one.

    A wrong catalog has none: the commands that need its entries report the error.
    """
    with suppress(InputError):
        yield from user_catalog().warnings
        for section in get_args(Section):
            if any(section in file.sections for file in user_catalog().files):
                yield from (f"An entry of a plugin is left out: {reason}" for reason in _entries(section).left_out)
        for section, name, origin in from_outside():
            if origin.replaces is not None:
                yield f"{section}.{name} of {origin.place} replaces the entry of {_name_of(origin.replaces)}."


def _name_of(place: str) -> str:
    return "this package" if place == BUILT_IN.place else place


def _entries(section: Section) -> Entries:
    return _merged(section, user_catalog())


@cache
def _merged(section: Section, catalog: UserCatalog) -> Entries:
    return add_entries(section, _built_in(section), TYPES[section], catalog)


@cache
def _built_in(section: Section) -> Mapping[str, Any]:
    if section in ONLY_CODE:
        return {}
    file = f"{section}.yaml"
    text = (files(__name__) / file).read_text(encoding="utf-8")
    entry_type = TYPES[section]
    return {name: entry_type.model_validate({"name": name, **fields}) for name, fields in load_yaml(text, file).items()}
