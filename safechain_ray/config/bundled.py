"""Configs that ship with the package: `--config paper/main_table` works from any folder.

The files are in `configs/` of a checkout. The wheel has them inside the package (`tool.hatch` in pyproject.toml).
"""

from difflib import get_close_matches
from importlib.resources import files
from itertools import takewhile
from os import PathLike, fspath
from pathlib import Path

from safechain_ray.errors import InputError

SUFFIX = ".yaml"

SUFFIXES = (SUFFIX, ".yml")
"""Of config files on disk, which a name may leave out."""


def bundled_configs() -> dict[str, Path]:
    """The file of each config that ships with the package, by name."""
    folder = _folder()
    return {_name(file.relative_to(folder)): file for file in sorted(folder.rglob(f"*{SUFFIX}"))}


def find_config(path: Path) -> Path:
    """The config file at `path`, with or without its suffix, or else the bundled config of that name.

    The name may have `configs/` before it and `.yaml` behind it, so that a command for a checkout works elsewhere too.
    A path that begins with `/`, `~` or `..` is never such a name: a mistyped path must not run another config.
    Raises InputError for neither, with the nearest names.

    Example:
        >>> find_config(Path("paper/main_table")).name
        'main_table.yaml'
    """
    file = path.expanduser()
    for each in (file, *(_with_suffix(file, suffix) for suffix in SUFFIXES)):
        if each.is_file():
            return each
    name, known = _name(path).removeprefix("configs/"), bundled_configs()
    is_name = not path.is_absolute() and path.parts[:1] != ("..",) and not str(path).startswith("~")
    if is_name and name in known:
        return known[name]
    same = [each for each in known if name.endswith(f"/{each}")]
    near = same or get_close_matches(name, known, n=3, cutoff=0.5)
    nearest = f" Nearest: {', '.join(near)}." if near else ""
    neither = ", and no config of that name is part of the package" if is_name else ""
    raise InputError(
        f"No config file at {path}{neither}.{nearest} Fix: check the path, or give a name that `safechain-ray config "
        "list` shows."
    )


def config_path(given: str | PathLike[str]) -> Path:
    """The path of a config as a user gave it. `Path` drops a `./` at its beginning, so that it looks like a name.

    Example:
        >>> config_path("quickstart"), config_path("./quickstart").is_absolute()
        (PosixPath('quickstart'), True)
    """
    return Path(given).absolute() if fspath(given).startswith("./") else Path(given)


def about(file: Path) -> str:
    """The first sentence of the comment at the top of a config, without the line for editors."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
    comment = " ".join(line.removeprefix("#").strip() for line in lines if "$schema=" not in line)
    return f"{comment.partition('. ')[0].removesuffix('.')}."


def _folder() -> Path:
    package = Path(str(files("safechain_ray")))
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def _name(path: Path) -> str:
    return path.as_posix().removesuffix(SUFFIX)


def _with_suffix(file: Path, suffix: str) -> Path:
    """`file` with `suffix` behind its whole name, in which a point may be part of a version."""
    return file.parent / f"{file.name}{suffix}"
