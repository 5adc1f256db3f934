"""Python code that a catalog entry names as `module:name`: found beside the catalog file, or installed."""

import importlib
import sys
import traceback
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from safechain_ray.catalog.sources import Origin
from safechain_ray.errors import InputError, first_line

_folders: set[Path] = set()
"""Folders of catalog files that modules were imported from."""

_loaded: dict[str, Any] = {}
"""The objects that entries name, by the entry and its place."""


def is_code(reference: str) -> bool:
    """Whether a kind names Python code rather than a built-in kind."""
    return ":" in reference


def load_code(reference: str, entry: str, origin: Origin | None, *, for_workers: bool = True) -> Any:
    """The object that `module:name` of an entry names. `entry` (`judge my-guard`) and `origin` are for messages.

    Code `for_workers` is sent to other processes.

    Raises InputError if the module can't be imported or has no such object.

    Example:
        >>> load_code("wordcount:WordCount", "judge by-words", origin)
        <class 'wordcount.WordCount'>
    """
    module_name, _, name = reference.partition(":")
    where = f"{entry} ({origin.place})" if origin is not None else entry
    try:
        module = _import(module_name, None if origin is None else origin.folder)
    except _NameTakenError as error:
        raise InputError(f"{where}: {error}") from None
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{where}: module {module_name!r} of {reference!r} can't be imported: {type(error).__name__}: "
            f"{first_line(error)}{_raised_at(error)}. Fix: correct the module, put it beside the catalog file, or "
            "install its package."
        ) from error
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        public = ", ".join(sorted(each for each in vars(module) if not each.startswith("_"))) or "nothing"
        raise InputError(
            f"{where}: module {module_name!r} has no class or function {name!r}; it has {public}. Fix: correct "
            f"{reference!r}."
        )
    if for_workers:
        _loaded[where] = found
    return found


def code_for_workers() -> Mapping[str, Any]:
    """The objects loaded so far that workers use, by entry and place, as messages name them."""
    return _loaded


def modules_of_catalogs() -> tuple[ModuleType, ...]:
    """Imported modules of catalog folders. They are pickled by value, as other nodes have no such files."""
    return tuple(
        module
        for name, module in sys.modules.copy().items()  # other threads may import meanwhile
        if name.partition(".")[0] != __package__.partition(".")[0]
        and (file := getattr(module, "__file__", None))
        and any(_file_of(name, folder) == Path(file).resolve() for folder in _folders)
    )


def _raised_at(error: BaseException) -> str:
    """File and line of a user's code that raised, in brackets; empty for a module that is not there itself."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "importlib" not in frame.filename and frame.filename != __file__
    ]
    own = [frame for frame in frames if any(Path(frame.filename).is_relative_to(folder) for folder in _folders)]
    last = next(reversed(own or frames), None)
    return "" if last is None else f" ({Path(last.filename).name}, line {last.lineno})"


class _NameTakenError(Exception):
    """Another module of this name is imported already."""


def _import(name: str, folder: Path | None) -> ModuleType:
    beside = None if folder is None else _file_of(name, folder)
    if beside is None:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    assert folder is not None
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: a module must not hide one that is installed
    _folders.add(folder)
    with redirect_stdout(sys.stderr):  # stdout is for JSON
        module = importlib.import_module(name)
    if module.__file__ is None or Path(module.__file__).resolve() != beside:
        raise _NameTakenError(f"another module {name!r} is installed. Fix: rename {beside}.")
    return module


def _file_of(name: str, folder: Path) -> Path | None:
    """The file of a module in a folder; None where the folder has no such module."""
    path = folder.joinpath(*name.split("."))
    return next((file.resolve() for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
