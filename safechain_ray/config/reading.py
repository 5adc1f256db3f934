"""Configs from YAML, profiles, flags and `key=value` assignments, and their JSON schema."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from safechain_ray.config.base import LONGEST_QUOTE, AnyModel, Step, validated
from safechain_ray.config.dataset import BuildConfig
from safechain_ray.config.finetune import FinetuneConfig
from safechain_ray.config.run import BenchmarkConfig, RunConfig, SweepConfig
from safechain_ray.config.study import CheckConfig, JudgingConfig, PreferenceConfig, StudyConfig
from safechain_ray.errors import InputError, UnknownNameError
from safechain_ray.likely_keys import without_likely_keys
from safechain_ray.types.yaml_text import lines_of, load_yaml

ConfigKind = Literal["run", "sweep", "study", "benchmark", "dataset", "finetune"]

KINDS: Mapping[ConfigKind, type[BaseModel]] = {
    "run": RunConfig,
    "sweep": SweepConfig,
    "study": StudyConfig,
    "benchmark": BenchmarkConfig,
    "dataset": BuildConfig,
    "finetune": FinetuneConfig,
}

COMMAND_OF_KEY: Mapping[str, str] = {
    "models": "sweep",
    "data": "judge-study",
    "benchmarks": "benchmark",
    "prompts": "build-dataset",
    "training_set": "finetune",
    "datasets": "evaluate",
    "model": "evaluate",
}
"""Keys by which a config file that was given to another command is recognised; the first one found counts."""

PLANNED = ("evaluate", "sweep")
"""Commands whose configs `plan` takes."""

PROFILES = "profiles"
"""The key of a config file under which other values for its keys stand, by the name of a profile."""


def read_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> RunConfig:
    """The YAML file (if any), then its profile, then the flags, then the `key=value` assignments.

    Raises InputError with key and file.
    """
    return _read(RunConfig, path, flags, assignments, profile)


def read_sweep_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> SweepConfig:
    """The config of a sweep, read as `read_config` does."""
    return _read(SweepConfig, path, flags, assignments, profile)


def read_study_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> StudyConfig:
    """The config of a judge study, read as `read_config` does."""
    return _read(StudyConfig, path, flags, assignments, profile)


def read_benchmark_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> BenchmarkConfig:
    """The config of reasoning benchmarks, read as `read_config` does."""
    return _read(BenchmarkConfig, path, flags, assignments, profile)


def read_build_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> BuildConfig:
    """The config of a training set to be built, read as `read_config` does."""
    return _read(BuildConfig, path, flags, assignments, profile)


def read_finetune_config(
    path: Path | None, flags: Mapping[str, Any], assignments: Iterable[str], profile: str | None = None
) -> FinetuneConfig:
    """The config of a fine-tuning, read as `read_config` does."""
    return _read(FinetuneConfig, path, flags, assignments, profile)


def read_judging_config(flags: Mapping[str, Any], assignments: Iterable[str]) -> JudgingConfig:
    """The judges for a finished run, from flags and assignments alone."""
    return _read(JudgingConfig, None, flags, assignments, None)


def read_preference_config(flags: Mapping[str, Any], assignments: Iterable[str]) -> PreferenceConfig:
    """The preference judge for two finished runs, from flags and assignments alone."""
    return _read(PreferenceConfig, None, flags, assignments, None)


def read_check_config(flags: Mapping[str, Any], assignments: Iterable[str]) -> CheckConfig:
    """The model and the judges to check, from flags and assignments alone."""
    return _read(CheckConfig, None, flags, assignments, None)


def holds_sweep(path: Path | None) -> bool:
    """Whether the file is a sweep's: it names models, not a model. Raises InputError where it can't be read."""
    return path is not None and "models" in _read_yaml(path).tree


def holds_training(path: Path | None) -> bool:
    """Whether the file is a fine-tuning's. Raises InputError where it can't be read."""
    return path is not None and "training_set" in _read_yaml(path).tree


def _read(
    model: type[AnyModel],
    path: Path | None,
    flags: Mapping[str, Any],
    assignments: Iterable[str],
    profile: str | None,
) -> AnyModel:
    assignments = tuple(assignments)
    origins = [str(path)] if path is not None else []
    if path is None or flags or assignments:
        origins.append("command line")
    file = _File({}, {}) if path is None else _read_yaml(path)
    tree = file.tree
    profiles = tree.pop(PROFILES, None) or {}
    if profile is not None:
        tree = _profiled(tree, profiles, profile)
        origins = [f"{path} (profile {profile})", *origins[1:]] if path is not None else origins
    _check_kind(model, tree, path)
    given = [*flags, *(assignment.partition("=")[0] for assignment in assignments)]

    def line_of(key: tuple[Step, ...]) -> int | None:
        dotted = ".".join(map(str, key))
        if any(f"{dotted}.".startswith(f"{each}.") for each in given):
            return None
        return file.line(key, profile)

    return validated(model, _tree(tree, flags, assignments), " and ".join(origins), line_of)


def _check_kind(model: type[BaseModel], tree: Mapping[str, Any], path: Path | None) -> None:
    """Raises InputError for the config file of another command."""
    for key, command in COMMAND_OF_KEY.items():
        if key in tree and key not in model.model_fields:
            raise InputError(
                f"{path} is the config of another command: {key!r} belongs to `safechain-ray {command}`. "
                f"Fix: `safechain-ray {command} --config {path}` runs it{_preview(command, path)}."
            )


def _preview(command: str, path: Path | None) -> str:
    return f"; `safechain-ray plan --config {path}` shows what it would run" if command in PLANNED else ""


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


def _profiled(tree: dict[str, Any], profiles: Any, name: str) -> dict[str, Any]:
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name, {}), dict):
        raise InputError(f"{PROFILES}: expected keys and values below the name of each profile.")
    if name not in profiles:
        raise UnknownNameError("profile", name, profiles)
    return _laid_over(tree, profiles[name])


def _laid_over(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with the other values of `over`: mappings key by key, all else whole; a null takes its key away."""
    laid = dict(tree)
    for key, value in over.items():
        below = laid.get(key)
        laid[key] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return {key: value for key, value in laid.items() if value is not None or key not in over}


