"""The words of a closed list: parts, outcomes, rules; and what values may look like."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

Part = Literal["response", "thought", "answer"]
"""What a judge looks at: the reasoning trace, the final answer, or both together (the default, as in the paper)."""

Outcome = Literal["ok", "truncated", "blocked", "error"]
"""What became of a sample; `blocked` means that the provider refused."""

FinishReason = Literal["stop", "length"]

VoteRule = Literal["majority", "any", "all"]
"""How many judges have to say unsafe: more than half of them, one, or every one."""

KeepRule = Literal["all", "majority", "best"]
"""How many of a prompt's K responses must be safe for it to be learnt from: all, more than half, or one."""

SpecialTokens = Literal["control", "text"]
"""How an engine reads a special token within a prompt: as the control token, or as plain text."""

PLAIN_URL = r"^https?://[^\s@?#]+$"
"""An address that holds no secret: no user, no query."""

LARGEST_INT32 = 2**31 - 1
"""The most that the integer columns of the samples hold."""


def _check_variable_name(name: str) -> str:
    """The error does not quote `name`: a key is written in its place by mistake."""
    if name and re.fullmatch(r"[A-Z_][A-Z0-9_]*", name) is None:
        raise ValueError(
            "this is no name of an environment variable (capital letters, digits and _). If it is the key itself, put "
            "it into a variable and write the variable's name here"
        )
    return name


VariableName = Annotated[str, AfterValidator(_check_variable_name)]
"""Name of the environment variable that holds a key. Keys have other characters than capitals, so they are refused."""
