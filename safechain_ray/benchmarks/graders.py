"""The graders by the kind that the catalog names.

Adding one is a file with `build`, a line in `GRADERS`, and its name among the catalog's kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from safechain_ray.benchmarks.base import Grader
from safechain_ray.catalog.benchmark_entries import GraderKind

__all__ = ["GRADERS", "GraderEntry", "make_grader"]


@dataclass(frozen=True, slots=True)
class GraderEntry:
    """Where a grader is found, and whether it runs what a model wrote, for which there must be a sandbox."""

    module: str
    runs_code: bool = True


GRADERS: Mapping[GraderKind, GraderEntry] = {
    "math": GraderEntry("math_grader", runs_code=False),
    "code_completion": GraderEntry("code_completion"),
    "code_asserts": GraderEntry("code_asserts"),
    "code_tests": GraderEntry("code_tests"),
    "terms": GraderEntry("terms_grader", runs_code=False),
}


def make_grader(kind: GraderKind) -> Grader:
    """A grader of this kind. It may hold processes of its own: one is enough for all threads of a process."""
    grader: Grader = import_module(f"{__package__}.{GRADERS[kind].module}").build()
    return grader
