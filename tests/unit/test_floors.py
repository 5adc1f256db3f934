"""The floors of the package: who may import whom, held by walking every import with `ast`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import safechain_ray

PACKAGE = Path(safechain_ray.__file__).parent

# A room is a file or a folder directly under the package. A room may import itself and the rooms of lower floors.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"__init__", "logs", "likely_keys"}),
    frozenset({"types", "errors", "limited_process"}),
    frozenset({"config", "catalog", "storage", "http_clients", "model_files"}),
    frozenset(
        {
            "datasets",
            "engines",
            "decoding",
            "judges",
            "metrics",
            "analysis",
            "benchmarks",
            "curation",
            "trackers",
            "training",
        }
    ),
    frozenset({"cluster"}),
    frozenset({"runs"}),
    frozenset({"commands"}),
    frozenset({"report", "cli", "demo", "sharing", "testing"}),
    frozenset({"library"}),
    frozenset({"__main__"}),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# (importing room, imported room) of one floor, with the reason that lets it pass.
NEIGHBOURS = {
    ("analysis", "metrics"): "every figure has the intervals of the metrics",
    ("benchmarks", "datasets"): "the problems of a benchmark are read as the rows of any data set are",
    ("curation", "datasets"): "what is written is what the reader of training sets takes",
    ("training", "decoding"): "what is learnt follows the prompt that decoding sends",
    ("cli", "report"): "the command writes reports",
    ("cli", "demo"): "the command offers the demo models",
    ("cli", "sharing"): "the commands share runs",
    ("sharing", "report"): "a card has the tables of a report",
    ("__init__", "library"): "the package offers its functions, and imports them when they are first used",
}

# The only rooms or files, relative to the package, that may import a heavy library.
LIBRARY_HOMES = {
    "vllm": frozenset({"engines/vllm.py", "commands/gpu_check/speed.py"}),
    "openai": frozenset({"engines/api.py", "judges/openai_moderation.py", "http_clients", "commands/doctor/access.py"}),
    "trl": frozenset({"training"}),
    "datasketch": frozenset({"curation/overlap.py"}),
    "inspect_ai": frozenset({"sharing"}),
    "math_verify": frozenset({"benchmarks/math_worker.py"}),
    "obstore": frozenset({"storage/azure.py", "storage/azure_errors.py", "storage/azure_files.py"}),
    "ray": frozenset().union(*FLOORS[FLOOR_OF["cluster"] :]),
}


def room_of(file: Path, package: Path) -> str:
    return file.relative_to(package).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST, parent: list[str]) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of everything imported; `parent` is the package that relative names start from."""

    def absolute(name: str, level: int) -> str:
        return ".".join([*parent[: len(parent) - level + 1], name]).rstrip(".") if level else name

    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = absolute(module or "", level)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=[target, *_]) if called in (
                "import_module",
                "__import__",
            ):
                match target:
                    case ast.Constant(value=str(name)) | ast.JoinedStr(values=[ast.Constant(value=str(name)), *_]):
                        level = len(name) - len(name.lstrip("."))
                        yield node.lineno, absolute(name.lstrip("."), level)


def reason_against(file: str, room: str, module: str, package: str) -> str | None:
    """Why this import may not stand, or None."""
    top, *rest = module.split(".")
    if top == package:
        target = rest[0] if rest and rest[0] in FLOOR_OF else "__init__"
        if room == target or FLOOR_OF[target] < FLOOR_OF[room] or (room, target) in NEIGHBOURS:
            return None
        if FLOOR_OF[target] == FLOOR_OF[room]:
            return f"{room} and {target} are rooms of one floor"
        return f"{target} is on a floor above {room}"
    homes = LIBRARY_HOMES.get(top)
    if homes is None or room in homes or file in homes:
        return None
    return f"only {', '.join(sorted(homes))} may import {top}"


