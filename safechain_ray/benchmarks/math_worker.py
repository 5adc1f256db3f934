"""Child process of `LimitedProcess` that compares two answers by computer algebra, and may be killed."""

from functools import lru_cache

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

_WANTED = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())


@lru_cache(maxsize=1024)
def _parsed(text: str) -> list[object]:
    # Both libraries implement time limits by signals. Here the process itself has a limit.
    found: list[object] = parse(f"\\boxed{{{text}}}", _WANTED, parsing_timeout=None)
    return found


def answer(request: list[str]) -> bool:
    """Whether gold and answer are equal."""
    gold, given = request
    # x > 2 and (2, oo) are the same set.
    return bool(verify(_parsed(gold), _parsed(given), allow_set_relation_comp=True, timeout_seconds=None))
