"""Runs code of models where it can do no harm: no network, no files but its own scratch, limits on everything.

`run(code)` is all that most callers need; docs/sandbox.md says what is promised, and what is not.
"""

from safechain_ray.benchmarks.sandbox.limits import MIB, Ending, Limits, Program, Ran
from safechain_ray.benchmarks.sandbox.running import require_sandbox, run, run_programs, why_no_sandbox

__all__ = ["MIB", "Ending", "Limits", "Program", "Ran", "require_sandbox", "run", "run_programs", "why_no_sandbox"]
