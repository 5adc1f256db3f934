"""Private names of Ray are used in cluster/ray_internals alone, held by walking every file with `ast`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import safechain_ray

PACKAGE = Path(safechain_ray.__file__).parent
HOME = "cluster/ray_internals/"

NOT_RAYS = {"os._exit", "sys._base_executable"}
"""Private names of other libraries, as they are written."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_private_module(dotted: str) -> bool:
    top, *rest = dotted.split(".")
    return top == "ray" and any(is_private(part) or part == "generated" for part in rest)


def names_defined_in(tree: ast.AST) -> set[str]:
    """Names that a file defines: they are its own on any object."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


def private_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each private name that is not the file's own."""
    own = names_defined_in(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names if is_private_module(alias.name))
            case ast.ImportFrom(module=str(module), names=names, level=0):
                imported = (f"{module}.{alias.name}" for alias in names)
                yield from ((node.lineno, name) for name in imported if is_private_module(name))
            case ast.Constant(value=str(text)) if is_private_module(text):
                yield node.lineno, text
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(value=value, attr=name) if is_private(name) and name not in own:
                yield node.lineno, f"{ast.unparse(value)}.{name}"
            case ast.Attribute() if is_private_module(ast.unparse(node)):
                yield node.lineno, ast.unparse(node)
            case ast.Call(func=ast.Name(id="getattr" | "setattr"), args=[value, ast.Constant(value=str(name)), *_]) if (
                is_private(name)
            ):
                yield node.lineno, f"{ast.unparse(value)}.{name}"


def violations(package: Path) -> list[str]:
    """Every private name outside its home, as `file:line: name`."""
    found = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        if not file.startswith(HOME):
            tree = ast.parse(path.read_text(encoding="utf-8"), file)
            found += [f"{file}:{line}: {name}" for line, name in private_names(tree) if name not in NOT_RAYS]
    return found


def test_private_names_of_ray_are_used_in_their_home_alone() -> None:
    assert violations(PACKAGE) == []


@pytest.mark.parametrize(
    "source",
    [
        "import ray._private.state",
        "from ray._private import state",
        "from ray import _raylet",
        "from ray.core import generated",
        "def f():\n    from ray.core.generated.gcs_pb2 import ActorTableData",
        "from ray.data._internal.execution.execution_callback import ExecutionCallback",
        "import_module('ray.autoscaler._private.aws.node_provider')",
        "import ray\nray._raylet.GcsClient()",
        "import ray\nray.core.generated.gcs_pb2",
        "def f(executor):\n    return executor._topology",
        "class A:\n    def f(self):\n        return self._pool._running_actors",
        "def f(pool):\n    pool._config = 1",
        "def f(pool):\n    return getattr(pool, '_config')",
    ],
)
def test_a_private_name_is_found(tmp_path: Path, source: str) -> None:
    (tmp_path / "file.py").write_text(source, encoding="utf-8")
    assert violations(tmp_path)


@pytest.mark.parametrize(
    "source",
    [
        "import ray.data\nfrom ray.util.state import list_actors",
        "from safechain_ray.cluster.ray_internals._x import y",
        "class A:\n    def __init__(self, other):\n        self._count = other._count",
        "import os\nos._exit(1)",
        "def f(x):\n    return x.__class__",
        "class A:\n    def f(self):\n        return self._inherited",
    ],
)
def test_a_public_name_and_one_of_the_file_itself_may_stand(tmp_path: Path, source: str) -> None:
    (tmp_path / "file.py").write_text(source, encoding="utf-8")
    assert violations(tmp_path) == []
