"""One reader for all kinds of configs: YAML file, profile, flags and `key=value` assignments; and their JSON schema.

Later sources win: the file, then its profile, then the flags, then the assignments.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from safechain_ray.config.base import validated
from safechain_ray.config.bundled import find_config
from safechain_ray.config.commands import BuildConfig, FinetuneConfig, StudyConfig
from safechain_ray.config.run import BenchmarkConfig, RunConfig, SweepConfig
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.likely_keys import without_likely_keys
from safechain_ray.types.model_errors import LONGEST_QUOTE, AnyModel, Step, kind_of
from safechain_ray.types.yaml_text import lines_of, load_yaml


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of config file, and the command that takes it."""

    model: type[BaseModel]
    command: str
    keys: tuple[str, ...]
    """Keys by which a file of this kind is recognised."""
    preview: str | None = None
    """The command that shows what the config would run."""


CONFIG_KINDS: dict[str, FileKind] = {
    "run": FileKind(RunConfig, "evaluate", ("datasets", "model"), "plan --config {path}"),
    "sweep": FileKind(SweepConfig, "sweep", ("models",), "plan --config {path}"),
    "study": FileKind(StudyConfig, "judge-study", ("data",)),
    "benchmark": FileKind(BenchmarkConfig, "benchmark", ("benchmarks",)),
    "dataset": FileKind(BuildConfig, "build-dataset", ("prompts",)),
    "finetune": FileKind(FinetuneConfig, "finetune", ("training_set",), "finetune --config {path} --plan"),
}
"""Kinds of config files by name. The last kind with a matching key counts: other kinds share keys with a run."""

PROFILES = "profiles"
"""The key of a config file that maps a profile's name to other values for the file's keys."""

_INDEX = re.compile("[0-9]{1,9}")
"""The index of an item in a list. `int` refuses more than 4300 digits."""


def read_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> RunConfig:
    """The config of a run, as `read_config_as(RunConfig, ...)`."""
    return read_config_as(RunConfig, path, flags, assignments, profile)


def read_config_as(
    model: type[AnyModel],
    path: Path | None,
    flags: Mapping[str, Any],
    assignments: Iterable[str] = (),
    profile: str | None = None,
    origin: str = "command line",
) -> AnyModel:
    """The config that the YAML file (if any), its profile, the flags and the `key=value` assignments make.

    `path` may be the name of a bundled config (`paper/main_table`). `flags` maps dotted keys (`sampling.top_p`) to
    values. `origin` names their place in messages.

    Raises:
        InputError: the file can't be read, belongs to another command, or a value is wrong. The message names key,
            file and line.

    Example:
        >>> read_config_as(SweepConfig, Path("paper/main_table"), {"samples": 1}, profile="demo")
    """
    assignments = tuple(assignments)
    origins = [str(path)] if path is not None else []
    if path is None or flags or assignments:
        origins.append(origin)
    file = _File({}, {}) if path is None else _read_yaml(path)
    tree = file.tree
    profiles = tree.pop(PROFILES, None) or {}
    if profile is not None:
        tree = _with_profile(tree, profiles, profile)
        origins = [f"{path} (profile {profile})", *origins[1:]] if path is not None else origins
    _check_kind(model, tree, path)
    given = [*flags, *(assignment.partition("=")[0] for assignment in assignments)]

    def line_of(key: tuple[Step, ...]) -> int | None:
        dotted = ".".join(map(str, key))
        if any(f"{dotted}.".startswith(f"{each}.") for each in given):
            return None
        return file.line(key, profile)

    return validated(model, _assign_all(tree, flags, assignments), " and ".join(origins), line_of)


def config_kind(path: Path | None) -> str | None:
    """The kind of a config file, by its keys; None for no file or an unknown kind.

    Raises InputError for a file that can't be read.
    """
    tree = {} if path is None else _read_yaml(path).tree
    return next((name for name, key in _kinds_by_key() if key in tree), None)


def json_schema(kind: str = "run") -> dict[str, Any]:
    """The JSON schema of a kind of config file, for editors."""
    schema = CONFIG_KINDS[kind].model.model_json_schema()
    schema["properties"][PROFILES] = {
        "type": "object",
        "additionalProperties": {"type": "object"},
        "description": "other values for these keys, by profile name (--profile NAME)",
    }
    return schema


def _kinds_by_key() -> Iterator[tuple[str, str]]:
    """Name and key of each kind, in the order in which a file is matched."""
    return ((name, key) for name, kind in reversed(CONFIG_KINDS.items()) for key in kind.keys)


