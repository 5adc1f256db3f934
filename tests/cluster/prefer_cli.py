"""`safechain-ray prefer` with a scripted engine for vLLM's: `-m tests.cluster.prefer_cli SECONDS ARGUMENTS`.

The demo models can't tell which of two responses is better, so the judge of these tests is a script.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from safechain_ray import catalog, cli
from safechain_ray.catalog.judge_entries import Endpoint, JudgeEntry
from safechain_ray.engines import vllm
from safechain_ray.testing import Script, ScriptedEngines
from safechain_ray.types import Request
from tests.cluster.scripted_cli import ANSWERS
from tests.cluster.scripted_runs import GUARD

JUDGE = "prefer-script"


def catalog_with_judge(endpoint: Endpoint | None = None) -> Callable[[], Mapping[str, JudgeEntry]]:
    """The judges of the catalog, with one of kind preference: at `endpoint`, else one with room on any machine."""
    judges = catalog.judges()
    engine = judges["demo-guard"].engine if endpoint is None else None
    entry = JudgeEntry(name=JUDGE, kind="preference", engine=engine, endpoint=endpoint)
    return lambda: {**judges, JUDGE: entry}


def preference_script(log: bool = False, **changes: Any) -> Script:
    """Prefers a response that says `good`, wherever it stands; of two that do, the first."""

    def answer(request: Request) -> str:  # in here, so that it is sent along to workers, which can't import this file
        if log:
            with open(os.environ[ANSWERS], "a") as answers:
                answers.write(".")
        first, second = request.prompt.split("[begin response B")
        return "A" if "good" in first.rpartition("[begin response A")[2] else "B" if "good" in second else "C"

    table = {"A": -0.1, "B": -2.4, "C": -5.0}
    return Script(**{"answer": answer, "logprobs": lambda request: (table,), **changes})


if __name__ == "__main__":
    catalog.judges = catalog_with_judge()  # type: ignore[assignment]
    vllm.start_vllm = ScriptedEngines({GUARD: preference_script(log=True, seconds=float(sys.argv.pop(1)))})
    cli.main()
