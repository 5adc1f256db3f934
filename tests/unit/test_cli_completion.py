"""Shell completion of `safechain-ray`: values of options by a real shell, and every option that has names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from safechain_ray import catalog
from safechain_ray.cli import app
from safechain_ray.cli.completion import KIND_OF_KEY, VALUES
from safechain_ray.cli.options import KeyedOption

SHELLS = {
    "bash": """
        eval "$(_SAFECHAIN_RAY_COMPLETE=bash_source safechain-ray)"
        COMP_WORDS=(safechain-ray evaluate --model R1-7)
        COMP_CWORD=3
        _safechain_ray_completion safechain-ray
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() { :; }
        compadd() { print -l $completions; }
        _describe() { print -l $completions_with_descriptions; }
        eval "$(_SAFECHAIN_RAY_COMPLETE=zsh_source safechain-ray)"
        words=(safechain-ray evaluate --model R1-7)
        CURRENT=4
        _safechain_ray_completion
    """,
}
"""Completes `--model R1-7` in a shell that is not interactive, and prints the completions."""


def completed(*words: str) -> list[str]:
    """The completions of the last word."""
    complete = ShellComplete(app, {}, "safechain-ray", "_SAFECHAIN_RAY_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


def test_names_of_the_catalog_complete() -> None:
    assert "R1-7B" in completed("evaluate", "--model", "R1")
    assert completed("evaluate", "--strategy", "z") == ["zerothink"]
    assert completed("evaluate", "--dataset", "strongreject-") == ["strongreject-small"]
    assert completed("benchmark", "--benchmark", "gsm") == ["gsm8k"]
    assert completed("judge-study", "--vote", "m") == ["majority"]


def test_each_command_completes_the_judges_that_it_takes() -> None:
    assert set(completed("evaluate", "--judge", "")) | set(completed("prefer", "--judge", "")) == set(catalog.judges())
    assert all(name.startswith("prefer-") for name in completed("prefer", "--judge", ""))


def test_a_path_is_left_to_the_shell() -> None:
    complete = ShellComplete(app, {}, "safechain-ray", "_SAFECHAIN_RAY_COMPLETE")
    assert [item.type for item in complete.get_completions(["evaluate", "--model"], "./mod")] == ["file"]


def test_every_kind_has_values() -> None:
    assert all(values() for values in VALUES.values())


def test_every_key_that_completes_belongs_to_an_option() -> None:
    keys = {
        option.key
        for command in app.commands.values()
        if isinstance(command, click.Command)
        for option in command.params
        if isinstance(option, KeyedOption)
    }
    assert set(KIND_OF_KEY) <= keys


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_the_models(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    command = tmp_path / "safechain-ray"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m safechain_ray "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([program, "-c", SHELLS[shell]], env=environment, capture_output=True, text=True, timeout=60)
    names = {line.partition(":")[0] for line in done.stdout.splitlines()}
    assert names >= {"R1-7B", "R1-70B", "R1-7B-SafeChain"}, done.stderr
