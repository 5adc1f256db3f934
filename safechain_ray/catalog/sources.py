"""Catalog files from outside the package: found, read, and merged over the built-in entries.

Sources, in this order; a later entry of the same name replaces an earlier one:

1. the YAML files of this package,
2. installed packages with an entry point in the group `safechain_ray.catalog`,
3. the files and folders of SAFECHAIN_CATALOG, to which `--catalog` adds its own.

A file maps sections (`models`, `judges`, ...) to entries by name. A folder is read as all its YAML files, by name.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ValidationError

from safechain_ray.errors import InputError, UnknownNameError, first_line
from safechain_ray.likely_keys import name_for_message
from safechain_ray.types.model_errors import AnyModel, Step, explain, kind_of
from safechain_ray.types.yaml_text import KeyPath, lines_of, load_yaml

VARIABLE = "SAFECHAIN_CATALOG"
"""Environment variable with the files and folders of the user's catalog, separated like those of PATH."""

GROUP = "safechain_ray.catalog"
"""Entry points of packages with a catalog: a module whose folder is read, or a path in a module."""

Section = Literal[
    "models", "api_models", "families", "judges", "datasets", "responses", "training_sets", "benchmarks", "shapes",
    "strategies", "metrics",
]  # fmt: skip

SUFFIXES = (".yaml", ".yml")

NAME_CHARACTERS = 100

NAME = re.compile(rf"\w[\w .+-]{{0,{NAME_CHARACTERS - 1}}}")
"""Names of entries become folders (verdicts/JUDGE), values of flags, and columns of tables."""

PATH_KEYS = frozenset({"source", "phrases", "policy_file"})
"""Keys of entries whose value may be a path relative to the catalog file: it then begins with `./` or `../`."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an entry comes from. `folder` is searched for the Python modules that the entry names."""

    place: str
    replaces: str | None = None
    folder: Path | None = None


