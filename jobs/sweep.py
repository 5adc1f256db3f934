"""`ray job submit --working-dir . -- python jobs/sweep.py …`, with the flags of `safechain-ray sweep`."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "sweep")
    main()
