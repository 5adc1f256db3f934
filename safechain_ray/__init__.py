"""Measure, and improve, the safety of large reasoning models at scale.

The functions are imported when they are first used, so that `import safechain_ray` is quick.

Example:
    >>> from safechain_ray import evaluate, load_run
    >>> run = evaluate(model="demo-reasoner", datasets=["quickstart"], judges=["demo-guard"], output="runs/mine")
    >>> load_run("runs/mine").figures.to_pandas()
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safechain_ray.library import (
        Run,
        RunConfig,
        Sweep,
        SweepConfig,
        compare,
        evaluate,
        import_responses,
        judge,
        load_run,
        session,
        sweep,
    )

__version__ = "0.1.0"

__all__ = [
    "Run",
    "RunConfig",
    "Sweep",
    "SweepConfig",
    "__version__",
    "compare",
    "evaluate",
    "import_responses",
    "judge",
    "load_run",
    "session",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("safechain_ray.library"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
