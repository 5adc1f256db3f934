"""The words of a closed list: parts, outcomes, rules; and what values may look like."""

from typing import Literal

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
