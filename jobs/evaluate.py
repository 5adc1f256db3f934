"""`ray job submit --working-dir . -- python jobs/evaluate.py …`, with the flags of `safechain-ray evaluate`."""

from _command import run_command

if __name__ == "__main__":
    run_command("evaluate")
