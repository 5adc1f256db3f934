"""`ray job submit --working-dir . -- python jobs/benchmark.py …`, with the flags of `safechain-ray benchmark`."""

from _command import run_command

if __name__ == "__main__":
    run_command("benchmark")
