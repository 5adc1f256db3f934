"""`ray job submit --working-dir . -- python jobs/build_dataset.py …`, with `safechain-ray build-dataset`'s flags."""

from _command import run_command

if __name__ == "__main__":
    run_command("build-dataset")
