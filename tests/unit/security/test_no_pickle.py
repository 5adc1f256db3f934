"""Nothing from a bucket or a data set is unpickled, because a pickle can run code."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.errors import InputError, StorageError
from safechain_ray.runs.file_index import repair_and_index
from safechain_ray.storage import open_folder
from safechain_ray.types.tables import plain_columns
from tests.deployment import ROOT

UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile"}
UNSAFE_METHODS = {("torch", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("yaml", "full_load"), ("np", "load")}


BY_DESIGN = {
    "safechain_ray/benchmarks/examination.py": "compiles the test; reads LiveCodeBench by an unpickler of texts",
    "safechain_ray/benchmarks/conversation.py": "runs inside the sandbox",
    "safechain_ray/benchmarks/sandbox/launcher.py": "runs inside the sandbox, and reads what was handed in",
    "safechain_ray/benchmarks/sandbox/running.py": "hands it in: marshal only writes here",
    "safechain_ray/cluster/session.py": "says which modules Ray pickles by value, and only writes pickles",
    "safechain_ray/training/shard_pickles.py": "looks at what torch unpickles, by an unpickler that knows its classes",
}


def unsafe(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (f"{node.lineno}: import {one.name}" for one in names if one.name in UNPICKLERS)
            case ast.ImportFrom(module=str(module)) if {module.split(".")[0], module.split(".")[-1]} & UNPICKLERS:
                yield f"{node.lineno}: from {module}"
            case ast.ImportFrom(names=names):
                yield from (f"{node.lineno}: import {one.name}" for one in names if one.name in UNPICKLERS)
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                yield f"{node.lineno}: {name}()"
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=name)) if (module, name) in UNSAFE_METHODS:
                yield f"{node.lineno}: {module}.{name}()"


def test_no_file_of_the_project_unpickles_or_evaluates() -> None:
    files = {
        str(path.relative_to(ROOT)): list(unsafe(path.read_text()))
        for folder in ("safechain_ray", "jobs", "deploy")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {file: lines for file, lines in files.items() if lines and file not in BY_DESIGN} == {}
    assert all(files[file] for file in BY_DESIGN)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from ray import cloudpickle",
        "from ray.cloudpickle import loads",
        "import torch\ntorch.load('x')",
        "eval('1')",
    ],
)
def test_what_would_is_found(source: str) -> None:
    assert list(unsafe(source))


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self._mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


@pytest.fixture
def objects(mark: Path) -> pa.Array:
    """A column that Ray Data unpickles."""
    return pa.ExtensionArray.from_storage(
        ArrowPythonObjectType(), pa.array([pickle.dumps(Trap(mark))], pa.large_binary())
    )


@pytest.fixture
def trapped(tmp_path: Path, objects: pa.Array) -> Path:
    path = tmp_path / "trap.parquet"
    pq.write_table(pa.table({"prompt": objects}), path)
    return path


def test_the_trap_is_a_real_one(trapped: Path, mark: Path) -> None:
    pq.read_table(trapped).to_pylist()
    assert mark.exists()


def test_a_file_in_the_bucket_that_holds_objects_is_refused(trapped: Path, mark: Path) -> None:
    with pytest.raises(StorageError, match="prompt could run code"):
        open_folder(str(trapped.parent)).read_parquet(trapped.name)
    assert not mark.exists()


def test_among_the_samples_of_a_run_it_counts_as_a_broken_file(trapped: Path, mark: Path) -> None:
    inventory = repair_and_index(open_folder(str(trapped.parent)), retry_errors=True)
    assert [Path(name).name for name in inventory.broken_files] == ["trap.parquet"]
    assert not mark.exists()


def test_as_a_data_set_it_is_refused(trapped: Path, mark: Path) -> None:
    with pytest.raises(InputError, match="could run code"):
        load_prompts(adhoc_entry(str(trapped), prompt_column="prompt"))
    assert not mark.exists()


def test_objects_are_found_at_any_depth(objects: pa.Array) -> None:
    listed = pa.ListArray.from_arrays([0, 1], objects)
    for column in (listed, pa.StructArray.from_arrays([listed], ["inside"])):
        with pytest.raises(pa.ArrowInvalid, match="column"):
            plain_columns(pa.table({"column": column}))


def test_a_column_of_objects_that_nobody_asked_for_is_not_read(tmp_path: Path, objects: pa.Array, mark: Path) -> None:
    path = tmp_path / "other.parquet"
    pq.write_table(pa.table({"prompt": ["Why?"], "other": objects}), path)
    assert [prompt.text for prompt in load_prompts(adhoc_entry(str(path))).prompts] == ["Why?"]
    with pytest.raises(InputError, match="other could run code"):
        load_prompts(adhoc_entry(str(path), category_column="other"))
    assert not mark.exists()


def test_arrows_own_extension_types_hold_no_objects(objects: pa.Array) -> None:
    json_texts = pa.array(["{}"]).cast(pa.json_())
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((1, 2)))
    table = pa.table({"json": json_texts, "tensor": tensors})
    assert plain_columns(table) is table
    with pytest.raises(pa.ArrowInvalid, match="columns trap could"):
        plain_columns(table.append_column("trap", objects))
