"""`ray job submit --working-dir . -- python jobs/sweep.py …`, with the flags of `safechain-ray sweep`."""

from _command import run_command

if __name__ == "__main__":
    run_command("sweep")
