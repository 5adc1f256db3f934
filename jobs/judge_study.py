"""`ray job submit --working-dir . -- python jobs/judge_study.py …`, with the flags of `safechain-ray judge-study`."""

from _command import run_command

if __name__ == "__main__":
    run_command("judge-study")
