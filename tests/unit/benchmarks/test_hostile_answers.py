"""Answers that attack whoever grades them, through the graders of code: the sandbox holds, and the answer is wrong.

Each would be right had its attack succeeded.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from textwrap import indent

import pytest

from safechain_ray.benchmarks.base import Grade, Problem
from safechain_ray.benchmarks.code_tests import CodeAsserts, CodeTests
from safechain_ray.benchmarks.sandbox import MIB, Limits
from tests.sandboxes import needs_sandbox

pytestmark = needs_sandbox

SHORT = Limits(processor_seconds=1, wall_seconds=3, memory=256 * MIB, output=50_000)

SECRET = "a-secret-of-the-environment"

# What the answer does, and what is said of it. OUTSIDE is a folder of this machine.
ATTACKS = {
    "forks for ever": (
        "while True:\n    try: os.fork()\n    except OSError: pass",
        r"more than 1 s of processor time|had not ended after",
    ),
    "sleeps": ("time.sleep(600)\nreturn 'done'", r"had not ended after \d s"),
    "fills memory": ("x = []\nwhile True: x.append(' ' * 2**20 + str(len(x)))", r"MemoryError"),
    "writes outside": ("open('OUTSIDE/mine', 'w').write('mine')\nreturn 'done'", r"FileNotFoundError"),
    "opens a socket": (
        "socket.socket(socket.AF_INET).bind(('127.0.0.1', 0))\nreturn 'done'",
        r"Address family not supported",
    ),
    "prints for ever": ("while True: print('x' * 1000)", r"printed more than [\d,]+ bytes"),
    "kills its parent": (
        "try:\n    os.kill(os.getppid(), signal.SIGTERM)\n    os.kill(os.getppid(), signal.SIGKILL)\n"
        "finally:\n    return 'and still nobody is dead'",
        r"AssertionError|'and still nobody is dead' instead of 'done'",
    ),
    "reads the environment": (
        "found = dict(os.environ)\nfor number in ('self', os.getppid(), 1):\n"
        "    try: found[number] = open(f'/proc/{number}/environ').read()\n    except OSError: pass\n"
        "return (re.findall('a-secret[a-z-]+', str(found)) or ['nothing'])[0]",
        r"AssertionError|'nothing' instead of",
    ),
}


def answer(body: str, call: str = "") -> str:
    return f"```python\nimport os, re, signal, socket, time\ndef f(x):\n{indent(body, '    ')}\n{call}\n```"


def by_assertions(body: str, wanted: str) -> Grade:
    return CodeAsserts(SHORT).grade(Problem("1", "", {"test_list": [f"assert f(1) == {wanted!r}"]}), answer(body))


def by_what_it_prints(body: str, wanted: str) -> Grade:
    return CodeTests(SHORT).grade(contest("1\n", wanted), answer(body, "print(f(int(input())))"))


def by_what_it_returns(body: str, wanted: str) -> Grade:
    return CodeTests(SHORT).grade(contest("1", json.dumps(wanted), func_name="f"), answer(body))


def contest(given: str, wanted: str, **metadata: str) -> Problem:
    kind = "functional" if metadata else "stdin"
    tests = json.dumps([{"input": given, "output": wanted, "testtype": kind}])
    return Problem("1", "", {"public_test_cases": tests, "private_test_cases": "[]", "metadata": json.dumps(metadata)})


@pytest.mark.parametrize("grade", [by_assertions, by_what_it_prints, by_what_it_returns])
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_answer_that_attacks_is_simply_wrong(
    attack: str, grade: Callable[[str, str], Grade], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    body, said = ATTACKS[attack]
    wanted = SECRET if attack == "reads the environment" else "done"
    graded = grade(body.replace("OUTSIDE", str(tmp_path)), wanted)
    assert graded.correct is False
    assert re.search(said, graded.error or ""), graded.error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("grade", [by_assertions, by_what_it_prints, by_what_it_returns])
def test_one_that_does_not_is_right(grade: Callable[[str, str], Grade]) -> None:
    assert grade("return 'done'", "done").correct
