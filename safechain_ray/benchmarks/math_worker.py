"""Compares answers by algebra in a process of its own, which may be killed: run as a script, imported by nobody.

Each line of its input is a JSON list [gold, answer, seconds], each line of its output `true` or `false`. A comparison
that takes more than `seconds` of processor time ends the process by SIGXCPU, one that takes too much memory fails. So
what is decided does not depend on how busy the machine is.
"""

import json
import os
import resource
import sys
import time
from functools import lru_cache

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

MEMORY = 4 * 2**30
"""Bytes of address space. What sympy takes for an answer of a model is a small part of it."""

_WANTED = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


@lru_cache(maxsize=1024)
def _parsed(text: str) -> list[object]:
    # Both libraries' time limits are signals; here the process has one.
    found: list[object] = parse(f"\\boxed{{{text}}}", _WANTED, parsing_timeout=None)
    return found


def _equal(gold: str, answer: str) -> bool:
    # x > 2 and (2, oo) are one set, however the question wanted it written.
    return bool(verify(_parsed(gold), _parsed(answer), allow_set_relation_comp=True, timeout_seconds=None))


def _limit(kind: int, most: int) -> None:
    """Sets the limit to `most`, or to what the machine allows where that is less."""
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main() -> None:
    # What libraries print must not be taken for an answer.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit(resource.RLIMIT_CORE, 0)  # SIGXCPU would leave one
    _limit(resource.RLIMIT_AS, MEMORY)
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + seconds)
        print(json.dumps(_equal(gold, answer)), file=replies, flush=True)


if __name__ == "__main__":
    main()
