"""The `safechain-ray` command with scripted engines for vLLM's: `-m tests.cluster.scripted_cli SECONDS ARGUMENTS`."""

import os
import sys

from safechain_ray import cli
from safechain_ray.engines import vllm
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request
from tests.cluster.scripted_runs import GUARD, MODEL, guard_script

ANSWERS = "SAFECHAIN_TEST_ANSWERS"
"""The environment variable with the file, if any, that gets a character for each answer, over all tries of a run."""


def answer_and_log(request: Request) -> str:
    with open(os.environ.get(ANSWERS, os.devnull), "a") as answers:
        answers.write(".")
    return "They ask for something." + Script().answer(request)


def main() -> None:
    seconds = float(sys.argv.pop(1))
    model = Script(seconds=seconds, answer=answer_and_log)
    vllm.start_vllm = ScriptedEngines({MODEL: model, GUARD: guard_script(seconds=seconds)})
    cli.main()


if __name__ == "__main__":
    main()
