"""Process group of a training: this process's rank, barriers and gathers."""

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among `count`, with `local_count` of them on this node. Ranks count from 0."""

    rank: int
    count: int
    local_rank: int
    local_count: int

    @classmethod
    def of_environment(cls) -> "Processes":
        """The group in the variables that torch reads (RANK, WORLD_SIZE ...); without them this process is alone."""
        rank, count, local_rank, local_count = (
            int(os.environ.get(name, alone))
            for name, alone in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0), ("LOCAL_WORLD_SIZE", 1))
        )
        return cls(rank, count, local_rank, local_count)

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Block until all processes have called this."""
        if self.count > 1:
            import torch.distributed as dist

            dist.barrier()

    def gather(self, mine: Any) -> list[Any]:
        """The values of all processes in the order of their ranks, pickled between processes of one training."""
        if self.count == 1:
            return [mine]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, mine)
        return found