def _tree(tree: dict[str, Any], flags: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """The tree with flags and assignments put into it. A flag's empty mapping leaves one that is there as it is."""
    for key, value in flags.items():
        _assign(tree, key, value, keeps_mapping=value == {})
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            shown = without_likely_keys(assignment.partition(":")[0])[:LONGEST_QUOTE]
            raise InputError(f"--set {shown}: write key=value, for example --set sampling.temperature=0.6.")
        _assign(tree, key, _assigned(key, text))
    return tree


def json_schema(kind: ConfigKind = "run") -> dict[str, Any]:
    """The JSON schema of a config file, for editors."""
    schema = KINDS[kind].model_json_schema()
    schema["properties"][PROFILES] = {
        "type": "object",
        "additionalProperties": {"type": "object"},
        "description": "other values for these keys, by the name of a profile (--profile NAME)",
    }
    return schema


def _read_yaml(path: Path) -> _File:
    path = path.expanduser()
    if not path.is_file():
        raise InputError(f"No config file at {path}.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Config file {path} can't be read as UTF-8 text: {error}") from error
    tree = _parsed(text, str(path))
    if not isinstance(tree, dict):
        found = "nothing" if tree is None else type(tree).__name__
        raise InputError(f"{path}: expected keys and values at the top, found {found}.")
    return _File(tree, lines_of(text))


def _parsed(text: str, origin: str) -> Any:
    try:
        return load_yaml(text, origin)
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {error}\nFix: correct it there.") from error


def _assigned(key: str, text: str) -> Any:
    """The value of an assignment. The error does not quote it: it may be a secret."""
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        raise InputError(
            f"--set {without_likely_keys(key)}=… is not valid YAML: {problem}. Fix: correct the value."
        ) from None


_INDEX = re.compile("[0-9]{1,9}")
"""The place of an item in a list. `int` refuses more than 4300 digits."""


def _assign(tree: dict[str, Any], key: str, value: Any, keeps_mapping: bool = False) -> None:
    """Set `a.b.0.c` in a tree of mappings and lists.

    Where a mapping is needed a name becomes `{name: ...}`, and a key without a value an empty mapping.
    """
    *parents, last = key.split(".")
    shown = without_likely_keys(key)
    node: Any = tree
    for parent in parents:
        step: Any = int(parent) if isinstance(node, list) and _INDEX.fullmatch(parent) else parent
        try:
            child = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
            if child is None or isinstance(child, str):
                child = {} if child is None else {"name": child}
                node[step] = child
        except (IndexError, TypeError):
            raise InputError(f"--set {shown}: there is no {without_likely_keys(parent)!r} to set.") from None
        node = child
    if isinstance(node, list):
        if not _INDEX.fullmatch(last) or int(last) >= len(node):
            raise InputError(
                f"--set {shown}: the list has no item {without_likely_keys(last)!r}; it has {len(node)}, "
                "counted from 0."
            )
        node[int(last)] = value
    elif isinstance(node, dict):
        if not (keeps_mapping and isinstance(node.get(last), dict)):
            node[last] = value
    else:
        raise InputError(f"--set {shown}: {without_likely_keys(parents[-1])!r} holds a value, not keys.")
