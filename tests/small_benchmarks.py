"""Small benchmarks of mathematics and of code, in files, with answers that are right, wrong and hostile."""

import asyncio
import json
from pathlib import Path
from typing import Any

from safechain_ray.engines.start import EngineStart
from safechain_ray.testing import Script, ScriptedEngine
from safechain_ray.types import Completion, Request

SUMS = 12
FUNCTIONS = 8

RIGHT = "def add_{n}(x):\n    return x + {n}"
CODE = {
    0: RIGHT,
    1: "def add_{n}(x):\n    return x",
    2: "import os\nos._exit(0)",
    3: "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nopen('/tmp/../home/x', 'w')\n" + RIGHT,
}
"""By number modulo 4; the last one is right after mischief that the sandbox makes nothing of, or ends."""


def sums_file(folder: Path, count: int = SUMS) -> Path:
    """`What is n plus n?`, in GSM8K's columns."""
    return _written(
        folder / "sums.jsonl",
        [{"question": f"What is {n} plus {n}?", "answer": f"Twice {n} it is.\n#### {2 * n}"} for n in range(count)],
    )


def functions_file(folder: Path, count: int = FUNCTIONS) -> Path:
    """`add_n`, which adds n, in MBPP's columns."""
    return _written(
        folder / "functions.jsonl",
        [
            {
                "task_id": n,
                "prompt": f"Write a function add_{n} that adds {n} to its argument.",
                "test_list": [f"assert add_{n}(1) == {n + 1}", f"assert add_{n}(-2) == {n - 2}"],
                "test_imports": [],
            }
            for n in range(count)
        ],
    )


def answer(request: Request) -> str:
    """Of four sums one is wrong and one never comes to an answer, of four functions `CODE`; thoughts are closed."""
    if "plus" not in request.prompt:
        n = int(request.prompt.partition("add_")[2].split()[0])
        return f"I write it.\n</think>\n\n```python\n{CODE[n % 4].replace('{n}', str(n))}\n```\n"
    n = int(request.prompt.partition("What is ")[2].split()[0])
    match n % 4:
        case 0 | 1:
            return f"I add.\n</think>\n\nThe answer is \\boxed{{{2 * n}.0}}."
        case 2:
            return f"I guess.\n</think>\n\nThe answer is \\boxed{{{2 * n + 1}}}."
        case _:
            return f"It is \\boxed{{{2 * n}}}? " + "Hm. " * 200


def behind_an_opened_block(request: Request) -> str:
    """The code of `answer` without its thought and its opening fence, and prose behind it."""
    assert request.prompt.endswith("```python\n")
    return answer(request).partition("```python\n")[2] + "So it is."


ANSWERED = 8
"""Requests after which `StuckEngine` answers no more."""


class StuckEngine(ScriptedEngine):
    async def generate(self, request: Request) -> Completion:
        if self.requests >= ANSWERED:
            await asyncio.sleep(3600)
        return await super().generate(request)


def start_stuck(start: EngineStart) -> StuckEngine:
    return StuckEngine(Script(answer=answer), start.on_tokens)


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
