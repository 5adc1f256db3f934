"""Two tiny models that are shipped with the package, for machines with no GPU and no download."""

from importlib.resources import files
from pathlib import Path

from safechain_ray.errors import UnknownNameError

MODELS = ("demo-reasoner", "demo-guard")


def model_path(name: str) -> Path:
    """The folder of a shipped model, in Hugging Face format. Raises UnknownNameError for any other name."""
    if name not in MODELS:
        raise UnknownNameError("demo model", name, MODELS)
    return Path(str(files(__package__) / "models" / name))
