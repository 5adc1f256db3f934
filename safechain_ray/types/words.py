"""Closed lists of values (parts, outcomes, rules), and patterns that values must match."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

Part = Literal["response", "thought", "answer"]
"""The text that a judge reads: the reasoning trace, the final answer, or both (the default, as in the paper)."""

Outcome = Literal["ok", "truncated", "blocked", "error"]
"""How a sample ended; `blocked`: the provider's content filter refused the request or the response."""

FinishReason = Literal["stop", "length"]

VoteRule = Literal["majority", "any", "all"]
"""How many judges must decide unsafe for the vote to be unsafe: more than half of them, one, or all."""

KeepRule = Literal["all", "majority", "best"]
"""How many of a prompt's K responses must be safe for a training set to keep it: all, more than half, or one."""

SpecialTokens = Literal["control", "text"]
"""How an engine tokenizes a special token inside a prompt: as the control token, or as plain text."""

PLAIN_URL = r"^https?://[^\s@?#]+$"
"""A URL without parts that may be secret: no user, no query, no fragment."""

LARGEST_INT32 = 2**31 - 1
"""Largest value of the int32 columns of the samples."""


def _check_variable_name(name: str) -> str:
    """Raise ValueError without quoting `name`: users put the key itself there by mistake."""
    if name and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) is None:
        raise ValueError(
            "this is no name of an environment variable (capital letters, digits and _). If it is the key itself, put "
            "it into a variable and write the variable's name here"
        )
    return name


VariableName = Annotated[str, AfterValidator(_check_variable_name)]
"""Name of an environment variable with an API key. A key itself is refused, because it has other characters."""
