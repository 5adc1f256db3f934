"""`ray job submit --working-dir . -- python jobs/finetune.py …`, with the flags of `safechain-ray finetune`."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "finetune")
    main()
