"""For tests that need a sandbox that works; where there is none they are skipped, with the reason."""

import pytest

from safechain_ray.benchmarks.sandbox import why_no_sandbox

_why_not = why_no_sandbox()
needs_sandbox = pytest.mark.skipif(_why_not is not None, reason=_why_not or "")
