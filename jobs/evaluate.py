"""`ray job submit --working-dir . -- python jobs/evaluate.py …`, with the flags of `safechain-ray evaluate`."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "evaluate")
    main()
