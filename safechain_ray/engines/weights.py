"""Where a model's weights lie: `package://NAME` for those shipped with the project, else as they are."""

from importlib.resources import files
from pathlib import Path

from safechain_ray.errors import InputError

PACKAGE_SCHEME = "package://"


def weights_location(source: str) -> str:
    """A local path or a Hugging Face id that engines and tokenizers open. Raises InputError for a missing folder."""
    if source.startswith(PACKAGE_SCHEME):
        folder = Path(str(files("safechain_ray") / "demo" / "models" / source.removeprefix(PACKAGE_SCHEME)))
        if not folder.is_dir():
            raise InputError(f"{source}: the package ships no such model (looked in {folder}).")
        return str(folder)
    looks_local = source.startswith(("/", "./", "../", "~"))
    if looks_local and not Path(source).expanduser().is_dir():
        raise InputError(f"No model folder at {source}.")
    return str(Path(source).expanduser()) if looks_local else source
