"""The installed vLLM has every name and every argument that this project uses. Its sources are read, not imported.

So the contract is also tested where the engine cannot start: vLLM without a GPU, or with another PyTorch.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import safechain_ray
from safechain_ray.catalog import models
from safechain_ray.engines import vllm, vllm_environment
from safechain_ray.engines.start import EngineStart
from safechain_ray.engines.vllm_environment import engine_arguments

ENGINE = ast.parse(inspect.getsource(vllm))
SOURCES = (path.read_text(encoding="utf-8") for path in Path(safechain_ray.__file__).parent.rglob("*.py"))
USERS = [ast.parse(text) for text in SOURCES if "from vllm" in text]
"""The modules that import vLLM, `engines/vllm.py` among them."""

MODULE_OF = {
    "AsyncEngineArgs": "vllm.engine.arg_utils",
    "EngineArgs": "vllm.engine.arg_utils",
    "AsyncLLM": "vllm.v1.engine.async_llm",
    "SamplingParams": "vllm.sampling_params",
    "StatLoggerBase": "vllm.v1.metrics.loggers",
}


@cache
def source(module: str) -> ast.Module:
    """A module of the installed vLLM."""
    spec = find_spec("vllm")  # does not run the package
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent.joinpath(*module.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def defined(module: str) -> set[str]:
    """The names of a module; its texts are counted too, as vLLM's own package lists the names that it imports late."""
    names = set()
    for node in ast.walk(source(module)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.alias(name=name, asname=asname):
                names.add(asname or name)
            case ast.Constant(value=str(name)):
                names.add(name)
    return names


def class_of(name: str) -> ast.ClassDef:
    (found,) = (n for n in source(MODULE_OF[name]).body if isinstance(n, ast.ClassDef) and n.name == name)
    return found


def fields(*classes: str) -> set[str]:
    statements = (statement for name in classes for statement in class_of(name).body)
    targets = (statement.target for statement in statements if isinstance(statement, ast.AnnAssign))
    return {target.id for target in targets if isinstance(target, ast.Name)}


def members(name: str) -> set[str]:
    """Methods and properties of a class, and the attributes that its methods set."""
    names = set()
    for node in ast.walk(class_of(name)):
        match node:
            case ast.FunctionDef(name=member) | ast.AsyncFunctionDef(name=member):
                names.add(member)
            case ast.Attribute(value=ast.Name(id="self"), attr=member, ctx=ast.Store()):
                names.add(member)
    return names


def parameters(class_name: str, method: str) -> list[str]:
    (found,) = (n for n in class_of(class_name).body if isinstance(n, ast.FunctionDef) and n.name == method)
    return [argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)]


def calls(function: str) -> Iterator[ast.Call]:
    """Every call of a name or of a method with that name."""
    for tree in USERS:
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name == function:
                    yield node


IMPORTS = sorted(
    {
        (node.module, alias.name)
        for tree in USERS
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "vllm"
        for alias in node.names
    }
)


def test_imports_are_found() -> None:
    assert ("vllm.v1.engine.async_llm", "AsyncLLM") in IMPORTS
    assert len(IMPORTS) > 8


@pytest.mark.parametrize(("module", "name"), IMPORTS, ids=[f"{module}.{name}" for module, name in IMPORTS])
def test_the_installed_vllm_has_it(module: str, name: str) -> None:
    assert name in defined(module)


def test_an_engine_takes_every_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_environment, "is_fuse", lambda filesystem: True)
    monkeypatch.setattr(vllm_environment, "available_memory", lambda: 1e15)
    quantized = models()["R1-32B"].model_copy(update={"quantization": "fp8"})
    one_gpu, log = models()["R1-7B"], Path("/no/log")
    starts = (
        EngineStart(one_gpu, "cpu", log),
        EngineStart(one_gpu, "cuda", log, memory_share=0.4),
        EngineStart(quantized, "cuda", log, batch_invariant=True),
    )
    used = {name for start in starts for name in engine_arguments(start, "weights")}
    assert {"safetensors_load_strategy", "compilation_config", "quantization", "enforce_eager"} < used
    assert used - fields("EngineArgs", "AsyncEngineArgs") == set()


def test_a_request_has_only_known_sampling_parameters() -> None:
    used = {keyword.arg for call in calls("SamplingParams") for keyword in call.keywords}
    assert {"seed", "output_kind"} < used
    assert used - fields("SamplingParams") == set()


def test_the_engine_has_every_member_in_use() -> None:
    (start,) = calls("from_engine_args")
    assert {keyword.arg for keyword in start.keywords} <= set(parameters("AsyncLLM", "from_engine_args"))
    used = {
        node.attr
        for node in ast.walk(ENGINE)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._engine"
    }
    assert {"generate", "errored", "shutdown"} < used
    assert used - members("AsyncLLM") == set()


def test_a_stat_logger_is_called_as_the_counter_of_tokens_is_defined() -> None:
    (counter,) = (n for n in ast.walk(ENGINE) if isinstance(n, ast.ClassDef) and n.name == "TokenCounter")
    own = {n.name: [a.arg for a in n.args.args] for n in counter.body if isinstance(n, ast.FunctionDef)}
    assert own["record"] == parameters("StatLoggerBase", "record")
    must = (n for n in class_of("StatLoggerBase").body if isinstance(n, ast.FunctionDef) and n.decorator_list)
    assert {n.name for n in must if "abstractmethod" in map(ast.unparse, n.decorator_list)} <= own.keys()
