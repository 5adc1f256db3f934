"""Runs code of models where it can do no harm: no network, no files but its own scratch, limits on everything.

`run(code)` is all that most callers need; docs/sandbox.md says what is promised, and what is not.
"""

from safechain_ray.benchmarks.sandbox.backends import require_sandbox, why_no_sandbox
from safechain_ray.benchmarks.sandbox.limits import MIB, Ending, Limits, Program, Ran
from safechain_ray.benchmarks.sandbox.running import run, run_programs

__all__ = ["MIB", "Ending", "Limits", "Program", "Ran", "require_sandbox", "run", "run_programs", "why_no_sandbox"]
