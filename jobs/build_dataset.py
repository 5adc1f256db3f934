"""`ray job submit --working-dir . -- python jobs/build_dataset.py …`, with `safechain-ray build-dataset`'s flags."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "build-dataset")
    main()
