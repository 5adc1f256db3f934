"""The processes that train together: which of them this is, and how they wait for each other."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among `count`, of which `local_count` are on this node; ranks count from 0."""

    rank: int
    count: int
    local_rank: int
    local_count: int

    @classmethod
    def of_environment(cls) -> "Processes":
        """As whoever started them said, in the variables that torch reads; without those it is alone."""
        rank, count, local_rank, local_count = (
            int(os.environ.get(name, alone))
            for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        )
        return cls(rank, count, local_rank, local_count)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all of them have come here."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def gather(self, mine: Any) -> list[Any]:
        """What each of them brings, in the order of their ranks. It is pickled between processes of one training."""
        if self.count == 1:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, mine)
        return found