BUILT_IN = Origin("built-in")


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One file of a user's catalog, not validated yet.

    `folder` is searched for the Python modules of its entries; None for a plugin, whose modules are installed.
    """

    path: Path
    label: str
    folder: Path | None
    sections: Mapping[Section, Mapping[str, Any]]
    lines: Mapping[KeyPath, int]

    def place(self, *key: Step) -> str:
        """The file, with the line of a key where it is known."""
        line = self.lines.get(key)
        return self.label if line is None else f"{self.label}, line {line}"


@dataclass(frozen=True, slots=True, eq=False)
class UserCatalog:
    """All files of plugins and of the user. `warnings` name plugins that can't be read."""

    files: tuple[CatalogFile, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entries:
    """The entries of one section by name, and the origin of those from outside the package."""

    by_name: Mapping[str, Any]
    origins: Mapping[str, Origin] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    """Reasons of entries of plugins that are wrong: a plugin may be written for another version."""


def user_catalog() -> UserCatalog:
    """The catalog of the installed plugins and of SAFECHAIN_CATALOG. Files are read once per value of the variable.

    Raises InputError for a file that can't be read or has an unknown section, with its line.
    """
    return _read_all(os.environ.get(VARIABLE, ""))


def add_entries(
    section: Section, built_in: Mapping[str, AnyModel], entry_type: type[AnyModel], catalog: UserCatalog
) -> Entries:
    """The entries of a section with those of the user's catalog. Wrong entries of plugins are left out.

    Raises InputError with file, line, entry and key for a wrong entry of a file that the user named.
    """
    entries: dict[str, BaseModel] = dict(built_in)
    origins: dict[str, Origin] = {}
    left_out: list[str] = []
    for file in catalog.files:
        for name, fields in file.sections.get(section, {}).items():
            try:
                entry = _entry(file, section, name, fields, entry_type)
            except InputError as error:
                if file.folder is not None:
                    raise
                left_out.append(" ".join(str(error).split()))
                continue
            before = origins.get(name, BUILT_IN).place if name in entries else None
            origins[name] = Origin(file.place(section, name), before, file.folder)
            entries[name] = entry
    return Entries(entries, origins, tuple(left_out))


def _entry(file: CatalogFile, section: Section, name: str, fields: Any, entry_type: type[AnyModel]) -> AnyModel:
    if not isinstance(fields, dict):
        raise InputError(
            f"{file.place(section, name)}: {section}.{name} is {kind_of(fields)}, not an entry. Fix: write its keys "
            "and values below its name."
        )

    def line_of(key: tuple[Step, ...]) -> int | None:
        known = (file.lines.get((section, name, *key[:length])) for length in range(len(key), -1, -1))
        return next((line for line in known if line is not None), None)

    try:
        return entry_type.model_validate({**_with_paths(fields, file.path.parent), "name": name})
    except ValidationError as error:
        problems = explain(error, entry_type, line_of, of=f"an entry of {section}")
        raise InputError(f"{file.label}: {section}.{name} is wrong. Fix: correct each key below.\n{problems}") from None


def _with_paths(fields: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields with paths that begin with `./` or `../` made absolute, those of an `engine` among them."""
    return {
        key: _with_paths(value, folder)
        if isinstance(value, dict)
        else str((folder / value).resolve())
        if key in PATH_KEYS and isinstance(value, str) and value.startswith(("./", "../"))
        else value
        for key, value in fields.items()
    }


@lru_cache(maxsize=8)
def _read_all(variable: str) -> UserCatalog:
    files: list[CatalogFile] = []
    warnings: list[str] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            files += [_read_file(path, point.name) for path in _files_below(_plugin_path(point))]
        except (Exception, SystemExit) as error:
            warnings.append(
                f"The catalog plugin {point.name} ({point.value}) can't be read, so its entries are missing: "
                f"{type(error).__name__}: {first_line(error).partition(' Fix: ')[0]}. Fix: correct or uninstall it."
            )
    for text in filter(None, variable.split(os.pathsep)):
        path = Path(os.path.expanduser(text))
        try:
            found = list(_files_below(path)) if path.exists() else None
        except OSError as error:
            raise InputError(
                f"Catalog {path} can't be read: {error.strerror or error}. Fix: correct the path or its permissions."
            ) from error
        if found is None:
            raise InputError(f"No catalog at {path}. Fix: correct --catalog or {VARIABLE}: a YAML file or a folder.")
        known = {file.path for file in files}
        files += (_read_file(each) for each in found if each.resolve() not in known)
    return UserCatalog(tuple(files), tuple(warnings))


def _plugin_path(point: EntryPoint) -> Path:
    """The folder of the module that an entry point names, or the path that it holds."""
    with redirect_stdout(sys.stderr):  # stdout is for JSON
        found = point.load()
    if not isinstance(found, ModuleType):
        return Path(found)
    if found.__file__ is None:
        raise ValueError(f"module {found.__name__} has no folder")
    return Path(found.__file__).parent


def _files_below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    visible = (each for each in path.iterdir() if not each.name.startswith("."))
    found = sorted(each for each in visible if each.suffix.lower() in SUFFIXES and not each.is_dir())
    if not found:
        raise InputError(f"Catalog folder {path} has no YAML file. Fix: put a file such as judges.yaml there.")
    yield from found


def _check_name(name: object, section: str, line: int | None, label: str) -> None:
    """Raise InputError for a name that is no text, or can't be the name of a folder, a column and a flag's value."""
    if isinstance(name, str) and NAME.fullmatch(name):
        return
    where = label if line is None else f"{label}, line {line}"
    if isinstance(name, str):
        raise InputError(
            f"{where}: {name_for_message(name)[:40]!r} is no name for an entry of {section}. Fix: use letters, digits, "
            f"blanks and . _ + -, at most {NAME_CHARACTERS}, with a letter or digit first."
        )
    raise InputError(f"{where}: the name {name!r} in {section} is {kind_of(name)}. Fix: put it into quotes.")


def _read_file(path: Path, plugin: str | None = None) -> CatalogFile:
    label = str(path) if plugin is None else f"{path} (plugin {plugin})"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Catalog file {label} can't be read as UTF-8 text: {first_line(error)}. Fix: check its permissions and "
            "its encoding."
        ) from error
    try:
        tree = load_yaml(text, label)
        lines = lines_of(text)
    except yaml.YAMLError as error:
        raise InputError(f"Catalog file {label} is not valid YAML: {error}\nFix: correct it there.") from error
    tree = {} if tree is None else tree  # an empty file, or only comments
    if not isinstance(tree, dict):
        raise InputError(
            f"{label}: expected sections such as `judges:` at the top, found {kind_of(tree)}. Fix: put each entry "
            f"below its section ({', '.join(get_args(Section))})."
        )
    for section, entries in tree.items():
        if section not in get_args(Section):
            line = lines.get((section,))
            where = label if line is None else f"{label}, line {line}"
            raise UnknownNameError(f"catalog section ({where})", str(section), get_args(Section))
        if not isinstance(entries, dict | None):
            raise InputError(
                f"{label}: {section} is {kind_of(entries)}, not entries by name. Fix: write `NAME:` first."
            )
        for name in entries or {}:
            _check_name(name, section, lines.get((section, str(name))), label)
    sections = {section: dict(tree[section] or {}) for section in tree}
    path = path.resolve()
    return CatalogFile(path, label, path.parent if plugin is None else None, sections, lines)