def violations(package: Path) -> list[str]:
    """Every import that breaks the floors, as `file:line: imports module: reason`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        file, room = path.relative_to(package).as_posix(), room_of(path, package)
        if room not in FLOOR_OF:
            found.append(f"{file}:1: the room {room} is on no floor: add it to FLOORS")
            continue
        parent = [package.name, *path.relative_to(package).parent.parts]
        for line, module in imported_modules(ast.parse(path.read_text(encoding="utf-8"), file), parent):
            if reason := reason_against(file, room, module, package.name):
                found.append(f"{file}:{line}: imports {module}: {reason}")
    return found


def test_every_import_of_the_package_keeps_to_the_floors() -> None:
    assert violations(PACKAGE) == []


def write_package(folder: Path, file: str, source: str) -> Path:
    package = folder / "safechain_ray"
    path = package / file
    path.parent.mkdir(parents=True)
    path.write_text(source, encoding="utf-8")
    return package


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        (
            "metrics/safety.py",
            "import safechain_ray.cluster.planner",
            "metrics/safety.py:1: imports safechain_ray.cluster.planner: cluster is on a floor above metrics",
        ),
        (
            "config.py",
            "def load():\n    from safechain_ray import engines",
            "config.py:2: imports safechain_ray.engines: engines is on a floor above config",
        ),
        (
            "judges/guard.py",
            "from ..engines.base import Engine",
            "judges/guard.py:1: imports safechain_ray.engines.base.Engine: judges and engines are rooms of one floor",
        ),
        (
            "judges/kinds/guard.py",
            "from ... import decoding",
            "judges/kinds/guard.py:1: imports safechain_ray.decoding: judges and decoding are rooms of one floor",
        ),
        (
            "types.py",
            "import importlib\nimportlib.import_module('safechain_ray.cli')",
            "types.py:2: imports safechain_ray.cli: cli is on a floor above types",
        ),
        (
            "decoding/__init__.py",
            "from importlib import import_module\nimport_module('..engines', __package__)",
            "decoding/__init__.py:2: imports safechain_ray.engines: decoding and engines are rooms of one floor",
        ),
        (
            "catalog/__init__.py",
            "from importlib import import_module\nname = 'x'\nimport_module(f'safechain_ray.judges.{name}')",
            "catalog/__init__.py:3: imports safechain_ray.judges.: judges is on a floor above catalog",
        ),
        (
            "report/html.py",
            "from safechain_ray.cli import main",
            "report/html.py:1: imports safechain_ray.cli.main: report and cli are rooms of one floor",
        ),
        (
            "engines/http.py",
            "import vllm.sampling_params",
            "engines/http.py:1: imports vllm.sampling_params: only commands/gpu_check/speed.py, engines/vllm.py "
            "may import vllm",
        ),
        (
            "commands/finetune/finetune.py",
            "from trl import SFTTrainer",
            "commands/finetune/finetune.py:1: imports trl.SFTTrainer: only training may import trl",
        ),
        (
            "storage.py",
            "def read():\n    import ray.data",
            "storage.py:2: imports ray.data: only __main__, cli, cluster, commands, demo, library, report, runs, "
            "sharing, testing may import ray",
        ),
        ("helpers.py", "", "helpers.py:1: the room helpers is on no floor: add it to FLOORS"),
    ],
)
def test_a_forbidden_import_is_found_with_its_line_and_reason(
    tmp_path: Path, file: str, source: str, expected: str
) -> None:
    assert violations(write_package(tmp_path, file, source)) == [expected]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("metrics/safety.py", "from safechain_ray import types\nfrom ..errors import ConfigError"),
        ("engines/vllm.py", "import vllm\nfrom .base import Engine\nfrom safechain_ray.engines import base"),
        ("training/sft.py", "from trl import SFTTrainer"),
        ("cluster/planner.py", "import ray\nfrom safechain_ray.engines.vllm import VllmEngine"),
        ("cli.py", "from safechain_ray import __version__, report\nimport safechain_ray.demo"),
        ("catalog/entries.py", "import rayon\nimport pydantic"),
    ],
)
def test_a_downward_import_or_one_of_the_same_room_may_stand(tmp_path: Path, file: str, source: str) -> None:
    assert violations(write_package(tmp_path, file, source)) == []
