"""`ray job submit --working-dir . -- python jobs/finetune.py …`, with the flags of `safechain-ray finetune`."""

from _command import run_command

if __name__ == "__main__":
    run_command("finetune")
