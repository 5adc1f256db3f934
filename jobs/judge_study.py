"""`ray job submit --working-dir . -- python jobs/judge_study.py …`, with the flags of `safechain-ray judge-study`."""

import sys

from safechain_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "judge-study")
    main()
