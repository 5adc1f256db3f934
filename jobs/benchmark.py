"""`ray job submit --working-dir . -- python jobs/benchmark.py …`, with the flags of `safechain-ray benchmark`."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "benchmark")
    main()