def _check_kind(model: type[BaseModel], tree: Mapping[str, Any], path: Path | None) -> None:
    """Raises InputError for the config file of another command."""
    for name, key in _kinds_by_key():
        if key in tree and key not in model.model_fields:
            kind = CONFIG_KINDS[name]
            preview = kind.preview and f", or `safechain-ray {kind.preview.format(path=path)}` to see what it would run"
            raise InputError(
                f"{path} is a {name} config: its key {key!r} belongs to `safechain-ray {kind.command}`. "
                f"Fix: run `safechain-ray {kind.command} --config {path}`{preview or ''}."
            )


@dataclass(frozen=True, slots=True)
class _File:
    """A config file's keys and values, and the line of each."""

    tree: dict[str, Any]
    lines: Mapping[tuple[Step, ...], int]

    def line(self, key: tuple[Step, ...], profile: str | None) -> int | None:
        """The line of `key`, or of its parent; the profile is searched first, because its values win."""
        for length in range(len(key), 0, -1):
            for above in ((PROFILES, profile), ()) if profile is not None else ((),):
                line = self.lines.get((*above, *key[:length]))
                if line is not None:
                    return line
        return None


def _with_profile(tree: dict[str, Any], profiles: Any, name: str) -> dict[str, Any]:
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name, {}), dict):
        raise InputError(
            f"{PROFILES}: expected keys and values below the name of each profile. Fix: indent them below the name."
        )
    if name not in profiles:
        raise UnknownNameError("profile", name, profiles)
    return _merge(tree, profiles[name])


def _merge(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with the values of `over`. Mappings merge key by key; other values are replaced; null removes a key."""
    merged = dict(tree)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {key: value for key, value in merged.items() if value is not None or key not in over}


def _assign_all(tree: dict[str, Any], flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The tree with flags and assignments set. A flag's empty mapping does not replace an existing mapping."""
    for key, value in flags.items():
        _assign(tree, key, value, keeps_mapping=value == {})
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            shown = without_likely_keys(assignment.partition(":")[0])[:LONGEST_QUOTE]
            raise InputError(
                f"--set {shown}: the key or the = is missing. Fix: write key=value, for example --set "
                "sampling.temperature=0.6."
            )
        _assign(tree, key, _assigned(key, text))
    return tree


def _read_yaml(path: Path) -> _File:
    path = find_config(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"Config file {path} can't be read as UTF-8 text: {error}. Fix: check its permissions and its encoding."
        ) from error
    tree = _parsed(text, str(path))
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else kind_of(tree)
        raise InputError(
            f"{path}: expected keys and values at the top, found {found}. Fix: write them, for example `model: R1-7B`."
        )
    return _File(tree, lines_of(text))


def _parsed(text: str, origin: str) -> Any:
    try:
        return load_yaml(text, origin)
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {error}\nFix: correct it there.") from error


def _assigned(key: str, text: str) -> Any:
    """The value of an assignment. The error does not quote the value, which may be a secret."""
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        raise InputError(
            f"--set {without_likely_keys(key)}=… is not valid YAML: {problem}. Fix: correct the value."
        ) from None


def _assign(tree: dict[str, Any], key: str, value: Any, keeps_mapping: bool = False) -> None:
    """Set `a.b.0.c` in a tree of mappings and lists.

    Where a mapping is needed, a name becomes `{name: ...}` and a key without a value becomes an empty mapping.
    """
    *parents, last = key.split(".")
    shown = without_likely_keys(key)
    node: Any = tree
    for index, parent in enumerate(parents):
        step: Any = parent
        if isinstance(node, list):
            step = _item(node, key, index)
        elif not isinstance(node, dict):
            raise InputError(
                f"--set {shown}: there is no {without_likely_keys(parent)!r} to set. Fix: correct the key."
            )
        child = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        if child is None or isinstance(child, str):
            child = {} if child is None else {"name": child}
            node[step] = child
        node = child
    if isinstance(node, list):
        node[_item(node, key, len(parents))] = value
    elif isinstance(node, dict):
        if not (keeps_mapping and isinstance(node.get(last), dict)):
            node[last] = value
    else:
        raise InputError(
            f"--set {shown}: {without_likely_keys(parents[-1])!r} holds a value, not keys. Fix: leave out "
            f"{without_likely_keys(last)!r}."
        )


def _item(items: list[Any], key: str, index: int) -> int:
    """The position in `items` that step `index` of `key` names. Raises InputError for none, with the known ones."""
    steps = key.split(".")
    step = steps[index]
    if _INDEX.fullmatch(step) and int(step) < len(items):
        return int(step)
    numbers = {0: "", 1: ", number 0"}.get(len(items), f", numbered 0 to {len(items) - 1}")
    raise InputError(
        f"--set {without_likely_keys(key)}: {without_likely_keys('.'.join(steps[:index]))} has no item "
        f"{without_likely_keys(step)}; it has {len(items) or 'none'}{numbers}. Fix: correct the number, or set the "
        "whole list."
    )
