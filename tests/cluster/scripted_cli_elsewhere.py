"""`scripted_cli` as on a machine of its own: nobody can see from elsewhere whether its processes live."""

import os
from functools import partial

from safechain_ray.storage import lease
from tests.cluster import scripted_cli

LASTS = 6.0
"""Seconds that its lease lasts: shorter than usual, so that a test need not wait."""

if __name__ == "__main__":
    machine = f"machine of process {os.getpid()}"
    lease._machine = lambda: machine
    lease.Timing = partial(lease.Timing, lasts=LASTS, renew_interval=1.0)
    scripted_cli.main()
