"""How the time until a deadline is shared: every model has its turn, so that each has a table when time is up."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """What a run has to do, in any unit, and the GPUs that it works on while it does."""

    work: float
    gpus: float


def turn_seconds(left: float, shares: Mapping[str, Share], all_gpus: float) -> dict[str, float]:
    """How long each run may work before it gives way to those that wait.

    `left` are the seconds until the deadline. Each run gets the part of the cluster's time that its work is of all
    work; runs that stand side by side work at the same time, so one on few GPUs has longer. None has longer than there
    is, and a run without work of its own (an API's) has it all.
    """
    whole = sum(share.work for share in shares.values())
    side_by_side = {name: max(1.0, all_gpus / max(1.0, share.gpus)) for name, share in shares.items()}
    return {
        name: min(left, left * share.work / whole * side_by_side[name]) if share.work else left
        for name, share in shares.items()
    }
