"""Sandboxed execution of code written by models: no network, a scratch folder only, limits on every resource.

Most callers need only `run(code)`. docs/sandbox.md lists the guarantees and the gaps.
"""

from safechain_ray.benchmarks.sandbox.bubblewrap import MIB, Ending, Limits, Program, Ran
from safechain_ray.benchmarks.sandbox.running import require_sandbox, run, run_programs, why_no_sandbox

__all__ = ["MIB", "Ending", "Limits", "Program", "Ran", "require_sandbox", "run", "run_programs", "why_no_sandbox"]
