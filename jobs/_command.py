"""Runs one command of `safechain-ray` as a job script, or explains how to get the packages that it needs."""

import os
import sys
from pathlib import Path


def run_command(name: str) -> None:
    """Run `safechain-ray NAME` with this process's arguments; exit with 1 if a package is missing."""
    root = Path(__file__).parents[1]
    if (root / "pyproject.toml").exists():
        sys.path.insert(0, str(root))  # the checkout that this script belongs to; the wheel's scripts have none
    try:
        from safechain_ray.cli import main
    except ModuleNotFoundError as missing:
        venv = Path(os.path.relpath(root / ".venv" / "bin" / "python"))
        setup = "" if venv.exists() else "run `make setup`, then "
        sys.exit(
            f"{sys.executable} has no package {missing.name}. Fix: {setup}start this script with {venv}; on a cluster, "
            "submit it with --runtime-env deploy/runtime_env.yaml (docs/jobs.md)."
        )
    sys.argv.insert(1, name)
    main()
