"""The graders by the kind that the catalog names.

Adding one is a file with `build`, a line in `GRADERS`, and its name among the catalog's kinds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from safechain_ray.benchmarks.base import Graded, Grader
from safechain_ray.catalog.benchmark_entries import GraderKind

__all__ = ["GRADERS", "GraderEntry", "make_grader"]


@dataclass(frozen=True, slots=True)
class GraderEntry:
    """Where a grader is found, and what it needs.

    `runs_code`: the grader runs what a model wrote, for which there must be a sandbox. `reads`: what of a sample is
    graded, the answer behind the thought, the whole response, or what the model generated behind a prefill. `version`
    rises whenever the same text may get another grade than before.
    """

    module: str
    runs_code: bool = True
    build: str = "build"
    reads: Graded = "answer"
    version: int = 1


GRADERS: Mapping[GraderKind, GraderEntry] = {
    "math": GraderEntry("math_grader", runs_code=False, version=2),
    "code_completion": GraderEntry("code_completion", version=2),
    "code_completion_evalplus": GraderEntry("code_completion", build="build_evalplus", reads="generated"),
    "code_asserts": GraderEntry("code_asserts", version=2),
    "code_asserts_evalplus": GraderEntry("code_asserts", build="build_evalplus", reads="generated"),
    "code_tests": GraderEntry("code_tests", version=2),
    "code_tests_skythought": GraderEntry("skythought_tests", reads="response"),
    "terms": GraderEntry("terms_grader", runs_code=False),
}


def make_grader(kind: GraderKind) -> Grader:
    """A grader of this kind. It may hold processes of its own: one is enough for all threads of a process."""
    entry = GRADERS[kind]
    grader: Grader = getattr(import_module(f"{__package__}.{entry.module}"), entry.build)()
    return grader
