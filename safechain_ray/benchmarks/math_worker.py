"""Compares answers by algebra in a process of its own, which may be killed: run by `LimitedProcess`."""

from functools import lru_cache

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

_WANTED = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


@lru_cache(maxsize=1024)
def _parsed(text: str) -> list[object]:
    # Both libraries' time limits are signals; here the process has one.
    found: list[object] = parse(f"\\boxed{{{text}}}", _WANTED, parsing_timeout=None)
    return found


def answer(request: list[str]) -> bool:
    """Whether gold and answer are equal."""
    gold, given = request
    # x > 2 and (2, oo) are one set, however the question wanted it written.
    return bool(verify(_parsed(gold), _parsed(given), allow_set_relation_comp=True, timeout_seconds=None))
