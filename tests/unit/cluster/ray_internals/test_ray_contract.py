"""The installed Ray has every private name that a hook needs, and every private name in use is declared by a hook."""

import ast
import importlib
import pkgutil
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from safechain_ray.cluster import ray_internals
from safechain_ray.cluster.ray_internals import hooks
from safechain_ray.cluster.ray_internals.hooks import Hook
from safechain_ray.cluster.ray_internals.node_providers import PROVIDERS, node_provider
from safechain_ray.cluster.ray_internals.stream_context import StreamCallback

HOME = Path(ray_internals.__file__).parent


def modules() -> Iterator[Any]:
    for found in pkgutil.iter_modules([str(HOME)]):
        yield importlib.import_module(f"{ray_internals.__name__}.{found.name}")


HOOKS = sorted({value for module in modules() for value in vars(module).values() if isinstance(value, Hook)}, key=str)
NEEDS = sorted({need for hook in HOOKS for need in hook.needs})


def test_all_hooks_are_found() -> None:
    assert {hook.name for hook in HOOKS} == {
        "GPUs of a local Ray",
        "actors of placement groups",
        "death reasons",
        "draining nodes",
        "free resources",
        "pool sizes",
        "preemption for a starved pool",
        "replication to the driver",
        "requeue on drain",
        "source buffer",
        "spot notice",
        "stream control",
    }


def test_the_ray_that_a_warning_names_is_the_newest_supported_one() -> None:
    project = tomllib.loads((HOME.parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (supported,) = (line for line in map(Requirement, project["dependencies"]) if line.name == "ray")
    tested = Version(hooks.TESTED_RAY)
    assert supported.specifier.contains(tested)
    assert not supported.specifier.contains(f"{tested.major}.{tested.minor + 1}")


@pytest.mark.parametrize(("module", "path"), NEEDS, ids=[".".join(need) for need in NEEDS])
def test_the_installed_ray_has_it(module: str, path: str) -> None:
    assert Hook("one", "nothing", ((module, path),)).missing() == ()


@pytest.mark.parametrize("cloud", sorted(PROVIDERS))
def test_the_installed_ray_has_the_node_provider(cloud: str) -> None:
    module, name, _ = PROVIDERS[cloud]
    spec = find_spec(module)  # reads the file: the cloud's own package need not be installed
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_a_node_provider_that_cannot_be_imported_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "aws", ("ray.autoscaler._private.gone", "Gone", "boto3"))
    with pytest.raises(ImportError, match=r"Fix: install boto3, or write `provider\.type: aws`"):
        node_provider("aws")


def private_names_used() -> Iterator[tuple[str, str]]:
    """File and name of each private attribute of another object, and of each import from a private module."""
    for path in sorted(HOME.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        fields = (node.target for node in ast.walk(tree) if isinstance(node, ast.AnnAssign))
        own = {field.id for field in fields if isinstance(field, ast.Name)}
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(value=ast.Name(id="self" | "cls")):
                    continue
                case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__") and name not in own:
                    yield path.name, name
                case ast.ImportFrom(module=str(module), names=names) if "._" in module or ".generated" in module:
                    yield from ((path.name, alias.name) for alias in names)


def test_every_private_name_in_use_is_declared() -> None:
    declared = {part for module, path in NEEDS for part in (*module.split("."), *path.split("."))}
    assert {(file, name) for file, name in private_names_used() if name not in declared} == set()


def test_a_callback_has_every_method_of_rays_own() -> None:
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    assert issubclass(StreamCallback, ExecutionCallback)


class Renamed:
    """A class of another Ray: `old` is gone; `_kept` is set by its constructor, `field` is annotated."""

    field: int

    def __init__(self) -> None:
        self._kept = 1

    def new(self) -> None: ...


@pytest.mark.parametrize(
    ("module", "path", "exists"),
    [
        (__name__, "Renamed.new", True),
        (__name__, "Renamed._kept", True),
        (__name__, "Renamed.field", True),
        (__name__, "Renamed.old", False),
        (__name__, "Renamed._kept.more", False),
        (__name__, "Gone.new", False),
        ("no_such_package.of_ray", "Renamed", False),
    ],
)
def test_methods_fields_and_attributes_of_instances_are_looked_for(module: str, path: str, exists: bool) -> None:
    assert (Hook("one", "nothing", ((module, path),)).missing() == ()) is exists


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_a_hook_that_lacks_a_name_is_off_and_says_once_what_is_lost(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(hooks, "_warned", set())
    monkeypatch.setattr(hooks.logger, "warning", lambda text, *values: said.append(text % values))
    assert hook.is_on()
    module, path = hook.needs[-1]
    exists = hooks._exists
    monkeypatch.setattr(hooks, "_exists", lambda *need: need != (module, path) and exists(*need))
    assert not hook.is_on()
    assert not hook.is_on()
    (sentence,) = said
    assert f"has no {module}.{path}. The hook {hook.name} is off: {hook.guarantee}. Fix: install ray==" in sentence
