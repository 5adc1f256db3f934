"""The Python API: the commands as functions, and finished runs as objects. `safechain_ray` itself exports all of it."""

from safechain_ray.library.streams import quiet_imports

with quiet_imports():
    from safechain_ray.config import RunConfig, SweepConfig
    from safechain_ray.library.functions import Sweep, compare, evaluate, import_responses, judge, session, sweep
    from safechain_ray.library.results import Rows, Run, load_run

__all__ = [
    "Rows",
    "Run",
    "RunConfig",
    "Sweep",
    "SweepConfig",
    "compare",
    "evaluate",
    "import_responses",
    "judge",
    "load_run",
    "session",
    "sweep",
]
